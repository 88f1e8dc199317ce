package source

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/locorun/locorun/compiler/model"
)

// normPictures is how many pictures `normalise auto` looks at: the first ones.
const normPictures = 10_000

// minStd is the least deviation divided by: a channel that is all but constant
// is not blown up to noise.
const minStd = 1.0 / 255

// NormOf settles how pictures of ds, brought to the given number of channels,
// are normalised.
func NormOf(n model.Normalise, ds Dataset, channels int) (Norm, error) {
	switch n.Kind {
	case "none", "":
		return Norm{}, nil
	case "auto":
		mean, std, err := MeanStd(ds, channels, normPictures)
		return newNorm(mean, std), err
	case "given":
		if len(n.Mean) != channels || len(n.Std) != channels {
			return Norm{}, fmt.Errorf("normalise gives %d means and %d deviations for %d channels", len(n.Mean), len(n.Std), channels)
		}
		return newNorm(n.Mean, n.Std), nil
	}
	return Norm{}, fmt.Errorf("no way to normalise is called %q", n.Kind)
}

func newNorm(mean, std []float64) Norm {
	var n Norm
	for c := range mean {
		n.Mean = append(n.Mean, float32(mean[c]))
		n.Std = append(n.Std, float32(std[c]))
	}
	return n
}

// moments are sums over the pixels of one picture, per channel.
type moments struct {
	pixels      float64
	sum, square [3]float64
}

// MeanStd gives mean and deviation of each channel over the pixels of the first
// n pictures, values in [0, 1], in the given number of channels. Pictures are
// looked at side by side and added up in their order. A deviation below 1/255
// counts as 1/255.
func MeanStd(ds Dataset, channels, n int) (mean, std []float64, err error) {
	parts := make([]moments, min(n, ds.Len()))
	if err := eachPicture(len(parts), func(i int) error {
		p, err := ds.Picture(i)
		if err != nil {
			return err
		}
		parts[i] = momentsOf(p, channels)
		return nil
	}); err != nil {
		return nil, nil, err
	}
	var all moments
	for _, m := range parts {
		all.pixels += m.pixels
		for c := range channels {
			all.sum[c] += m.sum[c]
			all.square[c] += m.square[c]
		}
	}
	for c := range channels {
		m := all.sum[c] / all.pixels
		mean = append(mean, m)
		std = append(std, max(minStd, math.Sqrt(max(0, all.square[c]/all.pixels-m*m))))
	}
	return mean, std, nil
}

func momentsOf(p Picture, channels int) moments {
	m := moments{pixels: float64(p.H) * float64(p.W)}
	add := func(c int, v float64) {
		m.sum[c] += v / 255
		m.square[c] += v * v / (255 * 255)
	}
	for i := 0; i < len(p.Pix); i += p.C {
		switch {
		case channels == p.C:
			for c := range channels {
				add(c, float64(p.Pix[i+c]))
			}
		case p.C == 3:
			add(0, float64(luma(float32(p.Pix[i]), float32(p.Pix[i+1]), float32(p.Pix[i+2]))))
		default:
			for c := range channels {
				add(c, float64(p.Pix[i]))
			}
		}
	}
	return m
}

// eachPicture calls look for every index below n, on as many goroutines as
// there are processors. Of several errors the one of the lowest index is given.
func eachPicture(n int, look func(i int) error) error {
	errs := make([]error, n)
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		group.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if errs[i] = look(i); errs[i] != nil {
					next.Store(int64(n)) // those below i are taken already
				}
			}
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
