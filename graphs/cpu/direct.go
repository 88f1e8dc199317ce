package cpu

import (
	"unsafe"

	"github.com/locorun/locorun/graphs/cpu/vector"
)

// The vector tiers convolve directly: windows are read where they lie in the
// picture, or in a copy of it with a border of zeros, and nothing is unrolled
// into patches. In NHWC a row of a window is one run of kw*c elements.
//
//	picture with its border              packed weights
//	+-----------------+                  [block][kh][kw*c][32 channels]
//	|   [row of a window]   \
//	|   [row of a window]    } x  -->    32 channels of a segment of pixels
//	|   [row of a window]   /
//	+-----------------+
//
// A stencil is one such product. A forward convolution has one per group; an
// input gradient with stride s has s*s, one for each way in which an input
// pixel can lie among the windows.
type stencil struct {
	rows, depth int // rows of the window, elements of a row
	oh, ow      int // outputs
	channels    int // of an output, this group's
	// Where things lie, in elements: the first output's input, then steps
	// between outputs' rows, between neighbours, between rows of the window.
	in, inRow, inPixel, rowStep int
	out, outRow, outPixel       int
	weights, start              int // first packed weight, first start value
	// The first output's window begins at row first of the plane, the next
	// row's step further; rows outside [top,bottom) are zeros.
	first, step, top, bottom int
}

// band is output rows [from,to) whose windows have rows [a0,a1) that are not
// known to be zeros: the others are left out.
type band struct{ from, to, a0, a1 int }

// window is the band of one output row. A window of nothing but zeros keeps a
// row.
func (s *stencil) window(i int) band {
	at := s.first + i*s.step
	a0, a1 := clip(at-s.top, s.rows, s.bottom-s.top)
	if a0 >= a1 {
		a0, a1 = 0, 1
	}
	return band{i, i + 1, a0, a1}
}

// eachBand calls do for the bands of the outputs, from the top down.
func (s *stencil) eachBand(do func(band)) {
	b := s.window(0)
	for i := 1; i < s.oh; i++ {
		if next := s.window(i); next.a0 == b.a0 && next.a1 == b.a1 {
			b.to++
		} else {
			do(b)
			b = next
		}
	}
	do(b)
}

// block is a part of a stencil's output channels that one kernel computes.
type block struct{ from, n, vecs int }

// block is number i of the blocks of n channels.
func channelBlock(lanes, n, i int) block {
	b := block{from: 2 * lanes * i, vecs: 2}
	b.n = min(n-b.from, 2*lanes)
	if b.n <= lanes {
		b.vecs = 1
	}
	return b
}

// channelBlocks is how many blocks n channels are cut into.
func channelBlocks(lanes, n int) int { return parts(n, 2*lanes) }

// paddedChannels is n channels with the last block's vectors filled up.
func paddedChannels(lanes, n int) int { return parts(n, lanes) * lanes }

// packedSize is the number of packed weights.
func (s stencil) packedSize(lanes int) int {
	return s.rows * s.depth * paddedChannels(lanes, s.channels)
}

// lists are the segments of a stencil's outputs, the wider ones first: a row
// of outputs is cut into nearly equal segments, so that there are two widths
// at most.
type lists struct {
	segments []vector.Segment
	wide     int // how many of the width below
	width    int
}

// list cuts the outputs of a band.
func (c *stencilCall) list(ws *workspace, rows band) {
	s := &c.stencil
	perRow := parts(s.ow, c.set.ConvWidth)
	wide := s.ow % perRow // segments that are one pixel wider
	if wide == 0 {
		wide = perRow
	}
	count := (rows.to - rows.from) * c.pictures
	l := lists{width: parts(s.ow, perRow), wide: wide * count}
	l.segments = scratch[vector.Segment](ws, slotList, perRow*count)
	w, n := 0, l.wide
	for p := range c.pictures {
		for i := rows.from; i < rows.to; i++ {
			in, out := p*c.inStep+i*s.inRow, p*c.outStep+i*s.outRow
			for j := range perRow {
				at, width := &w, l.width
				if j >= wide {
					at, width = &n, l.width-1
				}
				l.segments[*at] = vector.Segment{In: 4 * in, Out: 4 * out}
				*at++
				in += width * s.inPixel
				out += width * s.outPixel
			}
		}
	}
	c.lists = l
}

// stencilCall is a stencil with its operands.
type stencilCall struct {
	set     *vector.Set
	stencil stencil
	lists   lists
	in, out []float32 // of the first picture
	// The pictures, and how many elements apart they lie.
	pictures, inStep, outStep int
	packed                    []float32
	start                     []float32 // channels filled up to whole vectors; first values of the sums
	add                       bool
	from                      int // bytes from out to what is added
	ahead                     *ahead
}

// columns computes columns [from,to), the blocks of output channels of all
// groups one after another. The groups' stencils differ in where things lie.
func (c *stencilCall) columns(ws *workspace, from, to int, of func(group int) stencil) {
	c.stencil = of(0)
	blocks := channelBlocks(c.set.Lanes, c.stencil.channels)
	c.stencil.eachBand(func(rows band) {
		c.list(ws, rows)
		for at := from; at < to; {
			group, first := at/blocks, at%blocks
			last := min(blocks, first+to-at)
			c.stencil = of(group)
			c.blocks(ws, rows, first, last)
			at += last - first
		}
	})
}

// blocks computes blocks [b0,b1) of the listed outputs' channels.
func (c *stencilCall) blocks(ws *workspace, rows band, b0, b1 int) {
	s, t := &c.stencil, &ws.conv
	t.Rows, t.Depth, t.RowStep = rows.a1-rows.a0, s.depth, 4*s.rowStep
	t.PixelStep, t.OutStep, t.Add = 4*s.inPixel, 4*s.outPixel, 0
	if c.add {
		t.Add, t.From = 1, c.from
	}
	t.A = unsafe.Pointer(&c.in[s.in+rows.a0*s.rowStep])
	for i := b0; i < b1; i++ {
		b := channelBlock(c.set.Lanes, s.channels, i)
		t.B = unsafe.Pointer(&c.packed[s.weights+s.depth*(s.rows*b.from+rows.a0*b.vecs*c.set.Lanes)])
		t.Start = unsafe.Pointer(&c.start[s.start+b.from])
		t.C = unsafe.Pointer(&c.out[s.out+b.from])
		t.Mask = vector.MaskOf(b.n - (b.vecs-1)*c.set.Lanes)
		l := c.lists
		runSegments(c.set, t, l.segments[:l.wide], l.width, b.vecs, c.ahead)
		runSegments(c.set, t, l.segments[l.wide:], l.width-1, b.vecs, c.ahead)
	}
	*t = vector.ConvTile{} // holds no pointer longer than needed
}
