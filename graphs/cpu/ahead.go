package cpu

import (
	"unsafe"

	"github.com/locorun/locorun/graphs/cpu/vector"
)

// ahead is memory that is needed soon. The kernels of convolutions, which keep
// the core busy and memory idle, ask for it line by line, so that a unit's maps
// are near when its turn comes.
type ahead struct {
	ranges [6]struct{ at, end uintptr }
	n, i   int
}

// none forgets what was needed.
func (a *ahead) none() *ahead {
	a.n, a.i = 0, 0
	return a
}

// add puts memory at the end of what is needed.
func (a *ahead) add(mem []float32) {
	if len(mem) > 0 && a.n < len(a.ranges) {
		at := uintptr(first(mem))
		a.ranges[a.n].at, a.ranges[a.n].end = at, at+uintptr(4*len(mem))
		a.n++
	}
}

// line is the size of a cache line.
const line = 64

// before lets a kernel go on where the last one ended. It may ask for a little
// more than was added; that does no harm.
func (a *ahead) before(t *vector.ConvTile) {
	t.Ahead, t.AheadStep = uintptr(unsafe.Pointer(t)), 0
	if a != nil && a.i < a.n {
		t.Ahead, t.AheadStep = a.ranges[a.i].at, line
	}
}

// after notes how far the kernel came.
func (a *ahead) after(t *vector.ConvTile) {
	if t.AheadStep == 0 {
		return
	}
	r := &a.ranges[a.i]
	if r.at = t.Ahead; r.at >= r.end {
		a.i++
	}
}
