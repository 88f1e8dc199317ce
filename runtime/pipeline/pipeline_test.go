package pipeline

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mode is how a batch's losses are taken.
type mode struct {
	name                 string
	batchLoss, recompute bool
}

var modes = []mode{{"microbatch", false, false}, {"kept", true, false}, {"recomputed", true, true}}

func (m mode) of(s Spec) Spec {
	s.BatchLoss, s.Recompute = m.batchLoss, m.recompute
	return s
}

// result runs s with fake units and returns their state and logs.
func result(t *testing.T, s Spec, prepare func(*fake)) (string, [][]Task) {
	t.Helper()
	s = s.Roomy()
	return exactly(t, s, prepare)
}

// exactly is result with the capacities of s.
func exactly(t *testing.T, s Spec, prepare func(*fake)) (string, [][]Task) {
	t.Helper()
	mem, fs := newChain(&s)
	for _, f := range fs {
		if prepare != nil {
			prepare(f)
		}
	}
	p, err := New(s, units(fs), Hooks{Feed: mem.feed})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(context.Background()); err != nil {
		t.Fatalf("%v\n%s", err, p.Report())
	}
	return state(fs), logs(fs)
}

func logs(fs []*fake) [][]Task {
	var ls [][]Task
	for _, f := range fs {
		ls = append(ls, f.log)
	}
	return ls
}

func expected(t *testing.T, s Spec) string {
	t.Helper()
	o := newOracle(s)
	if err := o.run(); err != nil {
		t.Fatal(err)
	}
	return state(o.fakes)
}

// settings calls f with the chain at every depth, lean first.
func settings(s Spec, f func(name string, s Spec)) {
	s.Lean, s.Depth = true, 1
	f("lean", s)
	for _, d := range []int{1, 2, 8} {
		s.Lean, s.Depth = false, d
		f(fmt.Sprintf("depth %d", d), s)
	}
}

func TestPipelineEqualsOracle(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for n := 1; n <= 16; n++ {
		for wide := range 4 {
			base := chain(n, wide)
			base.Micros, base.First, base.Batches = 1+(n+wide)%5, n%3, n%3+3
			for _, md := range modes {
				base := md.of(base)
				want := expected(t, base)
				settings(base, func(name string, s Spec) {
					procsOf := []int{1, 2, 4}
					if n > 8 { // long chains take them in turn
						procsOf = procsOf[n%3 : n%3+1]
					}
					for _, procs := range procsOf {
						runtime.GOMAXPROCS(procs)
						if got, _ := result(t, s, nil); got != want {
							t.Errorf("%d units, %d messages, %s, %s, %d processors: other bytes than the oracle's",
								n, wide, md.name, name, procs)
						}
					}
				})
			}
		}
	}
}

func TestRandomChainsEqualOracle(t *testing.T) {
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 1))
		base := modes[r.IntN(3)].of(randomChain(r, 1+r.IntN(8)))
		base.Micros, base.Batches = 1+r.IntN(5), 4
		for u := range base.Units { // room to run batches ahead, in half of them
			base.Units[u].Slots = int(seed%2) * (8 + r.IntN(12))
		}
		want := expected(t, base)
		settings(base, func(name string, s Spec) {
			if got, _ := result(t, s, nil); got != want {
				t.Errorf("seed %d, %s: other bytes than the oracle's", seed, name)
			}
		})
	}
}

func TestManySchedulesOneLog(t *testing.T) {
	s := chain(4, 2)
	s.Micros, s.Depth, s.Batches = 3, 2, 2
	s.Units[1].Relays = true
	for _, md := range modes {
		s := md.of(s)
		want, wantLogs := result(t, s, nil)
		for seed := range uint64(334) {
			got, gotLogs := result(t, s, func(f *fake) { f.before = dawdle(seed, f.u) })
			if got != want || fmt.Sprint(gotLogs) != fmt.Sprint(wantLogs) {
				t.Fatalf("%s, seed %d: another schedule gave another log", md.name, seed)
			}
		}
	}
}

// dawdle yields or sleeps at random before each task.
func dawdle(seed uint64, u int) func(Task) error {
	r := rand.New(rand.NewPCG(seed, uint64(u)))
	return func(Task) error {
		switch r.IntN(24) {
		case 0:
			time.Sleep(time.Duration(r.IntN(30)) * time.Microsecond)
		case 1, 2, 3, 4, 5, 6, 7, 8:
			runtime.Gosched()
		}
		return nil
	}
}

// TestLeanFollowsTurns needs no lock around the common log: the baton is one,
// and the race detector watches.
func TestLeanFollowsTurns(t *testing.T) {
	for _, md := range modes {
		s := md.of(chain(4, 2))
		s.Micros, s.Lean, s.Batches = 3, true, 2
		var got, want []Turn
		result(t, s, func(f *fake) {
			f.after = func(t Task) { got = append(got, Turn{f.u, t}) }
		})
		for b := range s.Batches {
			for _, turn := range Turns(s) {
				turn.Task.Batch, turn.Task.Seq = b, b*s.Micros+turn.Task.Micro
				want = append(want, turn)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got\n%v\nwant\n%v", md.name, got, want)
		}
	}
}

func TestNothingToDo(t *testing.T) {
	s := chain(2, 1)
	s.First, s.Batches = 5, 5
	_, ls := result(t, s, nil)
	if len(ls[0])+len(ls[1]) != 0 {
		t.Errorf("a run past its end ran %v", ls)
	}
}

func TestRunIsForOneUse(t *testing.T) {
	s := chain(1, 0).Roomy()
	_, fs := newChain(&s)
	p, err := New(s, units(fs), Hooks{Feed: fs[0].mem.feed})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := p.Run(context.Background()); err == nil || err.Error() != "the pipeline has run already" {
		t.Errorf("second Run: %v", err)
	}
	if p.Next() != 3 {
		t.Errorf("Next is %d, want 3", p.Next())
	}
}
