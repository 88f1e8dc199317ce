// Package op is the table of operations: the vocabulary of the intermediate
// representation. An op is a row: its name, its arguments and results, its
// shape rule, what it costs, and which op makes which gradient. The checker of
// the IR, the lowering, the documentation and the tests of every backend loop
// over this table; nothing about an op is said anywhere else.
//
// Pictures are NHWC: [pictures, height, width, channels]. Rows of a microbatch
// are ordered (image, view): picture 2*i+v is view v of image i. Convolution
// weights are [out, kernel height, kernel width, in/groups]; dense weights are
// [out, in].
package op

import "math"

// Code names an op. The zero Code is invalid.
type Code uint8

// The ops. Rows gives their definitions, in this order.
const (
	Invalid Code = iota

	// Forward.
	Conv     // convolution
	Norm     // batch or group normalisation, with fused residual and relu
	ConvNorm // Conv then Norm, made by fusion
	ReLU
	Add
	PoolMax
	PoolMean
	Mean // mean over the whole map
	Dense
	Resize
	Shuffle
	Split
	Concat
	NTXent

	// Gradients.
	ConvInput
	ConvWeight
	NormGrad
	ConvNormGrad // NormGrad, ConvInput and ConvWeight in one
	ReLUGrad
	PoolMaxGrad
	PoolMeanGrad
	MeanGrad
	DenseInput
	DenseWeight
	ResizeGrad

	// Weights.
	Copy // a copy of a weight, for ties
	Pull // gradient of the penalty between two tied weights
	SGD
	LARS
	AdamW

	numCodes
)

// Dtype is the type of a value's elements.
type Dtype uint8

// The element types.
const (
	F32 Dtype = iota + 1
	F64
	I32
	BF16 // the upper half of an F32: 8 bits of exponent, 7 behind the point
)

// Size is the number of bytes of one element.
func (d Dtype) Size() int { return [...]int{0, 4, 8, 4, 2}[d] }

func (d Dtype) String() string { return [...]string{"invalid", "f32", "f64", "i32", "bf16"}[d] }

// Narrow is the upper half of x, rounded to the nearest, to even where two are:
// x as BF16. A NaN stays one.
func Narrow(x float32) uint16 {
	b := math.Float32bits(x)
	if x != x {
		return uint16(b>>16) | 1<<6 // quiet, so that it is none of the infinities
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// Widen is the F32 that a BF16 stands for.
func Widen(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// NormMode says which statistics a Norm uses and keeps.
type NormMode uint8

// The modes of Norm.
const (
	NormBatch   NormMode = iota // the microbatch's statistics
	NormUpdate                  // the same, and they move the running ones
	NormRunning                 // the running statistics
)

// Attr holds the settings of an op that are not tensors. An op reads only the
// fields its row names; the others are zero.
type Attr struct {
	KH, KW, Stride, Pad int      // Conv*, Pool*: window
	Groups              int      // Conv*, Shuffle; Norm, NormGrad: 0 is batch normalisation
	NormGroups          int      // ConvNorm, ConvNormGrad: groups of its norm
	InGroups            int      // ConvNorm, ConvNormGrad: groups of the norm applied on read
	Bias                bool     // Conv, Dense and their Weight ops: a bias is there
	Mode                NormMode // Norm, ConvNorm and their gradients
	ReLU                bool     // Norm, ConvNorm and their gradients: a relu is fused
	InReLU              bool     // ConvNorm, ConvNormGrad: a relu is behind the norm applied on read
	Residual            bool     // Norm, ConvNorm and their gradients: a residual is added before the relu
	Eps                 float64  // Norm*, LARS, AdamW
	StatMomentum        float64  // Norm, ConvNorm: of the running statistics
	H, W                int      // Resize; *Grad: height and width of the input map
	Weights             bool     // NormGrad, ConvNormGrad: also the weights' gradients
	Temperature         float64  // NTXent
	Scale               float64  // NTXent: weight of this loss; Pull: the penalty
	Momentum, Decay     float64  // SGD, LARS; AdamW: decay
	Beta1, Beta2        float64  // AdamW
	Trust               float64  // LARS; 0: neither adapted (biases, norms)
	Nesterov            bool     // SGD
	LRFactor            float64  // SGD, LARS, AdamW: factor on the step's rate
}
