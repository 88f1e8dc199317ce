package cpu

import (
	"sync/atomic"
	"unsafe"

	"github.com/locorun/locorun/graphs/cpu/vector"
)

// poolMax32 is poolMax with vectors.
func poolMax32(r *run) error {
	g := newPool2(r, r.in[0], r.out[0])
	x, y, index := input[float32](r, 0), output[float32](r, 0), typed[int32](r.outMem[1])
	m, channels := g.forwardStencil(), vector.ChannelsOf(g.c, r.lanes())
	tiles := cutMaps(g.n, g.oh, g.ow*g.c, tileElements, g.oh)
	return r.each(tiles.count(), func(tile int, ws *workspace) {
		p0, p1, i0, i1 := tiles.tile(tile)
		x, t := x[p0*m.in.picture:], &ws.maps.pool
		t.Channels, t.TapRow, t.TapCol, t.PlaceRow = channels, 4*m.in.row, 4*m.in.pixel, g.w
		m.eachPart(i0, i1, func(p mapPart) {
			t.Loops = m.loops(p, p1-p0, g.stride*g.w, g.stride)
			t.TapRows, t.TapCols = p.a1-p.a0, p.b1-p.b0
			from, to := m.input(p), p0*m.out.picture+m.output(p)
			t.In, t.Out, t.Index = unsafe.Pointer(&x[from]), unsafe.Pointer(&y[to]), unsafe.Pointer(&index[to])
			t.Place = from / g.c
			t.Run(r.b.tier.set.PoolMax)
		})
		*t = vector.PoolTile{} // holds no pointer longer than needed
	})
}

// poolMaxGrad32 is poolMaxGrad with vectors. Each input looks for itself among
// the indices of the windows it lies in; where an index names a pixel outside
// its window, fewer are found than there are, and the gradient is made again
// index by index.
func poolMaxGrad32(r *run) error {
	g := newPool2(r, r.out[0], r.in[0])
	dy, index, dx := input[float32](r, 0), typed[int32](r.inMem[1]), output[float32](r, 0)
	channels := vector.ChannelsOf(g.c, r.lanes())
	tiles := cutMaps(g.n, g.h, g.w*g.c, tileElements, g.h)
	var found atomic.Int64
	err := r.each(tiles.count(), func(tile int, ws *workspace) {
		p0, p1, i0, i1 := tiles.tile(tile)
		t := &ws.maps.pool
		t.Channels = channels
		g.eachResidue(func(row, col residue) {
			m := g.gradStencil(row, col)
			from, to := row.within(i0, i1, g.stride)
			at, out := p0*m.in.picture, dx[p0*m.out.picture:]
			m.named(r, t, dy[at:], index[at:], out, p1-p0, from, to)
		})
		for _, n := range t.Count {
			found.Add(int64(n))
		}
		*t = vector.PoolTile{} // holds no pointer longer than needed
	})
	if err == nil && found.Load() != int64(len(dy)) {
		return poolMaxGrad[float32](r)
	}
	return err
}

// named computes rows [i0,i1) of the stencil's outputs of pictures.
func (m *mapStencil) named(r *run, t *vector.PoolTile, dy []float32, index []int32, dx []float32, pictures, i0, i1 int) {
	t.TapRow, t.TapCol = 4*m.in.row, 4*m.in.pixel
	places := steps{row: m.out.row / m.in.pixel, pixel: m.out.pixel / m.in.pixel}
	m.eachPart(i0, i1, func(p mapPart) {
		t.Loops = m.loops(p, pictures, places.row, places.pixel)
		t.TapRows, t.TapCols = p.a1-p.a0, p.b1-p.b0
		from, to := m.input(p), m.output(p)
		t.In, t.Index, t.Out = unsafe.Pointer(&dy[from]), unsafe.Pointer(&index[from]), unsafe.Pointer(&dx[to])
		t.Place = to / m.in.pixel
		t.Run(r.b.tier.set.PoolMaxGrad)
	})
}

// constant is one weight for all taps and channels.
func constant(r *run, f float32) weighting {
	lanes := r.lanes()
	mem := scratch[float32](&r.shared, slotA, lanes)
	for i := range mem {
		mem[i] = f
	}
	return weighting{mem: mem, start: zeroed[float32](&r.shared, slotStart, lanes)}
}

// poolMean32 is poolMean with vectors: a convolution with one weight.
func poolMean32(r *run) error {
	g := newPool2(r, r.in[0], r.out[0])
	x, y := input[float32](r, 0), output[float32](r, 0)
	w := constant(r, 1/float32(g.kh*g.kw))
	m, channels := g.forwardStencil(), vector.ChannelsOf(g.c, r.lanes())
	tiles := cutMaps(g.n, g.oh, g.ow*g.c, tileElements, g.oh)
	return r.each(tiles.count(), func(tile int, ws *workspace) {
		p0, p1, i0, i1 := tiles.tile(tile)
		m.convolve(r, ws, w, channels, x[p0*m.in.picture:], y[p0*m.out.picture:], p1-p0, i0, i1)
	})
}

// poolMeanGrad32 is poolMeanGrad with vectors.
func poolMeanGrad32(r *run) error {
	g := newPool2(r, r.out[0], r.in[0])
	dy, dx := input[float32](r, 0), output[float32](r, 0)
	w := constant(r, 1/float32(g.kh*g.kw))
	channels := vector.ChannelsOf(g.c, r.lanes())
	tiles := cutMaps(g.n, g.h, g.w*g.c, tileElements, g.h)
	return r.each(tiles.count(), func(tile int, ws *workspace) {
		p0, p1, i0, i1 := tiles.tile(tile)
		g.eachResidue(func(row, col residue) {
			m := g.gradStencil(row, col)
			from, to := row.within(i0, i1, g.stride)
			m.convolve(r, ws, w, channels, dy[p0*m.in.picture:], dx[p0*m.out.picture:], p1-p0, from, to)
		})
	})
}

// slabChannels is the least number of channels of a slab of the vector tiers
// that leaves some to others.
const slabChannels = 64

// slabs32 is slabs with channels that begin at whole vectors.
func slabs32(r *run, n, c int, do func(s slab, ws *workspace)) error {
	units := parts(c, slabChannels)
	blocks := min(parts(wantTiles, n), units)
	return r.each(n*blocks, func(tile int, ws *workspace) {
		u0, u1 := span(tile%blocks, blocks, units)
		do(slab{tile / blocks, u0 * slabChannels, min(c, u1*slabChannels)}, ws)
	})
}

// mean32 is mean with vectors.
func mean32(r *run) error {
	x, y, s := input[float32](r, 0), output[float32](r, 0), r.in[0]
	h, w, c := s[1], s[2], s[3]
	return slabs32(r, s[0], c, func(s slab, ws *workspace) {
		t := &ws.maps.sum
		*t = vector.SumTile{
			In: unsafe.Pointer(&x[s.img*h*w*c+s.c0]), Out: unsafe.Pointer(&y[s.img*c+s.c0]),
			Rows: h, Row: 4 * w * c, Cols: w, Col: 4 * c, Scale: float32(1 / float64(h*w)),
			Channels: vector.ChannelsOf(s.c1-s.c0, r.lanes()),
		}
		t.Fours, t.Vectors = t.Vectors/4, t.Vectors%4
		t.Run(r.b.tier.set.MapSum)
		*t = vector.SumTile{} // holds no pointer longer than needed
	})
}

// spreadElements is about how many elements meanGrad32 makes before it copies
// them.
const spreadElements = 2 << 10

// meanGrad32 is meanGrad by copying.
func meanGrad32(r *run) error {
	dy, dx, s := input[float32](r, 0), output[float32](r, 0), r.out[0]
	h, w, c := s[1], s[2], s[3]
	f := 1 / float32(h*w)
	tiles := cutMaps(s[0], h, w*c, tileElements, h)
	return r.each(tiles.count(), func(tile int, _ *workspace) {
		p0, p1, i0, i1 := tiles.tile(tile)
		for p := p0; p < p1; p++ {
			to := dx[(p*h+i0)*w*c : (p*h+i1)*w*c]
			for i, v := range dy[p*c:][:c] {
				to[i] = v * f
			}
			made := c
			for made < min(len(to), spreadElements) {
				made += copy(to[made:], to[:made])
			}
			for at := made; at < len(to); {
				at += copy(to[at:], to[:made])
			}
		}
	})
}
