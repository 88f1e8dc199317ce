package source

import (
	"math"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/runtime/rng"
)

// luma is the grey of a colour, by the weights of Rec. ITU-R BT.601.
func luma(r, g, b float32) float32 { return 0.299*r + 0.587*g + 0.114*b }

func clamp01(v float32) float32 {
	if v < 0 {
		return 0
	}
	if v > 1 {
		return 1
	}
	return v
}

// jitter changes brightness, contrast, saturation and hue, in an order drawn
// each time (T. Chen et al., "A Simple Framework for Contrastive Learning of
// Visual Representations", ICML 2020, appendix A). The factors of the first
// three are uniform in [max(0, 1-x), 1+x], the turn of the hue in [-x, x] of a
// whole turn. Numbers are drawn whether a strength is 0 or not. On one channel
// saturation and hue do nothing.
func (b *bench) jitter(v model.View, r *rng.Stream) error {
	if !r.Coin(v.P) {
		return nil
	}
	b.unpack()
	order := [4]int{0, 1, 2, 3}
	for i := len(order) - 1; i > 0; i-- {
		j := r.Intn(i + 1)
		order[i], order[j] = order[j], order[i]
	}
	factor := func(x float64) float32 { return float32(r.Uniform(max(0, 1-x), 1+x)) }
	brightness, contrast, saturation := factor(v.Brightness), factor(v.Contrast), factor(v.Saturation)
	hue := float32(r.Uniform(-v.Hue, v.Hue))
	for _, o := range order {
		switch o {
		case 0:
			brighten(b.pix, brightness)
		case 1:
			contrastOf(b.pix, b.c, contrast)
		case 2:
			saturate(b.pix, b.c, saturation)
		case 3:
			turnHue(b.pix, b.c, hue)
		}
	}
	return nil
}

// brighten multiplies by f.
func brighten(pix []float32, f float32) {
	if f == 1 {
		return
	}
	for i, v := range pix {
		pix[i] = clamp01(v * f)
	}
}

// contrastOf moves every value away from the picture's mean grey by f.
func contrastOf(pix []float32, c int, f float32) {
	if f == 1 {
		return
	}
	sum := 0.0
	if c == 1 {
		for _, v := range pix {
			sum += float64(v)
		}
	} else {
		for i := 0; i < len(pix); i += 3 {
			sum += float64(luma(pix[i], pix[i+1], pix[i+2]))
		}
	}
	rest := (1 - f) * float32(sum/float64(len(pix)/c))
	for i, v := range pix {
		pix[i] = clamp01(v*f + rest)
	}
}

// saturate moves every colour away from its own grey by f.
func saturate(pix []float32, c int, f float32) {
	if f == 1 || c != 3 {
		return
	}
	for i := 0; i < len(pix); i += 3 {
		rest := (1 - f) * luma(pix[i], pix[i+1], pix[i+2])
		for k := i; k < i+3; k++ {
			pix[k] = clamp01(pix[k]*f + rest)
		}
	}
}

// turnHue adds turn, in whole turns, to the hue of every colour (A. R. Smith,
// "Color Gamut Transform Pairs", SIGGRAPH 1978: the hexcone).
func turnHue(pix []float32, c int, turn float32) {
	if turn == 0 || c != 3 {
		return
	}
	for i := 0; i < len(pix); i += 3 {
		p := pix[i : i+3 : i+3]
		p[0], p[1], p[2] = turned(p[0], p[1], p[2], turn)
	}
}

// turned is one colour with its hue turned by half a turn at most; greys have
// none.
func turned(r, g, b, turn float32) (float32, float32, float32) {
	top, low := max(r, g, b), min(r, g, b)
	span := top - low
	if span == 0 {
		return r, g, b
	}
	var sector float32 // 0 red, 2 green, 4 blue
	switch top {
	case r:
		sector = (g - b) / span
	case g:
		sector = 2 + (b-r)/span
	default:
		sector = 4 + (r-g)/span
	}
	sector += 6 * turn // from -4 to 8
	if sector < 0 {
		sector += 6
	}
	if sector >= 6 { // also where 6 and a number just below 0 round to 6
		sector -= 6
	}
	whole := int(sector)
	part := span * (sector - float32(whole))
	falling, rising := top-part, low+part
	switch whole {
	case 0:
		return top, rising, low
	case 1:
		return falling, top, low
	case 2:
		return low, top, rising
	case 3:
		return low, falling, top
	case 4:
		return rising, low, top
	}
	return top, low, falling
}

// grey takes the colour out with probability P, and leaves three channels.
func (b *bench) grey(v model.View, r *rng.Stream) error {
	if !r.Coin(v.P) {
		return nil
	}
	b.unpack()
	if b.c != 3 {
		return nil
	}
	for i := 0; i < len(b.pix); i += 3 {
		l := luma(b.pix[i], b.pix[i+1], b.pix[i+2])
		b.pix[i], b.pix[i+1], b.pix[i+2] = l, l, l
	}
	return nil
}

// blur convolves with a Gaussian of a deviation drawn from Sigma, in pixels,
// with probability P. The kernel ends at three deviations, or at the picture's
// longer side; beyond the edge the picture is mirrored at its last pixel.
func (b *bench) blur(v model.View, r *rng.Stream) error {
	if !r.Coin(v.P) {
		return nil
	}
	b.unpack()
	sigma := r.Uniform(v.Sigma[0], v.Sigma[1])
	kernel := gaussian(sigma, max(b.h, b.w))
	b.middle = sized(b.middle, len(b.pix))
	b.other = sized(b.other, len(b.pix))
	for y := range b.h { // along rows
		for x := range b.w {
			convolveAt(b.middle, b.pix, (y*b.w+x)*b.c, b.c, kernel, x, b.w, b.c)
		}
	}
	for y := range b.h { // along columns
		for x := range b.w {
			convolveAt(b.other, b.middle, (y*b.w+x)*b.c, b.c, kernel, y, b.h, b.w*b.c)
		}
	}
	b.pix, b.other = b.other, b.pix
	return nil
}

// gaussian is half of a kernel: the weights at 0, 1, 2, ... pixels from its
// middle. All weights, both halves, add up to 1.
func gaussian(sigma float64, longest int) []float32 {
	radius := min(int(math.Ceil(3*sigma)), longest)
	kernel, sum := make([]float32, radius+1), 0.0
	weight := func(i int) float64 { return math.Exp(-float64(i*i) / (2 * sigma * sigma)) }
	for i := range kernel {
		sum += weight(i)
		if i > 0 {
			sum += weight(i)
		}
	}
	for i := range kernel {
		kernel[i] = float32(weight(i) / sum)
	}
	return kernel
}

// convolveAt writes the c channels of the pixel at index i, which is number at
// of n along an axis whose pixels lie stride apart.
func convolveAt(dst, src []float32, i, c int, kernel []float32, at, n, stride int) {
	line := i - at*stride
	for ch := range c {
		sum := kernel[0] * src[i+ch]
		for k := 1; k < len(kernel); k++ {
			lo, hi := line+mirror(at-k, n)*stride+ch, line+mirror(at+k, n)*stride+ch
			sum += kernel[k] * (src[lo] + src[hi])
		}
		dst[i+ch] = sum
	}
}

// mirror brings an index into [0, n) by reflection at the first and last pixel.
func mirror(i, n int) int {
	if n == 1 {
		return 0
	}
	period := 2 * (n - 1)
	i %= period
	if i < 0 {
		i += period
	}
	return min(i, period-i)
}
