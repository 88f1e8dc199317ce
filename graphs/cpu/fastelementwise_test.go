package cpu

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// flatOp is an op over elements: how many arguments it has, and whether these
// are its results too.
type flatOp struct {
	name    string
	code    op.Code
	attr    op.Attr
	in      int
	inPlace bool
}

var flatOps = []flatOp{
	{"relu", op.ReLU, op.Attr{}, 1, false},
	{"relu_grad", op.ReLUGrad, op.Attr{}, 2, false},
	{"add", op.Add, op.Attr{}, 2, false},
	{"copy", op.Copy, op.Attr{}, 1, false},
	{"pull", op.Pull, op.Attr{Scale: 0.3}, 2, false},
	{"sgd", op.SGD, op.Attr{LRFactor: 1, Decay: 0.1}, 2, true},
	{"sgd momentum", op.SGD, op.Attr{LRFactor: 0.5, Momentum: 0.9, Decay: 0.1}, 3, true},
	{"sgd nesterov", op.SGD, op.Attr{LRFactor: 0.5, Momentum: 0.9, Nesterov: true}, 3, true},
	{"lars", op.LARS, op.Attr{LRFactor: 1, Momentum: 0.9, Decay: 0.1, Trust: 0.1, Eps: 1e-8}, 3, true},
	{"lars without trust", op.LARS, op.Attr{LRFactor: 1, Momentum: 0.9}, 3, true},
	{"adamw", op.AdamW, op.Attr{LRFactor: 1, Decay: 0.1, Beta1: 0.9, Beta2: 0.99, Eps: 1e-6}, 4, true},
}

// call is the op on n elements each; element nan of argument with is not a
// number, if with is one.
func (f flatOp) call(g *spaced, n, with, nan int) *device.Call {
	c := &device.Call{Code: f.code, Attr: f.attr, LR: 0.1, Step: 3}
	for i := range f.in {
		c.In = append(c.In, g.tensor(func(k int) float64 {
			switch {
			case i == with && k == nan:
				return math.NaN()
			case i == 3: // moving squares
				return positive(k)
			}
			return wave(k*(i+1) + i)
		}, n))
	}
	c.Out = c.In
	if !f.inPlace {
		c.Out = []device.Tensor{g.tensor(wave, n)}
	}
	return c
}

func TestFastElementwise(t *testing.T) {
	var sizes []int
	for n := 1; n <= 70; n++ {
		sizes = append(sizes, n)
	}
	sizes = append(sizes, segmentElements-1, segmentElements, segmentElements+1, 3*segmentElements+17)
	eachFastTier(t, func(t *testing.T, portable, other *spaced) {
		for _, f := range flatOps {
			t.Run(f.name, func(t *testing.T) {
				for _, n := range sizes {
					err := comparePair(portable, other, func(g *spaced) *device.Call { return f.call(g, n, -1, 0) })
					if err != nil {
						t.Fatalf("%d elements: %v", n, err)
					}
				}
			})
		}
	})
}

// TestFastElementwiseKeepsNaN has a NaN in each argument in turn.
func TestFastElementwiseKeepsNaN(t *testing.T) {
	eachFastTier(t, func(t *testing.T, portable, other *spaced) {
		for _, f := range flatOps {
			for with := range f.in {
				for _, at := range []int{2, 36} {
					err := comparePair(portable, other, func(g *spaced) *device.Call { return f.call(g, 37, with, at) })
					if err != nil {
						t.Fatalf("%s with a NaN in argument %d: %v", f.name, with, err)
					}
				}
			}
		}
	})
}

// TestFastElementwiseInPlace: what the memory plan may lay on its first
// argument computes the same there.
func TestFastElementwiseInPlace(t *testing.T) {
	eachFastTier(t, func(t *testing.T, portable, other *spaced) {
		for _, f := range flatOps[:3] {
			for _, n := range []int{1, 37, segmentElements + 5} {
				err := comparePair(portable, other, func(g *spaced) *device.Call {
					f.inPlace = true
					c := f.call(g, n, -1, 0)
					c.Out = c.In[:1]
					return c
				})
				if err != nil {
					t.Errorf("%s of %d elements: %v", f.name, n, err)
				}
			}
		}
	})
}

// noise has no period that a number of channels could meet.
func noise(i int) float64 { return math.Sin(float64(i) * float64(i) * 0.37) }

// TestFastBiasGradient has biases of all widths up to 70.
func TestFastBiasGradient(t *testing.T) {
	eachFastTier(t, func(t *testing.T, portable, other *spaced) {
		for k := 1; k <= 70; k++ {
			for _, hw := range []int{1, 3, 13} {
				err := comparePair(portable, other, func(g *spaced) *device.Call {
					return &device.Call{
						Code: op.ConvWeight, Attr: op.Attr{KH: 1, KW: 1, Stride: 1, H: hw, W: hw, Bias: true},
						In:  []device.Tensor{g.tensor(noise, 2, hw, hw, 2), g.tensor(noise, 2, hw, hw, k)},
						Out: []device.Tensor{g.tensor(wave, k, 1, 1, 2), g.tensor(wave, k)},
					}
				})
				if err != nil {
					t.Errorf("%d channels, %d x %d: %v", k, hw, hw, err)
				}
			}
		}
	})
}

// BenchmarkTraffic reports the traffic of ops that compute little, by one
// worker, in the fastest call: what they read and write, once, over the time.
func BenchmarkTraffic(b *testing.B) {
	for _, tier := range Tiers() {
		be := New(Options{Workers: 1, Tier: tier})
		defer be.Close()
		for _, f := range flatOps {
			b.Run(fmt.Sprintf("%s/%s", tier.name, f.name), func(b *testing.B) { benchTraffic(b, be, f.bench(b, be)) })
		}
		for _, c := range []int{3, 16, 24, 64, 256} {
			for _, code := range []op.Code{op.Norm, op.NormGrad} {
				b.Run(fmt.Sprintf("%s/%v%d", tier.name, code, c), func(b *testing.B) { benchTraffic(b, be, benchNorm(b, be, code, c)) })
			}
		}
	}
}

// bench is the op on tensors of 256 KB.
func (f flatOp) bench(b *testing.B, be *Backend) *device.Call {
	c := &device.Call{Code: f.code, Attr: f.attr, LR: 0.1, Step: 3}
	for range f.in {
		c.In = append(c.In, benchTensor(b, be, []int{1 << 16}))
	}
	c.Out = c.In
	if !f.inPlace {
		c.Out = []device.Tensor{benchTensor(b, be, []int{1 << 16})}
	}
	return c
}

// benchNorm is a batch normalisation of about 256 KB, or its gradient.
func benchNorm(b *testing.B, be *Backend, code op.Code, c int) *device.Call {
	hw := int(math.Sqrt(float64((1 << 16) / c)))
	at := func(shape ...int) device.Tensor { return benchTensor(b, be, shape) }
	x, s := at(1, hw, hw, c), at(c)
	call := &device.Call{Code: code, Attr: op.Attr{Eps: 1e-5, ReLU: true, Weights: true}}
	if code == op.Norm {
		call.In, call.Out = []device.Tensor{x, s, s}, []device.Tensor{at(1, hw, hw, c), at(c), at(c)}
		return call
	}
	call.In = []device.Tensor{at(1, hw, hw, c), x, at(1, hw, hw, c), s, s, s}
	call.Out = []device.Tensor{at(1, hw, hw, c), {}, at(c), at(c)}
	return call
}

func benchTraffic(b *testing.B, be *Backend, call *device.Call) {
	bytes := int64(0)
	for _, t := range append(append([]device.Tensor{}, call.In...), call.Out...) {
		if t.Buffer != nil {
			bytes += t.Bytes()
		}
	}
	best := time.Hour
	for b.Loop() {
		start := time.Now()
		if err := be.Run(call); err != nil {
			b.Fatal(err)
		}
		best = min(best, time.Since(start))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(bytes)/best.Seconds()/1e9, "GB/s")
}
