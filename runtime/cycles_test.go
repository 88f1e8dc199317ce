package runtime

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/locorun/locorun/graphs/cpu"
	"go.uber.org/goleak"
)

// openFiles is the number of files that the process has open.
func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc/self/fd: open files are not counted on this system")
	}
	return len(list)
}

// settled is the resident memory once garbage is gone.
func settled(t *testing.T) int64 {
	t.Helper()
	runtime.GC()
	debug.FreeOSMemory()
	now, _ := resident(t)
	return now
}

// flat fails the test where the resident memory has grown, or varied, by 5 % and
// more than what the runtime and the test keep for themselves.
func flat(t *testing.T, what string, low, high int64) {
	t.Helper()
	t.Logf("%s: resident %.1f to %.1f MiB, %+.1f %%", what, float64(low)/(1<<20), float64(high)/(1<<20), 100*float64(high-low)/float64(low))
	if !raced && high-low >= low/20 {
		t.Errorf("%s: resident memory went from %d to %d bytes, 5 %% and more", what, low, high)
	}
}

// TestStartsAndCancels goes through many lives of a run on folders of pictures,
// each canceled at a moment of its own, and compares goroutines, open files and
// resident memory. The first fifth warms up.
func TestStartsAndCancels(t *testing.T) {
	leak := goleak.IgnoreCurrent()
	dir := t.TempDir()
	pictures(t, filepath.Join(dir, "train"), 12, "ant", "bee")
	pictures(t, filepath.Join(dir, "test"), 4, "ant", "bee")
	moments := rand.New(rand.NewPCG(5, 6))
	cycles := rounds(50, 1000)
	files, before := openFiles(t), int64(0)
	for n := range cycles {
		if n == cycles/5 {
			before = settled(t)
		}
		net := tiny(4, pairs, folders(dir))
		net.Train.Epochs = 1 << 20
		b := onCPU(t, cpu.Options{})
		cancelled(t, Config{Net: net, Backend: b, Depth: 1 + n%3, Workers: n % 4, Stall: time.Hour},
			time.Duration(moments.IntN(30_000))*time.Microsecond)
		ok(t, b.Close())
	}
	flat(t, "after the first fifth, at the end", before, max(before, settled(t)))
	if now := openFiles(t); now != files {
		t.Errorf("%d open files, %d at the start", now, files)
	}
	if err := goleak.Find(leak); err != nil {
		t.Error(err)
	}
}

// TestCancelledWithinSeconds cancels endless runs at random instants, in all
// ways of holding frames.
func TestCancelledWithinSeconds(t *testing.T) {
	defer goleak.VerifyNone(t)
	b := onCPU(t, cpu.Options{})
	defer b.Close()
	moments := rand.New(rand.NewPCG(7, 8))
	names := []string{"loco", "three batch", "also", "soft", "in turn"}
	for n := range rounds(20, 200) {
		net := variants()[names[n%len(names)]]()
		net.Train.Epochs = 1 << 20
		if n%2 == 0 {
			readouts(net)
		}
		cfg := Config{Net: net, Backend: b, Depth: 1 + n%4, Workers: n % 3, Recompute: net.Units[0].Loss.Batch && n%2 == 0}
		cancelled(t, cfg, time.Duration(moments.IntN(100_000))*time.Microsecond)
	}
}

// cancelled cancels a run after a while and wants it back within two seconds,
// for that reason and no other.
func cancelled(t *testing.T, cfg Config, after time.Duration) {
	t.Helper()
	r := must(Prepare(cfg))(t)
	defer r.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := r.Train(ctx)
		ended <- err
	}()
	time.Sleep(after)
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("canceled after %v: %v", after, err)
		}
	case <-time.After(2 * time.Second):
		t.Errorf("canceled after %v: it goes on for two seconds", after)
		<-ended
	}
}
