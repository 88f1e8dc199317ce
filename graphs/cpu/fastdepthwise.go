package cpu

import (
	"unsafe"

	"github.com/locorun/locorun/graphs/cpu/vector"
)

// turnWeights32 writes the weights [k][taps] of a depthwise convolution as
// rows of channels, [taps][k filled up to whole vectors], to shared scratch.
func turnWeights32(r *run, g geometry, w []float32) weighting {
	taps, padded := g.kh*g.kw, paddedChannels(r.lanes(), g.k)
	out := weighting{
		mem: scratch[float32](&r.shared, slotA, taps*padded),
		row: g.kw * padded, col: padded, vector: r.lanes(), startVector: r.lanes(),
	}
	for t := range taps {
		row := out.mem[t*padded:][:padded]
		pick(row[:g.k], w[t:], taps)
		clear(row[g.k:])
	}
	out.start = zeroed[float32](&r.shared, slotStart, padded)
	return out
}

// depthwiseForward32 convolves every channel alone: y = x * w (+ bias), with
// x [n,h,w,c], w [c,kh,kw,1] and y [n,oh,ow,c]. bias may be nil.
func depthwiseForward32(r *run, g geometry, x, w, bias, y []float32) error {
	weights := turnWeights32(r, g, w)
	copy(weights.start, bias)
	m, channels := g.forwardStencil(), vector.ChannelsOf(g.c, r.lanes())
	tiles := cutMaps(g.n, g.oh, g.ow*g.k, tileElements, g.oh)
	return r.eachCounted(tiles.count(), func(tile int, ws *workspace) int {
		p0, p1, i0, i1 := tiles.tile(tile)
		m.convolve(r, ws, weights, channels, x[p0*m.in.picture:], y[p0*m.out.picture:], p1-p0, i0, i1)
		return (p1 - p0) * (i1 - i0) * g.ow * g.k * g.kh * g.kw
	})
}

// depthwiseInput32 writes the gradient dx of a depthwise convolution's input.
func depthwiseInput32(r *run, g geometry, dy, w, dx []float32) error {
	weights := turnWeights32(r, g, w)
	channels := vector.ChannelsOf(g.c, r.lanes())
	tiles := cutMaps(g.n, g.h, g.w*g.c, tileElements, g.oh)
	return r.eachCounted(tiles.count(), func(tile int, ws *workspace) int {
		p0, p1, i0, i1 := tiles.tile(tile)
		g.eachResidue(func(row, col residue) {
			m, turned := g.gradStencil(row, col), weights
			// Inputs further on see earlier taps.
			turned.first = lastTap(row, g.stride)*weights.row + lastTap(col, g.stride)*weights.col
			turned.row, turned.col = -g.stride*weights.row, -g.stride*weights.col
			from, to := row.within(i0, i1, g.stride)
			m.convolve(r, ws, turned, channels, dy[p0*m.in.picture:], dx[p0*m.out.picture:], p1-p0, from, to)
		})
		o0, o1 := span(tile%tiles.bands, tiles.bands, g.oh)
		return (p1 - p0) * (o1 - o0) * g.ow * g.k * g.kh * g.kw
	})
}

// lastTap is the last of a residue's taps, 0 where it has none.
func lastTap(r residue, stride int) int {
	if r.taps == 0 {
		return 0
	}
	return r.tap + (r.taps-1)*stride
}

// tapsElements is about how many elements of a gradient are summed at a time:
// they and their inputs pass once for each vector of channels.
const tapsElements = 16 << 10

// depthwiseWeight32 adds the gradient of a depthwise convolution's weights to
// dw. Segments of the batch are summed apart and added in order.
func depthwiseWeight32(r *run, g geometry, x, dy, dw []float32) error {
	taps, padded := g.kh*g.kw, paddedChannels(r.lanes(), g.k)
	m, channels := g.forwardStencil(), vector.ChannelsOf(g.c, r.lanes())
	tiles := cutMaps(g.n, g.oh, g.ow*g.k, tapsElements, g.oh)
	segments := min(tiles.count(), weightParts, parts(g.pixels(), 4), max(1, partialElements/len(dw)))
	size := taps * padded
	partial := scratch[float32](&r.shared, slotPartial, segments*size)
	err := r.eachCounted(segments, func(tile int, ws *workspace) int {
		sum, done := partial[tile*size:][:size], 0
		clear(sum)
		from, to := span(tile, segments, tiles.count())
		for t := from; t < to; t++ {
			p0, p1, i0, i1 := tiles.tile(t)
			m.sumTaps(r, ws, channels, x[p0*m.in.picture:], dy[p0*m.out.picture:], sum, padded, p1-p0, i0, i1)
			done += (p1 - p0) * (i1 - i0) * g.ow * g.k * taps
		}
		return done
	})
	for i := 1; i < segments; i++ {
		addTo(partial[:size], partial[i*size:][:size])
	}
	for t := range taps {
		for k, v := range partial[t*padded:][:g.k] {
			dw[k*taps+t] += v
		}
	}
	return err
}

// sumTaps adds to sum [taps][padded] the products of the gradients of output
// rows [i0,i1) of pictures with what their taps saw.
func (m *mapStencil) sumTaps(r *run, ws *workspace, channels vector.Channels, x, dy, sum []float32, padded, pictures, i0, i1 int) {
	t := &ws.maps.taps
	t.Channels = channels
	t.TapRow, t.TapCol = 4*m.in.row, 4*m.in.pixel
	t.SumRow, t.SumCol = 4*m.cols.taps*padded, 4*padded
	m.eachPart(i0, i1, func(p mapPart) {
		if p.a0 == p.a1 {
			return
		}
		t.Loops = m.loops(p, pictures, 0, 0)
		longestInside(&t.Loops, 8)
		from := m.input(p)
		eachTaps(&r.b.tier.set.Taps, p, func(a, b int, kernel func(*byte)) {
			t.In = unsafe.Pointer(&x[from+(a-p.a0)*m.in.row+(b-p.b0)*m.in.pixel])
			t.Out = unsafe.Pointer(&dy[m.output(p)])
			t.Sum = unsafe.Pointer(&sum[(a*m.cols.taps+b)*padded])
			t.Run(kernel)
		})
	})
	*t = vector.TapsTile{} // holds no pointer longer than needed
}

// eachTaps cuts a part's taps into what kernels sum at a time: nearly equal
// runs of columns, and of each nearly equal numbers of rows.
func eachTaps(kernels *[6][8]func(*byte), p mapPart, do func(a, b int, kernel func(*byte))) {
	across := parts(p.b1-p.b0, len(kernels[0])-1)
	for j := range across {
		b0, b1 := span(j, across, p.b1-p.b0)
		most := len(kernels) - 1
		for kernels[most][b1-b0] == nil {
			most--
		}
		down := parts(p.a1-p.a0, most)
		for i := range down {
			a0, a1 := span(i, down, p.a1-p.a0)
			do(p.a0+a0, p.b0+b0, kernels[a1-a0][b1-b0])
		}
	}
}
