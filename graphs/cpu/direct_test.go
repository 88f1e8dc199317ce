package cpu

import (
	"slices"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// TestPackedWeightsFollowTheWeights changes weights in every way there is and
// looks whether a convolution notices.
func TestPackedWeightsFollowTheWeights(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) {
		b := New(Options{Workers: 2, Tier: tier})
		t.Cleanup(func() { b.Close() })
		x, w, y := filled(t, b, wave, 2, 5, 5, 3), filled(t, b, wave, 4, 3, 3, 3), filled(t, b, zero, 2, 5, 5, 4)
		g, dy, dx := filled(t, b, wave, 4, 3, 3, 3), filled(t, b, wave, 2, 5, 5, 4), filled(t, b, zero, 2, 5, 5, 3)
		attr := op.Attr{KH: 3, KW: 3, Stride: 1, Pad: 1, H: 5, W: 5}
		forward := &device.Call{Code: op.Conv, Attr: attr, In: []device.Tensor{x, w}, Out: []device.Tensor{y}}
		backward := &device.Call{Code: op.ConvInput, Attr: attr, In: []device.Tensor{dy, w}, Out: []device.Tensor{dx}}
		changes := map[string]func(){
			"written": func() { noError(t, b.Write(w, make([]byte, w.Bytes()))) },
			"copied":  func() { must(t, b, &device.Call{Code: op.Copy, In: []device.Tensor{g}, Out: []device.Tensor{w}}) },
			"updated": func() {
				must(t, b, &device.Call{Code: op.SGD, Attr: op.Attr{LRFactor: 1}, LR: 1, In: []device.Tensor{w, g}, Out: []device.Tensor{w, g}})
			},
		}
		for _, name := range []string{"written", "copied", "updated"} {
			for _, call := range []*device.Call{forward, backward} {
				must(t, b, call)
				before := numbers(t, b, call.Out[0])
				changes[name]()
				must(t, b, call)
				if slices.Equal(before, numbers(t, b, call.Out[0])) {
					t.Errorf("%s weights: %v computes with the old ones", name, call.Code)
				}
				noError(t, b.Write(w, slices.Repeat([]byte{0, 0, 128, 63}, w.Elements()))) // ones
				noError(t, b.Write(g, slices.Repeat([]byte{0, 0, 0, 63}, w.Elements())))   // halves
			}
		}
	})
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestTierNamed finds tiers by name and refuses others.
func TestTierNamed(t *testing.T) {
	for _, tier := range Tiers() {
		if got, err := TierNamed(tier.Name()); err != nil || got.Name() != tier.Name() {
			t.Errorf("%s: got %q, %v", tier.Name(), got.Name(), err)
		}
	}
	if got, err := TierNamed(""); err != nil || got.Name() != Tiers()[0].Name() {
		t.Errorf("no name: got %q, %v", got.Name(), err)
	}
	last := Tiers()[len(Tiers())-1].Name()
	if last != "portable" {
		t.Errorf("the last tier is %q", last)
	}
	_, err := TierNamed("mmx")
	if err == nil || !strings.HasPrefix(err.Error(), `this processor has no tier "mmx"; it has `) {
		t.Errorf("got %v", err)
	}
}
