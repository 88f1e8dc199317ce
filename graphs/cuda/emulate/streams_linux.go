package emulate

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"syscall"
	"time"

	"github.com/locorun/locorun/graphs/cuda/driver"
)

// stream is a queue of work. Of a device that works at once it is always empty.
type stream struct {
	number driver.Stream
	queue  []work
	tape   *tape // what is captured, nil where nothing is
}

// work is a piece of a stream's: something to do, or an event that is recorded or
// waited for, as it is when the time of its record is the given one.
type work struct {
	do     func() error
	event  *event
	record uint64
	waits  bool
}

// event counts how often it was recorded, and how often reached.
type event struct {
	timer          bool
	asked, reached uint64
	stream         *stream // of the newest record
	at             time.Duration
}

// tape is a capture under way.
type tape struct {
	thread int
	list   []func() error
	spoilt error
}

// pace is when a device's work is done.
type pace struct {
	late bool       // not before somebody waits for it
	draw *rand.Rand // where set, what nobody waits for is done by chance
}

// tick is how long a piece of work takes, by the emulator's clock.
const tick = time.Microsecond

// of is a stream by its number.
func (d *device) of(s driver.Stream) (*stream, error) {
	if s == 0 || int(s) > len(d.streams) {
		return nil, fmt.Errorf("emulate: %d is no stream", s)
	}
	return d.streams[s-1], nil
}

// queue lets a stream do something: at once, later, or when its capture is replayed.
func (d *device) queue(s driver.Stream, do func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	st, err := d.of(s)
	if err != nil {
		return err
	}
	if st.tape != nil {
		st.tape.list = append(st.tape.list, do)
		return nil
	}
	return d.push(st, work{do: do})
}

// push adds to a queue, and works as the pace says.
func (d *device) push(st *stream, w work) error {
	st.queue = append(st.queue, w)
	if !d.pace.late {
		d.drain(st)
		return d.failure()
	}
	d.wander()
	return nil
}

// wander does some of what may be done, of streams that chance chooses.
func (d *device) wander() {
	if d.pace.draw == nil {
		return
	}
	for range d.pace.draw.IntN(4) {
		st := d.streams[d.pace.draw.IntN(len(d.streams))]
		if len(st.queue) > 0 && st.queue[0].ready() {
			d.step(st)
		}
	}
}

// ready reports whether the work need not wait for another stream.
func (w *work) ready() bool { return !w.waits || w.event.reached >= w.record }

// drain does all of a stream's work, and what it waits for.
func (d *device) drain(st *stream) {
	for len(st.queue) > 0 {
		d.step(st)
	}
}

// step does the first of a stream's work. A failure is kept until somebody asks.
func (d *device) step(st *stream) {
	w := st.queue[0]
	st.queue = st.queue[1:]
	d.now += tick
	switch {
	case w.waits:
		d.reach(w.event, w.record)
	case w.event != nil:
		w.event.reached, w.event.at = w.record, d.now
	default:
		if err := w.do(); err != nil && d.failed == nil {
			d.failed = err
		}
	}
}

// reach works until an event has been reached. What is waited for was queued before,
// so that there is an end.
func (d *device) reach(e *event, record uint64) {
	for st := e.stream; e.reached < record; {
		d.step(st)
	}
}

// failure is what failed, told once.
func (d *device) failure() error {
	err := d.failed
	d.failed = nil
	return err
}

// host refuses what a card does where it is the host's business, while its thread
// captures: memory, waiting, modules. It is called with the lock held.
func (d *device) host(what string) error {
	thread := syscall.Gettid()
	for _, st := range d.streams {
		if st.tape != nil && st.tape.thread == thread {
			return st.spoil(what)
		}
	}
	return nil
}

// plain refuses what cannot be captured with a stream.
func (st *stream) plain(what string) error {
	if st.tape == nil {
		return nil
	}
	return st.spoil(what)
}

func (st *stream) spoil(what string) error {
	st.tape.spoilt = fmt.Errorf("emulate: %s while stream %d is captured: %w", what, st.number, driver.ErrCapture)
	return st.tape.spoilt
}

// wait does all that the host waits for: a stream's work.
func (d *device) wait(what string, s driver.Stream) error {
	st, err := d.of(s)
	if err == nil {
		err = d.host(what)
	}
	if err == nil {
		err = st.plain(what)
	}
	if err != nil {
		return err
	}
	d.wander()
	d.drain(st)
	return d.failure()
}

// NewStream implements driver.Device.
func (d *device) NewStream() (driver.Stream, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := driver.Stream(len(d.streams) + 1)
	d.streams = append(d.streams, &stream{number: s})
	return s, nil
}

// Sync implements driver.Device.
func (d *device) Sync(s driver.Stream) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.wait("Sync", s)
}

// NewEvent implements driver.Device.
func (d *device) NewEvent() (driver.Event, error) { return d.newEvent(false) }

// NewTimer implements driver.Clock. Its clock counts pieces of work.
func (d *device) NewTimer() (driver.Event, error) { return d.newEvent(true) }

func (d *device) newEvent(timer bool) (driver.Event, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, &event{timer: timer})
	return driver.Event(len(d.events)), nil
}

// point is an event by its number.
func (d *device) point(e driver.Event) (*event, error) {
	if e == 0 || int(e) > len(d.events) {
		return nil, fmt.Errorf("emulate: %d is no event", e)
	}
	return d.events[e-1], nil
}

// Record implements driver.Device.
func (d *device) Record(e driver.Event, s driver.Stream) error {
	return d.onEvent("Record", e, s, func(ev *event, st *stream) work {
		ev.asked++
		ev.stream = st
		return work{event: ev, record: ev.asked}
	})
}

// Wait implements driver.Device.
func (d *device) Wait(s driver.Stream, e driver.Event) error {
	return d.onEvent("Wait", e, s, func(ev *event, _ *stream) work {
		return work{event: ev, record: ev.asked, waits: true}
	})
}

// onEvent queues what is done with an event.
func (d *device) onEvent(what string, e driver.Event, s driver.Stream, of func(*event, *stream) work) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	st, err := d.of(s)
	if err != nil {
		return err
	}
	ev, err := d.point(e)
	if err == nil {
		err = st.plain(what)
	}
	if err != nil {
		return err
	}
	return d.push(st, of(ev, st))
}

// Reached implements driver.Clock.
func (d *device) Reached(e driver.Event) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ev, err := d.point(e)
	if err == nil {
		err = d.host("Reached")
	}
	return err == nil && ev.reached >= ev.asked, err
}

// Elapsed implements driver.Clock.
func (d *device) Elapsed(from, to driver.Event) (time.Duration, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var at [2]time.Duration
	for i, e := range []driver.Event{from, to} {
		ev, err := d.point(e)
		if err == nil {
			err = d.host("Elapsed")
		}
		if err != nil {
			return 0, err
		}
		if !ev.timer || ev.asked == 0 {
			return 0, fmt.Errorf("emulate: event %d keeps no time", e)
		}
		d.reach(ev, ev.asked)
		at[i] = ev.at
	}
	return at[1] - at[0], d.failure()
}

var (
	_ driver.Clock    = (*device)(nil)
	_ driver.Capturer = (*device)(nil)
)

// Capture implements driver.Capturer.
func (d *device) Capture(s driver.Stream, f func() error) (driver.Graph, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	t, err := d.capture(s)
	if err != nil {
		return 0, err
	}
	defer d.end(s)
	if err := f(); err != nil {
		return 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if t.spoilt != nil {
		return 0, t.spoilt
	}
	d.graphs = append(d.graphs, t.list)
	return driver.Graph(len(d.graphs)), nil
}

// capture begins one.
func (d *device) capture(s driver.Stream) (*tape, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	st, err := d.of(s)
	if err == nil {
		err = d.host("Capture")
	}
	if err == nil {
		err = st.plain("Capture")
	}
	if err != nil {
		return nil, err
	}
	st.tape = &tape{thread: syscall.Gettid(), list: []func() error{}}
	return st.tape, nil
}

// end ends a stream's capture.
func (d *device) end(s driver.Stream) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.streams[s-1].tape = nil
}

// Replay implements driver.Capturer.
func (d *device) Replay(g driver.Graph, s driver.Stream) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	list, err := d.graph(g)
	if err != nil {
		return err
	}
	st, err := d.of(s)
	if err == nil {
		err = st.plain("Replay")
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, do := range list {
		errs = append(errs, d.push(st, work{do: do}))
	}
	return errors.Join(errs...)
}

// Drop implements driver.Capturer.
func (d *device) Drop(g driver.Graph) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, err := d.graph(g)
	if err == nil {
		d.graphs[g-1] = nil
	}
	return err
}

func (d *device) graph(g driver.Graph) ([]func() error, error) {
	if g == 0 || int(g) > len(d.graphs) || d.graphs[g-1] == nil {
		return nil, fmt.Errorf("emulate: %d is no graph", g)
	}
	return d.graphs[g-1], nil
}
