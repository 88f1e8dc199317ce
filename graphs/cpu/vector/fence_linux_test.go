package vector

import (
	"syscall"
	"testing"
	"unsafe"
)

// fence is memory that ends where the process may not read or write: a kernel
// that goes too far is stopped at once.
func fence(t *testing.T, floats int) []float32 {
	t.Helper()
	page := syscall.Getpagesize()
	size := (4*floats + page - 1) / page * page
	mem, err := syscall.Mmap(-1, 0, size+page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Munmap(mem) })
	if err := syscall.Mprotect(mem[size:], syscall.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(&mem[0])), size/4)
}
