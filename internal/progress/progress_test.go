package progress

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// sink is a writer that tests may read while a bar is drawn.
type sink struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

var up = regexp.MustCompile(`^\x1b\[(\d+)A\x1b\[J`)

// screen is what a terminal shows after it was sent all of text: lines, and
// "up n and clear to the end" as the only movement of the cursor.
func screen(t *testing.T, text string) string {
	t.Helper()
	lines := []string{""}
	for len(text) > 0 {
		if m := up.FindStringSubmatch(text); m != nil {
			n, _ := strconv.Atoi(m[1])
			if n >= len(lines) {
				t.Fatalf("the cursor goes up %d lines of %d", n, len(lines))
			}
			lines = lines[:len(lines)-n]
			lines[len(lines)-1] = ""
			text = text[len(m[0]):]
			continue
		}
		if text[0] == '\n' {
			lines = append(lines, "")
		} else {
			lines[len(lines)-1] += text[:1]
		}
		text = text[1:]
	}
	return strings.Join(lines, "\n")
}

// clock goes on by hand.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func unit(name string, loss, std float64, waits ...Wait) Unit {
	return Unit{Name: name, Loss: loss, LearningRate: 0.03, EmbeddingStd: std, Waits: waits}
}

func options(terminal bool) (Options, *clock) {
	c := &clock{at: time.Unix(1_700_000_000, 0)}
	return Options{Terminal: terminal, Units: []string{"low", "high"}, Total: 40, Epoch: 10, Now: c.now}, c
}

func step(done int) Step {
	return Step{Done: done, ImagesPerSecond: 1234.4, Units: []Unit{
		unit("low", 4.25, 0.81, Wait{"gradient", 72}, Wait{"input", 1.04}, Wait{"data", 0.01}), unit("high", 4.5, 0.77)}}
}

func TestPlain(t *testing.T) {
	var w sink
	o, c := options(false)
	d := New(&w, o)
	d.Log("starting")
	for done := 1; done <= 40; done++ {
		c.add(time.Second)
		d.Update(step(done))
	}
	d.Update(Step{Done: 40, Note: "readout linear"})
	fmt.Fprint(d, "half a ")
	fmt.Fprint(d, "line\nno end")
	d.Close()
	d.Close()
	d.Log("late")
	d.Update(step(41))
	want := `starting
epoch 1/4  loss low 4.25, high 4.5  std low 0.81, high 0.77  1234 images/s  30s left
epoch 2/4  loss low 4.25, high 4.5  std low 0.81, high 0.77  1234 images/s  20s left
epoch 3/4  loss low 4.25, high 4.5  std low 0.81, high 0.77  1234 images/s  10s left
epoch 4/4  loss low 4.25, high 4.5  std low 0.81, high 0.77  1234 images/s  in 40s
half a line
no end
late
`
	if got := w.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTerminalBar(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var w sink
	o, c := options(true)
	d := New(&w, o)
	c.add(10 * time.Second)
	d.Update(step(5))
	c.add(10 * time.Second)
	d.Log("a line of the log that is far longer than the terminal is wide, as lines of logs are, and is not cut")
	d.Update(step(20))
	fmt.Fprintln(d, "one more")
	d.Close()
	d.Close()
	d.Log("late")
	want := `a line of the log that is far longer than the terminal is wide, as lines of logs are, and is not cut
one more
epoch 3/4 [==================>-------------------] 50 %  1234 images/s  20s left
  low   loss 4.25  lr 0.03  std 0.81  waited gradient 1m12s, input 1.0s
  high  loss 4.5  lr 0.03  std 0.77
late
`
	if got := screen(t, w.String()); got != want {
		t.Errorf("the screen shows\n%s\nwant\n%s", got, want)
	}
}

func TestTerminalEnd(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var w sink
	o, c := options(true)
	o.Units = nil
	d := New(&w, o)
	c.add(90 * time.Second)
	d.Update(Step{Done: 40, ImagesPerSecond: math.NaN()})
	d.Update(Step{Done: 40, ImagesPerSecond: math.NaN(), Note: "readout linear"})
	d.Close()
	want := "epoch 4/4 [" + strings.Repeat("=", 35) + ">] 100 %  in 1m30s  readout linear\n"
	if got := screen(t, w.String()); got != want {
		t.Errorf("the screen shows\n%s\nwant\n%s", got, want)
	}
}

// TestNarrow: lines are cut, never wrapped, since a wrapped line would not be
// cleared.
func TestNarrow(t *testing.T) {
	var w sink
	o, _ := options(true)
	o.Width = 24
	d := New(&w, o)
	d.Update(step(5))
	d.Close()
	for _, line := range strings.Split(screen(t, w.String()), "\n") {
		if n := len([]rune(line)); n > 24 {
			t.Errorf("a line of %d characters: %s", n, line)
		}
	}
}

func TestColours(t *testing.T) {
	sick := Step{Done: 1, Units: []Unit{unit("low", math.NaN(), 0.5), unit("high", 4, 0.05)}}
	for _, colour := range []bool{true, false} {
		var w sink
		o, _ := options(true)
		o.Colour = colour
		d := New(&w, o)
		d.Update(sick)
		d.Close()
		got := w.String()
		if strings.Contains(got, red+"  low   loss NaN  lr 0.03  std 0.50"+reset) != colour ||
			strings.Contains(got, yellow+"  high  loss 4  lr 0.03  std 0.05"+reset) != colour ||
			strings.Contains(got, "\x1b[3") != colour {
			t.Errorf("colour %v: %q", colour, got)
		}
	}
}

func TestPlainHasNoEscapes(t *testing.T) {
	var w sink
	o, _ := options(false)
	o.Colour = true
	d := New(&w, o)
	d.Update(Step{Done: 40, Units: []Unit{unit("low", math.Inf(1), 0)}})
	d.Close()
	if got := w.String(); strings.Contains(got, "\x1b") || !strings.Contains(got, "loss low +Inf") {
		t.Errorf("%q", got)
	}
}

func TestEnvironment(t *testing.T) {
	env := func(pairs ...string) func(string) string {
		return func(key string) string {
			for i := 0; i < len(pairs); i += 2 {
				if pairs[i] == key {
					return pairs[i+1]
				}
			}
			return ""
		}
	}
	f, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if Terminal(f, env("TERM", "xterm")) {
		t.Error("a file is taken for a terminal")
	}
	if Colour(true, env("NO_COLOR", "1")) || Colour(false, env()) || !Colour(true, env()) {
		t.Error("NO_COLOR is not honoured")
	}
}

// TestDumbTerminal opens a real terminal, where the system has them.
func TestDumbTerminal(t *testing.T) {
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no terminal can be opened here:", err)
	}
	defer f.Close()
	for name, want := range map[string]bool{"dumb": false, "xterm": true} {
		if got := Terminal(f, func(string) string { return name }); got != want {
			t.Errorf("TERM=%s: %v, want %v", name, got, want)
		}
	}
}

// TestResumed: the pace is that of this process, not of the run.
func TestResumed(t *testing.T) {
	o, c := options(false)
	o.Start = 30
	s := newState(o)
	if _, ok := s.left(); ok {
		t.Error("a time is left before anything was done")
	}
	c.add(10 * time.Second)
	s = s.after(Step{Done: 35})
	c.add(3 * time.Second)
	if left, ok := s.left(); !ok || left != 7*time.Second {
		t.Errorf("%v %v left, want 7s", left, ok)
	}
	if s = s.after(Step{Done: 31}); s.done != 35 {
		t.Errorf("done went back to %d", s.done)
	}
}

func TestOddTotals(t *testing.T) {
	tests := []struct {
		total, epoch, done     int
		running, of, ended, pc int
	}{
		{0, 0, 0, 1, 1, 1, 0},
		{25, 10, 24, 3, 3, 2, 96},
		{25, 10, 25, 3, 3, 3, 100},
		{25, 10, 99, 3, 3, 3, 100},
		{10, 0, 3, 1, 1, 0, 30},
	}
	for _, tt := range tests {
		s := newState(Options{Total: tt.total, Epoch: tt.epoch})
		s = s.after(Step{Done: tt.done})
		got := [4]int{s.epoch(), s.epochs(), s.finished(), s.percent()}
		if want := [4]int{tt.running, tt.of, tt.ended, tt.pc}; got != want {
			t.Errorf("%+v: got %v, want %v", tt, got, want)
		}
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("closed") }

func TestBrokenWriter(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for _, terminal := range []bool{true, false} {
		o, _ := options(terminal)
		d := New(broken{}, o)
		for done := range 40 {
			d.Log("line")
			d.Update(step(done))
		}
		d.Close()
		d.Log("late")
	}
}

func TestNilDisplay(t *testing.T) {
	var d *Display
	d.Update(step(1))
	d.Log("x")
	d.Close()
}

// TestManyLoggers: no line is lost or cut while the bar is drawn.
func TestManyLoggers(t *testing.T) {
	for _, terminal := range []bool{true, false} {
		var w sink
		o, _ := options(terminal)
		d := New(&w, o)
		log := slog.New(slog.NewTextHandler(d, nil))
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for j := range 50 {
					log.Info("line", "from", i, "number", j)
					d.Update(step(j))
				}
			})
		}
		wg.Wait()
		d.Close()
		got := screen(t, w.String())
		if n := len(regexp.MustCompile(`(?m)^time=\S+ level=INFO msg=line from=\d number=\d+$`).FindAllString(got, -1)); n != 200 {
			t.Errorf("terminal %v: %d whole lines, want 200\n%s", terminal, n, got)
		}
	}
}
