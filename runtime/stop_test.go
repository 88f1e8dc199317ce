package runtime

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/graphs/cpu"
	"go.uber.org/goleak"
)

// within fails the test where f hangs.
func within(t *testing.T, limit time.Duration, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(limit):
		t.Fatalf("it goes on after %v", limit)
	}
}

// TestCancelledAnywhere ends a run by its context at many moments, from before
// its first batch to after its last, and wants it back soon with nothing left.
func TestCancelledAnywhere(t *testing.T) {
	defer goleak.VerifyNone(t)
	b := onCPU(t, cpu.Options{})
	defer b.Close()
	moments := rand.New(rand.NewPCG(1, 2))
	for n := range 30 {
		net := tiny(4, pairs, readouts)
		r := must(Prepare(Config{Net: net, Backend: b, Depth: 1 + n%3, Workers: n % 4, Stall: time.Hour}))(t)
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(time.Duration(moments.IntN(n*3+1))*time.Millisecond, cancel)
		within(t, 2*time.Second, func() {
			if _, err := r.Train(ctx); err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("run %d: %v", n, err)
			}
		})
		cancel()
		r.Close()
	}
}

// TestStoppedAnywhere asks a run to stop, from several goroutines at once, and
// wants whole weights.
func TestStoppedAnywhere(t *testing.T) {
	defer goleak.VerifyNone(t)
	b := onCPU(t, cpu.Options{})
	defer b.Close()
	for n := range 12 {
		net := tiny(4, pairs, readouts)
		net.Train.Epochs = 1 << 20
		r := must(Prepare(Config{Net: net, Backend: b, Depth: 1 + n%3, Workers: n % 2}))(t)
		time.AfterFunc(time.Duration(n*n)*time.Millisecond, func() {
			var all sync.WaitGroup
			for range 4 {
				all.Go(r.Stop)
			}
			all.Wait()
		})
		within(t, 5*time.Second, func() {
			res, err := r.Train(context.Background())
			if err != nil || !res.Stopped || res.Batches < 1 || res.Weights.Batch != res.Batches {
				t.Errorf("stop %d: %v, %+v", n, err, res)
			}
		})
		r.Close()
	}
}

// TestFailedLeavesNothing breaks a picture in the middle of an epoch.
func TestFailedLeavesNothing(t *testing.T) {
	defer goleak.VerifyNone(t)
	dir := t.TempDir()
	pictures(t, filepath.Join(dir, "train"), 20, "ant", "bee")
	bad := filepath.Join(dir, "train", "bee", "7.png")
	text := must(os.ReadFile(bad))(t)
	ok(t, os.WriteFile(bad, text[:len(text)-40], 0o600))
	for _, depth := range []int{1, 4} {
		net := tiny(4, pairs, folders(dir))
		net.Data.Normalise = model.Normalise{Kind: "none"}
		net.Data.Test, net.Readouts = nil, nil
		_, err := attempt(t, net, func(c *Config) { c.Depth, c.Workers = depth, 3 })
		if err == nil || !strings.HasPrefix(err.Error(), `unit "u1": images of batch 1, microbatch 0: `+bad+": ") {
			t.Errorf("depth %d: the error is %v", depth, err)
		}
	}
}
