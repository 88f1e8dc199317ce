package source

import (
	"fmt"
	"math"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/runtime/rng"
)

// window is a part of a picture.
type window struct{ y, x, h, w int }

// crop takes a random window of the picture and resamples it to H x W: ten
// tries at an area drawn from Scale and a shape drawn from Ratio on a
// logarithmic scale, else the largest middle window whose shape is in Ratio
// (C. Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, section 6,
// in the form that has become common).
func (b *bench) crop(v model.View, r *rng.Stream) error {
	return b.resample(cropWindow(b.h, b.w, v, r), v.H, v.W)
}

func cropWindow(h, w int, v model.View, r *rng.Stream) window {
	const tries = 10
	area := float64(h) * float64(w)
	for range tries {
		a := area * r.Uniform(v.Scale[0], v.Scale[1])
		ratio := math.Exp(r.Uniform(math.Log(v.Ratio[0]), math.Log(v.Ratio[1])))
		cw, ch := int(math.Round(math.Sqrt(a*ratio))), int(math.Round(math.Sqrt(a/ratio)))
		if cw >= 1 && cw <= w && ch >= 1 && ch <= h {
			return window{r.Intn(h - ch + 1), r.Intn(w - cw + 1), ch, cw}
		}
	}
	ch, cw := h, w
	switch ratio := float64(w) / float64(h); {
	case ratio < v.Ratio[0]:
		ch = clampInt(int(math.Round(float64(w)/v.Ratio[0])), 1, h)
	case ratio > v.Ratio[1]:
		cw = clampInt(int(math.Round(float64(h)*v.Ratio[1])), 1, w)
	}
	return window{(h - ch) / 2, (w - cw) / 2, ch, cw}
}

func clampInt(v, lo, hi int) int { return max(lo, min(v, hi)) }

// centre takes the middle window of H x W pixels, without resampling.
func (b *bench) centre(v model.View, _ *rng.Stream) error {
	if b.h < v.H || b.w < v.W {
		return fmt.Errorf("a picture of %d x %d is too small for centre %dx%d: put a resize before it", b.h, b.w, v.H, v.W)
	}
	return b.resample(window{(b.h - v.H) / 2, (b.w - v.W) / 2, v.H, v.W}, v.H, v.W)
}

// resize resamples the whole picture to H x W or, where W is 0, so that its
// shorter side is H and its shape stays.
func (b *bench) resize(v model.View, _ *rng.Stream) error {
	h, w := v.H, v.W
	if w == 0 {
		h, w = shorterTo(v.H, b.h, b.w)
	}
	if int64(h)*int64(w) > defaultMaxPixels {
		return fmt.Errorf("resize makes %d x %d pixels of a picture of %d x %d, more than the %d allowed", h, w, b.h, b.w, defaultMaxPixels)
	}
	return b.resample(window{0, 0, b.h, b.w}, h, w)
}

// shorterTo gives the size of an h x w picture whose shorter side is to be n;
// the longer is cut to a whole number.
func shorterTo(n, h, w int) (int, int) {
	if h <= w {
		return n, int(int64(n) * int64(w) / int64(h))
	}
	return int(int64(n) * int64(h) / int64(w)), n
}

// flip mirrors the picture left to right with probability P.
func (b *bench) flip(v model.View, r *rng.Stream) error {
	if !r.Coin(v.P) {
		return nil
	}
	b.unpack()
	for y := range b.h {
		row := b.pix[y*b.w*b.c:][:b.w*b.c]
		for i, j := 0, b.w-1; i < j; i, j = i+1, j-1 {
			for c := range b.c {
				row[i*b.c+c], row[j*b.c+c] = row[j*b.c+c], row[i*b.c+c]
			}
		}
	}
	return nil
}

// resample makes the picture the window win of it, brought to h x w pixels by
// a triangle filter along each axis: where it grows, bilinear interpolation
// with half-pixel centres; where it shrinks, the triangle is as wide as the
// step between the samples, so that every pixel counts. Pixels outside the
// window are not looked at.
func (b *bench) resample(win window, h, w int) error {
	b.rows.fit(win.y, win.h, h)
	b.columns.fit(win.x, win.w, w)
	b.other = sized(b.other, h*w*b.c)
	if p := b.picture; p.Pix != nil {
		resample(b, p.Pix, 1.0/255, win)
	} else {
		resample(b, b.pix, 1, win)
	}
	b.pix, b.other = b.other, b.pix
	b.h, b.w = h, w
	b.picture.Pix = nil
	b.convert() // after a linear filter, before anything that minds colours
	return nil
}

// resample filters src, of the bench's size, into b.other. Which axis comes
// first depends on the sizes alone: the way with less between the passes, so
// that a picture of one column does not ask for a whole plane.
func resample[T uint8 | float32](b *bench, src []T, scale float32, win window) {
	h, w, c := len(b.rows.first), len(b.columns.first), b.c
	if win.h*w <= h*win.w {
		b.middle = sized(b.middle, win.h*w*c)
		for y := range win.h {
			filterRow(b.middle[y*w*c:][:w*c], src[(win.y+y)*b.w*c:][:b.w*c], &b.columns, c, scale)
		}
		filterRows(b.other, b.middle, &b.rows, win.y, w*c, 0, 1)
		return
	}
	n := win.w * c
	b.middle = sized(b.middle, h*n)
	filterRows(b.middle, src[win.x*c:], &b.rows, 0, n, (b.w-win.w)*c, scale)
	b.columns.shift(-win.x)
	for y := range h {
		filterRow(b.other[y*w*c:][:w*c], b.middle[y*n:][:n], &b.columns, c, 1)
	}
}

// filterRow filters one row of pixels along the axis a.
func filterRow[T uint8 | float32](dst []float32, src []T, a *axis, c int, scale float32) {
	for o, first := range a.first {
		weights := a.of(o)
		for ch := range c {
			sum := float32(0)
			for k, i := 0, first*c+ch; k < len(weights); k, i = k+1, i+c {
				sum += weights[k] * float32(src[i])
			}
			dst[o*c+ch] = sum * scale
		}
	}
}

// filterRows filters across rows of n values, gap values apart, along the axis
// a whose places count from row base of src.
func filterRows[T uint8 | float32](dst []float32, src []T, a *axis, base, n, gap int, scale float32) {
	for o, first := range a.first {
		row := dst[o*n:][:n]
		clear(row)
		for k, weight := range a.of(o) {
			weight *= scale
			in := src[(first-base+k)*(n+gap):][:n]
			for i, v := range in {
				row[i] += weight * float32(v)
			}
		}
	}
}

// axis is a filter along one axis: for every place of the result the first
// place it reads and the weights from there on, which add up to 1.
type axis struct {
	first   []int
	end     []int // of the weights of each place, in weights
	weights []float32
}

// of gives the weights of place o.
func (a *axis) of(o int) []float32 {
	if o == 0 {
		return a.weights[:a.end[0]]
	}
	return a.weights[a.end[o-1]:a.end[o]]
}

// shift moves all places that are read.
func (a *axis) shift(by int) {
	for i := range a.first {
		a.first[i] += by
	}
}

// fit makes a the filter that takes the places lo to lo+n-1 to m places.
func (a *axis) fit(lo, n, m int) {
	a.first, a.end, a.weights = a.first[:0], a.end[:0], a.weights[:0]
	scale := float64(n) / float64(m)
	radius := max(scale, 1)
	for o := range m {
		centre := (float64(o)+0.5)*scale - 0.5
		from, to := max(0, int(math.Ceil(centre-radius))), min(n-1, int(math.Floor(centre+radius)))
		start, sum := len(a.weights), 0.0
		for i := from; i <= to; i++ {
			weight := 1 - math.Abs(float64(i)-centre)/radius
			a.weights = append(a.weights, float32(weight))
			sum += weight
		}
		for i := start; i < len(a.weights); i++ {
			a.weights[i] /= float32(sum)
		}
		a.first = append(a.first, lo+from)
		a.end = append(a.end, len(a.weights))
	}
}
