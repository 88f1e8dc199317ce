package readout

import "fmt"

// MaxPixels is the largest side of a picture whose raw values are features.
const MaxPixels = 32

// PixelShape is the size to which a picture of h x w is shrunk for the raw-pixel
// readout: both sides by one factor so that the longer is MaxPixels, rounded, at
// least 1. Smaller pictures keep their size.
func PixelShape(h, w int) (oh, ow int) {
	longer := max(h, w)
	if longer <= MaxPixels {
		return h, w
	}
	side := func(n int) int { return max(1, (2*n*MaxPixels+longer)/(2*longer)) }
	return side(h), side(w)
}

// Pixels writes a picture's raw-pixel features, oh x ow x c by PixelShape, into
// dst: picture is h x w x c float32. Each value is the mean over the area of the
// picture that it covers. Lengths that do not fit panic.
func Pixels(dst, picture []float32, h, w, c int) {
	oh, ow := PixelShape(h, w)
	if len(picture) != h*w*c || len(dst) != oh*ow*c {
		panic(fmt.Sprintf("readout: %d values of a picture of %dx%dx%d into %d", len(picture), h, w, c, len(dst)))
	}
	if oh == h && ow == w {
		copy(dst, picture)
		return
	}
	columns := spans(w, ow)
	line := make([]float32, w*c)
	for y, s := range spans(h, oh) {
		clear(line)
		for i, k := range s.weights {
			addScaled(line, picture[(s.first+i)*w*c:(s.first+i+1)*w*c], k)
		}
		for x, s := range columns {
			to := dst[(y*ow+x)*c : (y*ow+x+1)*c]
			clear(to)
			for i, k := range s.weights {
				addScaled(to, line[(s.first+i)*c:(s.first+i+1)*c], k)
			}
		}
	}
}

func addScaled(to, from []float32, k float32) {
	for i, v := range from {
		to[i] += k * v
	}
}

// span is the stretch of old pixels that one new pixel covers, with the share
// of each.
type span struct {
	first   int
	weights []float32
}

// spans cuts n old pixels into m equal stretches, m <= n. In units of 1/m of an
// old pixel, stretch i is [i*n, (i+1)*n) and old pixel j is [j*m, (j+1)*m).
func spans(n, m int) []span {
	out := make([]span, m)
	for i := range out {
		lo, hi := i*n, (i+1)*n
		s := span{first: lo / m}
		for j := s.first; j*m < hi; j++ {
			covered := min(hi, (j+1)*m) - max(lo, j*m)
			s.weights = append(s.weights, float32(covered)/float32(n))
		}
		out[i] = s
	}
	return out
}
