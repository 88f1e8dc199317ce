package runtime

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/plan"
	"github.com/locorun/locorun/graphs/cpu"
)

// losses gathers the losses of batches by unit.
type losses struct {
	mu sync.Mutex
	of map[string][]float64
}

func (l *losses) batch(r BatchReport) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = map[string][]float64{}
	}
	for _, x := range r.Losses {
		l.of[x.Name] = append(l.of[x.Name], x.Loss)
	}
}

// tryOn runs a trial on a backend of its own.
func tryOn(t *Trial) (*Tried, error) {
	b := cpu.New(cpu.Options{Tier: testedTier()})
	defer b.Close()
	t.Backend = b
	return t.Run(context.Background())
}

// TestTrialTrainsAsARun compares a trial's losses on real views with a run's,
// bit for bit.
func TestTrialTrainsAsARun(t *testing.T) {
	for name, make := range variants() {
		net := make()
		if net.Train.InTurn {
			continue // a trial is of one turn
		}
		for _, depth := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s depth %d", name, depth), func(t *testing.T) {
				var run, trial losses
				train(t, net, func(c *Config) { c.Depth, c.Events.Batch = depth, run.batch })
				tr := &Trial{Config: Config{Net: net, Depth: depth, Workers: 1}, Batches: 7, Views: true}
				tr.Events.Batch = trial.batch
				must(tryOn(tr))(t)
				for unit, want := range run.of {
					if got := trial.of[unit]; !slices.Equal(got, want[:7]) {
						t.Errorf("%s: losses %v, a run's are %v", unit, got, want)
					}
				}
			})
		}
	}
}

// TestTrialEqualsPlan looks at operations and memory of every variant on noise,
// of which a program has no data.
func TestTrialEqualsPlan(t *testing.T) {
	for name, make := range variants() {
		for _, depth := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s depth %d", name, depth), func(t *testing.T) {
				net := make()
				net.Data.Images = &model.Source{Kind: "folder", Paths: []string{"not there"}}
				net.Data.Normalise = model.Normalise{Kind: "auto"}
				turns := must(lower.Turns(net, lower.Options{Depth: depth}))(t)
				for k, p := range turns {
					holdTrial(t, &Trial{Config: Config{Net: net, Depth: depth}, Turn: k, Batches: 6}, p)
				}
			})
		}
	}
}

// holdTrial compares a trial with its program.
func holdTrial(t *testing.T, tr *Trial, p *ir.Program) {
	t.Helper()
	ready := 0
	var ended []int
	tr.Ready, tr.Ended = func() { ready++ }, func(b int) { ended = append(ended, b) }
	res := must(tryOn(tr))(t)
	if ready != 1 || !slices.Equal(ended, []int{0, 1, 2, 3, 4, 5}) || len(res.Seconds) != 6 || slices.Min(res.Seconds) <= 0 {
		t.Errorf("ready %d times, batches ended %v, seconds %v", ready, ended, res.Seconds)
	}
	if want := plan.Of(tr.Net, p, 0).FLOPs; res.FLOPs != want {
		t.Errorf("%d operations a batch, planned %d", res.FLOPs, want)
	}
	if res.Bytes() != p.Bytes() {
		t.Errorf("%d bytes, planned %d", res.Bytes(), p.Bytes())
	}
	for _, s := range ir.Spaces() {
		if res.HighWater[s] != p.Sizes[s] {
			t.Errorf("%s: touched %d bytes, planned %d", s, res.HighWater[s], p.Sizes[s])
		}
	}
}

// TestTrialIsLonger trains on views for more batches than the file has epochs
// for.
func TestTrialIsLonger(t *testing.T) {
	net := tiny(2, [][2]int{{0, 1}}, func(n *model.Net) { n.Train.Epochs = 1 })
	res := must(tryOn(&Trial{Config: Config{Net: net, Depth: 1, Workers: 2}, Batches: 12, Views: true}))(t)
	if len(res.Seconds) != 12 || net.Train.Epochs != 1 {
		t.Errorf("%d batches, the net has %d epochs", len(res.Seconds), net.Train.Epochs)
	}
}

func TestTrialRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		spoil  func(*Trial)
		reason string
	}{
		{"no batch", func(t *Trial) { t.Batches = 0 }, "a trial of 0 batches"},
		{"turn", func(t *Trial) { t.Turn = 1 }, "there is no turn 2; the program has 1"},
		{"depth", func(t *Trial) { t.Depth = 0 }, "depth is at least 1"},
		{"no data", func(t *Trial) {
			t.Views = true
			t.Net.Data.Images = &model.Source{Kind: "folder", Paths: []string{"not there"}}
		}, "not there: no such file or directory"},
		{"diverges", func(t *Trial) {
			for _, u := range t.Net.Units {
				u.Optimizer.LR = 1e38
			}
		}, "lower the learning rate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := &Trial{Config: Config{Net: tiny(2, [][2]int{{0, 1}}, nil), Depth: 1}, Batches: 3}
			c.spoil(tr)
			if _, err := tryOn(tr); err == nil || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("error %v, want %q", err, c.reason)
			}
		})
	}
}

func TestTrialEndsByItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	b := onCPU(t, cpu.Options{})
	defer b.Close()
	tr := &Trial{Config: Config{Net: tiny(2, [][2]int{{0, 1}}, nil), Depth: 1, Backend: b}, Batches: 1 << 20}
	tr.Ended = func(int) { cancel() }
	if _, err := tr.Run(ctx); err == nil {
		t.Error("no error")
	}
}

func TestLoading(t *testing.T) {
	for _, workers := range []int{0, 2} {
		tr := &Trial{Config: Config{Net: tiny(2, [][2]int{{0, 1}}, nil), Depth: 1, Workers: workers}}
		rate, err := tr.Loading(context.Background(), time.Millisecond)
		if err != nil || rate <= 0 {
			t.Errorf("%d workers: %g images a second, %v", workers, rate, err)
		}
	}
}
