package runtime

import (
	"context"
	"testing"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/graphs/cpu"
)

// overflow makes pictures so large that no forward pass is finite.
func overflow(n *model.Net) {
	n.Data.Normalise = model.Normalise{Kind: "given", Mean: []float64{0, 0, 0}, Std: []float64{1e-40, 1e-40, 1e-40}}
}

// attempt trains and returns the error.
func attempt(t *testing.T, net *model.Net, edit func(*Config)) (*Result, error) {
	t.Helper()
	b := onCPU(t, cpu.Options{})
	defer b.Close()
	cfg := Config{Net: net, Backend: b, Depth: 1, Workers: 1}
	if edit != nil {
		edit(&cfg)
	}
	r, err := Prepare(cfg)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return r.Train(context.Background())
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("the error is\n\t%v\nwant\n\t%s", err, want)
	}
}

func TestNotFiniteStops(t *testing.T) {
	_, err := attempt(t, tiny(2, [][2]int{{0, 1}}, overflow), nil)
	wantError(t, err, "unit \"u1\": batch 0 (epoch 1, step 1): the views of image 31 are not finite (+Inf); give `normalise` other means and deviations")
}

// TestSkippedBatchesChangeNothing skips every batch and wants the weights and
// running statistics of the start.
func TestSkippedBatchesChangeNothing(t *testing.T) {
	for _, depth := range []int{1, 4} {
		net := tiny(4, pairs, overflow)
		for _, u := range net.Units {
			u.OnNaN = "skip"
		}
		skipped := map[string]int{}
		res, err := attempt(t, net, func(c *Config) {
			c.Depth = depth
			c.Events.Batch = func(r BatchReport) {
				if r.Skipped && r.Unit == "u2" {
					skipped[r.Unit]++
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		r := &Run{net: net}
		start := must(r.initial())(t)
		if skipped["u2"] != res.Batches || res.Batches != 10 {
			t.Errorf("depth %d: %d of %d batches were skipped", depth, skipped["u2"], res.Batches)
		}
		if string(dump(res.Weights)) != string(dump(start)) {
			t.Errorf("depth %d: skipped batches changed weights or running statistics", depth)
		}
	}
}

// TestBrokenWeightsEnd lets an update overflow: skipping would go on for ever.
func TestBrokenWeightsEnd(t *testing.T) {
	net := tiny(2, [][2]int{{0, 1}}, nil)
	u := net.Units[0]
	u.OnNaN = "skip"
	u.Optimizer = model.Optimizer{Kind: "adamw", LR: 3e38, Betas: [2]float64{0.9, 0.999}, Eps: 1e-8, WeightDecay: 1}
	_, err := attempt(t, net, nil)
	wantError(t, err, "unit \"u1\": batch 1 (epoch 1, step 2): s1.conv1: the weights s1.conv1.weight were not finite before the batch (+Inf at element 6); lower the learning rate")
}
