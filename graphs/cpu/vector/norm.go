package vector

import "unsafe"

// NormTile is the work of the kernels of normalisation: a map, or a part of
// one, in rows. The pixels of a row lie dense, Channels elements each; rows of
// an operand lie a distance in bytes apart, so that an operand may be a window
// of a larger map. Where a kernel has an operand that it writes, that may be
// the same memory as one that it reads, at the same place.
//
// Mean, Gain, Shift, Slope, Sum and Product are vectors of Channels elements.
//
//	NormSums              Sum = sum of x-Mean, Product = sum of (x-Mean)^2
//	NormApply...          y = act((x-Mean)*Gain + Shift (+ residual))
//	NormGradSums...       Sum = sum of g, Product = sum of g*(x-Mean)
//	NormGradApply...      dx = g*Gain - Shift - (x-Mean)*Slope (, dresidual = g)
//
// g is dy; in the kernels with ReLU, 0 where y > 0 does not hold. Sums replace
// what was there. The sum of a channel runs over the pixels in order.
type NormTile struct {
	Rows, Pixels, Channels int // pixels of a row; at least 1 each
	X                      unsafe.Pointer
	XRow                   int
	Y                      unsafe.Pointer // written by NormApply..., else read
	YRow                   int
	Residual               unsafe.Pointer
	ResidualRow            int
	DY                     unsafe.Pointer
	DYRow                  int
	DX                     unsafe.Pointer
	DXRow                  int
	DResidual              unsafe.Pointer
	DResidualRow           int
	Mean                   unsafe.Pointer
	Gain, Shift, Slope     unsafe.Pointer
	Sum, Product           unsafe.Pointer

	// What follows from Pixels and Channels, in bytes but for tail.
	pixelBytes, rowBytes int
	quads                int // of a pixel, up to the last four whole vectors
	wholes               int // of a pixel, up to the last whole vector
	tail                 int // 1 where a partial vector follows
	mask                 Mask
}

// Run runs one of the kernels above, of a set with lanes.
func (t *NormTile) Run(kernel func(*byte), lanes int) {
	t.pixelBytes = 4 * t.Channels
	t.rowBytes = t.Pixels * t.pixelBytes
	whole := t.Channels / lanes
	t.quads, t.wholes, t.tail = 4*(whole&^3)*lanes, 4*whole*lanes, 0
	if rest := t.Channels - whole*lanes; rest > 0 {
		t.tail, t.mask = 1, MaskOf(rest)
	}
	kernel((*byte)(unsafe.Pointer(t)))
}
