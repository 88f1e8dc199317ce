package cpu

import (
	"unsafe"

	"github.com/locorun/locorun/graphs/cpu/vector"
)

// Ops that keep channels apart (depthwise convolutions, pools, and their
// gradients) are stencils on maps: a vector holds neighbouring channels of one
// pixel, and an output is a sum over the taps of its window. Nothing is copied
// to give maps a border. Instead the outputs are cut into parts whose windows
// are clipped alike, and a kernel call computes one part of several rows or
// pictures:
//
//	+-+-------+-+
//	+-+-------+-+  windows that reach over the upper or left edge, inside,
//	| |       | |  over the lower or right edge: nine parts where windows are
//	| |       | |  3x3 with a padding of 1
//	+-+-------+-+
//	+-+-------+-+

// mapKernels are the arguments of the kernels on maps.
type mapKernels struct {
	stencil vector.StencilTile
	taps    vector.TapsTile
	pool    vector.PoolTile
	sum     vector.SumTile
	resize  vector.ResizeTile
	shuffle vector.ShuffleTile
}

// axis is the rows or the columns of a stencil: tap t of output o sees input
// origin + o*step + t, if that is in [0,size).
type axis struct{ n, step, origin, taps, size int }

// run says which taps [t0,t1) outputs o to next-1 have in common.
func (a axis) run(o int) (t0, t1, next int) {
	at := a.origin + o*a.step
	t0, t1 = clip(at, a.taps, a.size)
	switch {
	case a.taps == 0:
		return 0, 0, a.n
	case t1-t0 == a.taps:
		return t0, t1, min(a.n, o+(a.size-a.taps-at)/a.step+1)
	}
	return t0, t1, o + 1
}

// steps are distances in elements between pictures, rows and pixels.
type steps struct{ picture, row, pixel int }

// stepsOf are those of maps [h,w,c].
func stepsOf(h, w, c int) steps { return steps{h * w * c, w * c, c} }

// mapStencil is which inputs the outputs of a map see. Outputs may be every
// second pixel, or so, of a map.
type mapStencil struct {
	rows, cols axis
	in, out    steps // between neighbouring inputs and outputs
	first      int   // element of the first output
}

// forwardStencil is a convolution or pool.
func (g geometry) forwardStencil() mapStencil {
	return mapStencil{
		rows: axis{g.oh, g.stride, -g.pad, g.kh, g.h},
		cols: axis{g.ow, g.stride, -g.pad, g.kw, g.w},
		in:   stepsOf(g.h, g.w, g.c), out: stepsOf(g.oh, g.ow, g.k),
	}
}

// gradStencil is the gradient of the inputs of rows of kind row and columns of
// kind col: its inputs are the gradients of outputs.
func (g geometry) gradStencil(row, col residue) mapStencil {
	out := stepsOf(g.h, g.w, g.c)
	return mapStencil{
		rows: axis{row.count, 1, row.at, row.taps, g.oh},
		cols: axis{col.count, 1, col.at, col.taps, g.ow},
		in:   stepsOf(g.oh, g.ow, g.k), out: steps{out.picture, g.stride * out.row, g.stride * out.pixel},
		first: row.first*out.row + col.first*out.pixel,
	}
}

// eachResidue calls do for the kinds of rows and columns of an input gradient.
func (g geometry) eachResidue(do func(row, col residue)) {
	for i := range min(g.stride, g.h) {
		for j := range min(g.stride, g.w) {
			do(residueOf(i, g.h, g.kh, g.stride, g.pad), residueOf(j, g.w, g.kw, g.stride, g.pad))
		}
	}
}

// within is the range of a residue's rows among rows [i0,i1) of the map.
func (r residue) within(i0, i1, stride int) (from, to int) {
	from = max(0, (i0-r.first+stride-1)/stride)
	return from, max(from, min(r.count, (i1-r.first+stride-1)/stride))
}

// mapPart is outputs whose windows are clipped alike: rows [i0,i1) and columns
// [j0,j1) have rows [a0,a1) and columns [b0,b1) of taps.
type mapPart struct{ i0, i1, j0, j1, a0, a1, b0, b1 int }

// eachPart calls do for the parts of output rows [i0,i1).
func (m *mapStencil) eachPart(i0, i1 int, do func(p mapPart)) {
	for i := i0; i < i1; {
		a0, a1, below := m.rows.run(i)
		below = min(below, i1)
		for j := 0; j < m.cols.n; {
			b0, b1, right := m.cols.run(j)
			p := mapPart{i, below, j, right, a0, a1, b0, b1}
			if a0 == a1 || b0 == b1 {
				p.a0, p.a1, p.b0, p.b1 = 0, 0, 0, 0
			}
			do(p)
			j = right
		}
		i = below
	}
}

// input is the element that the first tap of a part's first output sees, 0
// where there are no taps.
func (m *mapStencil) input(p mapPart) int {
	if p.a0 == p.a1 {
		return 0
	}
	i, j := m.rows.origin+p.i0*m.rows.step+p.a0, m.cols.origin+p.j0*m.cols.step+p.b0
	return i*m.in.row + j*m.in.pixel
}

// output is the element of a part's first output.
func (m *mapStencil) output(p mapPart) int {
	return m.first + p.i0*m.out.row + p.j0*m.out.pixel
}

// loops are those over pictures, rows and columns of a part. place is the step
// between places of columns, row that of rows.
func (m *mapStencil) loops(p mapPart, pictures, placeRow, placePixel int) [3]vector.Loop {
	return [3]vector.Loop{
		{Count: pictures, In: 4 * m.in.picture, Out: 4 * m.out.picture},
		{Count: p.i1 - p.i0, In: 4 * m.rows.step * m.in.row, Out: 4 * m.out.row, Place: placeRow},
		{Count: p.j1 - p.j0, In: 4 * m.cols.step * m.in.pixel, Out: 4 * m.out.pixel, Place: placePixel},
	}
}

// longestInside makes the innermost loop the longest where it is shorter than
// enough.
func longestInside(loops *[3]vector.Loop, enough int) {
	best := 2
	for i := range loops {
		if loops[best].Count < enough && loops[i].Count > loops[best].Count {
			best = i
		}
	}
	loops[best], loops[2] = loops[2], loops[best]
}

// weighting is the weights of a stencil, in elements: where tap (0,0) stands in
// mem, and the steps between rows, columns and vectors of channels.
type weighting struct {
	mem                     []float32
	first, row, col, vector int
	start                   []float32 // first values of the sums
	startVector             int
}

// convolve computes output rows [i0,i1) of pictures.
func (m *mapStencil) convolve(r *run, ws *workspace, w weighting, channels vector.Channels, in, out []float32, pictures, i0, i1 int) {
	t, set := &ws.maps.stencil, r.b.tier.set
	t.Channels = channels
	t.TapRow, t.TapCol = 4*m.in.row, 4*m.in.pixel
	t.WeightRow, t.WeightCol, t.WeightVector = 4*w.row, 4*w.col, 4*w.vector
	t.Start, t.StartVector = unsafe.Pointer(&w.start[0]), 4*w.startVector
	m.eachPart(i0, i1, func(p mapPart) {
		t.Loops = m.loops(p, pictures, 0, 0)
		t.TapRows, t.TapCols = p.a1-p.a0, p.b1-p.b0
		t.Weights = unsafe.Pointer(&w.mem[w.first+p.a0*w.row+p.b0*w.col])
		from, to := m.input(p), m.output(p)
		if slide := m.slide(set, p); slide != nil {
			alongLoop(t, in, out, from, to, len(set.Stencil)-1, func(int) func(*byte) { return slide })
			return
		}
		longestInside(&t.Loops, len(set.Stencil)-1)
		alongLoop(t, in, out, from, to, 1, func(width int) func(*byte) { return set.Stencil[width] })
	})
	*t = vector.StencilTile{} // holds no pointer longer than needed
}

// slide is the kernel for a part whose windows overlap along the row, if there
// is one and the row is long enough.
func (m *mapStencil) slide(set *vector.Set, p mapPart) func(*byte) {
	n, step := p.b1-p.b0, m.cols.step
	if p.j1-p.j0 < len(set.Stencil)-1 || n >= len(set.Slide) || step >= len(set.Slide[n]) {
		return nil
	}
	return set.Slide[n][step]
}

// alongLoop runs kernels along the innermost loop, the widest first. Where
// least is more than what is left at the end, the last segment begins earlier
// and makes some outputs again.
func alongLoop(t *vector.StencilTile, in, out []float32, from, to, least int, kernel func(width int) func(*byte)) {
	inner := t.Loops[2]
	t.Step, t.OutStep = inner.In, inner.Out
	width := len(vector.Set{}.Stencil) - 1
	for at := 0; at < inner.Count; {
		if left := inner.Count - at; left < width {
			width = max(left, least)
			at = inner.Count - width
		}
		n := (inner.Count - at) / width
		t.Loops[2] = vector.Loop{Count: n, In: width * inner.In, Out: width * inner.Out}
		t.In = unsafe.Pointer(&in[from+at*inner.In/4])
		t.Out = unsafe.Pointer(&out[to+at*inner.Out/4])
		t.Run(kernel(width))
		at += n * width
	}
}

// mapTiles cuts the rows of a batch of maps into tiles: several pictures, or
// bands of one.
type mapTiles struct{ n, rows, per, bands int }

// cutMaps makes tiles of about size elements, fewer where the batch is small.
// There are at most most bands of a picture.
func cutMaps(n, rows, rowElements, size, most int) mapTiles {
	picture := rows * rowElements
	size = min(size, max(1, n*picture/wantTiles))
	if picture <= size {
		return mapTiles{n, rows, size / picture, 1}
	}
	return mapTiles{n, rows, 1, min(parts(picture, size), most, rows)}
}

func (m mapTiles) count() int { return parts(m.n, m.per) * m.bands }

// tile is number i: pictures [p0,p1) and rows [i0,i1) of each.
func (m mapTiles) tile(i int) (p0, p1, i0, i1 int) {
	i0, i1 = span(i%m.bands, m.bands, m.rows)
	p0 = i / m.bands * m.per
	return p0, min(m.n, p0+m.per), i0, i1
}
