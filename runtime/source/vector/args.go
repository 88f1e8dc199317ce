package vector

// Expand turns rows of bytes into planes of numbers from 0 to 1. A row is read
// in whole blocks of pixels, 16 bytes a channel.
type Expand struct {
	Src          []uint8   // first pixel of the first row
	Dst          []float32 // first plane
	SrcRow       int       // bytes from row to row
	DstRow       int       // elements from row to row
	DstPlane     int       // elements from plane to plane
	Rows, Blocks int
}

// Columns filters along rows: element j of a block of the result is
//
//	sum over taps k of weight[k][j] * src[base + index[j] + k]
//
// For each block there are Bases (the block's, those of its halves, one
// unused), Index (16 from the block's base, then 8 and 8 from the halves') and
// Weights ([Taps][16]). Reads from src reach 32 elements beyond base plus taps.
type Columns struct {
	Src, Dst       []float32
	SrcRow, DstRow int
	Rows, Blocks   int
	Taps           int // at least 1
	Bases          []int32
	Index          []int32
	Weights        []float32
}

// Reach says how far apart the elements are that a block of Columns reads by
// one tap.
type Reach uint8

// The reaches.
const (
	Near Reach = iota // 8 from a half's base, 16 from the block's
	Wide              // 32 from the block's base
	Far               // any
)

// Filter is Columns across rows: row i of the result is
//
//	sum over taps k of weight[i][k] * row first[i]+k
type Filter struct {
	Src, Dst       []float32
	SrcRow, DstRow int
	Rows, Blocks   int
	Taps           int // at least 1
	First          []int32
	Weights        []float32 // [Rows][Taps]
}

// Affine makes every element v clamp(v*F + Rest), in [0, 1].
type Affine struct {
	Data    []float32
	Blocks  int
	F, Rest float32
}

// Sum adds up a plane by columns modulo 16: first the blocks of each row, the
// last one first, of which it counts what Mask has set to -1; then the rows, in
// float64.
type Sum struct {
	Src          []float32
	SrcRow       int
	Rows, Blocks int
	Mask         []int32   // 16
	Out          []float64 // 16
}

// Colour is three planes of red, green and blue, and the number that a loop
// over them takes. Saturate moves each colour away from its grey: v*F +
// Rest*grey, clamped. Hue adds F sixths of a turn, -3 to 3, to the hue. Luma
// writes the grey to Dst.
type Colour struct {
	Data    []float32 // red first
	Plane   int       // elements from plane to plane
	Blocks  int
	Dst     []float32 // of Luma
	F, Rest float32
}

// Blur is a symmetric kernel along an axis whose elements lie Step apart:
//
//	dst = kernel[0]*src[0] + sum over k of kernel[k]*(src[-k*Step] + src[k*Step])
//
// Src begins Start elements before the first element of the first row.
type Blur struct {
	Src, Dst       []float32
	Start          int
	SrcRow, DstRow int
	Step           int
	Rows, Blocks   int
	Kernel         []float32 // the middle's weight first
}

// Write writes (v - mean) * scale to dst, the channels of a pixel side by side.
// Of one channel it writes what Mask has set to -1 of a row's last block; of
// three it writes whole blocks.
type Write struct {
	Src          []float32
	Dst          []float32
	SrcRow       int
	SrcPlane     int
	DstRow       int
	Rows, Blocks int
	Mask         []int32 // 16
	Mean, Scale  [3]float32
}
