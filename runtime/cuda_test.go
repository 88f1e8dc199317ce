package runtime

import (
	"context"
	"math"
	"testing"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/graphs/cpu"
	"github.com/locorun/locorun/graphs/cuda/cudatest"
	"github.com/locorun/locorun/graphs/device"
)

// lossesOf trains and gives each unit's losses in order.
func lossesOf(t *testing.T, net *model.Net, b device.Backend, depth int) map[string][]float64 {
	t.Helper()
	losses := map[string][]float64{}
	r := must(Prepare(Config{Net: net, Backend: b, Depth: depth, Events: Events{Batch: func(r BatchReport) {
		for _, l := range r.Losses {
			losses[l.Name] = append(losses[l.Name], l.Loss) // depth 1: one unit at a time
		}
	}}}))(t)
	defer r.Close()
	must(r.Train(context.Background()))(t)
	return losses
}

// TestTrainsOnCUDA: the losses of every variant follow those of the processor.
// Sums of another order round otherwise; where that carries one of these few
// pixels over a relu's edge, a gradient changes by percents, so that only the
// first losses are compared closely. TestGoldensOnCUDA does so for ten batches.
func TestTrainsOnCUDA(t *testing.T) {
	b := cudatest.Open(t)
	host := cpu.New(cpu.Options{})
	defer host.Close()
	for name, make := range variants() {
		if testing.Short() && name != "loco" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			want, got := lossesOf(t, make(), host, 1), lossesOf(t, make(), b, 1)
			if len(want) != len(got) || len(want) == 0 {
				t.Fatalf("losses of %d units, want %d", len(got), len(want))
			}
			for unit, list := range want {
				for i, w := range list {
					if g := got[unit][i]; !(math.Abs(g/w-1) < tolerance(i)) {
						t.Errorf("unit %s, batch %d: the loss is %v, on the processor %v", unit, i, g, w)
						break
					}
				}
			}
		})
	}
}

func tolerance(batch int) float64 {
	if batch == 0 {
		return 1e-5
	}
	return 5e-2
}
