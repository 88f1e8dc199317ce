package cpu

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// align is the alignment of every buffer, a cache line and the widest vector.
const align = 64

// Buffer is memory of the process, aligned to 64 bytes.
type Buffer struct {
	owner *Backend
	all   []byte // as the system gave it
	mem   []byte
	size  int64
}

// Size is the length in bytes.
func (b *Buffer) Size() int64 { return b.size }

// Alloc returns zeroed memory aligned to 64 bytes.
func (b *Backend) Alloc(bytes int64) (device.Buffer, error) {
	if bytes < 0 || bytes > int64(^uint(0)>>1)-align {
		return nil, fmt.Errorf("cpu: cannot allocate %d bytes", bytes)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, errClosed
	}
	all, err := pages(int(bytes) + align)
	if err != nil {
		return nil, fmt.Errorf("cpu: cannot allocate %d bytes: %w", bytes, err)
	}
	buf := &Buffer{owner: b, all: all, mem: alignedPart(all, int(bytes)), size: bytes}
	b.buffers[buf] = struct{}{}
	return buf, nil
}

// aligned is n zeroed bytes of the heap that start on a multiple of align.
func aligned(n int) []byte { return alignedPart(make([]byte, n+align), n) }

// alignedPart is the first n bytes of mem that start on a multiple of align.
func alignedPart(mem []byte, n int) []byte {
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(mem)))) & (align - 1)
	return mem[skip : skip+n : skip+n]
}

// Free gives memory back. Freeing a buffer twice, or another backend's, does
// nothing.
func (b *Backend) Free(d device.Buffer) {
	buf, ok := d.(*Buffer)
	if !ok || buf.owner != b {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(buf)
}

// drop gives a buffer's pages back; b.mu is held.
func (b *Backend) drop(buf *Buffer) {
	if _, ok := b.buffers[buf]; !ok {
		return
	}
	delete(b.buffers, buf)
	b.packs.forget(buf)
	giveBack(buf.all)
	buf.all, buf.mem = nil, nil
}

// Write copies src, little-endian elements of t's type, into t.
func (b *Backend) Write(t device.Tensor, src []byte) error {
	dst, err := b.window(t)
	if err != nil {
		return fmt.Errorf("cpu: write: %w", err)
	}
	if len(src) != len(dst) {
		return fmt.Errorf("cpu: write: %d bytes for a tensor of %d", len(src), len(dst))
	}
	transfer(dst, src, t.Dtype.Size())
	b.packs.written(t)
	return nil
}

// Read copies t into dst as little-endian elements.
func (b *Backend) Read(dst []byte, t device.Tensor) error {
	src, err := b.window(t)
	if err != nil {
		return fmt.Errorf("cpu: read: %w", err)
	}
	if len(src) != len(dst) {
		return fmt.Errorf("cpu: read: %d bytes for a tensor of %d", len(dst), len(src))
	}
	transfer(dst, src, t.Dtype.Size())
	return nil
}

// transfer copies elements between little-endian and the machine's own order.
func transfer(dst, src []byte, size int) {
	copy(dst, src)
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		return
	}
	for i := 0; i+size <= len(dst); i += size {
		for a, z := i, i+size-1; a < z; a, z = a+1, z-1 {
			dst[a], dst[z] = dst[z], dst[a]
		}
	}
}

// window is the memory of t, checked against its buffer.
func (b *Backend) window(t device.Tensor) ([]byte, error) {
	buf, ok := t.Buffer.(*Buffer)
	if !ok || buf.owner != b {
		return nil, fmt.Errorf("tensor lies in no buffer of this backend")
	}
	if buf.mem == nil {
		return nil, fmt.Errorf("tensor lies in a buffer that was freed")
	}
	if t.Dtype < op.F32 || t.Dtype > op.BF16 {
		return nil, fmt.Errorf("tensor %v has no type", t.Shape)
	}
	n, err := elements(t.Shape)
	if err != nil {
		return nil, err
	}
	size := int64(t.Dtype.Size())
	if t.Offset < 0 || t.Offset%size != 0 || n > (buf.size-t.Offset)/size {
		return nil, fmt.Errorf("tensor %v %v at byte %d does not lie in a buffer of %d bytes", t.Dtype, t.Shape, t.Offset, buf.size)
	}
	return buf.mem[t.Offset : t.Offset+n*size : t.Offset+n*size], nil
}

// elements counts the elements of a shape; every side is at least 1.
func elements(shape []int) (int64, error) {
	n := int64(1)
	for _, d := range shape {
		if d < 1 || n > (1<<62)/int64(d) {
			return 0, fmt.Errorf("shape %v is empty or too large", shape)
		}
		n *= int64(d)
	}
	return n, nil
}
