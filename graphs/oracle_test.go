package graphs

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/op"
)

// The sizes of the oracle's net: pictures, height, width, channels in, of the
// convolution and out.
const (
	oN, oH, oW = 4, 5, 3
	oC, oK, oE = 2, 3, 4
)

// oracle is one small net twice: conv, norm, relu, mean, dense, its gradients
// given a gradient at the end, as segments of ours and as Gorgonia's own ops.
type oracle struct {
	s              sketch
	x, dy          ir.ValueID
	w, scale       ir.ValueID
	shift, dense   ir.ValueID
	y              ir.ValueID
	dx, dw, dscale ir.ValueID
	dshift, ddense ir.ValueID
	fwd, bwd       int
}

func newOracle() *oracle {
	o := &oracle{s: newSketch()}
	a := func(name string, shape ...int) ir.ValueID { return o.s.value(name, ir.Activation, op.F64, 1, shape...) }
	g := func(name string, shape ...int) ir.ValueID { return o.s.value(name, ir.WeightGrad, op.F64, 1, shape...) }
	w := func(name string, shape ...int) ir.ValueID { return o.s.value(name, ir.Weight, op.F64, 1, shape...) }
	o.x, o.w, o.scale, o.shift, o.dense = a("x", oN, oH, oW, oC), w("w", oK, 3, 3, oC), w("scale", oK), w("shift", oK), w("dense", oE, oK)
	z, n := a("z", oN, oH, oW, oK), a("n", oN, oH, oW, oK)
	m, i := a("mean", oK), a("invstd", oK)
	flat := a("flat", oN, 1, 1, oK)
	o.y, o.dy = a("y", oN, 1, 1, oE), a("dy", oN, 1, 1, oE)
	o.dx, o.dw, o.dscale, o.dshift, o.ddense = a("dx", oN, oH, oW, oC), g("dw", oK, 3, 3, oC), g("dscale", oK), g("dshift", oK), g("ddense", oE, oK)
	dflat, dn, dz := a("dflat", oN, 1, 1, oK), a("dn", oN, oH, oW, oK), a("dz", oN, oH, oW, oK)
	c := op.Attr{KH: 3, KW: 3, Stride: 1, Pad: 1, H: oH, W: oW}
	norm := op.Attr{Eps: 1e-5, ReLU: true}
	normGrad := norm
	normGrad.Weights = true
	o.fwd = o.s.segment("s1",
		do(op.Conv, c, ids(o.x, o.w, ir.None), ids(z)),
		do(op.Norm, norm, ids(z, o.scale, o.shift, ir.None, ir.None, ir.None), ids(n, m, i)),
		do(op.Mean, op.Attr{}, ids(n), ids(flat)),
		do(op.Dense, op.Attr{}, ids(flat, o.dense, ir.None), ids(o.y)))
	o.bwd = o.s.segment("s1",
		do(op.DenseWeight, op.Attr{}, ids(flat, o.dy), ids(o.ddense, ir.None)),
		do(op.DenseInput, op.Attr{}, ids(o.dy, o.dense), ids(dflat)),
		do(op.MeanGrad, op.Attr{H: oH, W: oW}, ids(dflat), ids(dn)),
		do(op.NormGrad, normGrad, ids(dn, z, n, o.scale, m, i), ids(dz, ir.None, o.dscale, o.dshift)),
		do(op.ConvWeight, c, ids(o.x, dz), ids(o.dw, ir.None)),
		do(op.ConvInput, c, ids(dz, o.w), ids(o.dx)))
	return o
}

func (o *oracle) data(v ir.ValueID) []float32 {
	n := 1
	for _, d := range o.s.Values[v].Shape {
		n *= d
	}
	return ramp(n, int(v))
}

func (o *oracle) inputs() []ir.ValueID {
	return []ir.ValueID{o.x, o.w, o.scale, o.shift, o.dense, o.dy}
}

// nchw turns a map or a convolution's weights from channels last to second.
func nchw(x []float64, n, h, w, c int) []float64 {
	y := make([]float64, len(x))
	for i := range x {
		k, at, pic := i%c, i/c%(h*w), i/(c*h*w)
		y[(pic*c+k)*h*w+at] = x[i]
	}
	return y
}

// theirs runs the net with Gorgonia's own ops and returns y and the gradients
// of sum(y*dy) by the value of ours that they should equal. The global mean is
// a reduction of two dimensions: the built-in one over two axes of a map gives
// wrong sums.
func (o *oracle) theirs(t *testing.T) map[ir.ValueID][]float64 {
	t.Helper()
	g := gorgonia.NewGraph()
	leaf := func(v ir.ValueID, data []float64, shape ...int) *gorgonia.Node {
		d := tensor.New(tensor.WithShape(shape...), tensor.WithBacking(data))
		return gorgonia.NewTensor(g, tensor.Float64, len(shape), gorgonia.WithShape(shape...), gorgonia.WithName(fmt.Sprint("v", v)), gorgonia.WithValue(d))
	}
	wide := func(v ir.ValueID) []float64 {
		var w []float64
		for _, f := range o.data(v) {
			w = append(w, float64(f))
		}
		return w
	}
	x := leaf(o.x, nchw(wide(o.x), oN, oH, oW, oC), oN, oC, oH, oW)
	w := leaf(o.w, nchw(wide(o.w), oK, 3, 3, oC), oK, oC, 3, 3)
	scale, shift := leaf(o.scale, wide(o.scale), 1, oK, 1, 1), leaf(o.shift, wide(o.shift), 1, oK, 1, 1)
	dense, dy := leaf(o.dense, wide(o.dense), oE, oK), leaf(o.dy, wide(o.dy), oN, oE)
	z := gorgonia.Must(gorgonia.Conv2d(x, w, tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1}))
	n, _, _, _, err := gorgonia.BatchNorm(z, scale, shift, 0.1, 1e-5)
	if err != nil {
		t.Fatal(err)
	}
	flat := gorgonia.Must(gorgonia.Reshape(gorgonia.Must(gorgonia.Rectify(n)), tensor.Shape{oN * oK, oH * oW}))
	flat = gorgonia.Must(gorgonia.Reshape(gorgonia.Must(gorgonia.Mean(flat, 1)), tensor.Shape{oN, oK}))
	y := gorgonia.Must(gorgonia.Mul(flat, gorgonia.Must(gorgonia.Transpose(dense))))
	cost := gorgonia.Must(gorgonia.Sum(gorgonia.Must(gorgonia.HadamardProd(y, dy))))
	var seen gorgonia.Value
	gorgonia.Read(y, &seen)
	grads, err := gorgonia.Grad(cost, x, w, scale, shift, dense)
	if err != nil {
		t.Fatal(err)
	}
	read := make([]gorgonia.Value, len(grads))
	for i := range grads {
		gorgonia.Read(grads[i], &read[i])
	}
	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	if err := vm.RunAll(); err != nil {
		t.Fatal(err)
	}
	data := func(v gorgonia.Value) []float64 { return v.Data().([]float64) }
	return map[ir.ValueID][]float64{
		o.y: data(seen), o.dx: data(read[0]), o.dw: data(read[1]),
		o.dscale: data(read[2]), o.dshift: data(read[3]), o.ddense: data(read[4]),
	}
}

// Gorgonia's own ops and symbolic gradients, in float64 and where they are
// right, give what ours give.
func TestGradientsEqualGorgonias(t *testing.T) {
	o := newOracle()
	p := build(t, o.s, newSpy(t))
	for _, v := range o.inputs() {
		write(t, p, v, 0, o.data(v)...)
	}
	run(t, p, o.fwd, 0)
	run(t, p, o.bwd, 0)
	for v, want := range o.theirs(t) {
		got := read64(t, p, v)
		switch v {
		case o.dx:
			got = nchw(got, oN, oH, oW, oC)
		case o.dw:
			got = nchw(got, oK, 3, 3, oC)
		}
		if d := distance(got, want); !(d < 1e-12) {
			t.Errorf("%s: distance %.2g", o.s.Values[v].Name, d)
		}
	}
	// Sums are added to, not replaced.
	once := read64(t, p, o.dw)
	run(t, p, o.bwd, 0)
	for i, v := range read64(t, p, o.dw) {
		if math.Abs(v-2*once[i]) > 1e-12 {
			t.Fatalf("dw after two sweeps: %g, after one %g", v, once[i])
		}
	}
}

// distance is ||a-b||/||b||; infinite where lengths differ.
func distance(a, b []float64) float64 {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	var d, n float64
	for i := range a {
		d += (a[i] - b[i]) * (a[i] - b[i])
		n += b[i] * b[i]
	}
	return math.Sqrt(d / n)
}

// The segments and direct calls of the backend give the same bytes.
func TestSegmentsEqualDirectCalls(t *testing.T) {
	o := newOracle()
	b := newSpy(t)
	p := build(t, o.s, b)
	x := newPlain(t, o.s.Program, b)
	for _, v := range o.inputs() {
		write(t, p, v, 0, o.data(v)...)
		if err := b.Write(x.tensor(v, 0), contents(t, b, p.Tensor(v, 0))); err != nil {
			t.Fatal(err)
		}
	}
	run(t, p, o.fwd, 0)
	run(t, p, o.bwd, 0)
	if err := x.task(ir.Task{o.fwd, o.bwd}, 0, 0, 1); err != nil {
		t.Fatal(err)
	}
	for i := range o.s.Values {
		v := ir.ValueID(i)
		if !slices.Equal(contents(t, b, p.Tensor(v, 0)), contents(t, b, x.tensor(v, 0))) {
			t.Errorf("%s differs", o.s.Values[i].Name)
		}
	}
}
