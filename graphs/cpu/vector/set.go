package vector

import "unsafe"

// Set is the kernels of one instruction set.
type Set struct {
	// Name is the tier's name: "avx512" or "avx2".
	Name string
	// Lanes is the number of float32 elements of a vector.
	Lanes int
	// ConvWidth is the widest segment of Conv, OuterHeight the most rows of
	// Outer by number of vectors.
	ConvWidth   int
	OuterHeight [3]int
	// Conv are convolution tiles by segments, width and vectors of channels;
	// nil where there is none. Each takes a *ConvTile.
	Conv [5][8][3]func(*byte)
	// Outer are sums of outer products by height and vectors. Each takes an
	// *OuterTile.
	Outer [15][3]func(*byte)
	// Kernels of normalisation, which take a *NormTile: see there.
	NormSums, NormApply, NormApplyReLU, NormApplyResidual, NormApplyResidualReLU func(*byte)
	NormTotals, NormGradSums, NormGradSumsReLU                                   func(*byte)
	NormGradApply, NormGradApplyReLU, NormGradApplyKeep, NormGradApplyReLUKeep   func(*byte)
	// Stencil are convolutions of every channel alone by the number of outputs
	// at a time. Slide are those of 8 outputs by the columns of the window, all
	// there, and from output to output. Taps are the sums of weight gradients by
	// rows and columns of taps. nil where there is none; they take a
	// *StencilTile and a *TapsTile.
	Stencil [9]func(*byte)
	Slide   [8][3]func(*byte)
	Taps    [6][8]func(*byte)
	// PoolMax and PoolMaxGrad take a *PoolTile, MapSum a *SumTile, Resize and
	// ResizeGrad a *ResizeTile, Shuffle a *ShuffleTile.
	PoolMax, PoolMaxGrad, MapSum, Resize, ResizeGrad, Shuffle func(*byte)
	// SoftmaxSums and SoftmaxWeights take a *SoftmaxTile.
	SoftmaxSums, SoftmaxWeights func(*byte)
	// Kernels over elements, which take a *FlatTile: see there.
	Rectify, KeepPositive, Add, AddScaledDifference, AddWide, SumSquares func(*byte)
	Step, StepMomentum, StepNesterov, StepAdam                           func(*byte)
	// Peak does rounds of multiply-adds, PeakOps operations each.
	Peak    func(rounds int)
	PeakOps int
}

// Mask says which elements of a last vector exist. The first word serves
// AVX-512, the others AVX2.
type Mask struct {
	bits uint64
	sign [8]int32
}

// MaskOf is the mask of n elements, 1 to lanes.
func MaskOf(n int) Mask {
	m := Mask{bits: 1<<n - 1}
	for i := range min(n, len(m.sign)) {
		m.sign[i] = -1
	}
	return m
}

// Segment is a run of neighbouring output pixels of a convolution: the byte
// offset of the first one's input and of its output.
type Segment struct{ In, Out int }

// ConvTile is the work of a Conv kernel: for each group of segments of the
// list, for each pixel p of a segment and each channel k of the tile,
//
//	c[p][k] = start[k] + sum over rows r, elements e of a[r][p][e] * b[r][e][k] (+ d[p][k])
//
// Steps are in bytes. b is dense, [Rows][Depth][vectors*lanes].
type ConvTile struct {
	Groups    int      // of segments, at least 1
	List      *Segment // Groups times the kernel's segments
	A, B, C   unsafe.Pointer
	Rows      int // of the window, at least 1
	Depth     int // elements of a row, at least 1
	RowStep   int // from a row of the window to the next
	PixelStep int // from a pixel's input to its neighbour's
	OutStep   int // from a pixel's output to its neighbour's
	Add       int // 1 adds d
	From      int // from c to d; 0 adds to c itself
	// Ahead is memory to bring near: for every two elements a cache line is
	// asked for, and Ahead moves on by AheadStep.
	Ahead     uintptr
	AheadStep int
	Start     unsafe.Pointer
	Mask      Mask // of the last vector of channels
}

// Run runs a Conv kernel.
func (t *ConvTile) Run(kernel func(*byte)) { kernel((*byte)(unsafe.Pointer(t))) }

// OuterTile is the work of an Outer kernel:
//
//	c[i][j] (+)= sum over pictures, rows, columns of a[i] * b[j]
//
// a and b move by Step with the column, Row with the row, Picture with the
// picture, in bytes. Height elements of a and all elements of b are read.
type OuterTile struct {
	Cols, Rows, Pictures int // at least 1 each
	A                    unsafe.Pointer
	AStep, ARow, APict   int
	B                    unsafe.Pointer
	BStep, BRow, BPict   int
	C                    unsafe.Pointer
	CStep                int // from a row of c to the next
	Add                  int // 1 adds to c
	// Ahead is memory to bring near: a cache line is asked for with each pixel,
	// and Ahead moves on by AheadStep.
	Ahead     uintptr
	AheadStep int
	Mask      Mask
}

// Run runs an Outer kernel.
func (t *OuterTile) Run(kernel func(*byte)) { kernel((*byte)(unsafe.Pointer(t))) }
