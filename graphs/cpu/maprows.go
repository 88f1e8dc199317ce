package cpu

import (
	"unsafe"

	"github.com/locorun/locorun/graphs/cpu/vector"
)

// mapRows is a map, or a window of one, in rows of pixels of c channels.
type mapRows struct {
	rows, pixels, c int
	x, y            []float32
	xRow, yRow      int // elements from a row to the next
}

// tile is the kernels' view of m, with x and y where they belong.
func (m mapRows) tile(ws *workspace) *vector.NormTile {
	t := &ws.norm
	*t = vector.NormTile{Rows: m.rows, Pixels: m.pixels, Channels: m.c, X: first(m.x), XRow: 4 * m.xRow}
	return t
}

// first is where elements start.
func first[T any](mem []T) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(mem)) }

// apply writes act((x-centre)*gain + shift (+ residual)) to y. The residual
// lies as x does.
func (m mapRows) apply(ws *workspace, set *vector.Set, f normFactors, residual []float32, relu bool) {
	t := m.tile(ws)
	t.Y, t.YRow, t.Residual, t.ResidualRow = first(m.y), 4*m.yRow, first(residual), 4*m.xRow
	t.Mean, t.Gain, t.Shift = first(f.centre), first(f.gain), first(f.shift)
	kernel := set.NormApply
	switch {
	case relu && residual != nil:
		kernel = set.NormApplyResidualReLU
	case relu:
		kernel = set.NormApplyReLU
	case residual != nil:
		kernel = set.NormApplyResidual
	}
	runGroups(ws, set, kernel)
}

// runGroups runs a kernel on ws's tile, several pixels at a time where channels
// are few.
func runGroups(ws *workspace, set *vector.Set, kernel func(*byte)) {
	t := &ws.norm
	t.Join()
	n := vector.PixelGroup(set.Lanes, t.Channels, t.Pixels)
	var room []float32
	if n > 1 {
		room = scratch[float32](ws, slotGroup, 4*n*t.Channels)
	}
	t.RunGroups(kernel, set.Lanes, n, room)
}

// gradRows is mapRows for a norm's gradient: x is the norm's input, y the
// gradient of it; dy, mask and keep lie as x does.
type gradRows struct {
	mapRows
	dy, mask, keep []float32 // mask and keep may be absent
}

// apply writes gain*g - centre - (x-mean)*slope to y, and g to keep, g being dy
// where mask is above 0, else 0.
func (m gradRows) apply(ws *workspace, set *vector.Set, f gradFactors) {
	t := m.tile(ws)
	t.DY, t.DYRow, t.DX, t.DXRow = first(m.dy), 4*m.xRow, first(m.y), 4*m.yRow
	t.Y, t.YRow, t.DResidual, t.DResidualRow = first(m.mask), 4*m.xRow, first(m.keep), 4*m.xRow
	t.Mean, t.Gain, t.Shift, t.Slope = first(f.mean), first(f.gain), first(f.centre), first(f.slope)
	kernel := set.NormGradApply
	switch {
	case m.mask != nil && m.keep != nil:
		kernel = set.NormGradApplyReLUKeep
	case m.mask != nil:
		kernel = set.NormGradApplyReLU
	case m.keep != nil:
		kernel = set.NormGradApplyKeep
	}
	runGroups(ws, set, kernel)
}

// sumRows writes each channel's base, the first pixel, and the sums of the
// differences from it and of their squares, to sums, c each.
func sumRows(ws *workspace, set *vector.Set, x []float32, c int, sums []float64) {
	p := pixelSums{set: set, kernel: set.NormSums, mean: x[:c], x: x}
	p.sum(ws, sums[c:3*c])
	for i, v := range x[:c] {
		sums[i] = float64(v)
	}
}

// gradSumRows writes each channel's sums of g and of g*(x-mean) to sums.
func gradSumRows(ws *workspace, set *vector.Set, dy, x, y, mean []float32, sums []float64) {
	p := pixelSums{set: set, kernel: set.NormGradSums, mean: mean, x: x, dy: dy, y: y}
	if y != nil {
		p.kernel = set.NormGradSumsReLU
	}
	p.sum(ws, sums)
}

// at is element i behind p, or nil.
func at(p unsafe.Pointer, i int) unsafe.Pointer {
	if p == nil {
		return nil
	}
	return unsafe.Add(p, 4*i)
}
