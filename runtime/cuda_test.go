package runtime

import (
	"bytes"
	"context"
	"math"
	"strings"
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
			follow(t, lossesOf(t, make(), b, 1), lossesOf(t, make(), host, 1), tolerance)
		})
	}
}

// follow holds losses to the processor's.
func follow(t *testing.T, got, want map[string][]float64, tolerance func(batch int) float64) {
	t.Helper()
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
}

func tolerance(batch int) float64 {
	if batch == 0 {
		return 1e-5
	}
	return 5e-2
}

// TestTrainsInBF16OnCUDA: in bfloat16 the losses follow those in float32 on the
// processor. An element of a map is off by 2^-9 of itself; of the loss of some
// hundred of them that is seen less.
func TestTrainsInBF16OnCUDA(t *testing.T) {
	b := cudatest.Open(t)
	host := cpu.New(cpu.Options{})
	defer host.Close()
	for name, make := range variants() {
		if testing.Short() && name != "loco" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			follow(t, lossesOf(t, narrow(make()), b, 1), lossesOf(t, make(), host, 1), func(batch int) float64 {
				if batch == 0 {
					return 1.0 / 512
				}
				return tolerance(batch)
			})
		})
	}
	t.Run("twice", func(t *testing.T) {
		make := variants()["loco"]
		one, two := trainOn(t, b, narrow(make()), 2, false), trainOn(t, b, narrow(make()), 2, false)
		if !bytes.Equal(dump(one), dump(two)) {
			t.Error("two runs give other bytes")
		}
		if bytes.Equal(dump(one), dump(trainOn(t, b, make(), 2, false))) {
			t.Error("so does float32")
		}
	})
}

// narrow is a net in bfloat16.
func narrow(n *model.Net) *model.Net {
	n.Train.Precision = model.BF16
	return n
}

// TestBF16OnProcessor: what it has no kernels for is refused by name.
func TestBF16OnProcessor(t *testing.T) {
	host := cpu.New(cpu.Options{})
	defer host.Close()
	r, err := Prepare(Config{Net: narrow(variants()["loco"]()), Backend: host, Depth: 1})
	if err == nil {
		defer r.Close()
		_, err = r.Train(context.Background())
	}
	if err == nil || !strings.Contains(err.Error(), "not f32 or f64") {
		t.Errorf("got %v", err)
	}
}
