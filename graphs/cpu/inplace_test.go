package cpu

import (
	"fmt"
	"slices"
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// inPlaceKinds are convolutions whose input gradients are made in different
// ways, of maps large enough to be cut into parts and units.
var inPlaceKinds = map[string]struct {
	a          op.Attr
	n, side, c int
	k          int
}{
	"3x3":         {op.Attr{KH: 3, KW: 3, Stride: 1, Pad: 1, Groups: 1}, 7, 34, 24, 40},
	"1x1":         {op.Attr{KH: 1, KW: 1, Stride: 1, Groups: 1}, 9, 33, 40, 24},
	"strided 1x1": {op.Attr{KH: 1, KW: 1, Stride: 2, Groups: 1}, 6, 41, 24, 40}, // some pixels are seen by no window
	"strided 3x3": {op.Attr{KH: 3, KW: 3, Stride: 2, Pad: 1, Groups: 1}, 6, 40, 24, 24},
	"grouped":     {op.Attr{KH: 3, KW: 3, Stride: 1, Pad: 1, Groups: 4}, 6, 30, 32, 32},
	"depthwise":   {op.Attr{KH: 3, KW: 3, Stride: 1, Pad: 1, Groups: 40}, 12, 34, 40, 40},
	"wide":        {op.Attr{KH: 3, KW: 3, Stride: 1, Pad: 1, Groups: 1}, 12, 5, 320, 320}, // the workers share the weights
}

// TestFusedGradientInPlace: dx over more and dresidual over dy are the same
// bytes as apart, in many parts, by any number of workers on every tier.
func TestFusedGradientInPlace(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) {
		for name, k := range inPlaceKinds {
			for _, groups := range []int{0, 2} {
				k.a.NormGroups, k.a.ReLU, k.a.Residual, k.a.Weights = groups, true, true, true
				k.a.H, k.a.W = k.side, k.side
				t.Run(fmt.Sprintf("%s, %d groups", name, groups), func(t *testing.T) {
					want := inPlaceResults(t, tier, 1, k.a, k.n, k.c, k.k, false)
					for _, workers := range []int{1, 3} {
						got := inPlaceResults(t, tier, workers, k.a, k.n, k.c, k.k, true)
						for i := range got {
							if !slices.Equal(got[i], want[i]) {
								t.Errorf("%d workers: result %s differs in place", workers, op.Rows[op.ConvNormGrad].Out[i].Name)
							}
						}
					}
				})
			}
		}
	})
}

// inPlaceResults are the results of a conv_norm_grad, made over arguments or
// apart from them.
func inPlaceResults(t *testing.T, tier Tier, workers int, a op.Attr, n, c, k int, over bool) (out [][]float64) {
	b := New(Options{Workers: workers, Tier: tier})
	defer b.Close()
	side := op.ConvOut(a.H, a.KH, a.Stride, a.Pad)
	seed := 0
	m := func(shape ...int) device.Tensor {
		seed += 1000
		from := seed
		return filled(t, b, func(i int) float64 { return wave(i + from) }, shape...)
	}
	xs, ys, saved := []int{n, a.H, a.W, c}, []int{n, side, side, k}, []int{k}
	if a.NormGroups > 0 {
		saved = []int{n, a.NormGroups}
	}
	w := []int{k, a.KH, a.KW, c / a.Groups}
	call := &device.Call{
		Code: op.ConvNormGrad, Attr: a,
		In:  []device.Tensor{m(ys...), m(ys...), m(ys...), m(k), m(saved...), m(saved...), m(xs...), m(w...), m(xs...)},
		Out: []device.Tensor{m(xs...), m(ys...), m(k), m(k), m(w...)},
	}
	if over {
		call.Out[0], call.Out[1] = call.In[8], call.In[0]
	}
	must(t, b, call)
	for _, y := range call.Out {
		out = append(out, numbers(t, b, y))
	}
	return out
}
