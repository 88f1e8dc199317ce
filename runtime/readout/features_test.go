package readout

import "github.com/locorun/locorun/runtime/rng"

// blobs are n rows of classes that overlap: every class has a centre drawn once,
// rows are the centre and noise of seed.
func blobs(n, d, classes int, seed uint64) Features {
	return clouds(n, d, classes, seed, 2)
}

// clouds are blobs with noise of a given deviation.
func clouds(n, d, classes int, seed uint64, noise float64) Features {
	centre := rng.New(0, "centres")
	centres := make([]float64, classes*d)
	for i := range centres {
		centres[i] = centre.Normal()
	}
	f := Features{N: n, D: d, X: make([]float32, n*d), Labels: make([]int, n), Classes: classes}
	s := rng.New(seed, "rows")
	for i := range n {
		c := s.Intn(classes)
		f.Labels[i] = c
		for j := range d {
			f.X[i*d+j] = float32(centres[c*d+j] + noise*s.Normal())
		}
	}
	return f
}
