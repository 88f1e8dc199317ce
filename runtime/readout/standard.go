package readout

import "math"

// standard is a shift and a scale for each feature; nil leaves rows alone.
type standard struct{ mean, scale []float32 }

// standardOf is that of the training rows: mean and deviation (of the
// population) in float64, rows in order. A feature that is constant to
// float32's precision becomes 0.
func standardOf(f *Features) *standard {
	mean, square := make([]float64, f.D), make([]float64, f.D)
	for i := range f.N {
		for j, v := range f.X[i*f.D : (i+1)*f.D] {
			mean[j] += float64(v)
		}
	}
	for j := range mean {
		mean[j] /= float64(f.N)
	}
	for i := range f.N {
		for j, v := range f.X[i*f.D : (i+1)*f.D] {
			d := float64(v) - mean[j]
			square[j] += d * d
		}
	}
	s := &standard{mean: make([]float32, f.D), scale: make([]float32, f.D)}
	for j := range mean {
		s.mean[j] = float32(mean[j])
		deviation := math.Sqrt(square[j] / float64(f.N))
		if deviation > 1e-7*math.Abs(mean[j]) && deviation > 1e-30 {
			s.scale[j] = float32(1 / deviation)
		}
	}
	return s
}

// apply writes the row into to, standardised.
func (s *standard) apply(to, row []float32) {
	if s == nil {
		copy(to, row)
		return
	}
	mean, scale := s.mean[:len(row)], s.scale[:len(row)]
	to = to[:len(row)]
	for j, v := range row {
		to[j] = (v - mean[j]) * scale[j]
	}
}
