package source

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/runtime/source/vector"
)

// A view has the same bits on every tier, whatever its sizes and steps.
func TestViewsAreTheSameOnEveryTier(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for i := range 300 {
		p := noise(1+r.IntN(70), 1+r.IntN(70), []int{1, 3}[r.IntN(2)], r.Uint64())
		shape := model.Shape{H: 1 + r.IntN(40), W: 1 + r.IntN(40), C: []int{1, 3}[r.IntN(2)]}
		steps := allSteps(shape.H, shape.W)
		if i%3 == 0 { // resampled twice, flipped in between, blurred widely
			steps = append([]model.View{
				{Kind: "flip", P: 0.5}, {Kind: "jitter", Brightness: 0.8, Contrast: 0.8, Saturation: 0.8, Hue: 0.5, P: 0.5},
				{Kind: "resize", H: 1 + r.IntN(50)}, {Kind: "blur", Sigma: [2]float64{0.1, 9}, P: 0.5}, {Kind: "flip", P: 0.5},
			}, steps...)
		}
		v, err := NewViews(steps, shape, Norm{Mean: []float32{0.4, 0.5, 0.6}[:shape.C], Std: []float32{0.2, 0.3, 0.4}[:shape.C]})
		if err != nil {
			t.Fatal(err)
		}
		var want []float32
		for _, tier := range vector.Tiers() {
			v.tier = tier
			got := make([]float32, shape.Elements())
			if err := v.Apply(got, p, Key{Seed: 1, Image: i}); err != nil {
				t.Fatal(err)
			}
			if want == nil {
				want = got
			}
			if !slices.Equal(got, want) {
				t.Fatalf("view %d of %d x %d x %d differs on %v", i, p.H, p.W, p.C, tier)
			}
		}
	}
}

// Nothing is written beyond a view, whatever its width.
func TestViewsKeepWithinTheirMemory(t *testing.T) {
	for w := 1; w < 40; w++ {
		for _, c := range []int{1, 3} {
			shape := model.Shape{H: 3, W: w, C: c}
			v, err := NewViews([]model.View{{Kind: "resize", H: 3, W: w}}, shape, Norm{})
			if err != nil {
				t.Fatal(err)
			}
			for _, v.tier = range vector.Tiers() {
				dst := slices.Repeat([]float32{7}, shape.Elements()+32)
				if err := v.Apply(dst, noise(5, 5, c, 1), Key{}); err != nil {
					t.Fatal(err)
				}
				if end := dst[shape.Elements():]; slices.Min(end) != 7 || slices.Max(end) != 7 {
					t.Errorf("%v writes beyond a view of width %d", v.tier, w)
				}
			}
		}
	}
}

// The work of one picture asks for no memory once it has been done before.
func TestViewsAllocateNothing(t *testing.T) {
	shape := model.Shape{H: 32, W: 32, C: 3}
	v, err := NewViews(allSteps(32, 32), shape, Norm{})
	if err != nil {
		t.Fatal(err)
	}
	dst, p, i := make([]float32, shape.Elements()), noise(40, 40, 3, 1), 0
	each := func() {
		if err := v.Apply(dst, p, Key{Image: i % 500}); err != nil {
			t.Fatal(err)
		}
		i++
	}
	for range 500 {
		each()
	}
	if n := testing.AllocsPerRun(500, each); n > 0 && !raceEnabled {
		t.Errorf("%v allocations a picture", n)
	}
}
