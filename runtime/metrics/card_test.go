package metrics

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// fakeCard is a card whose answers the test sets.
type fakeCard struct {
	mu              sync.Mutex
	memory, load    error
	used            int64
	kernels, closed int
	boom            bool
	hang            chan struct{} // where set, Memory waits for it
	looks           chan struct{}
}

func newFakeCard() *fakeCard { return &fakeCard{looks: make(chan struct{}, 100)} }

func (c *fakeCard) Memory() (int64, int64, error) {
	if c.hang != nil {
		<-c.hang
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used, 100, c.memory
}

func (c *fakeCard) Utilisation() (int, int, error) {
	defer func() { c.looks <- struct{}{} }()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.boom {
		panic("boom")
	}
	return c.kernels, 25, c.load
}

func (c *fakeCard) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed++
	return nil
}

// set changes the answers.
func (c *fakeCard) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// cardLines are the lines that a watch makes.
func cardLines(t *testing.T, s *Set) []string {
	t.Helper()
	return append(exported(t, s, "locorun_device_"), exported(t, s, "locorun_memory_bytes")...)
}

// TestWatchCard follows a card through failures: what is told is true, and
// nothing else is.
func TestWatchCard(t *testing.T) {
	before := goleak.IgnoreCurrent()
	o := options(1)
	o.Devices = []string{"cuda"}
	s, c, clock := New(o), newFakeCard(), make(chan time.Time)
	var log []string
	stop := s.watchCard("cuda", c, func(line string) { log = append(log, line) }, clock)
	memory := func(used string) []string {
		return []string{`locorun_memory_bytes{device="cuda",kind="occupied"} ` + used, `locorun_memory_bytes{device="cuda",kind="total"} 100`}
	}
	load := func(kernels string) []string {
		return []string{`locorun_device_kernels_ratio{device="cuda"} ` + kernels, `locorun_device_memory_ratio{device="cuda"} 0.25`}
	}
	for i, step := range []struct {
		name string
		set  func()
		want []string
	}{
		{"at once", func() {}, append(load("0"), memory("0")...)},
		{"later", func() { c.used, c.kernels = 7, 50 }, append(load("0.5"), memory("7")...)},
		{"no memory", func() { c.memory = errors.New("gone") }, load("0.5")},
		{"nothing", func() { c.load = errors.New("not supported") }, nil},
		{"nothing again", func() {}, nil},
		{"all again", func() { c.memory, c.load, c.used = nil, nil, 9 }, append(load("0.5"), memory("9")...)},
	} {
		if i > 0 {
			c.set(step.set)
			clock <- time.Time{}
		}
		<-c.looks
		clock <- time.Time{} // taken when it has been; what comes of it is the same
		<-c.looks
		if got := cardLines(t, s); !slices.Equal(got, step.want) {
			t.Errorf("%s: %v, want %v", step.name, got, step.want)
		}
	}
	stop()
	stop()
	if c.closed != 1 {
		t.Errorf("closed %d times", c.closed)
	}
	if want := []string{"cuda, its memory: gone", "cuda, its utilisation: not supported"}; !slices.Equal(log, want) {
		t.Errorf("log %q, want %q", log, want)
	}
	if got := exported(t, s, `locorun_errors_total{kind="metrics"} 2`); len(got) != 1 {
		t.Errorf("errors %v", exported(t, s, "locorun_errors_total"))
	}
	goleak.VerifyNone(t, before)
}

// TestWatchCardPanics: the run goes on, and the card is closed.
func TestWatchCardPanics(t *testing.T) {
	s, c := New(options(1)), newFakeCard()
	c.boom = true
	var log []string
	stop := s.watchCard("cpu", c, func(line string) { log = append(log, line) }, nil)
	<-c.looks
	stop()
	if c.closed != 1 || len(log) != 1 || log[0] != "cpu, the watch: boom" {
		t.Errorf("closed %d times, log %q", c.closed, log)
	}
}

// TestWatchCardHangs: a card that does not answer holds up neither a scrape nor
// the end.
func TestWatchCardHangs(t *testing.T) {
	s, c := New(options(1)), newFakeCard()
	c.hang = make(chan struct{})
	stop := s.WatchCard("cpu", c, nil)
	if got := cardLines(t, s); len(got) != 0 {
		t.Errorf("%v", got)
	}
	stop()
	if c.closed != 0 {
		t.Error("closed while it is asked")
	}
	close(c.hang)
	<-c.looks
}

// TestWatchCardWithoutSet: what is not wanted is dropped.
func TestWatchCardWithoutSet(t *testing.T) {
	c := newFakeCard()
	c.memory = errors.New("gone")
	var log []string
	stop := (*Set)(nil).watchCard("cuda", c, func(line string) { log = append(log, line) }, nil)
	<-c.looks
	stop()
	if c.closed != 1 || !strings.Contains(strings.Join(log, ""), "gone") {
		t.Errorf("closed %d times, log %q", c.closed, log)
	}
}
