package measure

import (
	"fmt"

	"github.com/locorun/locorun/compiler/op"
)

// Conv is the shape of a convolution with a square window that is padded by
// half of it.
type Conv struct {
	N, C, H, W            int // pictures, channels and size of the input map
	K                     int // channels of the output map
	Window, Stride, Group int
}

// Check says what is wrong with a shape.
func (c Conv) Check() error {
	switch {
	case min(c.N, c.C, c.H, c.W, c.K, c.Window, c.Stride, c.Group) < 1:
		return fmt.Errorf("every number is at least 1")
	case max(c.N, c.C, c.H, c.W, c.K, c.Window, c.Stride) > maxSide:
		return fmt.Errorf("no number is more than %d", maxSide)
	case c.C%c.Group != 0 || c.K%c.Group != 0:
		return fmt.Errorf("%d and %d channels do not split into %d groups", c.C, c.K, c.Group)
	case c.tooLarge():
		return fmt.Errorf("its maps or weights have more than %d numbers", maxElements)
	}
	return nil
}

// maxSide bounds each number of a shape, maxElements the numbers of one operand.
const (
	maxSide     = 1 << 20
	maxElements = 1 << 31
)

func (c Conv) tooLarge() bool {
	for _, shape := range [][]int{{c.N, c.H, c.W, c.C}, {c.N, c.H, c.W, c.K}, {c.K, c.Window, c.Window, c.C}} {
		n := 1
		for _, d := range shape {
			if n *= d; n > maxElements {
				return true
			}
		}
	}
	return false
}

func (c Conv) String() string {
	s := fmt.Sprintf("%dx%dx%dx%d to %d, %dx%d", c.N, c.H, c.W, c.C, c.K, c.Window, c.Window)
	if c.Stride > 1 {
		s += fmt.Sprintf(" stride %d", c.Stride)
	}
	if c.Group > 1 {
		s += fmt.Sprintf(" groups %d", c.Group)
	}
	return s
}

// Kernels are the convolution forward, its input gradient and its weight
// gradient.
func (c Conv) Kernels() []Kernel {
	a := op.Attr{KH: c.Window, KW: c.Window, Stride: c.Stride, Pad: c.Window / 2, H: c.H, W: c.W}
	if c.Group > 1 {
		a.Groups = c.Group
	}
	x, w, y := c.shapes()
	return []Kernel{
		{op.Conv, a, [][]int{x, w, nil}, c.String()},
		{op.ConvInput, a, [][]int{y, w}, c.String()},
		{op.ConvWeight, a, [][]int{x, y}, c.String()},
	}
}

// shapes are those of input, weights and output.
func (c Conv) shapes() (x, w, y []int) {
	out := func(n int) int { return op.ConvOut(n, c.Window, c.Stride, c.Window/2) }
	x = []int{c.N, c.H, c.W, c.C}
	w = []int{c.K, c.Window, c.Window, c.C / c.Group}
	return x, w, []int{c.N, out(c.H), out(c.W), c.K}
}

// Convs are shapes that networks have: the stem of three channels, 16 to 256
// channels, windows of 1, 3, 5 and 7, strides, groups, one group per channel,
// and maps and channels that no register divides.
func Convs() []Conv {
	return []Conv{
		{64, 3, 32, 32, 64, 3, 1, 1},
		{16, 3, 64, 64, 64, 7, 2, 1},
		{64, 16, 32, 32, 16, 3, 1, 1},
		{64, 32, 32, 32, 32, 3, 1, 1},
		{64, 64, 16, 16, 64, 3, 1, 1},
		{64, 128, 8, 8, 128, 3, 1, 1},
		{16, 256, 14, 14, 256, 3, 1, 1},
		{64, 32, 32, 32, 64, 3, 2, 1},
		{64, 64, 16, 16, 128, 3, 2, 1},
		{64, 64, 16, 16, 64, 1, 1, 1},
		{16, 256, 14, 14, 512, 1, 1, 1},
		{64, 32, 32, 32, 64, 1, 2, 1},
		{64, 64, 16, 16, 64, 3, 1, 4},
		{16, 240, 14, 14, 240, 1, 1, 3},
		{64, 64, 16, 16, 64, 3, 1, 64},
		{64, 64, 16, 16, 64, 3, 2, 64},
		{64, 128, 7, 7, 128, 3, 1, 1},
		{32, 48, 13, 11, 40, 5, 1, 1},
		{8, 32, 15, 17, 24, 7, 1, 1},
	}
}

// Kernels are the default kernels: those of Convs, and the other families on
// the maps of a small residual network.
func Kernels() []Kernel {
	var ks []Kernel
	for _, c := range Convs() {
		ks = append(ks, c.Kernels()...)
	}
	ks = append(ks, denses(512, 2048, 128)...)
	ks = append(ks, norms(64, 32, 64)...)
	ks = append(ks, pools(64, 32, 64)...)
	return append(ks, updates(512*3*3*512)...)
}

// denses are a decoder's products on n rows, and the loss on what they give.
func denses(n, c, k int) []Kernel {
	x, w, y := []int{n, 1, 1, c}, []int{k, c}, []int{n, 1, 1, k}
	name := fmt.Sprintf("%dx%d to %d", n, c, k)
	return []Kernel{
		{op.Dense, op.Attr{Bias: true}, [][]int{x, w, {k}}, name},
		{op.DenseInput, op.Attr{}, [][]int{y, w}, name},
		{op.DenseWeight, op.Attr{Bias: true}, [][]int{x, y}, name},
		{op.NTXent, op.Attr{Temperature: 0.5, Scale: 1}, [][]int{y}, fmt.Sprintf("%d rows of %d", n, k)},
	}
}

// norms are normalisation alone, fused with a convolution, by groups, and
// backwards, all with relu and residual.
func norms(n, side, c int) []Kernel {
	x, v := []int{n, side, side, c}, []int{c}
	name := fmt.Sprintf("%dx%dx%dx%d", n, side, side, c)
	norm := op.Attr{Mode: op.NormUpdate, ReLU: true, Residual: true, Eps: 1e-5, StatMomentum: 0.1}
	conv := norm
	conv.KH, conv.KW, conv.Stride, conv.Pad = 3, 3, 1, 1
	groups, back := norm, norm
	groups.Mode, groups.Groups = op.NormBatch, 8
	back.Mode, back.Weights = op.NormBatch, true
	both := conv
	both.Mode, both.Weights, both.H, both.W = op.NormBatch, true, side, side
	return []Kernel{
		{op.ConvNorm, conv, [][]int{x, {c, 3, 3, c}, v, v, v, v, x}, name + ", 3x3"},
		{op.Norm, norm, [][]int{x, v, v, v, v, x}, name},
		{op.Norm, groups, [][]int{x, v, v, nil, nil, x}, name + ", by groups"},
		{op.NormGrad, back, [][]int{x, x, x, v, v, v}, name},
		{op.ConvNormGrad, both, [][]int{x, x, x, v, v, v, x, {c, 3, 3, c}, nil}, name + ", 3x3"},
		{op.ReLUGrad, op.Attr{}, [][]int{x, x}, name},
		{op.Add, op.Attr{}, [][]int{x, x}, name},
	}
}

// pools are pooling and resizing, and a copy, which is as fast as memory is.
func pools(n, side, c int) []Kernel {
	x, y := []int{n, side, side, c}, []int{n, side / 2, side / 2, c}
	name := fmt.Sprintf("%dx%dx%dx%d", n, side, side, c)
	three := op.Attr{KH: 3, KW: 3, Stride: 2, Pad: 1, H: side, W: side}
	two := op.Attr{KH: 2, KW: 2, Stride: 2, H: side, W: side}
	whole := op.Attr{H: side, W: side}
	return []Kernel{
		{op.PoolMax, three, [][]int{x}, name + ", 3x3 stride 2"},
		{op.PoolMaxGrad, three, [][]int{y, y}, name + ", 3x3 stride 2"},
		{op.PoolMean, two, [][]int{x}, name + ", 2x2 stride 2"},
		{op.PoolMeanGrad, two, [][]int{y}, name + ", 2x2 stride 2"},
		{op.Mean, op.Attr{}, [][]int{x}, name},
		{op.MeanGrad, whole, [][]int{{n, 1, 1, c}}, name},
		{op.Resize, op.Attr{H: side / 2, W: side / 2}, [][]int{x}, name + " to half"},
		{op.ResizeGrad, whole, [][]int{y}, name + " to half"},
		{op.Copy, op.Attr{}, [][]int{x}, name},
	}
}

// updates are the optimisers on n weights.
func updates(n int) []Kernel {
	w := []int{n}
	name := fmt.Sprintf("%d weights", n)
	return []Kernel{
		{op.SGD, op.Attr{Momentum: 0.9, Decay: 1e-4, LRFactor: 1}, [][]int{w, w, w}, name},
		{op.LARS, op.Attr{Momentum: 0.9, Decay: 1e-4, Trust: 1e-3, Eps: 1e-8, LRFactor: 1}, [][]int{w, w, w}, name},
		{op.AdamW, op.Attr{Beta1: 0.9, Beta2: 0.999, Decay: 1e-2, Eps: 1e-8, LRFactor: 1}, [][]int{w, w, w, w}, name},
	}
}
