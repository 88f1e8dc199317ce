package graphs

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/op"
)

var (
	nan = float32(math.NaN())
	inf = float32(math.Inf(1))
)

func TestFirstNotFinite(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 200 {
		x := make([]float32, n)
		for i := range x {
			// Every exponent but the highest, either sign.
			x[i] = math.Float32frombits(r.Uint32N(2)<<31 | r.Uint32N(0x7f800000))
		}
		if got := FirstNotFinite(x); got != -1 {
			t.Fatalf("%d of %d finite numbers is not finite: %v", got, n, x[got])
		}
		for i := range x {
			old := x[i]
			for _, bad := range []float32{nan, inf, -inf, math.Float32frombits(0xff800001), math.Float32frombits(0x7fffffff)} {
				x[i] = bad
				if got := FirstNotFinite(x); got != i {
					t.Fatalf("%v at %d of %d is found at %d", bad, i, n, got)
				}
			}
			if x[n-1] = nan; FirstNotFinite(x) != i {
				t.Fatalf("not the first of two at %d of %d", i, n)
			}
			x[n-1], x[i] = 1, old
		}
	}
}

// TestWatch names the first op that makes a number which is not finite, and
// tells one that was there before from one that was made.
func TestWatch(t *testing.T) {
	for name, c := range map[string]struct {
		a, b []float32
		want string
	}{
		"finite":      {[]float32{1, 2, 3, 4}, []float32{4, 3, 2, 1}, ""},
		"input":       {[]float32{1, 2, nan, 4}, []float32{4, 3, 2, 1}, `unit "mid": s3.0.copy (graph.loco:31:5): the input a of copy is not finite (NaN)`},
		"other input": {[]float32{1, 2, 3, 4}, []float32{4, -inf, 2, 1}, `unit "mid": s3.0.add (graph.loco:31:5): the input b of add is not finite (-Inf)`},
		"made":        {[]float32{1, 3e38, 3, 4}, []float32{4, 3e38, 2, 1}, `unit "mid": s3.0.add (graph.loco:31:5): the output of add is not finite (+Inf), its inputs are`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSketch()
			a, b, x, y := s.f32("a", 4), s.f32("b", 4), s.f32("x", 4), s.f32("y", 4)
			seg := s.segment("s3", do(op.Copy, op.Attr{}, ids(a), ids(x)), do(op.Add, op.Attr{}, ids(x, b), ids(y)))
			p := build(t, s, newSpy(t))
			write(t, p, a, 0, c.a...)
			write(t, p, b, 0, c.b...)
			run(t, p, seg, 0) // not watched
			p.Watch(true)
			for range 2 { // a graph that failed is built again and watched again
				err := p.Run(seg, 0, 0, 1)
				var found *NotFinite
				switch {
				case c.want == "" && err == nil:
				case err == nil || err.Error() != c.want || !errors.As(err, &found):
					t.Fatalf("%v\nnot %s", err, c.want)
				}
			}
			p.Watch(false)
			run(t, p, seg, 0)
		})
	}
}

// TestWatchInPlace looks at a result that lies where its argument did: the
// argument is gone, and was looked at when it was made.
func TestWatchInPlace(t *testing.T) {
	s := newSketch()
	a, b, y := s.f32("a", 2), s.f32("b", 2), s.f32("y", 2)
	s.Values[y].Offset = s.Values[a].Offset
	seg := s.segment("s3", do(op.Add, op.Attr{}, ids(a, b), ids(y)))
	p := build(t, s, newSpy(t))
	p.Watch(true)
	write(t, p, a, 0, 1, 3e38)
	write(t, p, b, 0, 1, 3e38)
	want := `unit "mid": s3.0.add (graph.loco:31:5): the output of add is not finite (+Inf), its inputs are`
	if err := p.Run(seg, 0, 0, 1); err == nil || err.Error() != want {
		t.Errorf("%v\nnot %s", err, want)
	}
}

// TestWatchStatistics finds a running variance that overflows where nothing
// else does, and tells results of many apart.
func TestWatchStatistics(t *testing.T) {
	s := newSketch()
	x := s.f32("x", 2, 1, 1, 1)
	w := func(name string, k ir.Kind) ir.ValueID { return s.value(name, k, op.F32, 1, 1) }
	scale, shift := w("scale", ir.Weight), w("shift", ir.Weight)
	mean, variance := w("mean", ir.Statistic), w("var", ir.Statistic)
	y := s.f32("y", 2, 1, 1, 1)
	saved, invstd := s.f32("m", 1), s.f32("i", 1)
	seg := s.segment("s3", do(op.Norm, op.Attr{Mode: op.NormUpdate, Eps: 1e-5, StatMomentum: 1},
		ids(x, scale, shift, mean, variance, ir.None), ids(y, saved, invstd)))
	p := build(t, s, newSpy(t))
	write(t, p, scale, 0, 1)
	p.Watch(true)
	write(t, p, x, 0, 1.6e19, -1.6e19) // the variance fits, its unbiased form does not
	want := `unit "mid": s3.0.norm (graph.loco:31:5): the output running var of norm is not finite (+Inf), its inputs are`
	if err := p.Run(seg, 0, 0, 1); err == nil || err.Error() != want {
		t.Errorf("%v\nnot %s", err, want)
	}
	write(t, p, variance, 0, 1)
	write(t, p, scale, 0, 3e38)
	write(t, p, shift, 0, 3e38)
	write(t, p, x, 0, 1, -1)
	want = `unit "mid": s3.0.norm (graph.loco:31:5): the output y of norm is not finite (+Inf), its inputs are`
	if err := p.Run(seg, 0, 0, 1); err == nil || err.Error() != want {
		t.Errorf("%v\nnot %s", err, want)
	}
}

func TestWatchReadsAll(t *testing.T) {
	for _, d := range []op.Dtype{op.F32, op.F64} {
		for _, n := range []int{1, watchBytes/8 - 1, watchBytes / 4, watchBytes/4 + 1, watchBytes} {
			s := newSketch()
			a, y := s.value("a", ir.Activation, d, 1, n), s.value("y", ir.Activation, d, 1, n)
			seg := s.segment("s3", do(op.Copy, op.Attr{}, ids(a), ids(y)))
			p := build(t, s, newSpy(t))
			p.Watch(true)
			x := make([]float32, n)
			write(t, p, a, 0, x...)
			run(t, p, seg, 0)
			x[n-1] = inf
			write(t, p, a, 0, x...)
			var found *NotFinite
			if err := p.Run(seg, 0, 0, 1); !errors.As(err, &found) || found.At != n-1 || !found.Input {
				t.Errorf("%s[%d]: %v, %+v", d, n, err, found)
			}
		}
	}
}

// TestNarrowTravels writes and reads a value in bfloat16, and looks through it.
func TestNarrowTravels(t *testing.T) {
	for _, n := range []int{1, watchBytes/2 - 1, watchBytes / 2, watchBytes/2 + 1} {
		s := newSketch()
		a := s.value("a", ir.Activation, op.BF16, 1, n)
		s.segment("s3", do(op.ReLU, op.Attr{}, ids(a), ids(s.value("y", ir.Activation, op.BF16, 1, n))))
		p := build(t, s, newSpy(t))
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(i) / 3
		}
		write(t, p, a, 0, x...)
		got, err := p.Read(a, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if got[i] != op.Widen(op.Narrow(x[i])) {
				t.Fatalf("element %d: %g of %g", i, got[i], x[i])
			}
		}
		p.Watch(true)
		if at, _, err := p.watch.first(p.memory.backend, p.Tensor(a, 0)); at >= 0 || err != nil {
			t.Errorf("%d elements: %d is not finite, %v", n, at, err)
		}
		x[n-1] = inf
		write(t, p, a, 0, x...)
		if at, number, err := p.watch.first(p.memory.backend, p.Tensor(a, 0)); at != n-1 || !math.IsInf(number, 1) || err != nil {
			t.Errorf("%d elements: %d is %g, %v", n, at, number, err)
		}
	}
}
