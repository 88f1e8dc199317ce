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

// listSegments cuts the outputs of pictures that lie inStep and outStep
// elements apart.
func (s stencil) listSegments(ws *workspace, most, pictures, inStep, outStep int) lists {
	perRow := parts(s.ow, most)
	wide := s.ow % perRow // segments that are one pixel wider
	if wide == 0 {
		wide = perRow
	}
	l := lists{width: parts(s.ow, perRow), wide: wide * s.oh * pictures}
	l.segments = scratch[vector.Segment](ws, slotList, perRow*s.oh*pictures)
	w, n := 0, l.wide
	for p := range pictures {
		for i := range s.oh {
			in, out := p*inStep+i*s.inRow, p*outStep+i*s.outRow
			for j := range perRow {
				seg := vector.Segment{In: 4 * in, Out: 4 * out}
				width := l.width
				if j < wide {
					l.segments[w] = seg
					w++
				} else {
					width--
					l.segments[n] = seg
					n++
				}
				in += width * s.inPixel
				out += width * s.outPixel
			}
		}
	}
	return l
}

// stencilCall is a stencil with its operands.
type stencilCall struct {
	set     *vector.Set
	stencil stencil
	lists   lists
	in, out []float32 // of the first picture
	packed  []float32
	start   []float32 // channels filled up to whole vectors; first values of the sums
	add     bool
	from    int // bytes from out to what is added
	ahead   *ahead
}

// blocks computes blocks [b0,b1) of the output channels.
func (c *stencilCall) blocks(ws *workspace, b0, b1 int) {
	s, t := &c.stencil, &ws.conv
	t.Rows, t.Depth, t.RowStep = s.rows, s.depth, 4*s.rowStep
	t.PixelStep, t.OutStep, t.Add = 4*s.inPixel, 4*s.outPixel, 0
	if c.add {
		t.Add, t.From = 1, c.from
	}
	t.A = unsafe.Pointer(&c.in[s.in])
	for i := b0; i < b1; i++ {
		b := channelBlock(c.set.Lanes, s.channels, i)
		t.B = unsafe.Pointer(&c.packed[s.weights+s.rows*s.depth*b.from])
		t.Start = unsafe.Pointer(&c.start[s.start+b.from])
		t.C = unsafe.Pointer(&c.out[s.out+b.from])
		t.Mask = vector.MaskOf(b.n - (b.vecs-1)*c.set.Lanes)
		l := c.lists
		runSegments(c.set, t, l.segments[:l.wide], l.width, b.vecs, c.ahead)
		runSegments(c.set, t, l.segments[l.wide:], l.width-1, b.vecs, c.ahead)
	}
	*t = vector.ConvTile{} // holds no pointer longer than needed
}
