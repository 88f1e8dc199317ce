package runtime

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/locorun/locorun/graphs/cuda/cudatest"
	"github.com/locorun/locorun/graphs/device"
)

// TestTrainsOnALateCard: on a card that does nothing before somebody waits for it,
// or does it by chance, training gives the same losses: units on lanes of their own,
// several microbatches on their way, segments recorded.
func TestTrainsOnALateCard(t *testing.T) {
	if os.Getenv("LOCORUN_LONG") == "" {
		t.Skip("LOCORUN_LONG is not set: two minutes")
	}
	want := lossesBeside(t, cudatest.OpenLate(t, 0), 1)
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			got := lossesBeside(t, cudatest.OpenLate(t, seed), 3)
			if len(want) == 0 || !maps.EqualFunc(got, want, slices.Equal[[]float64]) {
				t.Errorf("losses are\n%v\nnot\n%v", got, want)
			}
		})
	}
}

// lossesBeside trains units that report side by side, and gives each one's losses in
// order.
func lossesBeside(t *testing.T, b device.Backend, depth int) map[string][]float64 {
	t.Helper()
	var mu sync.Mutex
	losses := map[string][]float64{}
	r := must(Prepare(Config{Net: variants()["loco"](), Backend: b, Depth: depth, Events: Events{Batch: func(r BatchReport) {
		mu.Lock()
		defer mu.Unlock()
		for _, l := range r.Losses {
			losses[l.Name] = append(losses[l.Name], l.Loss)
		}
	}}}))(t)
	defer r.Close()
	must(r.Train(context.Background()))(t)
	return losses
}
