package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// reach is how far the units below the top have come: for each, how many
// microbatches it has run forward and how many batches it has updated for.
type reach struct{ forwards, updates []int }

func (r reach) String() string { return fmt.Sprintf("forwards %v, updates %v", r.forwards, r.updates) }

func reached(fs []*fake) reach {
	var r reach
	for _, f := range fs[:len(fs)-1] {
		forwards, updates := 0, 0
		for _, t := range f.log {
			switch t.Kind {
			case Forward:
				forwards++
			case Update:
				updates++
			}
		}
		r.forwards, r.updates = append(r.forwards, forwards), append(r.updates, updates)
	}
	return r
}

// allowed is what the dependency rule says, not what the programs do: with the
// top unit held in its Forward of microbatch held, counted through all batches,
// each unit goes on until it needs something that cannot come. All counts only
// grow, so the least fixed point is it.
//
//   - Forward q needs map q, the gradients of all before q-W+1, and those of all
//     before its batch;
//   - it needs its slot: q-S swept by the reader to the end;
//   - it needs the unit above to have ended the batch before the last;
//   - sweep 0 of x needs Forward x; sweep k needs sweep k-1 above, and comes after
//     all sweeps of x-1, and after map x+W-1, or the batch's last, was sent;
//   - the batch is updated for when all its microbatches are swept.
//
// It holds for the chains made by chain.
func allowed(s Spec, held int) reach {
	top, w, m := s.top(), s.Window(), s.Micros
	forwards, swept := make([]int, top+1), make([][]int, top+1) // by unit; and event
	for u := range swept {
		swept[u] = make([]int, 1+s.Units[u].Feedbacks)
	}
	forwards[top], swept[top][0] = held, held
	through := func(u int) int { return swept[u][s.Units[u].Feedbacks] }
	forward := func(u, q int) bool {
		return q < s.Batches*m && (u == 0 || q < forwards[u-1]) && q-s.Units[u].Slots < through(u+1) &&
			q/m-2 < through(u+1)/m && through(u) >= q/m*m && (s.Units[u].Feedbacks == 0 || through(u) > q-w)
	}
	sweep := func(u, k, x int) bool {
		if k == 0 {
			return x < forwards[u]
		}
		return x <= through(u) && x < swept[u][k-1] && x < swept[u+1][k-1] && min(x+w, (x/m+1)*m) <= forwards[u]
	}
	for changed := true; changed; {
		changed = false
		for u := range top {
			if forward(u, forwards[u]) {
				forwards[u], changed = forwards[u]+1, true
			}
			for k, x := range swept[u] {
				if sweep(u, k, x) {
					swept[u][k], changed = x+1, true
				}
			}
		}
	}
	r := reach{forwards: forwards[:top]}
	for u := range top {
		r.updates = append(r.updates, through(u)/m)
	}
	return r
}

// holdTop runs s with the top unit held in its Forward of batch b, microbatch
// m, waits until nothing can move, and says how far the others are.
func holdTop(t *testing.T, s Spec, b, m int) (r reach) {
	synctest.Test(t, func(t *testing.T) {
		mem, fs := newChain(&s)
		gate := make(chan struct{})
		fs[s.top()].before = func(t Task) error {
			if t.Kind == Forward && t.Batch == b && t.Micro == m {
				<-gate
			}
			return nil
		}
		p, err := New(s, units(fs), Hooks{Feed: mem.feed})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- p.Run(context.Background()) }()
		synctest.Wait()
		r = reached(fs)
		close(gate)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

// holdOracle is the same for the sequential executor, which stops where held.
func holdOracle(t *testing.T, s Spec, b, m int) reach {
	held := errors.New("held")
	o := newOracle(s)
	o.fakes[s.top()].before = func(t Task) error {
		if t.Kind == Forward && t.Batch == b && t.Micro == m {
			return held
		}
		return nil
	}
	if err := o.run(); !errors.Is(err, held) {
		t.Fatal(err)
	}
	return reached(o.fakes)
}

// TestItIsAPipeline holds the top unit and compares how far the others come
// with what the dependency rule allows. The sequential executor must fail it.
func TestItIsAPipeline(t *testing.T) {
	for n := 2; n <= 5; n++ {
		for wide := range 3 {
			for _, depth := range []int{1, 2, 3, 8} {
				for _, at := range [][2]int{{0, 0}, {1, 1}, {2, 3}} {
					s := chain(n, wide)
					s.Micros, s.Depth, s.Batches = 4, depth, 5
					s = s.Roomy()
					want := allowed(s, at[0]*s.Micros+at[1])
					name := fmt.Sprintf("%d units, %d messages, depth %d, held at %v", n, wide, depth, at)
					if got := holdTop(t, s, at[0], at[1]); got.String() != want.String() {
						t.Errorf("%s: %v, but the rule allows %v", name, got, want)
					}
					if got := holdOracle(t, s, at[0], at[1]); depth > 1 && at[1] < 3 && got.String() == want.String() {
						t.Errorf("%s: the sequential executor passes too, %v", name, got)
					}
				}
			}
		}
	}
}

// TestReachByHand pins the rule itself: figures worked out on paper for low,
// mid and high, four microbatches a batch, high held in batch 1, microbatch 1,
// which is the sixth of all.
func TestReachByHand(t *testing.T) {
	for _, c := range []struct {
		wide, depth, slots int
		tied               bool
		want               string
	}{
		// Each map waits for the gradient of the one before: all are at it.
		{1, 1, 0, false, "forwards [6 6], updates [1 1]"},
		// Mid may have two on the way; so has low, but mid releases none of them.
		{1, 2, 0, false, "forwards [7 7], updates [1 1]"},
		// With slots to spare low is two ahead of mid.
		{1, 2, 8, false, "forwards [8 7], updates [1 1]"},
		// Mid sends its whole batch and waits for gradients. Low has them all from
		// mid, updates, and begins batch 2, as mid has ended batch 0; its slots end
		// it: microbatch 9 waits for the release of 5.
		{1, 8, 0, false, "forwards [9 8], updates [2 1]"},
		{1, 8, 12, false, "forwards [12 8], updates [2 1]"},
		// Nothing shared: slots hold mid four ahead of high's five, and low four
		// ahead of mid's nine.
		{0, 8, 4, false, "forwards [13 9], updates [3 2]"},
		// Slots to spare leave the batch rule: high ended batch 0, so mid may run
		// batch 2; mid then ended batch 2, so low may run batch 4.
		{0, 8, 12, false, "forwards [20 12], updates [5 3]"},
		// Tied weights: an update for b needs the weights of b above, so mid cannot
		// update for 2 before high has for 1, nor low for 3 before mid has for 2.
		{0, 8, 12, true, "forwards [16 12], updates [3 2]"},
	} {
		s := chain(3, c.wide)
		s.Micros, s.Depth, s.Batches = 4, c.depth, 6
		for u := range s.Units {
			s.Units[u].Slots, s.Units[u].Tied = c.slots, c.tied
		}
		if got := holdTop(t, s.Roomy(), 1, 1); got.String() != c.want {
			t.Errorf("%d messages, depth %d, %d slots: %v, want %s", c.wide, c.depth, c.slots, got, c.want)
		}
	}
}

// TestBackPressure counts the microbatches that are fed but not through the
// top, with each end slow in turn.
func TestBackPressure(t *testing.T) {
	for _, wide := range []int{0, 1, 2} {
		for slow := -1; slow < 4; slow++ {
			s := chain(4, wide)
			s.Micros, s.Depth, s.Batches = 4, 3, 6
			s = s.Roomy()
			bound := len(s.Units)
			for _, us := range s.Units {
				bound += us.Maps
			}
			if most := inFlight(t, s, slow); most > bound {
				t.Errorf("%d messages, unit %d slow: %d microbatches in flight, bound %d", wide, slow, most, bound)
			}
		}
	}
}

// inFlight runs s in fake time with a unit, or with -1 the loader, a hundred
// times slower than the others, and returns the most microbatches in flight.
func inFlight(t *testing.T, s Spec, slow int) int {
	var flying, most atomic.Int64
	synctest.Test(t, func(t *testing.T) {
		mem, fs := newChain(&s)
		for _, f := range fs {
			f.before = func(Task) error { return pause(f.u == slow) }
		}
		fs[s.top()].after = func(t Task) {
			if t.Kind == Forward {
				flying.Add(-1)
			}
		}
		feed := func(ctx context.Context, task Task) error {
			pause(slow == -1)
			most.Store(max(most.Load(), flying.Add(1))) // one feeder
			return mem.feed(ctx, task)
		}
		p, err := New(s, units(fs), Hooks{Feed: feed})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Run(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return int(most.Load())
}

// pause takes fake time.
func pause(long bool) error {
	d := time.Millisecond
	if long {
		d *= 100
	}
	time.Sleep(d)
	return nil
}
