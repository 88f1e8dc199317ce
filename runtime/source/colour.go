package source

import (
	"github.com/locorun/locorun/runtime/rng"
	"github.com/locorun/locorun/runtime/source/vector"
)

// The weights of grey: Rec. ITU-R BT.601.
const redShare, greenShare, blueShare = 0.299, 0.587, 0.114

// luma is the grey of a colour.
func luma(r, g, b float32) float32 { return redShare*r + greenShare*g + blueShare*b }

func clamp01(v float32) float32 {
	if v < 0 {
		return 0
	}
	if v > 1 {
		return 1
	}
	return v
}

// drawJitter changes brightness, contrast, saturation and hue, in an order drawn
// each time (T. Chen et al., "A Simple Framework for Contrastive Learning of
// Visual Representations", ICML 2020, appendix A). The factors of the first
// three are uniform in [max(0, 1-x), 1+x], the turn of the hue in [-x, x] of a
// whole turn. Numbers are drawn whether a strength is 0 or not. On one channel
// saturation and hue do nothing.
func drawJitter(r *Recipe, s *step, draws *rng.Stream) error {
	if !draws.Coin(s.P) {
		return nil
	}
	order := [4]int{0, 1, 2, 3}
	for i := len(order) - 1; i > 0; i-- {
		j := draws.Intn(i + 1)
		order[i], order[j] = order[j], order[i]
	}
	brightness, contrast, saturation := factor(s.Brightness, draws), factor(s.Contrast, draws), factor(s.Saturation, draws)
	factors := [4]float32{brightness, contrast, saturation, float32(draws.Uniform(-s.Hue, s.Hue))}
	for _, o := range order {
		r.add(Brightness+ActionKind(o), factors[o])
	}
	return nil
}

// factor draws a factor about 1.
func factor(x float64, r *rng.Stream) float32 { return float32(r.Uniform(max(0, 1-x), 1+x)) }

// scale multiplies every value by f, adds rest and clamps.
func (b *bench) scale(f, rest float32) {
	if f == 1 {
		return
	}
	b.tier.Affine(&vector.Affine{Data: b.planes.pix, Blocks: b.c * b.blocks(), F: f, Rest: rest})
}

// blocks is how many a plane has.
func (b *bench) blocks() int { return b.planes.size / vector.Block }

// contrast moves every value away from the picture's mean grey by f.
func (b *bench) contrast(f float32) {
	if f == 1 {
		return
	}
	mean := b.mean(0)
	if b.c == 3 {
		mean = redShare*mean + greenShare*b.mean(1) + blueShare*b.mean(2)
	}
	b.scale(f, (1-f)*float32(mean))
}

// mean is the mean of a channel.
func (b *bench) mean(c int) float64 {
	b.tier.Sum(&vector.Sum{
		Src: b.planes.pix[c*b.planes.size:], SrcRow: b.planes.stride,
		Rows: b.h, Blocks: b.planes.stride / vector.Block, Mask: vector.Mask(b.w), Out: b.sums[:],
	})
	for n := len(b.sums) / 2; n > 0; n /= 2 { // in one order
		for i := range n {
			b.sums[i] += b.sums[n+i]
		}
	}
	return b.sums[0] / (float64(b.h) * float64(b.w))
}

// colour is the three planes as arguments.
func (b *bench) colour(dst []float32) *vector.Colour {
	b.args = vector.Colour{Data: b.planes.pix, Plane: b.planes.size, Blocks: b.blocks(), Dst: dst}
	return &b.args
}

// saturate moves every colour away from its own grey by f.
func (b *bench) saturate(f float32) {
	if f == 1 || b.c != 3 {
		return
	}
	a := b.colour(nil)
	a.F, a.Rest = f, 1-f
	b.tier.Saturate(a)
}

// turnHue adds turn, in whole turns, to the hue of every colour.
func (b *bench) turnHue(turn float32) {
	if turn == 0 || b.c != 3 {
		return
	}
	a := b.colour(nil)
	a.F = 6 * turn
	b.tier.Hue(a)
}

// turned is one colour with its hue turned by half a turn at most; greys have
// none (A. R. Smith, "Color Gamut Transform Pairs", SIGGRAPH 1978: the hexcone).
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

// drawGrey takes the colour out with probability P.
func drawGrey(r *Recipe, s *step, draws *rng.Stream) error {
	if draws.Coin(s.P) {
		r.add(Grey, 0)
	}
	return nil
}

// grey takes the colour out, and leaves three channels.
func (b *bench) grey() {
	if b.c != 3 {
		return
	}
	b.tier.Luma(b.colour(b.planes.pix))
	for c := 1; c < 3; c++ {
		copy(b.planes.pix[c*b.planes.size:][:b.planes.size], b.planes.pix)
	}
}
