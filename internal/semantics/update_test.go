package semantics

import (
	"testing"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/internal/reference"
)

// TestOptimizers follows each optimiser for four batches, with a rate that
// falls, weight decay and a factor for each unit.
func TestOptimizers(t *testing.T) {
	optimizers := map[string]model.Optimizer{
		"sgd plain":    {Kind: "sgd", WeightDecay: 0.01},
		"sgd momentum": {Kind: "sgd", Momentum: 0.9, WeightDecay: 0.01},
		"sgd nesterov": {Kind: "sgd", Momentum: 0.8, Nesterov: true},
		"lars":         {Kind: "lars", Momentum: 0.9, WeightDecay: 0.01, Trust: 0.02, Eps: 1e-8},
		"lars eps":     {Kind: "lars", Momentum: 0.5, Trust: 0.02, Eps: 0.1},
		"adamw":        {Kind: "adamw", WeightDecay: 0.1, Betas: [2]float64{0.9, 0.99}, Eps: 1e-6},
	}
	nets := map[string][]func(*model.Net){
		"loco": {micro(2, true), watch(1, -1)},
		"soft": {copies(1, 0.05, 2)},
	}
	for name, o := range optimizers {
		for kind, edits := range nets {
			units := loco
			if kind == "soft" {
				units = [][2]int{{0, 0}, {1, 1}, {2, 3}}
			}
			t.Run(name+" "+kind, func(t *testing.T) {
				optimise(t, net(blocks(4, 0), units, -1, append(edits, optimizer(o))...))
			})
		}
	}
}

func optimise(t *testing.T, n *model.Net) {
	ref := reference.Start(n, -1, 1)
	m := newMachine(t, n, together, ref)
	for batch := range 4 {
		x, lr := pictures(n, batch), 0.05/float64(1+batch)
		want, got := refStep(ref, x, lr, batch+1), m.step(x, lr)
		if bad := compare(got, want, 1e-8); len(bad) > 0 {
			t.Fatalf("batch %d:\n%s", batch, join(bad))
		}
		if batch < 3 {
			continue
		}
		other := reference.Start(n, -1, 1)
		for b := range 4 {
			want = refStep(other, pictures(n, b), 0.05/float64(1+b)*(1+1e-6), b+1)
		}
		if len(differ(got.weights, want.weights, 1e-8)) == 0 {
			t.Error("another rate goes unnoticed")
		}
	}
}

// TestMixedSettings gives each unit an optimiser of its own.
func TestMixedSettings(t *testing.T) {
	n := bare(4, loco, watch(2, -1))
	n.Units[0].Optimizer = model.Optimizer{Kind: "adamw", Betas: [2]float64{0.9, 0.95}, Eps: 1e-6, WeightDecay: 0.1}
	n.Units[1].Optimizer = model.Optimizer{Kind: "lars", Momentum: 0.9, Trust: 0.01, Eps: 1e-8, WeightDecay: 0.01}
	n.Units[2].LR = 0.5
	follow(t, sample{n, together}, 1e-10)
}
