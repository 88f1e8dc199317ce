// Package devicetest is a device.Laned for tests whose lanes run late: what is
// queued on one is done only when somebody needs it, and in an order that keeps
// to no more than the contract, each lane's own and the marks that it waits for.
// Whoever leaves a wait out gets other bytes.
package devicetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/locorun/locorun/graphs/device"
)

// Order says in which order lanes do their work where they are free to.
type Order int

// The orders.
const (
	Lazy   Order = iota // nothing that is not needed is done
	Others              // all that other lanes can do comes first
	Drawn               // lanes take turns by lot
)

// Options say what the lanes of a Late are like.
type Options struct {
	Order Order
	Seed  uint64 // of Drawn
	// Deaf lanes do not wait for others: what is to go wrong then shows that waits
	// are needed.
	Deaf bool
	// Records lets lanes record. So many attempts as Warm says end in
	// ErrNotRecorded.
	Records bool
	Warm    int
	Timed   bool // lanes measure: a microsecond for each Call
}

// Late is such a backend. It computes with another, which it owns.
type Late struct {
	device.Backend
	opt Options

	mu    sync.Mutex
	lanes map[int]*lane
	state uint64
	err   error // the first of what was done late

	Replays, Recordings, Kept atomic.Int64 // Kept: recordings not forgotten
	Waits                     atomic.Int64
}

var _ device.Laned = (*Late)(nil)

// New makes a Late of a backend.
func New(b device.Backend, o Options) *Late {
	return &Late{Backend: b, opt: o, lanes: map[int]*lane{}, state: o.Seed*2 + 1}
}

// Lane implements device.Laned.
func (b *Late) Lane(n int) (device.Lane, error) {
	if n < 0 {
		return nil, fmt.Errorf("no lane %d", n)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lanes[n] == nil {
		b.lanes[n] = &lane{b: b, n: n, busy: map[int]time.Duration{}}
	}
	switch l := b.lanes[n]; {
	case b.opt.Records && b.opt.Timed:
		return struct {
			device.Recorder
			timer
		}{recorder{l}, timer{l}}, nil
	case b.opt.Records:
		return recorder{l}, nil
	case b.opt.Timed:
		return struct {
			device.Lane
			timer
		}{l, timer{l}}, nil
	default:
		return l, nil
	}
}

// Lanes are the numbers of the lanes that were asked for, ascending.
func (b *Late) Lanes() (ns []int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for n := range b.lanes {
		ns = append(ns, n)
	}
	slices.Sort(ns)
	return ns
}

// Run, Read and Write come after all that was queued.
func (b *Late) Run(c *device.Call) error {
	return b.after(func() error { return b.Backend.Run(c) })
}

// Read implements device.Backend.
func (b *Late) Read(dst []byte, t device.Tensor) error {
	return b.after(func() error { return b.Backend.Read(dst, t) })
}

// Write implements device.Backend.
func (b *Late) Write(t device.Tensor, src []byte) error {
	return b.after(func() error { return b.Backend.Write(t, src) })
}

// Free waits until nothing queued can touch the buffer.
func (b *Late) Free(x device.Buffer) {
	_ = b.after(func() error { return nil })
	b.Backend.Free(x)
}

func (b *Late) after(f func() error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range b.numbers() {
		b.drain(b.lanes[n])
	}
	if b.err != nil {
		return b.err
	}
	return f()
}

// item is one piece of queued work, or a wait.
type item struct {
	do   func() error
	wait device.Mark
}

// lane is a queue of closures. Its items are under the backend's lock.
type lane struct {
	b     *Late
	n     int
	items []item
	done  uint64 // items that are over; items holds those after them
	queue uint64 // items queued so far
	used  atomic.Bool
	tape  *[]device.Call        // what is being recorded
	busy  map[int]time.Duration // by unit
	unit  int                   // whose work is being done
}

// enter fails where another goroutine is at the lane.
func (l *lane) enter() (leave func(), err error) {
	if !l.used.CompareAndSwap(false, true) {
		return nil, fmt.Errorf("lane %d is used by two goroutines at a time", l.n)
	}
	return func() { l.used.Store(false) }, nil
}

func (l *lane) add(i item) error {
	leave, err := l.enter()
	if err != nil {
		return err
	}
	defer leave()
	if l.tape != nil {
		return errors.New("while a lane records, Calls alone may be queued on it")
	}
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	l.items = append(l.items, i)
	l.queue++
	return l.b.err
}

// Run implements device.Lane.
func (l *lane) Run(c *device.Call) error {
	call := clone(c)
	if l.tape != nil {
		return l.keep(call)
	}
	return l.add(item{do: func() error { return l.compute(&call) }})
}

// keep puts a Call on the tape, where it is warm.
func (l *lane) keep(c device.Call) error {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	if l.b.opt.Warm > 0 {
		l.b.opt.Warm--
		return fmt.Errorf("the first of its shape: %w", device.ErrNotRecorded)
	}
	*l.tape = append(*l.tape, c)
	return nil
}

func (l *lane) compute(c *device.Call) error {
	l.busy[l.unit] += time.Microsecond
	return l.b.Backend.Run(c)
}

func clone(c *device.Call) device.Call {
	k := *c
	k.In, k.Out = slices.Clone(c.In), slices.Clone(c.Out)
	return k
}

// Write implements device.Lane.
func (l *lane) Write(t device.Tensor, src []byte) error {
	src = slices.Clone(src)
	return l.add(item{do: func() error { return l.b.Backend.Write(t, src) }})
}

// Read implements device.Lane.
func (l *lane) Read(dst []byte, t device.Tensor) error {
	if err := l.add(item{do: func() error { return l.b.Backend.Read(dst, t) }}); err != nil {
		return err
	}
	leave, err := l.enter()
	if err != nil {
		return err
	}
	defer leave()
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	l.b.drain(l)
	return l.b.err
}

// Mark implements device.Lane.
func (l *lane) Mark() (device.Mark, error) {
	leave, err := l.enter()
	if err != nil {
		return device.Mark{}, err
	}
	defer leave()
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	return device.Mark{Lane: l.n, At: l.queue}, nil
}

// Wait implements device.Lane.
func (l *lane) Wait(m device.Mark) error {
	l.b.Waits.Add(1)
	if l.b.opt.Deaf {
		return nil
	}
	return l.add(item{wait: m})
}

// reached reports whether a mark has been.
func (b *Late) reached(m device.Mark) bool {
	return m.At == 0 || b.lanes[m.Lane] != nil && b.lanes[m.Lane].done >= m.At
}

// drain does all of a lane, and of others what it needs or what the order says.
func (b *Late) drain(l *lane) {
	for len(l.items) > 0 && b.err == nil {
		if !b.step(b.next(l)) {
			b.err = errors.New("lanes wait for each other")
		}
	}
}

// next is the lane that is to do something so that l gets on.
func (b *Late) next(l *lane) *lane {
	switch b.opt.Order {
	case Others:
		for _, n := range b.numbers() {
			if o := b.lanes[n]; o != l && b.ready(o) {
				return o
			}
		}
	case Drawn:
		var ready []*lane
		for _, n := range b.numbers() {
			if b.ready(b.lanes[n]) {
				ready = append(ready, b.lanes[n])
			}
		}
		if len(ready) > 0 {
			b.state = b.state*6364136223846793005 + 1442695040888963407
			return ready[int(b.state>>33)%len(ready)]
		}
	}
	return b.needed(l)
}

// needed is l, or the lane for which it waits.
func (b *Late) needed(l *lane) *lane {
	for range len(b.lanes) {
		if b.ready(l) || len(l.items) == 0 {
			return l
		}
		l = b.lanes[l.items[0].wait.Lane]
	}
	return l
}

func (b *Late) ready(l *lane) bool { return len(l.items) > 0 && b.reached(l.items[0].wait) }

// step does the first item of a lane, if it can.
func (b *Late) step(l *lane) bool {
	if !b.ready(l) {
		return false
	}
	if do := l.items[0].do; do != nil {
		if err := do(); err != nil {
			b.err = err
		}
	}
	l.items = l.items[1:]
	l.done++
	return true
}

func (b *Late) numbers() []int {
	ns := make([]int, 0, len(b.lanes))
	for n := range b.lanes {
		ns = append(ns, n)
	}
	slices.Sort(ns)
	return ns
}

// recorder is a lane that records.
type recorder struct{ *lane }

// recording is what it keeps.
type recording struct {
	l     *lane
	calls []device.Call
}

// Record implements device.Recorder.
func (r recorder) Record(f func() error) (device.Recording, error) {
	var tape []device.Call
	r.tape = &tape
	err := f()
	r.tape = nil
	if err != nil {
		return nil, err
	}
	r.b.Recordings.Add(1)
	r.b.Kept.Add(1)
	return &recording{r.lane, tape}, nil
}

// Replay implements device.Recorder.
func (r recorder) Replay(what device.Recording) error {
	rec := what.(*recording)
	if rec.l != r.lane || rec.calls == nil {
		return errors.New("not a recording of this lane")
	}
	r.b.Replays.Add(1)
	for _, c := range rec.calls {
		if err := r.add(item{do: func() error { return r.compute(&c) }}); err != nil {
			return err
		}
	}
	return nil
}

// Forget implements device.Recorder.
func (r recorder) Forget(what device.Recording) {
	what.(*recording).calls = nil
	r.b.Kept.Add(-1)
}

// timer is what a lane that measures adds.
type timer struct{ l *lane }

// Begin implements device.Timed.
func (t timer) Begin(unit int) error {
	return t.l.add(item{do: func() error { t.l.unit = unit; return nil }})
}

// End implements device.Timed.
func (timer) End() error { return nil }

// Busy implements device.Timed.
func (t timer) Busy(unit int) time.Duration {
	t.l.b.mu.Lock()
	defer t.l.b.mu.Unlock()
	return t.l.busy[unit]
}
