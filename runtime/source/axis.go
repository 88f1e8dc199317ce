package source

import (
	"math"
	"sync/atomic"

	"github.com/locorun/locorun/runtime/source/vector"
)

// axis is a triangle filter along one axis that takes n places to m. Where it
// grows, that is bilinear interpolation with half-pixel centres; where it
// shrinks, the triangle is as wide as the step between the samples, so that
// every place counts. All places of the result read as many, taps, from first
// on; their weights add up to 1.
type axis struct {
	n, m     int
	mirrored bool // place 0 of the result is the last
	taps     int
	first    []int32
	weights  []float32 // [m][taps]
	columns  columns
	whole    bool // nothing changes
}

// columns is an axis as vector.Columns takes it.
type columns struct {
	reach   vector.Reach
	bases   []int32
	index   []int32
	weights []float32
}

// span gives the places with a weight above 0 for place o of the result, and
// that place among them.
func (a *axis) span(o int) (from, to int, centre, radius float64) {
	scale := float64(a.n) / float64(a.m)
	radius = max(scale, 1)
	centre = float64((float64(o)+0.5)*scale) - 0.5
	from, to = int(math.Floor(centre-radius))+1, int(math.Ceil(centre+radius))-1
	return max(0, from), min(a.n-1, to), centre, radius
}

// fit makes a the filter that takes n places to m.
func (a *axis) fit(n, m int, mirrored bool) {
	a.n, a.m, a.mirrored, a.whole, a.taps = n, m, mirrored, n == m && !mirrored, 1
	for o := range m {
		from, to, _, _ := a.span(o)
		a.taps = max(a.taps, to-from+1)
	}
	a.first, a.weights = resized(a.first, m), resized(a.weights, m*a.taps)
	clear(a.weights)
	for o := range m {
		a.place(o)
	}
	a.columns.fit(a)
}

// place weighs what place o of the result reads. The row of taps ends where the
// axis does; weights before the first are 0.
func (a *axis) place(o int) {
	at := o
	if a.mirrored {
		at = a.m - 1 - o
	}
	from, to, centre, radius := a.span(at)
	first := min(from, a.n-a.taps)
	weights := a.weights[o*a.taps:][from-first : to-first+1]
	sum := 0.0
	for i := range weights {
		weight := 1 - math.Abs(float64(from+i)-centre)/radius
		weights[i] = float32(weight)
		sum += weight
	}
	for i := range weights {
		weights[i] /= float32(sum)
	}
	a.first[o] = int32(first)
}

// fit brings an axis into blocks. Elements beyond its end read the block's base
// with weights of 0.
func (c *columns) fit(a *axis) {
	const block = vector.Block
	n := vector.Blocks(a.m)
	c.bases, c.index, c.weights = resized(c.bases, 4*n), resized(c.index, 2*block*n), resized(c.weights, block*a.taps*n)
	clear(c.weights)
	c.reach = vector.Near
	for b := range n {
		first := a.first[b*block : min((b+1)*block, a.m)]
		bases, index := c.bases[4*b:][:4], c.index[2*block*b:][:2*block]
		half := min(block/2, len(first))
		spans := [3]int32{}
		bases[0], spans[0] = relative(index[:block], first)
		bases[1], spans[1] = relative(index[block:][:block/2], first[:half])
		bases[2], spans[2] = relative(index[block:][block/2:], first[half:])
		bases[3] = 0
		c.reach = max(c.reach, reachOf(spans))
		for j := range first {
			for k := range a.taps {
				c.weights[(b*a.taps+k)*block+j] = a.weights[(b*block+j)*a.taps+k]
			}
		}
	}
}

// reachOf is the reach of a block whose places, and those of its halves, span
// so many.
func reachOf(spans [3]int32) vector.Reach {
	switch {
	case spans[0] < vector.Block && max(spans[1], spans[2]) < vector.Block/2:
		return vector.Near
	case spans[0] < 2*vector.Block:
		return vector.Wide
	}
	return vector.Far
}

// relative writes places as distances from the least of them, which it gives
// with the largest distance.
func relative(index, places []int32) (base, span int32) {
	clear(index)
	if len(places) == 0 {
		return 0, 0
	}
	base, top := places[0], places[0]
	for _, p := range places {
		base, top = min(base, p), max(top, p)
	}
	for i, p := range places {
		index[i] = p - base
	}
	return base, top - base
}

// keptAxes is the longest axis whose filters are kept.
const keptAxes = 256

// filters are the filters to a length m, made when first asked for: they depend
// on the numbers of places alone. They are safe for use by many goroutines.
type filters struct {
	m    int
	kept [keptAxes][2]atomic.Pointer[axis] // by n-1, plain and mirrored
}

// of gives the filter that takes n places to m, in own where it is not kept.
func (f *filters) of(n, m int, mirrored bool, own *axis) *axis {
	if m != f.m || n > keptAxes {
		own.fit(n, m, mirrored)
		return own
	}
	kept := &f.kept[n-1][0]
	if mirrored {
		kept = &f.kept[n-1][1]
	}
	if a := kept.Load(); a != nil {
		return a
	}
	a := new(axis)
	a.fit(n, m, mirrored)
	kept.Store(a)
	return a
}

// kept are the filters to a size.
type kept struct{ rows, columns filters }

// resized gives a slice of n elements of any content, buf's memory where it
// does.
func resized[T any](buf []T, n int) []T {
	if cap(buf) < n {
		return make([]T, n)
	}
	return buf[:n]
}
