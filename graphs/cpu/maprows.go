package cpu

import "github.com/locorun/locorun/graphs/cpu/vector"

// mapRows is a map, or a window of one, in rows of pixels of c channels.
type mapRows struct {
	rows, pixels, c int
	x, y            []float32
	xRow, yRow      int // elements from a row to the next
}

// apply writes act((x-centre)*gain + shift (+ residual)) to y. The residual
// lies as x does.
func (m mapRows) apply(_ *workspace, _ *vector.Set, f normFactors, residual []float32, relu bool) {
	for i := range m.rows {
		for p := range m.pixels {
			y, x := m.y[i*m.yRow+p*m.c:][:m.c], m.x[i*m.xRow+p*m.c:][:m.c]
			normalise(y, x, f.centre, f.gain, f.shift)
			if residual != nil {
				addTo(y, residual[i*m.xRow+p*m.c:][:m.c])
			}
			if relu {
				rectify(y, y)
			}
		}
	}
}

// gradRows is mapRows for a norm's gradient: x is the norm's input, y the
// gradient of it; dy, mask and keep lie as x does.
type gradRows struct {
	mapRows
	dy, mask, keep []float32 // mask and keep may be absent
}

// apply writes gain*g - centre - (x-mean)*slope to y, and g to keep, g being dy
// where mask is above 0, else 0.
func (m gradRows) apply(_ *workspace, _ *vector.Set, f gradFactors) {
	for i := range m.rows {
		for p := range m.pixels {
			at := i*m.xRow + p*m.c
			for c := range m.c {
				g := m.dy[at+c]
				if m.mask != nil && !(m.mask[at+c] > 0) {
					g = 0
				}
				if m.keep != nil {
					m.keep[at+c] = g
				}
				m.y[i*m.yRow+p*m.c+c] = f.gain[c]*g - f.centre[c] - (m.x[at+c]-f.mean[c])*f.slope[c]
			}
		}
	}
}

// sumRows writes each channel's base, the first pixel, and the sums of the
// differences from it and of their squares.
func sumRows(_ *workspace, _ *vector.Set, x []float32, c int, sums []float64) {
	shiftedSums(x, sums[:c], sums[c:2*c], sums[2*c:3*c], c)
}

// gradSumRows writes each channel's sums of g and of g*(x-mean).
func gradSumRows(_ *workspace, _ *vector.Set, dy, x, y, mean []float32, sums []float64) {
	clear(sums)
	c := len(mean)
	for at := 0; at < len(dy); at += c {
		for i := range c {
			g := dy[at+i]
			if y != nil && !(y[at+i] > 0) {
				g = 0
			}
			sums[i] += float64(g)
			sums[c+i] += float64(g) * float64(x[at+i]-mean[i])
		}
	}
}
