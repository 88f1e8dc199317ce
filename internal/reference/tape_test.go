package reference

import (
	"math"
	"testing"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/runtime/rng"
)

func random(name string, n, h, w, c int) Map {
	m, r := New(n, h, w, c), rng.New(3, name)
	for i := range m.V {
		m.V[i] = r.Normal()
	}
	return m
}

// weigh makes one number of a map, so that every element counts differently.
func (t *tape) weigh(x *node) *node {
	return t.linear(x, New(1, 1, 1, 1), func(term func(to, from int, weight float64)) {
		for i := range x.V {
			term(0, i, 1+math.Sin(float64(3*i)))
		}
	})
}

// shape is a layer from a map of h x w x c to one of oh x ow x oc.
func shape(l model.Layer, h, w, c, oh, ow, oc int) *model.Layer {
	l.In, l.Out = model.Shape{H: h, W: w, C: c}, model.Shape{H: oh, W: ow, C: oc}
	return &l
}

// losses are functions of two maps to one number, made of every op.
var losses = map[string]struct {
	x, w Map
	f    func(t *tape, x, w *node) *node
}{
	"conv": {random("x", 2, 5, 4, 4), random("w", 6, 3, 2, 2), func(t *tape, x, w *node) *node {
		return t.weigh(t.conv(shape(model.Layer{KH: 3, KW: 2, Stride: 2, Pad: 1, Groups: 2}, 5, 4, 4, 3, 3, 6), x, w))
	}},
	"dense": {random("x", 3, 1, 1, 4), random("w", 5, 1, 1, 4), func(t *tape, x, w *node) *node { return t.weigh(t.dense(x, w)) }},
	"dense with itself": {random("x", 3, 1, 1, 4), random("w", 1, 1, 1, 1), func(t *tape, x, _ *node) *node {
		return t.weigh(t.dense(x, x))
	}},
	"norm": {random("x", 2, 3, 2, 4), random("w", 1, 1, 1, 4), func(t *tape, x, w *node) *node {
		set := func(i int) int { return i % 4 }
		return t.weigh(t.norm(x, t.batchMoments(x, 4, set), set, w, w))
	}},
	"relu": {random("x", 2, 3, 2, 4), random("w", 2, 3, 2, 4), func(t *tape, x, w *node) *node { return t.weigh(t.relu(t.sum(x, w))) }},
	"pools": {random("x", 2, 5, 4, 3), random("w", 1, 1, 1, 1), func(t *tape, x, _ *node) *node {
		greatest := t.pool(shape(model.Layer{KH: 3, KW: 3, Stride: 2, Pad: 1, Max: true}, 5, 4, 3, 3, 2, 3), x)
		mean := t.pool(shape(model.Layer{KH: 3, KW: 3, Stride: 2, Pad: 1}, 5, 4, 3, 3, 2, 3), x)
		return t.weigh(t.times(greatest, mean))
	}},
	"resize": {random("x", 2, 5, 4, 3), random("w", 2, 3, 7, 3), func(t *tape, x, w *node) *node {
		return t.weigh(t.times(t.resize(shape(model.Layer{}, 5, 4, 3, 3, 7, 3), x), w))
	}},
	"channels and rows": {random("x", 2, 3, 2, 4), random("w", 2, 3, 2, 4), func(t *tape, x, w *node) *node {
		return t.weigh(t.channels(t.stack([]*node{x, w}), 3, func(c int) int { return c - 1 }))
	}},
	"ntxent": {random("x", 6, 1, 1, 5), random("w", 5, 1, 1, 5), func(t *tape, x, w *node) *node {
		return t.ntxent(t.dense(x, w), 0.4, 0.7)
	}},
}

// TestGradients compares the tape's gradients with differences, and makes sure
// that a gradient a thousandth off would be noticed.
func TestGradients(t *testing.T) {
	for name, c := range losses {
		t.Run(name, func(t *testing.T) {
			tp := &tape{}
			x, w := tp.leaf(c.x), tp.leaf(c.w)
			tp.backward(c.f(tp, x, w))
			value := func() float64 {
				u := &tape{}
				return c.f(u, u.leaf(c.x), u.leaf(c.w)).V[0]
			}
			for _, n := range []*node{x, w} {
				slopes := differences(n.V, value)
				if d := distance(n.grad, slopes); d > 1e-6 {
					t.Errorf("gradients are %g from differences", d)
				}
				for i := range slopes {
					slopes[i] *= 1.001
				}
				if d := distance(n.grad, slopes); d < 1e-6 && length(n.grad) > 0 {
					t.Error("a wrong gradient goes unnoticed")
				}
			}
		})
	}
}

// differences are the slopes of value along each of v.
func differences(v []float64, value func() float64) []float64 {
	const h = 1e-5
	slopes := make([]float64, len(v))
	for i, kept := range v {
		v[i] = kept + h
		up := value()
		v[i] = kept - h
		slopes[i] = (up - value()) / (2 * h)
		v[i] = kept
	}
	return slopes
}

// distance is ||a-b|| over the greater length, 0 where both are 0.
func distance(a, b []float64) float64 {
	d := make([]float64, len(a))
	for i := range a {
		d[i] = a[i] - b[i]
	}
	return length(d) / max(length(a), length(b), 1e-300)
}

// TestLossByHand has two images whose views agree and that are orthogonal:
// every row's loss is log(exp(1/T) + 2) - 1/T.
func TestLossByHand(t *testing.T) {
	tp := &tape{}
	e := tp.leaf(Map{4, 1, 1, 2, []float64{1, 0, 2, 0, 0, 3, 0, 1}})
	got := tp.ntxent(e, 0.5, 1).V[0]
	if want := math.Log(math.Exp(2)+2) - 2; math.Abs(got-want) > 1e-15 {
		t.Errorf("the loss is %v, not %v", got, want)
	}
}

// TestDetached looks that nothing comes back through what a unit stands on.
func TestDetached(t *testing.T) {
	at := model.Shape{H: 1, W: 1, C: 3}
	dense := func(name string) []*model.Layer {
		return []*model.Layer{{Kind: model.Dense, Name: name, In: at, Out: at}}
	}
	n := &model.Net{
		Stages: []*model.Stage{{Name: "s1", Layers: dense("fc1")}, {Name: "s2", Layers: dense("fc1")}},
		Units: []*model.Unit{{
			Name: "top", First: 1, Last: 1, Loss: model.Loss{Temperature: 0.5},
			Decoder: model.Decoder{Name: "proj", Layers: dense("fc1")},
		}},
	}
	r := Start(n, -1, 1).Batch([]Map{random("images", 4, 1, 1, 3)})
	for _, name := range []string{"s2.fc1.weight", "top/proj.fc1.weight", "top/proj.fc1.bias"} {
		if length(r.Gradients[name].V) == 0 {
			t.Errorf("no gradient of %s", name)
		}
	}
	if g, ok := r.Gradients["s1.fc1.weight"]; ok {
		t.Errorf("a gradient of length %g below the unit", length(g.V))
	}
}
