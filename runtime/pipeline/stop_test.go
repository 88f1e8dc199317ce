package pipeline

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

var errPlanted = errors.New("planted")

// plant makes the fake fail at its n-th task of a kind, from 0, in the way given.
func plant(f *fake, kind TaskKind, n int, how func() error) {
	f.before = func(t Task) error {
		if t.Kind != kind {
			return nil
		}
		if n--; n >= 0 {
			return nil
		}
		return how()
	}
}

func TestFirstCauseStopsAll(t *testing.T) {
	ways := map[string]func() error{
		"planted":                func() error { return errPlanted },
		"panic: planted":         func() error { panic(errPlanted) },
		"it ended its goroutine": func() error { runtime.Goexit(); return nil },
	}
	for _, md := range modes {
		kinds := []TaskKind{Forward, Loss, Sweep, Update}
		if md.recompute {
			kinds = append(kinds, Embed)
		}
		settings(md.of(stoppable()), func(setting string, s Spec) {
			for u := range s.Units {
				for _, kind := range kinds {
					for how, way := range ways {
						name := fmt.Sprintf("%s, %s, %s of unit %d, %s", md.name, setting, kind, u, how)
						checkFailure(t, name, s.Roomy(), u, kind, how, way)
					}
				}
			}
		})
	}
}

// stoppable is an endless chain with all there is in it.
func stoppable() Spec {
	s := chain(3, 2)
	s.Micros, s.Batches = 2, 0
	s.Units[1].Relays, s.Units[0].Tied = true, true
	return s
}

func checkFailure(t *testing.T, name string, s Spec, u int, kind TaskKind, how string, way func() error) {
	t.Helper()
	mem, fs := newChain(&s)
	var at Task
	plant(fs[u], kind, 3, way)
	planted := fs[u].before
	fs[u].before = func(t Task) error { at = t; return planted(t) }
	p, err := New(s, units(fs), Hooks{Feed: mem.feed})
	if err != nil {
		t.Fatal(err)
	}
	got := p.Run(context.Background())
	if want := fmt.Sprintf("unit %q: %v: %s", s.Units[u].Name, at, how); got == nil || got.Error() != want {
		t.Errorf("%s: got %v, want %s", name, got, want)
	}
	if how != "it ended its goroutine" && !errors.Is(got, errPlanted) {
		t.Errorf("%s: %v does not wrap its cause", name, got)
	}
}

func TestPanicKeepsItsStack(t *testing.T) {
	s := chain(1, 0).Roomy()
	_, fs := newChain(&s)
	fs[0].before = func(Task) error { panic("nowhere to go") }
	p, _ := New(s, units(fs), Hooks{})
	err := p.Run(context.Background())
	var pn *Panic
	if !errors.As(err, &pn) || len(pn.Stack) == 0 || pn.Value != "nowhere to go" {
		t.Fatalf("got %v", err)
	}
	if want := `unit "u0": forward of batch 0, microbatch 0: panic: nowhere to go`; err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if pn.Unwrap() != nil {
		t.Error("a panic with a text unwraps to an error")
	}
}

func TestHooksFail(t *testing.T) {
	fail := func() error { return errPlanted }
	for _, c := range []struct {
		name  string
		hooks Hooks
		want  string
	}{
		{"feed", Hooks{Feed: func(context.Context, Task) error { return fail() }},
			`unit "low": images of batch 0, microbatch 0: planted`},
		{"snapshot", Hooks{Snapshot: func(_ context.Context, u, _ int) error {
			if u == 2 {
				return fail()
			}
			return nil
		}}, `unit "high": snapshot after batch 1: planted`},
		{"barrier", Hooks{Barrier: func(int) error { return fail() }}, `snapshot after batch 1: planted`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := named(chain(3, 0))
			s.Batches, s.Barrier = 4, every(2)
			s = s.Roomy()
			mem, fs := newChain(&s)
			if c.hooks.Feed == nil {
				c.hooks.Feed = mem.feed
			}
			p, err := New(s, units(fs), c.hooks)
			if err != nil {
				t.Fatal(err)
			}
			got := p.Run(context.Background())
			if !errors.Is(got, errPlanted) || len(got.Error()) < len(c.want) ||
				got.Error()[len(got.Error())-len(c.want):] != c.want {
				t.Errorf("got %v, want it to end in %s", got, c.want)
			}
		})
	}
}

// TestCancelAtAnyInstant cancels from within the n-th task of all. Each other
// unit may be past its look at the context, so it may begin one task more.
func TestCancelAtAnyInstant(t *testing.T) {
	for n := range int64(200) {
		base := modes[n%3].of(stoppable())
		settings(base, func(setting string, s Spec) {
			s = s.Roomy()
			mem, fs := newChain(&s)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			var begun, after atomic.Int64
			var canceled atomic.Bool
			for _, f := range fs {
				f.before = func(Task) error {
					if canceled.Load() {
						after.Add(1)
					}
					if begun.Add(1) == n+1 {
						cancel()
						canceled.Store(true)
					}
					return nil
				}
			}
			p, err := New(s, units(fs), Hooks{Feed: mem.feed})
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Run(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("%s, task %d: %v", setting, n, err)
			}
			if after.Load() > int64(len(fs)) {
				t.Errorf("%s, task %d: %d tasks begun after the end", setting, n, after.Load())
			}
		})
	}
}

func TestCancelCauseIsTold(t *testing.T) {
	s := stoppable().Roomy()
	_, fs := newChain(&s)
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errPlanted)
	p, err := New(s, units(fs), Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(ctx); err != errPlanted {
		t.Errorf("got %v", err)
	}
	if len(fs[0].log) > 0 {
		t.Error("a canceled run began")
	}
}

// TestStartsAndCancels goes through a thousand lives and compares goroutines.
func TestStartsAndCancels(t *testing.T) {
	before := goleak.IgnoreCurrent()
	for i := range 1000 {
		s := modes[i%3].of(stoppable())
		s.Stall, s.Depth = 1e9, 1+i%3
		s = s.Roomy()
		mem, fs := newChain(&s)
		ctx, cancel := context.WithCancel(context.Background())
		left := i % 17
		fs[i%len(fs)].before = func(Task) error {
			if left--; left < 0 {
				cancel()
			}
			return nil
		}
		p, err := New(s, units(fs), Hooks{Feed: mem.feed, Stalled: func(string) {}})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
}
