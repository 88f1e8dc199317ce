package source

import (
	"fmt"
	"math"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/runtime/rng"
)

// window is a part of a picture.
type window struct{ y, x, h, w int }

// cutter draws the windows of crops: areas from scale, shapes from ratio, whose
// logarithms are kept.
type cutter struct{ scale, ratio, logs [2]float64 }

func newCutter(v model.View) cutter {
	return cutter{v.Scale, v.Ratio, [2]float64{math.Log(v.Ratio[0]), math.Log(v.Ratio[1])}}
}

// drawCrop takes a random window of the picture and resamples it to H x W: ten
// tries at an area drawn from Scale and a shape drawn from Ratio on a
// logarithmic scale, else the largest middle window whose shape is in Ratio
// (C. Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, section 6,
// in the form that has become common).
func drawCrop(r *Recipe, s *step, draws *rng.Stream) error {
	r.resample(s.cutter.window(r.H, r.W, draws), s.H, s.W)
	return nil
}

func (c cutter) window(h, w int, r *rng.Stream) window {
	const tries = 10
	area := float64(h) * float64(w)
	for range tries {
		a := area * r.Uniform(c.scale[0], c.scale[1])
		ratio := math.Exp(r.Uniform(c.logs[0], c.logs[1]))
		cw, ch := nearest(math.Sqrt(a*ratio)), nearest(math.Sqrt(a/ratio))
		if cw >= 1 && cw <= w && ch >= 1 && ch <= h {
			return window{r.Intn(h - ch + 1), r.Intn(w - cw + 1), ch, cw}
		}
	}
	ch, cw := h, w
	switch ratio := float64(w) / float64(h); {
	case ratio < c.ratio[0]:
		ch = clampInt(nearest(float64(w)/c.ratio[0]), 1, h)
	case ratio > c.ratio[1]:
		cw = clampInt(nearest(float64(h)*c.ratio[1]), 1, w)
	}
	return window{(h - ch) / 2, (w - cw) / 2, ch, cw}
}

func nearest(v float64) int { return int(math.Round(v)) }

func clampInt(v, lo, hi int) int { return max(lo, min(v, hi)) }

// drawCentre takes the middle window of H x W pixels, without resampling.
func drawCentre(r *Recipe, s *step, _ *rng.Stream) error {
	if r.H < s.H || r.W < s.W {
		return fmt.Errorf("a picture of %d x %d is too small for centre %dx%d: put a resize before it", r.H, r.W, s.H, s.W)
	}
	r.resample(window{(r.H - s.H) / 2, (r.W - s.W) / 2, s.H, s.W}, s.H, s.W)
	return nil
}

// drawResize resamples the whole picture to H x W or, where W is 0, so that its
// shorter side is H and its shape stays.
func drawResize(r *Recipe, s *step, _ *rng.Stream) error {
	h, w := s.H, s.W
	if w == 0 {
		h, w = shorterTo(s.H, r.H, r.W)
	}
	if int64(h)*int64(w) > defaultMaxPixels {
		return fmt.Errorf("resize makes %d x %d pixels of a picture of %d x %d, more than the %d allowed", h, w, r.H, r.W, defaultMaxPixels)
	}
	r.resample(window{0, 0, r.H, r.W}, h, w)
	return nil
}

// shorterTo gives the size of an h x w picture whose shorter side is to be n;
// the longer is cut to a whole number.
func shorterTo(n, h, w int) (int, int) {
	if h <= w {
		return n, int(int64(n) * int64(w) / int64(h))
	}
	return int(int64(n) * int64(h) / int64(w)), n
}

// drawFlip mirrors the picture left to right with probability P. A resampling
// that comes just before is done mirrored.
func drawFlip(r *Recipe, s *step, draws *rng.Stream) error {
	if draws.Coin(s.P) {
		r.mirror()
	}
	return nil
}
