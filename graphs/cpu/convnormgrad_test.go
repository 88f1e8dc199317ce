package cpu

import (
	"math"
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// fusedCase is a conv_norm_grad with its operands on a backend.
type fusedCase struct {
	b                   *Backend
	a                   op.Attr
	dy, z, y, scale     device.Tensor
	mean, invstd        device.Tensor
	x, w, more          device.Tensor
	dx, dres, dw        device.Tensor
	dscale, dshift, tmp device.Tensor
}

// newFusedCase has maps large enough for dz to be made in several parts.
func newFusedCase(t *testing.T, workers, normGroups int) *fusedCase {
	b := started(t, workers)
	a := op.Attr{KH: 3, KW: 3, Stride: 2, Pad: 1, Groups: 1, NormGroups: normGroups, ReLU: true, Residual: true, Eps: 1e-5, H: 40, W: 40, Weights: true}
	xs, ys, c := []int{9, 40, 40, 8}, []int{9, 20, 20, 48}, []int{48}
	saved := c
	if normGroups > 0 {
		saved = []int{9, normGroups}
	}
	m := func(shift float64, shape ...int) device.Tensor {
		return filled(t, b, func(i int) float64 { return wave(i + int(100*shift)) }, shape...)
	}
	positive := func(i int) float64 { return 1 + 0.3*wave(i) }
	return &fusedCase{
		b: b, a: a, dy: m(0.1, ys...), z: m(0.2, ys...), y: m(0.3, ys...), scale: m(0.4, c...),
		mean: m(0.5, saved...), invstd: filled(t, b, positive, saved...),
		x: m(0.6, xs...), w: m(0.7, 48, 3, 3, 8), more: m(0.8, xs...),
		dx: m(0, xs...), dres: m(0, ys...), dw: m(0.9, 48, 3, 3, 8),
		dscale: m(1, c...), dshift: m(1.1, c...), tmp: m(0, ys...),
	}
}

func (c *fusedCase) run(t *testing.T, calls ...*device.Call) {
	for _, call := range calls {
		must(t, c.b, call)
	}
}

func (c *fusedCase) fused() *device.Call {
	return &device.Call{
		Code: op.ConvNormGrad, Attr: c.a,
		In:  []device.Tensor{c.dy, c.z, c.y, c.scale, c.mean, c.invstd, c.x, c.w, c.more},
		Out: []device.Tensor{c.dx, c.dres, c.dscale, c.dshift, c.dw},
	}
}

// apart are the ops that the fused one stands for, dz in tmp.
func (c *fusedCase) apart() []*device.Call {
	norm := c.a
	norm.Groups = c.a.NormGroups
	return []*device.Call{
		{Code: op.NormGrad, Attr: norm, In: []device.Tensor{c.dy, c.z, c.y, c.scale, c.mean, c.invstd}, Out: []device.Tensor{c.tmp, c.dres, c.dscale, c.dshift}},
		{Code: op.ConvWeight, Attr: c.a, In: []device.Tensor{c.x, c.tmp}, Out: []device.Tensor{c.dw}},
		{Code: op.ConvInput, Attr: c.a, In: []device.Tensor{c.tmp, c.w}, Out: []device.Tensor{c.dx}},
		{Code: op.Add, In: []device.Tensor{c.dx, c.more}, Out: []device.Tensor{c.dx}},
	}
}

// TestFusedGradientInParts compares the fused op with the ops it stands for,
// where dz is made part by part.
func TestFusedGradientInParts(t *testing.T) {
	for name, groups := range map[string]int{"batch": 0, "group": 6} {
		t.Run(name, func(t *testing.T) {
			one, three := newFusedCase(t, 3, groups), newFusedCase(t, 3, groups)
			one.run(t, one.fused())
			three.run(t, three.apart()...)
			got, want := one.fused().Out, three.fused().Out
			for i := range got {
				name := op.Rows[op.ConvNormGrad].Out[i].Name
				near(t, name, numbers(t, one.b, got[i]), numbers(t, three.b, want[i]))
			}
			if n := one.b.Counted(); n != three.b.Counted() {
				t.Errorf("counted %d operations, apart %d", n, three.b.Counted())
			}
		})
	}
}

// near compares up to rounding.
func near(t *testing.T, what string, got, want []float64) {
	t.Helper()
	most := 0.0
	for _, v := range want {
		most = max(most, math.Abs(v))
	}
	for i, v := range got {
		if !(math.Abs(v-want[i]) <= 5e-6*most) {
			t.Fatalf("%s: element %d is %g, not %g", what, i, v, want[i])
		}
	}
}

// TestFusedGradientTakesLittleScratch: a quarter of what dz as a whole would
// take is enough.
func TestFusedGradientTakesLittleScratch(t *testing.T) {
	b := started(t, 1)
	const n, side, c = 16, 64, 32
	maps := func() device.Tensor { return filled(t, b, wave, n, side, side, c) }
	vec := func() device.Tensor { return filled(t, b, wave, c) }
	a := op.Attr{KH: 1, KW: 1, Stride: 1, Groups: 1, H: side, W: side}
	must(t, b, &device.Call{
		Code: op.ConvNormGrad, Attr: a,
		In:  []device.Tensor{maps(), maps(), {}, vec(), vec(), vec(), maps(), filled(t, b, wave, c, 1, 1, c)},
		Out: []device.Tensor{maps()},
	})
	if got, whole := b.Scratch(), int64(n*side*side*c*4); got > whole/4 {
		t.Errorf("%d bytes of scratch, dz as a whole has %d", got, whole)
	}
}
