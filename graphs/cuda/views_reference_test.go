package cuda

import (
	"math"

	"github.com/locorun/locorun/graphs/device"
)

// numbers are a picture between two steps: h x w x c.
type numbers struct {
	h, w, c int
	v       []float64
}

func newNumbers(h, w, c int, f func(y, x, k int) float64) *numbers {
	n := &numbers{h, w, c, make([]float64, 0, h*w*c)}
	for y := range h {
		for x := range w {
			for k := range c {
				n.v = append(n.v, f(y, x, k))
			}
		}
	}
	return n
}

func (n *numbers) at(y, x, k int) float64 { return n.v[(y*n.w+x)*n.c+k] }

// grey is a pixel's.
func (n *numbers) grey(y, x int) float64 {
	if n.c == 1 {
		return n.at(y, x, 0)
	}
	return 0.299*n.at(y, x, 0) + 0.587*n.at(y, x, 1) + 0.114*n.at(y, x, 2)
}

// row is a view's values, normalised.
func (n *numbers) row(mean, scale [3]float32) []float64 {
	out := make([]float64, len(n.v))
	for i, v := range n.v {
		out[i] = (v - float64(mean[i%n.c])) * float64(scale[i%n.c])
	}
	return out
}

// viewByDefinition does steps as device.ViewStep defines them.
func viewByDefinition(p device.Picture, steps []device.ViewStep, channels int) *numbers {
	n := newNumbers(p.H, p.W, p.C, func(y, x, k int) float64 { return float64(p.Pix[(y*p.W+x)*p.C+k]) / 255 })
	if len(steps) == 0 || steps[0].Kind != device.ViewResample {
		n = n.channels(channels)
	}
	for i := range steps {
		s := &steps[i]
		switch s.Kind {
		case device.ViewResample:
			n = n.resample(s).channels(channels)
		case device.ViewBlur:
			n = n.blur(s.Kernel)
		default:
			n = n.colours(s)
		}
	}
	return n
}

func (n *numbers) channels(c int) *numbers {
	switch {
	case n.c == c:
		return n
	case c == 1:
		return newNumbers(n.h, n.w, 1, func(y, x, _ int) float64 { return n.grey(y, x) })
	}
	return newNumbers(n.h, n.w, c, func(y, x, _ int) float64 { return n.at(y, x, 0) })
}

// triangle is the share of place i of n in place o of m, of all.
func triangle(i, o, n, m int) float64 {
	scale := float64(n) / float64(m)
	centre := (float64(o)+0.5)*scale - 0.5
	weight := func(i int) float64 { return max(0, 1-math.Abs(float64(i)-centre)/max(scale, 1)) }
	all := 0.0
	for j := range n {
		all += weight(j)
	}
	return weight(i) / all
}

func (n *numbers) resample(s *device.ViewStep) *numbers {
	across := newNumbers(s.CutH, s.W, n.c, func(y, x, k int) (sum float64) {
		if s.Mirrored {
			x = s.W - 1 - x
		}
		for i := range s.CutW {
			if share := triangle(i, x, s.CutW, s.W); share > 0 {
				sum += share * n.at(s.Y+y, s.X+i, k)
			}
		}
		return sum
	})
	return newNumbers(s.H, s.W, n.c, func(y, x, k int) (sum float64) {
		for i := range s.CutH {
			sum += triangle(i, y, s.CutH, s.H) * across.at(i, x, k)
		}
		return sum
	})
}

// reflected brings a place into 0..n-1 by reflection at the first and the last.
func reflected(i, n int) int {
	for i < 0 || i >= n {
		if n == 1 {
			return 0
		}
		if i < 0 {
			i = -i
		} else {
			i = 2*(n-1) - i
		}
	}
	return i
}

func (n *numbers) blur(kernel []float32) *numbers {
	pass := func(n *numbers, dy, dx int) *numbers {
		return newNumbers(n.h, n.w, n.c, func(y, x, k int) (sum float64) {
			for i := 1 - len(kernel); i < len(kernel); i++ {
				weight := float64(kernel[max(i, -i)])
				sum += weight * n.at(reflected(y+i*dy, n.h), reflected(x+i*dx, n.w), k)
			}
			return sum
		})
	}
	return pass(pass(n, 0, 1), 1, 0)
}

func (n *numbers) colours(s *device.ViewStep) *numbers {
	f, mean := float64(s.F), 0.0
	for y := range n.h {
		for x := range n.w {
			mean += n.grey(y, x) / float64(n.h*n.w)
		}
	}
	clamped := func(v float64) float64 { return min(1, max(0, v)) }
	return newNumbers(n.h, n.w, n.c, func(y, x, k int) float64 {
		v := n.at(y, x, k)
		switch {
		case s.Kind == device.ViewBrightness:
			return clamped(v * f)
		case s.Kind == device.ViewContrast:
			return clamped(mean + f*(v-mean))
		case n.c == 1:
			return v
		case s.Kind == device.ViewSaturate:
			return clamped(n.grey(y, x) + f*(v-n.grey(y, x)))
		case s.Kind == device.ViewGrey:
			return n.grey(y, x)
		}
		return n.turned(y, x, f)[k]
	})
}

// turned is a pixel whose hue is turned, by way of hue, saturation and value.
func (n *numbers) turned(y, x int, turn float64) [3]float64 {
	r, g, b := n.at(y, x, 0), n.at(y, x, 1), n.at(y, x, 2)
	top, low := max(r, g, b), min(r, g, b)
	if top == low {
		return [3]float64{r, g, b}
	}
	var h float64
	switch top {
	case r:
		h = (g - b) / (top - low)
	case g:
		h = 2 + (b-r)/(top-low)
	default:
		h = 4 + (r-g)/(top-low)
	}
	h = math.Mod(h+6*turn+12, 6)
	part := (top - low) * (h - math.Floor(h))
	falling, rising := top-part, low+part
	switch int(h) {
	case 0:
		return [3]float64{top, rising, low}
	case 1:
		return [3]float64{falling, top, low}
	case 2:
		return [3]float64{low, top, rising}
	case 3:
		return [3]float64{low, falling, top}
	case 4:
		return [3]float64{rising, low, top}
	}
	return [3]float64{top, low, falling}
}
