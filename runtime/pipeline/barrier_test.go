package pipeline

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
)

// shelf keeps snapshots as a checkpoint would.
type shelf struct {
	mu    sync.Mutex
	taken map[int][]*fake // copies, by batch and unit
	done  []int
}

func (sh *shelf) hooks(mem *memory, fs []*fake) Hooks {
	sh.taken = map[int][]*fake{}
	return Hooks{Feed: mem.feed,
		Snapshot: func(_ context.Context, u, batch int) error {
			c := *fs[u]
			sh.mu.Lock()
			defer sh.mu.Unlock()
			if sh.taken[batch] == nil {
				sh.taken[batch] = make([]*fake, len(fs))
			}
			sh.taken[batch][u] = &c
			return nil
		},
		Barrier: func(batch int) error {
			sh.mu.Lock()
			defer sh.mu.Unlock()
			sh.done = append(sh.done, batch)
			if slices.Contains(sh.taken[batch], nil) {
				return fmt.Errorf("batch %d is reported before all have saved it", batch)
			}
			return nil
		}}
}

func TestBarrierSavesOneBatch(t *testing.T) {
	for _, md := range modes {
		for wide := range 3 {
			base := md.of(chain(4, wide))
			base.Micros, base.Barrier, base.First, base.Batches = 3, every(2), 1, 8
			settings(base, func(setting string, s Spec) {
				s = s.Roomy()
				mem, fs := newChain(&s)
				var sh shelf
				p, err := New(s, units(fs), sh.hooks(mem, fs))
				if err != nil {
					t.Fatal(err)
				}
				if err := p.Run(context.Background()); err != nil {
					t.Fatal(err)
				}
				if want := []int{1, 3, 5, 7}; !slices.Equal(sh.done, want) {
					t.Errorf("%s, %s: barriers %v, want %v", md.name, setting, sh.done, want)
				}
				for b, copies := range sh.taken {
					upTo := base
					upTo.Batches = b + 1
					if state(copies) != expected(t, upTo) {
						t.Errorf("%s, %s: batch %d is saved with something of another", md.name, setting, b)
					}
				}
			})
		}
	}
}

// TestStopAndGoOn stops at any task, goes on from the snapshot of the last
// batch, and wants the bytes of an uninterrupted run.
func TestStopAndGoOn(t *testing.T) {
	for n := range 60 {
		base := modes[n%3].of(chain(3, n%4))
		base.Micros, base.Batches = 2, 6
		base.Units[0].Tied = n%2 == 0
		want := expected(t, base)
		settings(base, func(setting string, s Spec) {
			s = s.Roomy()
			first, next := stopAt(t, s, n)
			s.First = next
			mem, fs := newChain(&s)
			for u, f := range fs {
				f.weights, f.stats, f.losses = first[u].weights, first[u].stats, first[u].losses
				f.publish(next)
			}
			p, err := New(s, units(fs), Hooks{Feed: mem.feed})
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Run(context.Background()); err != nil {
				t.Fatal(err)
			}
			if state(fs) != want {
				t.Errorf("stopped at task %d before batch %d, %s: other bytes than without", n, next, setting)
			}
		})
	}
}

// stopAt asks for the end within the n-th task of unit 1 and returns what the
// last barrier saved.
func stopAt(t *testing.T, s Spec, n int) (saved []*fake, next int) {
	t.Helper()
	mem, fs := newChain(&s)
	var sh shelf
	p, err := New(s, units(fs), sh.hooks(mem, fs))
	if err != nil {
		t.Fatal(err)
	}
	fs[1].before = func(Task) error {
		if n--; n == 0 {
			p.RequestBarrier()
			p.Stop()
		}
		return nil
	}
	if err := p.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	last := sh.done[len(sh.done)-1]
	if p.Next() != last+1 {
		t.Errorf("the next batch is %d, the last saved %d", p.Next(), last)
	}
	for _, f := range sh.taken[last] {
		if at := f.log[len(f.log)-1]; at.Kind != Update || at.Batch != last {
			t.Errorf("a unit is saved after %v, not batch %d", at, last)
		}
	}
	return sh.taken[last], p.Next()
}

// TestRequestBarrier asks in the middle of a batch, before its last map.
func TestRequestBarrier(t *testing.T) {
	settings(chain(3, 1), func(setting string, s Spec) {
		s.Micros, s.Batches = 2, 5
		s = s.Roomy()
		mem, fs := newChain(&s)
		var sh shelf
		p, err := New(s, units(fs), sh.hooks(mem, fs))
		if err != nil {
			t.Fatal(err)
		}
		fs[0].before = func(t Task) error {
			if t.Kind == Forward && t.Batch == 2 && t.Micro == 1 {
				p.RequestBarrier()
			}
			return nil
		}
		if err := p.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		if want := []int{2, 4}; !slices.Equal(sh.done, want) {
			t.Errorf("%s: barriers %v, want %v", setting, sh.done, want)
		}
	})
}

// every is the batches b with (b+1) mod n = 0.
func every(n int) func(int) bool { return func(batch int) bool { return (batch+1)%n == 0 } }
