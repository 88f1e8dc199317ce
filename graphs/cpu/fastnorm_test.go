package cpu

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// spaced lays tensors of a backend into one buffer with numbers between them
// that no kernel may change.
type spaced struct {
	b    *Backend
	buf  device.Buffer
	used int
}

const (
	guardBytes = 64
	guardValue = 12345.5
)

func newSpaced(t *testing.T, tier Tier, bytes int) *spaced {
	t.Helper()
	b := New(Options{Workers: 2, Tier: tier})
	t.Cleanup(func() { b.Close() })
	buf, err := b.Alloc(int64(bytes))
	if err != nil {
		t.Fatal(err)
	}
	return &spaced{b: b, buf: buf}
}

// start forgets all tensors.
func (g *spaced) start() {
	all := typed[float32](g.buf.(*Buffer).mem)
	for i := range all {
		all[i] = guardValue
	}
	g.used = guardBytes
}

// tensor is the next tensor, its element i being f(i).
func (g *spaced) tensor(f func(i int) float64, shape ...int) device.Tensor {
	t := device.Tensor{Buffer: g.buf, Offset: int64(g.used), Shape: shape, Dtype: op.F32}
	for i := range g.elements(t) {
		g.elements(t)[i] = float32(f(i))
	}
	g.used += int(t.Bytes()) + guardBytes + 4
	return t
}

func (g *spaced) elements(t device.Tensor) []float32 {
	return typed[float32](g.buf.(*Buffer).mem[t.Offset:][:t.Bytes()])
}

// broken says whether a number between the tensors has changed.
func (g *spaced) broken(ts ...device.Tensor) bool {
	all := slices.Clone(typed[float32](g.buf.(*Buffer).mem))
	for _, t := range ts {
		if t.Buffer == nil {
			continue
		}
		for i := range t.Elements() {
			all[int(t.Offset)/4+i] = guardValue
		}
	}
	return slices.ContainsFunc(all, func(v float32) bool { return v != guardValue })
}

// comparePair runs a call, as each spaced memory makes it, on the portable tier
// and on another one, and compares all operands.
func comparePair(portable, other *spaced, call func(g *spaced) *device.Call) error {
	var operands [2][]device.Tensor
	for i, g := range []*spaced{portable, other} {
		g.start()
		c := call(g)
		operands[i] = append(slices.Clone(c.In), c.Out...)
		if err := g.b.Run(c); err != nil {
			return err
		}
		if g.broken(operands[i]...) {
			return fmt.Errorf("%s: %v writes beside its results", g.b.Name(), c.Code)
		}
	}
	for i, want := range operands[0] {
		if want.Buffer == nil {
			continue
		}
		if err := closeTo(other.elements(operands[1][i]), portable.elements(want)); err != nil {
			return fmt.Errorf("operand %d: %w", i, err)
		}
	}
	return nil
}

// closeTo compares elements by the largest of them; a NaN must be one in both.
func closeTo(got, want []float32) error {
	most := 0.0
	for _, v := range want {
		if a := math.Abs(float64(v)); a > most {
			most = a
		}
	}
	for i, v := range got {
		d := math.Abs(float64(v) - float64(want[i]))
		if math.IsNaN(float64(v)) != math.IsNaN(float64(want[i])) || d > 1e-6+5e-6*most {
			return fmt.Errorf("element %d of %d is %g, not %g", i, len(got), v, want[i])
		}
	}
	return nil
}

// eachFastTier runs a test with memory of the portable tier and of each other.
func eachFastTier(t *testing.T, do func(t *testing.T, portable, other *spaced)) {
	tiers := Tiers()
	for _, tier := range tiers[:len(tiers)-1] {
		t.Run(tier.Name(), func(t *testing.T) {
			do(t, newSpaced(t, tiers[len(tiers)-1], 1<<20), newSpaced(t, tier, 1<<20))
		})
	}
}

// normShape is what varies in a test of norms.
type normShape struct {
	n, h, w, c, groups int
	mode               op.NormMode
	relu, residual     bool
	nan                bool // one element of x is not a number
}

func (s normShape) String() string {
	return fmt.Sprintf("%d pictures of %d x %d, %d channels, %d groups, %v, relu %v, residual %v", s.n, s.h, s.w, s.c, s.groups, s.mode, s.relu, s.residual)
}

// stats is the shape of the saved statistics.
func (s normShape) stats() []int {
	if s.groups > 0 {
		return []int{s.n, s.groups}
	}
	return []int{s.c}
}

func (s normShape) attr() op.Attr {
	return op.Attr{Groups: s.groups, Mode: s.mode, ReLU: s.relu, Residual: s.residual, Eps: 1e-3, StatMomentum: 0.1, Weights: true}
}

// input is a map around 3 with the odd outlier.
func (s normShape) input(i int) float64 {
	if s.nan && i == s.c {
		return math.NaN()
	}
	return 3 + wave(i)
}

func positive(i int) float64 { return 1.5 + wave(i) }

func (s normShape) forward(g *spaced) *device.Call {
	x := []int{s.n, s.h, s.w, s.c}
	c := &device.Call{Code: op.Norm, Attr: s.attr()}
	in := g.tensor(s.input, x...)
	scale, shift := g.tensor(positive, s.c), g.tensor(wave, s.c)
	var mean, vari, residual device.Tensor
	if s.groups == 0 {
		mean, vari = g.tensor(wave, s.c), g.tensor(positive, s.c)
	}
	if s.residual {
		residual = g.tensor(wave, x...)
	}
	c.In = []device.Tensor{in, scale, shift, mean, vari, residual}
	c.Out = []device.Tensor{g.tensor(zero, x...), g.tensor(zero, s.stats()...), g.tensor(zero, s.stats()...)}
	return c
}

func (s normShape) backward(g *spaced) *device.Call {
	x := []int{s.n, s.h, s.w, s.c}
	c := &device.Call{Code: op.NormGrad, Attr: s.attr()}
	dy, in := g.tensor(wave, x...), g.tensor(s.input, x...)
	var y, dresidual device.Tensor
	if s.relu {
		y = g.tensor(func(i int) float64 { return math.Max(0, wave(3*i)) }, x...)
	}
	if s.residual {
		dresidual = g.tensor(zero, x...)
	}
	mean := g.tensor(func(int) float64 { return 3 }, s.stats()...)
	c.In = []device.Tensor{dy, in, y, g.tensor(positive, s.c), mean, g.tensor(positive, s.stats()...)}
	c.Out = []device.Tensor{g.tensor(zero, x...), dresidual, g.tensor(wave, s.c), g.tensor(wave, s.c)}
	return c
}

// normShapes are all numbers of channels up to 70 on small maps, and some on
// maps large enough to take pixels together.
func normShapes() []normShape {
	var shapes []normShape
	modes := []op.NormMode{op.NormBatch, op.NormUpdate, op.NormRunning}
	for c := 1; c <= 70; c++ {
		s := normShape{n: 1 + c%3, h: 1 + c%4, w: 1 + c%5, c: c, mode: modes[c%3], relu: c%2 == 0, residual: c%3 == 1}
		shapes = append(shapes, s)
		s.groups, s.mode = c, op.NormBatch
		if c%2 == 0 {
			s.groups = c / 2
		}
		shapes = append(shapes, s)
	}
	for _, c := range []int{1, 3, 10, 16, 24, 48, 64} {
		s := normShape{n: 2, h: 17, w: 19, c: c, relu: true, residual: true}
		grouped := s
		grouped.groups = 1
		shapes = append(shapes, s, grouped)
	}
	return shapes
}

func TestFastNorm(t *testing.T) {
	eachFastTier(t, func(t *testing.T, portable, other *spaced) {
		for _, s := range normShapes() {
			if err := comparePair(portable, other, s.forward); err != nil {
				t.Errorf("%v: %v", s, err)
			}
			if s.mode == op.NormRunning {
				continue // has no gradient
			}
			if err := comparePair(portable, other, s.backward); err != nil {
				t.Errorf("gradient of %v: %v", s, err)
			}
		}
	})
}

// TestFastNormKeepsNaN: what the portable tier makes of a NaN, the others do.
func TestFastNormKeepsNaN(t *testing.T) {
	eachFastTier(t, func(t *testing.T, portable, other *spaced) {
		for _, c := range []int{1, 7, 16, 37} {
			for _, groups := range []int{0, 1} {
				for _, size := range []int{3, 16} {
					s := normShape{n: 2, h: size, w: size, c: c, groups: groups, relu: true, nan: true}
					if err := comparePair(portable, other, s.forward); err != nil {
						t.Errorf("%v: %v", s, err)
					}
					if err := comparePair(portable, other, s.backward); err != nil {
						t.Errorf("gradient of %v: %v", s, err)
					}
				}
			}
		}
	})
}
