package vector

// The loops in plain Go. A product is rounded (float32(a*b)) before it is
// added, so that no compiler makes one operation of the two.

type block = [Block]float32

// at is block n of x.
func at(x []float32, n int) *block { return (*block)(x[n*Block:]) }

func maximum(a, b float32) float32 {
	if a > b {
		return a
	}
	return b
}

func minimum(a, b float32) float32 {
	if a < b {
		return a
	}
	return b
}

func clamp(v float32) float32 { return minimum(1, maximum(0, v)) }

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
			for j, i := range index {
				taps := src[i:][:a.Taps]
				sum := weights[j] * taps[0]
				for k := 1; k < len(taps); k++ {
					sum += float32(weights[k*Block+j] * taps[k])
				}
				dst[j] = sum
			}
		}
	}
}

func (a *Filter) run() {
	n := a.Blocks * Block
	for y := range a.Rows {
		dst, weights := a.Dst[y*a.DstRow:][:n], a.Weights[y*a.Taps:][:a.Taps]
		from := int(a.First[y]) * a.SrcRow
		for i, v := range a.Src[from:][:n] {
			dst[i] = weights[0] * v
		}
		for k := 1; k < len(weights); k++ {
			w := weights[k]
			for i, v := range a.Src[from+k*a.SrcRow:][:n] {
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
		top, low := maximum(maximum(r, g), b), minimum(minimum(r, g), b)
		span := top - low
		h := hueOf(r, g, b, top, maximum(least, span)) + a.F
		if h < 0 {
			h += 6
		}
		if h >= 6 {
			h -= 6
		}
		red[i] = low + float32(span*clamp(magnitude(h-3)-1))
		green[i] = low + float32(span*clamp(2-magnitude(h-2)))
		blue[i] = low + float32(span*clamp(2-magnitude(h-4)))
	}
}

func hueOf(r, g, b, top, span float32) float32 {
	switch top {
	case r:
		return (g-b)/span + 0
	case g:
		return (b-r)/span + 2
	}
	return (r-g)/span + 4
}

func magnitude(v float32) float32 {
	if v < 0 {
		return -v
	}
	return v
}

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
