package progress

import (
	"bytes"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// Options says what is shown, and how.
type Options struct {
	// Terminal asks for the bar; see Terminal.
	Terminal bool
	// Colour marks units in trouble, on a terminal; see Colour.
	Colour bool
	Units  []string // in order; watches may follow
	Total  int      // batches of the whole run
	Epoch  int      // batches of one epoch; 0: Total
	Start  int      // batches done before, where a run is resumed
	Width  int      // of the bar where the writer does not know its own; 0: 80
	Now    func() time.Time
}

// Wait is the seconds a unit has waited for one reason.
type Wait struct {
	Reason  string
	Seconds float64
}

// Unit is the state of a unit. What is not known is NaN and left out.
type Unit struct {
	Name                             string
	Loss, LearningRate, EmbeddingStd float64
	Waits                            []Wait // below a tenth of a second: left out
}

// Step is the state of a run. Units that it does not name keep theirs.
type Step struct {
	Done            int // batches of the whole run; never goes back
	ImagesPerSecond float64
	Note            string // such as "readout linear"; empty while training
	Units           []Unit
}

// Display shows a run's progress. Its methods may be called from any
// goroutine, also on a nil Display, which shows nothing.
type Display struct {
	// show orders what is shown. The bar's redraws do not take it: they run
	// while a log line waits for one of them to end.
	show   sync.Mutex
	out    surface
	partly bytes.Buffer // of a log line whose end has not come
	closed bool

	mu    sync.Mutex // guards state; never held while something is shown
	state state
}

// surface is where a Display shows itself: a terminal or a plain writer. Its
// methods are called by one goroutine at a time.
type surface interface {
	log(lines []byte)
	update(before, now *state)
	close()
}

// New starts a display on w. Close must be called at the end.
func New(w io.Writer, o Options) *Display {
	d := &Display{state: newState(o)}
	if o.Terminal {
		d.out = newTerminal(w, o, d.snapshot)
	} else {
		d.out = plain{w}
	}
	return d
}

// Update shows a newer state.
func (d *Display) Update(s Step) {
	if d == nil {
		return
	}
	d.show.Lock()
	defer d.show.Unlock()
	if d.closed {
		return
	}
	before := d.snapshot()
	now := before.after(s)
	d.mu.Lock()
	d.state = now
	d.mu.Unlock()
	d.out.update(&before, &now)
}

// snapshot is the state at the moment of a redraw.
func (d *Display) snapshot() state {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state
}

// Log shows a line of its own, above the bar where there is one.
func (d *Display) Log(line string) { _, _ = d.Write([]byte(line + "\n")) }

// Write makes a Display the writer of a log handler. It never fails. A line
// is shown once its newline has come, or at Close.
func (d *Display) Write(p []byte) (int, error) {
	if d == nil {
		return len(p), nil
	}
	d.show.Lock()
	defer d.show.Unlock()
	d.partly.Write(p)
	if end := bytes.LastIndexByte(d.partly.Bytes(), '\n') + 1; end > 0 {
		d.out.log(d.partly.Next(end))
	}
	return len(p), nil
}

// Close shows the last state, ends the bar and leaves it standing. Log lines
// that come later are written as they are.
func (d *Display) Close() {
	if d == nil {
		return
	}
	d.show.Lock()
	defer d.show.Unlock()
	if d.partly.Len() > 0 {
		d.out.log(append(d.partly.Next(d.partly.Len()), '\n'))
	}
	if !d.closed {
		d.closed = true
		d.out.close()
	}
}

// Terminal says whether f is a terminal on which a bar can be drawn: TERM=dumb
// has no cursor to move.
func Terminal(f *os.File, getenv func(string) string) bool {
	return term.IsTerminal(int(f.Fd())) && getenv("TERM") != "dumb"
}

// Colour says whether colours are wanted on a terminal: not if NO_COLOR is set
// to anything.
func Colour(terminal bool, getenv func(string) string) bool {
	return terminal && getenv("NO_COLOR") == ""
}
