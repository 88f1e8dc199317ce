package emulate

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"syscall"
	"unsafe"

	"github.com/locorun/locorun/graphs/cuda/driver"
)

// align is what allocations are aligned to.
const align = 256

// zone is the byte beside an allocation, which must stay.
const zone = 0xa5

// block is an allocation: data lies in pages of its own, between two that cannot
// be touched, as near to the second as its alignment lets it.
type block struct {
	pages  []byte // all of them
	before []byte // what lies before and behind data in pages that can be touched
	data   []byte
	behind []byte
}

// newBlock allocates; the content is NaNs.
func newBlock(size int64) (*block, error) {
	page := int64(os.Getpagesize())
	room := (size + align - 1) / align * align
	inner := (room + page - 1) / page * page
	pages, err := syscall.Mmap(-1, 0, int(inner+2*page), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("emulate: %d bytes: %w", size, err)
	}
	for _, guard := range [][]byte{pages[:page], pages[page+inner:]} {
		if err := syscall.Mprotect(guard, syscall.PROT_NONE); err != nil {
			return nil, fmt.Errorf("emulate: guard: %w", err)
		}
	}
	from := page + inner - room
	b := &block{pages, pages[page:from], pages[from : from+size], pages[from+size : page+inner]}
	fill(b.data, 0xff)
	fill(b.before, zone)
	fill(b.behind, zone)
	return b, nil
}

func fill(mem []byte, value byte) {
	for i := range mem {
		mem[i] = value
	}
}

func (b *block) at() driver.Pointer {
	return driver.Pointer(uintptr(unsafe.Pointer(unsafe.SliceData(b.data))))
}

// spoilt says whether a byte beside the data was written.
func (b *block) spoilt() bool {
	return bytes.Count(b.before, []byte{zone}) != len(b.before) || bytes.Count(b.behind, []byte{zone}) != len(b.behind)
}

// Alloc implements driver.Device.
func (d *device) Alloc(size int64) (driver.Pointer, error) {
	if size <= 0 {
		return 0, fmt.Errorf("emulate: %d bytes asked for", size)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.host("Alloc"); err != nil {
		return 0, err
	}
	b, err := newBlock(size)
	if err != nil {
		return 0, err
	}
	d.blocks[b.at()] = b
	d.starts = slices.Sorted(maps.Keys(d.blocks))
	return b.at(), nil
}

// Free implements driver.Device. Work that still needs the memory is an error when
// it is done.
func (d *device) Free(p driver.Pointer) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.host("Free"); err != nil {
		return err
	}
	b := d.blocks[p]
	if b == nil {
		return fmt.Errorf("emulate: %#x to be freed is no allocation", p)
	}
	delete(d.blocks, p)
	d.starts = slices.Sorted(maps.Keys(d.blocks))
	return syscall.Munmap(b.pages)
}

// bytes is memory of the device from an address on.
func (d *device) bytes(p driver.Pointer, size int64) ([]byte, error) {
	b := d.holder(p)
	if b == nil {
		return nil, fmt.Errorf("emulate: address %#x lies in no allocation", p)
	}
	from := int64(p - b.at())
	if size < 0 || from+size > int64(len(b.data)) {
		return nil, fmt.Errorf("emulate: bytes %d to %d of an allocation of %d", from, from+size, len(b.data))
	}
	return b.data[from : from+size], nil
}

// holder is the allocation that an address lies in, its end included; nil where
// there is none.
func (d *device) holder(p driver.Pointer) *block {
	i, exact := slices.BinarySearch(d.starts, p)
	if !exact {
		i--
	}
	if i < 0 {
		return nil
	}
	if b := d.blocks[d.starts[i]]; p <= b.at()+driver.Pointer(len(b.data)) {
		return b
	}
	return nil
}

// guards tells of the allocations beside which a byte was written.
func (d *device) guards() error {
	for _, p := range d.starts {
		if b := d.blocks[p]; b.spoilt() {
			fill(b.before, zone)
			fill(b.behind, zone)
			return fmt.Errorf("bytes beside an allocation of %d were written", len(b.data))
		}
	}
	return nil
}
