package driver

import (
	"fmt"
	"unsafe"
)

const (
	mostParams   = 512      // 4 KiB of parameters, CUDA's limit on any card
	plainShared  = 48 << 10 // bytes of shared memory that need no leave
	sharedLimit  = 8        // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
	usualParams  = 32       // what most kernels have at most
	largestBlock = 1024
)

// params are a launch's parameters as CUDA takes them: addresses of values. They
// lie on the heap, which does not move, and CUDA has read them when the launch
// returns.
type params struct {
	words []uint64
	at    []unsafe.Pointer
}

// newParams makes room for so many.
func newParams(n int) *params {
	p := &params{make([]uint64, n), make([]unsafe.Pointer, n)}
	for i := range p.words {
		p.at[i] = unsafe.Pointer(&p.words[i])
	}
	return p
}

// Launch implements Device.
func (c *card) Launch(f Function, grid, block Dim, shared uint32, s Stream, args []uint64) error {
	switch {
	case len(args) > mostParams:
		return fmt.Errorf("%d parameters; a kernel has %d at most", len(args), mostParams)
	case grid.X == 0 || grid.Y == 0 || grid.Z == 0 || block.X == 0 || block.Y == 0 || block.Z == 0:
		return fmt.Errorf("an empty launch: a grid of %v, blocks of %v", grid, block)
	case uint64(block.X)*uint64(block.Y)*uint64(block.Z) > largestBlock:
		return fmt.Errorf("a block of %v; %d threads are the most", block, largestBlock)
	}
	if shared > plainShared {
		if err := c.do(cuFuncSetAttribute, uintptr(f), sharedLimit, uintptr(shared)); err != nil {
			return err
		}
	}
	p, _ := c.params.Get().(*params)
	if p == nil || len(p.words) < len(args) {
		p = newParams(max(usualParams, len(args)))
	}
	defer c.params.Put(p)
	copy(p.words, args)
	return c.do(cuLaunchKernel, uintptr(f),
		uintptr(grid.X), uintptr(grid.Y), uintptr(grid.Z),
		uintptr(block.X), uintptr(block.Y), uintptr(block.Z),
		uintptr(shared), uintptr(s), uintptr(unsafe.Pointer(&p.at[0])), 0)
}
