package pipeline

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// watched runs s in fake time with the watchdog on, unit u's Forward of batch 1,
// microbatch 1 taking ten seconds, and returns what the watchdog said.
func watched(t *testing.T, s Spec, u int) (said []string) {
	synctest.Test(t, func(t *testing.T) {
		s.Stall = 4 * time.Second
		mem, fs := newChain(&s)
		fs[u].before = func(t Task) error {
			if t.Kind == Forward && t.Batch == 1 && t.Micro == 1 {
				time.Sleep(10 * time.Second)
			}
			return nil
		}
		p, err := New(s, units(fs), Hooks{Feed: mem.feed, Stalled: func(r string) { said = append(said, r) }})
		if err != nil {
			t.Fatal(err)
		}
		// A later batch takes long enough for the watchdog to see it move again.
		fs[s.top()].after = func(t Task) {
			if t.Kind == Update {
				time.Sleep(1500 * time.Millisecond)
			}
		}
		if err := p.Run(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return said
}

func TestWatchdogNamesWhoWaits(t *testing.T) {
	pipelined := named(chain(3, 1))
	pipelined.Micros, pipelined.Depth, pipelined.Batches = 4, 2, 4
	loose := named(chain(3, 0))
	loose.Micros, loose.Depth, loose.Batches = 4, 2, 4
	lean := pipelined
	lean.Lean, lean.Depth = true, 1
	narrow := loose.Roomy()
	narrow.Units[1].Maps = 0
	for _, c := range []struct {
		name string
		spec Spec
		unit int
		want string
	}{
		{"the top holds all up", pipelined.Roomy(), 2, `
unit "low" waits for the slot for batch 1, microbatch 3 from "mid"; mid>low:release holds 0 of 2
unit "mid" waits for gradient 1 of batch 1, microbatch 1 from "high"; high>mid:gradient1 holds 0 of 2
unit "high" runs forward of batch 1, microbatch 1
all wait for unit "high"`},
		{"the bottom holds all up", pipelined.Roomy(), 0, `
unit "low" runs forward of batch 1, microbatch 1
unit "mid" waits for the map of batch 1, microbatch 1 from "low"; low>mid:map holds 0 of 2
unit "high" waits for the map of batch 1, microbatch 1 from "mid"; mid>high:map holds 0 of 2
all wait for unit "low"`},
		{"the baton", lean.Roomy(), 1, `
unit "low" waits for its turn to run sweep 1 of batch 1, microbatch 1 from "mid"; mid>low:turn holds 0 of 1
unit "mid" runs forward of batch 1, microbatch 1
unit "high" waits for its turn to run forward of batch 1, microbatch 1 from "low"; low>high:turn holds 0 of 1
all wait for unit "mid"`},
		{"a channel is full", func() Spec { s := narrow; s.Units[0].Slots = 5; return s }(), 1, `
unit "low" waits for room to pass on the map of batch 2, microbatch 0 to "mid"; low>mid:map is full, 2 of 2
unit "mid" runs forward of batch 1, microbatch 1
unit "high" waits for the map of batch 1, microbatch 1 from "mid"; mid>high:map holds 0 of 0
all wait for unit "mid"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			said := watched(t, c.spec, c.unit)
			if len(said) != 2 || said[1] != "" {
				t.Fatalf("the watchdog spoke %d times: %q", len(said), said)
			}
			if want := strings.TrimPrefix(c.want, "\n"); said[0] != want {
				t.Errorf("got\n%s\nwant\n%s", said[0], want)
			}
		})
	}
}

// TestDeadlockIsNamed goes past the check of room, one below the minimum.
func TestDeadlockIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := named(chain(3, 1))
		s.Micros, s.Depth, s.Batches = 4, 3, 2
		s = s.Roomy()
		s.Units[0].Maps, s.Units[0].Gradients = 1, 0
		mem, fs := newChain(&s)
		p := build(s, units(fs), Hooks{Feed: mem.feed})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		synctest.Wait()
		want := `unit "low" waits for room to pass on the map of batch 0, microbatch 2 to "mid"; low>mid:map is full, 1 of 1
unit "mid" waits for room to pass on gradient 1 of batch 0, microbatch 0 to "low"; mid>low:gradient1 holds 0 of 0
unit "high" waits for the map of batch 0, microbatch 0 from "mid"; mid>high:map holds 0 of 3
no unit is at work`
		if got := p.Report(); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		cancel()
		<-done
	})
}

// tally adds up what an Observer is told.
type tally struct {
	ran    [][]Task
	waited []map[Reason]time.Duration
}

func newTally(n int) *tally {
	c := &tally{ran: make([][]Task, n)}
	for range n {
		c.waited = append(c.waited, map[Reason]time.Duration{})
	}
	return c
}

func (c *tally) Ran(u int, t Task, _ time.Time, d time.Duration) {
	if d != time.Second {
		t.Kind = 0
	}
	c.ran[u] = append(c.ran[u], t)
}

func (c *tally) Waited(u int, why Reason, _ time.Time, d time.Duration) { c.waited[u][why] += d }

// TestObserver works out in fake time who waits for what: every task takes one
// second, and the loader two.
func TestObserver(t *testing.T) {
	s := named(chain(3, 1))
	s.Micros, s.Depth, s.Batches = 1, 1, 1
	s = s.Roomy()
	seen := newTally(3)
	var logs [][]Task
	synctest.Test(t, func(t *testing.T) {
		mem, fs := newChain(&s)
		for _, f := range fs {
			f.before = func(Task) error { time.Sleep(time.Second); return nil }
		}
		feed := func(ctx context.Context, t Task) error { time.Sleep(2 * time.Second); return mem.feed(ctx, t) }
		p, err := New(s, units(fs), Hooks{Feed: feed, Observer: seen})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		for _, f := range fs {
			logs = append(logs, f.log)
		}
	})
	for u := range logs {
		if !slices.Equal(seen.ran[u], logs[u]) {
			t.Errorf("unit %d ran %v, the observer saw %v", u, logs[u], seen.ran[u])
		}
	}
	// low: 2 s for images, then three tasks, then three of mid's, its sweep 1 and
	// update. mid: 2+3 s for its map, and after its three tasks three of high's.
	want := `[map[data:2s gradient:3s input:0s output:0s] map[data:0s gradient:3s input:5s output:0s] map[data:0s gradient:0s input:8s output:0s]]`
	if got := fmt.Sprint(inWords(seen.waited)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func inWords(ws []map[Reason]time.Duration) []map[string]time.Duration {
	var out []map[string]time.Duration
	for _, w := range ws {
		m := map[string]time.Duration{}
		for r := Data; r <= Output; r++ {
			m[r.String()] = w[r]
		}
		out = append(out, m)
	}
	return out
}

func TestChannels(t *testing.T) {
	s := named(chain(3, 2))
	s.Micros, s.Depth = 3, 2
	p := build(s.Roomy(), make([]Unit, 3), Hooks{})
	var got []string
	for _, c := range p.Channels() {
		got = append(got, fmt.Sprintf("%s %d/%d", c.Name, c.Len, c.Cap))
	}
	want := "low>mid:map 0/2, mid>low:ended 0/2, mid>low:gradient1 0/2, mid>low:gradient2 0/2, " +
		"mid>high:map 0/2, high>mid:ended 0/2, high>mid:gradient1 0/2, mid>low:release 0/2, high>mid:release 0/2"
	if strings.Join(got, ", ") != want {
		t.Errorf("got %s", strings.Join(got, ", "))
	}
}

func TestReportInOtherStates(t *testing.T) {
	s := named(chain(3, 1))
	s.Micros, s.Depth = 3, 2
	p := build(s.Roomy(), make([]Unit, 3), Hooks{})
	ended := p.links[p.workers[0].program[0].at]
	at := Task{Kind: Forward, Batch: 4, Micro: 2}
	for _, c := range []struct {
		a    activity
		want string
	}{
		{activity{}, "has not begun"},
		{activity{over: true}, "has ended"},
		{activity{do: doFeed, task: at}, "waits for the images of batch 4, microbatch 2"},
		{activity{do: doClose, task: at}, "saves batch 4"},
		{activity{do: doRecv, task: at, link: ended},
			`waits for leave to go on with batch 4 from "mid"; mid>low:ended holds 0 of 2`},
	} {
		if got := p.describe(c.a); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

// TestStrayToken puts a token where none belongs: the unit stops, rather than
// take another microbatch's map for its own.
func TestStrayToken(t *testing.T) {
	s := chain(2, 0).Roomy()
	mem, fs := newChain(&s)
	p := build(s, units(fs), Hooks{Feed: mem.feed})
	p.links[0].ch <- token{batch: 7}
	want := `unit "u1": panic: pipeline: u0>u1:map carries batch 7, microbatch 0 for forward of batch 0, microbatch 0`
	if err := p.Run(context.Background()); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}
