package vector

import "math"

// The loops in plain Go. A product is rounded (float32(a*b)) before it is
// added, so that no compiler makes one operation of the two.

type block = [Block]float32

// at is block n of x.
func at(x []float32, n int) *block { return (*block)(x[n*Block:]) }

func clamp(v float32) float32 {
	if v > 1 { // branches: few values of a picture are clamped
		return 1
	}
	if v < 0 {
		return 0
	}
	return v
}

const scale = float32(1.0 / 255)

func (a *Expand) one() {
	for y := range a.Rows {
		n := a.Blocks * Block
		src, dst := a.Src[y*a.SrcRow:][:n], a.Dst[y*a.DstRow:][:n]
		for i, v := range src {
			dst[i] = float32(v) * scale
		}
	}
}

func (a *Expand) three() {
	n := a.Blocks * Block
	for y := range a.Rows {
		src, at := a.Src[y*a.SrcRow:][:3*n], y*a.DstRow
		red, green, blue := a.Dst[at:][:n], a.Dst[at+a.DstPlane:][:n], a.Dst[at+2*a.DstPlane:][:n]
		for i := range red {
			red[i] = float32(src[3*i]) * scale
			green[i] = float32(src[3*i+1]) * scale
			blue[i] = float32(src[3*i+2]) * scale
		}
	}
}

func (a *Columns) run() {
	for b := range a.Blocks {
		base := int(a.Bases[4*b])
		index := (*[Block]int32)(a.Index[2*Block*b:])
		weights := a.Weights[b*a.Taps*Block:][:a.Taps*Block]
		for y := range a.Rows {
			src, dst := a.Src[y*a.SrcRow+base:], at(a.Dst[y*a.DstRow:], b)
			if a.Taps == 2 {
				two(dst, index, src, at(weights, 0), at(weights, 1))
			} else {
				taps(dst, index, src, weights, a.Taps)
			}
		}
	}
}

// two is a block of Columns of two taps, which most are.
func two(dst *block, index *[Block]int32, src []float32, w0, w1 *block) {
	for j, i := range index {
		pair := src[i:][:2]
		dst[j] = float32(w0[j]*pair[0]) + float32(w1[j]*pair[1])
	}
}

// taps is a block of Columns of n taps.
func taps(dst *block, index *[Block]int32, src, weights []float32, n int) {
	for j, i := range index {
		in := src[i:][:n]
		sum := weights[j] * in[0]
		for k := 1; k < n; k++ {
			sum += float32(weights[k*Block+j] * in[k])
		}
		dst[j] = sum
	}
}

func (a *Filter) run() {
	n := a.Blocks * Block
	for y := range a.Rows {
		dst, weights := a.Dst[y*a.DstRow:][:n], a.Weights[y*a.Taps:][:a.Taps]
		src := a.Src[int(a.First[y])*a.SrcRow:]
		k := min(2, a.Taps)
		if k == 2 {
			w0, w1, second := weights[0], weights[1], src[a.SrcRow:][:n]
			for i, v := range src[:n] {
				dst[i] = float32(w0*v) + float32(w1*second[i])
			}
		} else {
			for i, v := range src[:n] {
				dst[i] = weights[0] * v
			}
		}
		for ; k < len(weights); k++ {
			w := weights[k]
			for i, v := range src[k*a.SrcRow:][:n] {
				dst[i] += float32(w * v)
			}
		}
	}
}

func (a *Affine) run() {
	f, rest := a.F, a.Rest
	data := a.Data[:a.Blocks*Block]
	for i, v := range data {
		data[i] = clamp(float32(v*f) + rest)
	}
}

func (a *Sum) run() {
	var sum [Block]float64
	for y := range a.Rows {
		src := a.Src[y*a.SrcRow:]
		row := *at(src, a.Blocks-1)
		for j, set := range a.Mask[:Block] {
			if set == 0 {
				row[j] = 0
			}
		}
		for b := range a.Blocks - 1 {
			for j, v := range at(src, b) {
				row[j] += v
			}
		}
		for j, v := range row {
			sum[j] += float64(v)
		}
	}
	copy(a.Out, sum[:])
}

// The weights of grey: Rec. ITU-R BT.601.
const redShare, greenShare, blueShare = float32(0.299), float32(0.587), float32(0.114)

func luma(r, g, b float32) float32 {
	return float32(float32(redShare*r)+float32(greenShare*g)) + float32(blueShare*b)
}

// planes are the three planes, as long as the blocks.
func (a *Colour) planes() (red, green, blue []float32) {
	n := a.Blocks * Block
	return a.Data[:n], a.Data[a.Plane:][:n], a.Data[2*a.Plane:][:n]
}

func (a *Colour) luma() {
	red, green, blue := a.planes()
	dst := a.Dst[:len(red)]
	for i, r := range red {
		dst[i] = luma(r, green[i], blue[i])
	}
}

func (a *Colour) saturate() {
	red, green, blue := a.planes()
	f := a.F
	for i, r := range red {
		g, b := green[i], blue[i]
		rest := a.Rest * luma(r, g, b)
		red[i] = clamp(float32(r*f) + rest)
		green[i] = clamp(float32(g*f) + rest)
		blue[i] = clamp(float32(b*f) + rest)
	}
}

// least keeps grey from dividing by 0.
const least = float32(1e-30)

// hue is the hexcone turned (A. R. Smith, "Color Gamut Transform Pairs",
// SIGGRAPH 1978), each channel as a distance from the hue where it is full:
// with h in sixths of a turn from red, red is full within 1 of 0 and gone from
// 2 on, green likewise about 2, blue about 4.
func (a *Colour) hue() {
	red, green, blue := a.planes()
	for i, r := range red {
		g, b := green[i], blue[i]
		top, low := max(r, g, b), min(r, g, b)
		span := top - low
		h := hueOf(r, g, b, top, max(least, span)) + a.F
		h = choose(h < 0, h+6, h)
		h = choose(h >= 6, h-6, h)
		red[i] = low + float32(span*min(1, max(0, magnitude(h-3)-1)))
		green[i] = low + float32(span*min(1, max(0, 2-magnitude(h-2))))
		blue[i] = low + float32(span*min(1, max(0, 2-magnitude(h-4))))
	}
}

func hueOf(r, g, b, top, span float32) float32 {
	part, from := r-g, float32(4)
	part, from = choose(g == top, b-r, part), choose(g == top, 2, from)
	part, from = choose(r == top, g-b, part), choose(r == top, 0, from)
	return part/span + from
}

// choose takes one of two without a branch: the hues of neighbours are no guide
// to which it will be.
func choose(first bool, a, b float32) float32 {
	x, y := math.Float32bits(a), math.Float32bits(b)
	if first {
		y = x
	}
	return math.Float32frombits(y)
}

func magnitude(v float32) float32 { return math.Float32frombits(math.Float32bits(v) &^ (1 << 31)) }

func (a *Blur) run() {
	n := a.Blocks * Block
	for y := range a.Rows {
		from, dst := a.Start+y*a.SrcRow, a.Dst[y*a.DstRow:][:n]
		for i, v := range a.Src[from:][:n] {
			dst[i] = a.Kernel[0] * v
		}
		for k := 1; k < len(a.Kernel); k++ {
			w, before, after := a.Kernel[k], a.Src[from-k*a.Step:][:n], a.Src[from+k*a.Step:][:n]
			for i, v := range before {
				dst[i] += float32(w * (v + after[i]))
			}
		}
	}
}

func (a *Write) one() {
	mean, scale := a.Mean[0], a.Scale[0]
	for y := range a.Rows {
		src, dst := a.Src[y*a.SrcRow:], a.Dst[y*a.DstRow:]
		n := (a.Blocks - 1) * Block
		for i, v := range src[:n] {
			dst[i] = (v - mean) * scale
		}
		for j, set := range a.Mask[:Block] {
			if set != 0 {
				dst[n+j] = (src[n+j] - mean) * scale
			}
		}
	}
}

func (a *Write) three() {
	n := a.Blocks * Block
	for y := range a.Rows {
		for c := range 3 {
			mean, scale := a.Mean[c], a.Scale[c]
			dst := a.Dst[y*a.DstRow:][:3*n]
			for i, v := range a.Src[y*a.SrcRow+c*a.SrcPlane:][:n] {
				dst[3*i+c] = (v - mean) * scale
			}
		}
	}
}
