//go:build linux && (amd64 || arm64)

package driver

import (
	"unsafe"

	"github.com/ebitengine/purego"
)

// dlopen opens a library by its path or, through the loader's own paths, by its
// name. What it needs is found as it is used, and its names are its own: two
// versions of a library do not meet.
func dlopen(path string) (uintptr, error) {
	return purego.Dlopen(path, purego.RTLD_LAZY|purego.RTLD_LOCAL)
}

// dlsym is the address of a function, 0 where there is none.
func dlsym(handle uintptr, name string) uintptr {
	at, err := purego.Dlsym(handle, name)
	if err != nil {
		return 0
	}
	return at
}

// dlpath is the file that an address was loaded from, empty where the loader
// does not tell: int dladdr(const void *addr, Dl_info *info), whose first word
// is the name.
func dlpath(at uintptr) string {
	dladdr := dlsym(purego.RTLD_DEFAULT, "dladdr")
	if dladdr == 0 {
		return ""
	}
	var info [4]uintptr
	if ok, _, _ := purego.SyscallN(dladdr, at, uintptr(unsafe.Pointer(&info))); ok == 0 {
		return ""
	}
	return text(info[0])
}

// call calls a C function of integers and pointers.
//
//go:uintptrescapes
func call(fn uintptr, args ...uintptr) uintptr {
	r, _, _ := purego.SyscallN(fn, args...)
	return r
}
