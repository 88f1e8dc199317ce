package source

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/locorun/locorun/compiler/model"
)

// goldenViews is a hash of the bytes of some hundred views, as they have been
// since views were first made: what makes them may change, they may not.
const goldenViews = "35a21bd0385853e5"

func TestViewsAreWhatTheyWere(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("exponentials may differ in their last bit, and with them windows")
	}
	r, h := rand.New(rand.NewPCG(21, 22)), fnv.New64a()
	for i := range 400 {
		p := noise(1+r.IntN(60), 1+r.IntN(60), []int{1, 3}[r.IntN(2)], r.Uint64())
		shape := model.Shape{H: 1 + r.IntN(40), W: 1 + r.IntN(40), C: []int{1, 3}[r.IntN(2)]}
		got := goldenView(t, p, shape, i)
		for _, v := range got {
			h.Write(binary.LittleEndian.AppendUint32(nil, math.Float32bits(v)))
		}
	}
	if got := fmt.Sprintf("%x", h.Sum64()); got != goldenViews {
		t.Errorf("the views' hash is %s, was %s", got, goldenViews)
	}
}

// goldenView is view i of p by one of some lists of steps.
func goldenView(t *testing.T, p Picture, shape model.Shape, i int) []float32 {
	steps := allSteps(shape.H, shape.W)
	strong := model.View{Kind: "jitter", Brightness: 0.8, Contrast: 0.8, Saturation: 0.8, Hue: 0.5, P: 0.8}
	switch i % 4 {
	case 1: // flipped before, between and after, resampled twice, blurred widely
		steps = append([]model.View{{Kind: "flip", P: 0.5}, strong, {Kind: "resize", H: 1 + i%50}, {Kind: "flip", P: 0.5},
			{Kind: "blur", Sigma: [2]float64{0.1, 9}, P: 0.5}, {Kind: "flip", P: 0.5}}, steps...)
	case 2:
		steps = []model.View{{Kind: "resize", H: shape.H + shape.W}, {Kind: "flip", P: 0.5}, {Kind: "centre", H: shape.H, W: shape.W},
			{Kind: "jitter", P: 1}, {Kind: "grey", P: 0.5}, {Kind: "flip", P: 0.5}}
	case 3:
		steps = append(steps, model.View{Kind: "flip", P: 0.5}, cropStep(shape.H, shape.W, 0.1, 0.9))
	}
	v, err := NewViews(steps, shape, Norm{Mean: []float32{0.4, 0.5, 0.6}[:shape.C], Std: []float32{0.2, 0.3, 0.4}[:shape.C]})
	if err != nil {
		t.Fatal(err)
	}
	got := make([]float32, shape.Elements())
	if err := v.Apply(got, p, Key{Seed: 3, Epoch: i % 3, Image: i, View: i % 2}); err != nil {
		t.Fatal(err)
	}
	return got
}
