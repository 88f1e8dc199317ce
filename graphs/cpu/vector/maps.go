package vector

import "unsafe"

// Loop is a loop of a Walk: how often, and the steps in bytes of its
// pointers, Place's in pixels.
type Loop struct{ Count, In, Out, Place int }

// Walk is three nested loops, the outermost first, each at least once. In,
// Out and Place are where they start.
type Walk struct {
	Loops   [3]Loop
	In, Out unsafe.Pointer
	Place   int
}

// Channels says how many channels a kernel works on: whole vectors, and one
// more under a mask where there is a tail.
type Channels struct {
	Vectors int
	Tail    int // 1: there is one
	Mask    Mask
}

// ChannelsOf is n channels in vectors of lanes.
func ChannelsOf(n, lanes int) Channels {
	c := Channels{Vectors: n / lanes}
	if rest := n % lanes; rest > 0 {
		c.Tail, c.Mask = 1, MaskOf(rest)
	}
	return c
}

// StencilTile is the work of a Stencil kernel: for each step of the Walk, for
// each of the kernel's outputs p, which lie Step apart in the input and OutStep
// in the output, for each channel c,
//
//	out[p][c] = start[c] + sum over taps (a, b) of in[p][a][b][c] * weights[a][b][c]
//
// Steps are in bytes and may be negative. Weights and start are read in whole
// vectors. There may be no rows of taps, else there are columns.
type StencilTile struct {
	Walk
	Step, OutStep                      int
	TapRows, TapCols, TapRow, TapCol   int
	Weights                            unsafe.Pointer
	WeightRow, WeightCol, WeightVector int
	Start                              unsafe.Pointer
	StartVector                        int
	Channels
}

// Run runs a Stencil kernel.
func (t *StencilTile) Run(kernel func(*byte)) { kernel((*byte)(unsafe.Pointer(t))) }

// TapsTile is the work of a Taps kernel: for each tap (a, b) of the kernel's,
// for each channel c,
//
//	sum[a][b][c] += sum over the steps of the Walk of out[c] * in[a][b][c]
//
// The innermost loop is over pixels. Sums are read and written in whole
// vectors. The kernel leaves In and Out of the Walk changed.
type TapsTile struct {
	Walk
	TapRow, TapCol int // between rows and columns of taps, in bytes
	Sum            unsafe.Pointer
	SumRow, SumCol int
	Channels
}

// Run runs a Taps kernel.
func (t *TapsTile) Run(kernel func(*byte)) { kernel((*byte)(unsafe.Pointer(t))) }

// PoolTile is the work of PoolMax and PoolMaxGrad, which go along the Walk.
//
// PoolMax writes the largest of a window's inputs to out and its place to
// Index, which lies as Walk.Out does. Place is that of the window's first tap; PlaceRow leads
// from a row's first place to the next one's. A window has a tap.
//
// PoolMaxGrad writes to out the sum of those gradients in whose window's
// Index, which lies as Walk.In does, Place stands; it counts them by lane.
type PoolTile struct {
	Walk
	TapRows, TapCols, TapRow, TapCol int
	Index                            unsafe.Pointer
	PlaceRow                         int
	Channels
	Count [16]int32
}

// Run runs a PoolMax or PoolMaxGrad kernel.
func (t *PoolTile) Run(kernel func(*byte)) { kernel((*byte)(unsafe.Pointer(t))) }

// SumTile is the work of MapSum:
//
//	out[c] = scale * sum over rows, columns of in[row][column][c]
//
// Fours is how many times four vectors of channels come before Channels.
type SumTile struct {
	In, Out   unsafe.Pointer
	Rows, Row int // number and step in bytes
	Cols, Col int
	Scale     float32
	Fours     int
	Channels
}

// Run runs a MapSum kernel.
func (t *SumTile) Run(kernel func(*byte)) { kernel((*byte)(unsafe.Pointer(t))) }

// Blend is where a pixel of a resized row reads: two pixels, in bytes from the
// row's first, and their weights.
type Blend struct {
	Low, High     int
	First, Second float32
}

// ResizeTile is the work of Resize and ResizeGrad: for each pixel of Row, with
// its Blend,
//
//	row = Upper * (First*up[low] + Second*up[high]) + Lower * (the same of down)
//
// ResizeGrad adds to up and down what flows back from row.
type ResizeTile struct {
	Up, Down, Row unsafe.Pointer
	Cols, Step    int
	List          *Blend
	Upper, Lower  float32
	Channels
}

// Run runs a Resize or ResizeGrad kernel.
func (t *ResizeTile) Run(kernel func(*byte)) { kernel((*byte)(unsafe.Pointer(t))) }

// ShuffleTile is the work of Shuffle: every pixel's channels, Rows times Cols,
// are transposed. The kernel leaves In and Out changed.
type ShuffleTile struct {
	In, Out            unsafe.Pointer
	Pixels, Rows, Cols int
	InRow, OutRow      int // bytes of Cols and of Rows elements
	Step               int // from pixel to pixel
}

// Run runs a Shuffle kernel.
func (t *ShuffleTile) Run(kernel func(*byte)) { kernel((*byte)(unsafe.Pointer(t))) }
