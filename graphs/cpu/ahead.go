package cpu

import "unsafe"

// ahead is memory that is needed soon. The kernels of convolutions, which keep
// the core busy and memory idle, ask for it line by line, so that a unit's maps
// are near when its turn comes.
type ahead struct {
	ranges [8]struct{ at, end uintptr }
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

// before is where a kernel goes on from where the last one ended, and by how
// many bytes it moves on. A kernel may ask for a little more than was added;
// that does no harm. Where nothing is needed, it asks for what it has.
func (a *ahead) before(near unsafe.Pointer) (at uintptr, step int) {
	if a == nil || a.i == a.n {
		return uintptr(near), 0
	}
	return a.ranges[a.i].at, line
}

// after notes how far a kernel came.
func (a *ahead) after(at uintptr, step int) {
	if step == 0 {
		return
	}
	r := &a.ranges[a.i]
	if r.at = at; r.at >= r.end {
		a.i++
	}
}
