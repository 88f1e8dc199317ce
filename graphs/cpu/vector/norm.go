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
//	NormTotals            Sum = sum of x, in float64 and with room for whole vectors
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

// PixelGroup is how many pixels of a row a kernel does well to take as one,
// with the factors of as many: few channels then fill whole vectors, some of
// them at a time. It is 1 where channels are many or pixels few.
func PixelGroup(lanes, channels, pixels int) int {
	const most = 1024 // channels of a group
	if channels >= 8*lanes || pixels*channels < 2*most {
		return 1
	}
	least := lanes // pixels that fill whole vectors
	for c := channels; c%2 == 0 && least > 1; c /= 2 {
		least /= 2
	}
	for n := least; n*channels <= most && 4*n <= pixels; n += least {
		if n*channels >= 8*lanes && n*channels%(4*lanes) == 0 {
			return n
		}
	}
	if least*channels <= most && 4*least <= pixels {
		return least
	}
	return 1
}

// Join makes one row of all where the rows of every operand lie dense.
func (t *NormTile) Join() {
	dense := 4 * t.Pixels * t.Channels
	for _, o := range t.operands() {
		if *o.at != nil && o.row != dense {
			return
		}
	}
	t.Pixels, t.Rows = t.Pixels*t.Rows, 1
}

// operand is a map of a NormTile.
type operand struct {
	at  *unsafe.Pointer
	row int
}

func (t *NormTile) operands() [6]operand {
	return [...]operand{
		{&t.X, t.XRow}, {&t.Y, t.YRow}, {&t.Residual, t.ResidualRow},
		{&t.DY, t.DYRow}, {&t.DX, t.DXRow}, {&t.DResidual, t.DResidualRow},
	}
}

// RunGroups is Run of a kernel that makes no sums, with n pixels of a row taken
// as one. room is for the factors of a group: 4*n*Channels elements, if n > 1.
func (t *NormTile) RunGroups(kernel func(*byte), lanes, n int, room []float32) {
	pixels, channels := t.Pixels, t.Channels
	if n > 1 {
		t.spread(n, room)
	}
	rest := pixels % n
	if pixels > rest {
		t.Pixels, t.Channels = pixels/n, n*channels
		t.Run(kernel, lanes)
	}
	if rest > 0 {
		t.skip(4 * (pixels - rest) * channels)
		t.Pixels, t.Channels = rest, channels
		t.Run(kernel, lanes)
	}
}

// spread repeats the factors n times.
func (t *NormTile) spread(n int, room []float32) {
	for i, f := range [...]*unsafe.Pointer{&t.Mean, &t.Gain, &t.Shift, &t.Slope} {
		if *f == nil {
			continue
		}
		to := room[i*n*t.Channels:][:n*t.Channels]
		copy(to, unsafe.Slice((*float32)(*f), t.Channels))
		Repeat(to, t.Channels)
		*f = unsafe.Pointer(&to[0])
	}
}

// Repeat fills m with repetitions of its first n elements.
func Repeat(m []float32, n int) {
	for ; n < len(m); n *= 2 {
		copy(m[n:], m[:n])
	}
}

// skip moves the operands on by bytes.
func (t *NormTile) skip(bytes int) {
	for _, o := range t.operands() {
		if *o.at != nil {
			*o.at = unsafe.Add(*o.at, bytes)
		}
	}
}
