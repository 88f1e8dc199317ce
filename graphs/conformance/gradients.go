package conformance

import (
	"fmt"
	"math"
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// Central differences: the step, how far a gradient may be off, and how many
// elements of each argument are tried.
const (
	gradEps     = 1e-6
	gradAbs     = 1e-5
	gradRel     = 1e-3
	gradSamples = 20
	gradCases   = 20
)

// Gradients compares, in float64, the gradient ops of every differentiable row
// with central differences of its forward op, for the sum of its results
// weighted at random. The same harness must find a gradient that is 1 % too
// large, and one with an element missing: these are its negative controls.
func Gradients(t *testing.T, open func() device.Backend) {
	b := opened(t, open)
	for _, c := range op.Codes() {
		if op.Rows[c].Grad != nil && differentiables[c] == nil {
			t.Errorf("row %v has gradients but no case", c)
		}
		if differentiables[c] == nil {
			continue
		}
		t.Run(c.String(), func(t *testing.T) { checkOp(t, b, c) })
	}
}

func checkOp(t *testing.T, b device.Backend, c op.Code) {
	tried, telling := make([]int, 8), make([]int, 8) // by argument; telling: not all but zero
	for i := range gradCases {
		p, err := smoothProblem(b, c, i)
		if err != nil {
			t.Fatal(err)
		}
		checks, err := checkGradients(b, p, newRandom(c, 1000+i, op.F64))
		if err != nil {
			t.Fatalf("case %d: %v\n%s", i, err, p)
		}
		for _, k := range checks {
			if err := k.wrong(k.gradient); err != nil {
				t.Errorf("case %d: gradient of %s: %v\n%s", i, k.name, err, p)
			}
			tried[k.arg]++
			if math.Abs(k.gradient[k.largest]) < 0.01 {
				continue
			}
			telling[k.arg]++
			k.controls(t, i)
		}
	}
	for arg, n := range tried {
		if telling[arg] < n/2 || arg == 0 && n < gradCases {
			t.Errorf("argument %d has a gradient to speak of in %d of %d cases only", arg, telling[arg], n)
		}
	}
}

// check is the gradient of one argument and what differences say about it.
type check struct {
	arg      int
	name     string
	gradient []float64
	largest  int             // element with the largest magnitude, always tried
	numeric  map[int]float64 // by element
	order    []int           // the elements tried
}

// wrong says where a gradient differs from the differences.
func (k *check) wrong(gradient []float64) error {
	for _, i := range k.order {
		want := k.numeric[i]
		if d := math.Abs(gradient[i] - want); !(d <= gradAbs+gradRel*math.Abs(want)) {
			return fmt.Errorf("element %d is %g, differences give %g", i, gradient[i], want)
		}
	}
	return nil
}

// controls: wrong gradients must be found.
func (k *check) controls(t *testing.T, i int) {
	scaled := make([]float64, len(k.gradient))
	for e, v := range k.gradient {
		scaled[e] = 1.01 * v
	}
	if k.wrong(scaled) == nil {
		t.Errorf("case %d: a gradient of %s that is 1 %% too large passes", i, k.name)
	}
	dropped := append([]float64{}, k.gradient...)
	dropped[k.largest] = 0
	if k.wrong(dropped) == nil {
		t.Errorf("case %d: a gradient of %s with an element missing passes", i, k.name)
	}
}

// checkGradients runs p's forward op, its gradient ops, and differences.
func checkGradients(b device.Backend, p *problem, r *random) ([]*check, error) {
	d := differentiables[p.code]
	forward := p.clone()
	if err := forward.run(b); err != nil {
		return nil, err
	}
	dy := make([]*array, len(p.out))
	for _, o := range d.outs(p) {
		dy[o] = r.array(p.out[o].shape...)
		if p.code == op.NTXent {
			dy[o].v[0] = 1
		}
	}
	gradients, err := d.backward(calls{b}, forward, dy)
	if err != nil {
		return nil, err
	}
	rig, err := newRig(b, p.clone())
	defer rig.free()
	if err != nil {
		return nil, err
	}
	var checks []*check
	for arg, g := range gradients {
		if g == nil {
			continue
		}
		k := &check{arg: arg, name: op.Rows[p.code].In[min(arg, len(op.Rows[p.code].In)-1)].Name, gradient: g.v, numeric: map[int]float64{}}
		k.sample(r)
		for _, e := range k.order {
			if k.numeric[e], err = rig.difference(arg, e, p.in[arg].v[e], dy); err != nil {
				return nil, err
			}
		}
		checks = append(checks, k)
	}
	return checks, nil
}

// sample chooses the elements to try: the largest and some at random.
func (k *check) sample(r *random) {
	for i, v := range k.gradient {
		if math.Abs(v) > math.Abs(k.gradient[k.largest]) {
			k.largest = i
		}
	}
	k.order = append(k.order, k.largest)
	if len(k.gradient) <= gradSamples {
		for i := range k.gradient {
			k.order = append(k.order, i)
		}
		return
	}
	for range gradSamples {
		k.order = append(k.order, r.between(0, len(k.gradient)-1))
	}
}

// difference is the central difference of the weighted results by one element
// of an argument, whose value is v.
func (r *rig) difference(arg, element int, v float64, dy []*array) (float64, error) {
	one := device.Tensor{
		Buffer: r.in[arg].tensor.Buffer, Offset: r.in[arg].tensor.Offset + 8*int64(element),
		Shape: []int{1}, Dtype: op.F64,
	}
	at := func(v float64) (float64, error) {
		if err := r.b.Write(one, (&array{dtype: op.F64, v: []float64{v}}).encode()); err != nil {
			return 0, err
		}
		if err := r.b.Run(&r.call); err != nil {
			return 0, err
		}
		return r.weighted(dy)
	}
	above, err := at(v + gradEps)
	if err != nil {
		return 0, err
	}
	below, err := at(v - gradEps)
	if err != nil {
		return 0, err
	}
	_, err = at(v)
	return (above - below) / (2 * gradEps), err
}

// weighted is the sum of the results times dy.
func (r *rig) weighted(dy []*array) (float64, error) {
	sum := 0.0
	for i, w := range dy {
		if w == nil {
			continue
		}
		if err := r.out[i].fetch(r.b); err != nil {
			return 0, err
		}
		for k, v := range r.out[i].v {
			sum += v * w.v[k]
		}
	}
	return sum, nil
}
