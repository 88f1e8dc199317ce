package cuda

import (
	"fmt"
	"math"

	"github.com/locorun/locorun/graphs/cuda/driver"
)

// geometry is the shape of a convolution: x [n,h,w,c] gives y [n,oh,ow,k] with
// weights [k,kh,kw,cg]. A dense product is a convolution of 1x1 maps.
type geometry struct {
	n, h, w, c          int
	oh, ow, k           int
	kh, kw, stride, pad int
	groups, cg, kg      int // groups, and channels in and out of each
	// maps is the type of x and y; weights and their gradients are float32.
	maps driver.Type
	// read is the norm that conv and convWeight read x through.
	read reading
}

// reading is a norm that a map is read through: scale and shift [c], statistics
// [c] or, where groups > 0, [n,groups]. The zero value is none.
type reading struct {
	scale, shift, mean, invstd driver.Pointer
	groups                     int
	relu                       bool
}

// geometry is that of the Call's convolution.
func (r *run) geometry(x, w, y []int) geometry {
	g := geometry{
		n: x[0], h: x[1], w: x[2], c: x[3], oh: y[1], ow: y[2], k: y[3],
		kh: 1, kw: 1, stride: 1, groups: 1, maps: r.maps,
	}
	if a := r.attr; len(w) == 4 {
		g.kh, g.kw, g.stride, g.pad, g.groups = a.KH, a.KW, a.Stride, a.Pad, max(a.Groups, 1)
	}
	g.cg, g.kg = g.c/g.groups, g.k/g.groups
	return g
}

// taps is the number of places of the window, patch that of the inputs an
// output pixel sees in one group, pixels that of output pixels.
func (g geometry) taps() int   { return g.kh * g.kw }
func (g geometry) patch() int  { return g.taps() * g.cg }
func (g geometry) pixels() int { return g.n * g.oh * g.ow }

// weights is the number of weights.
func (g geometry) weights() int { return g.k * g.patch() }

// depthwise: every channel is a group of its own.
func (g geometry) depthwise() bool { return g.cg == 1 && g.kg == 1 && g.groups > 1 }

// flat is the same product with all pixels in one row, where the window is a
// single pixel and nothing depends on which picture it is of.
func (g geometry) flat() geometry {
	single := g.taps() == 1 && g.stride == 1 && g.pad == 0
	if !single || g.read.groups > 0 || g.pixels() > math.MaxInt32/2 {
		return g
	}
	g.n, g.h, g.w, g.oh, g.ow = 1, 1, g.pixels(), 1, g.pixels()
	return g
}

// words is the geometry as kernels' parameters.
func (g geometry) words() []uint64 {
	ints := []int{g.n, g.h, g.w, g.c, g.oh, g.ow, g.k, g.kh, g.kw, g.stride, g.pad, g.groups}
	words := make([]uint64, len(ints))
	for i, v := range ints {
		words[i] = i32(v)
	}
	return words
}

// conv is the launches of Conv and Dense.
func conv(r *run) error {
	g := r.geometry(r.in[0], r.in[1], r.out[0])
	return r.conv(g, r.inAt[0], r.inAt[1], r.inAt[2], r.outAt[0])
}

// convInput is the launches of ConvInput and DenseInput.
func convInput(r *run) error {
	g := r.geometry(r.out[0], r.in[1], r.in[0])
	return r.convInput(g, r.inAt[0], r.inAt[1], r.outAt[0], 0)
}

// convWeight is the launches of ConvWeight and DenseWeight.
func convWeight(r *run) error {
	g := r.geometry(r.in[0], r.out[0], r.in[1])
	return r.convWeight(g, r.inAt[0], r.inAt[1], r.outAt[0], r.outAt[1])
}

// conv makes y of x and w, and of bias unless it is 0.
func (r *run) conv(g geometry, x, w, bias, y driver.Pointer) error {
	return r.compute(task{g, driver.Forward, x, w, bias, y})
}

// convInput makes the gradient dx of x, and adds more, a gradient of x that is
// there already, unless it is 0. dx may lie on more. g.read is not looked at: dx
// is the gradient of what is read.
func (r *run) convInput(g geometry, dy, w, dx, more driver.Pointer) error {
	return r.compute(task{g, driver.BackwardData, dy, w, more, dx})
}

// convWeight adds the gradient of the weights to dw, and that of the bias to
// dbias unless it is 0.
func (r *run) convWeight(g geometry, x, dy, dw, dbias driver.Pointer) error {
	if err := r.compute(task{g, driver.BackwardFilter, x, dy, 0, dw}); err != nil || dbias == 0 {
		return err
	}
	return r.biasGradient(g, dy, dbias)
}

// Which of our own kernels computes a convolution is chosen by the three
// functions below, of its shape alone. Where a library may compute it, compute
// chooses.
type (
	forward        func(r *run, g geometry, x, w, bias, y driver.Pointer) error
	inputGradient  func(r *run, g geometry, dy, w, dx, more driver.Pointer) error
	weightGradient func(r *run, g geometry, x, dy, dw driver.Pointer) error
)

func (g geometry) forward() forward {
	if g.depthwise() {
		return (*run).convDepthwise
	}
	return (*run).convTiles
}

func (g geometry) inputGradient() inputGradient {
	if g.depthwise() {
		return (*run).convInputDepthwise
	}
	return (*run).convInputTiles
}

func (g geometry) weightGradient() weightGradient {
	if g.depthwise() {
		return (*run).convWeightDepthwise
	}
	return (*run).convWeightTiles
}

// Scratch memory of convolutions, apart from that of the ops that hold them.
const (
	slotFactors  slot = iota + 100 // of a norm that x is read through
	slotTurned                     // depthwise weights, channels beside each other
	slotPartials                   // of sums over pixels
)

// readWords makes the factors of the norm that x is read through, and gives
// them as parameters: centre, gain, shift, elements from picture to picture,
// relu.
func (r *run) readWords(g geometry) ([]uint64, error) {
	if g.read.mean == 0 {
		return []uint64{0, 0, 0, i32(0), flag(false)}, nil
	}
	n, per := g.c, 0
	if g.read.groups > 0 {
		n, per = g.n*g.c, g.c
	}
	at, err := r.scratch(slotFactors, 3*4*n)
	if err != nil {
		return nil, err
	}
	err = r.each("conv_factors", n, uint64(g.read.scale), uint64(g.read.shift), uint64(g.read.mean), uint64(g.read.invstd),
		uint64(at), i32(g.c), i32(g.read.groups), i64(n))
	gain := at + driver.Pointer(4*n)
	return []uint64{uint64(at), uint64(gain), uint64(gain + driver.Pointer(4*n)), i32(per), flag(g.read.relu)}, err
}

// quads: maps or matrices at the addresses, whose lines are so many elements,
// can be read four elements at a time.
func quads(elements int, at ...driver.Pointer) bool {
	for _, p := range at {
		if p%16 != 0 {
			return false
		}
	}
	return elements%4 == 0
}

// bits is truths as the bits of an int parameter, the first the lowest.
func bits(truths ...bool) uint64 {
	word := 0
	for i, t := range truths {
		if t {
			word |= 1 << i
		}
	}
	return i32(word)
}

// line launches blocks of so many threads that find their work by their number.
func (r *run) line(kernel string, blocks int, args ...uint64) error {
	if blocks > math.MaxInt32 {
		return fmt.Errorf("kernel %s: %d blocks are more than a grid holds", kernel, blocks)
	}
	return r.launch(kernel, driver.Dim{X: uint32(blocks), Y: 1, Z: 1}, driver.Dim{X: threads, Y: 1, Z: 1}, 0, args...)
}

// parts is the number of pieces of at most size that n is cut into.
func parts(n, size int) int { return (n + size - 1) / size }
