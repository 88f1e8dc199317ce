package cuda

import (
	"fmt"

	"github.com/locorun/locorun/graphs/cuda/driver"
	"github.com/locorun/locorun/graphs/device"
)

// ringMarks is how many marks of a lane have an event of their own. A mark that is
// older is waited for by the oldest that has one: what comes later has been reached
// later.
const ringMarks = 64

// marks are the points in a lane's work that others wait for: counters, with a ring
// of events, so that nothing has to be given back.
type marks struct {
	events  [ringMarks]driver.Event // of a mark at its number-1 modulo ringMarks
	last    uint64                  // the newest, 0 before there is one
	reached uint64                  // so far as the host knows
	behind  bool                    // something was queued behind the newest
}

// event is the event by which a mark is waited for, and the mark that it stands
// for.
func (m *marks) event(at uint64) (driver.Event, uint64) {
	if at+ringMarks <= m.last {
		at = m.last - ringMarks + 1
	}
	return m.events[(at-1)%ringMarks], at
}

// Mark implements device.Lane.
func (l *lane) Mark() (device.Mark, error) {
	if l.recording() {
		return device.Mark{}, l.refuse("a mark")
	}
	if err := l.flush(); err != nil {
		return device.Mark{}, fmt.Errorf("cuda: %w", err)
	}
	at, err := l.mark()
	if err != nil {
		return device.Mark{}, fmt.Errorf("cuda: a mark: %w", err)
	}
	return device.Mark{Lane: l.number, At: at}, nil
}

// mark is the point behind all that was queued so far, the newest where nothing was
// queued behind it. While the lane records, it is what was queued before. Other
// lanes may ask.
func (l *lane) mark() (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.marks.behind || l.tape != nil {
		return l.marks.last, nil
	}
	e := &l.marks.events[l.marks.last%ringMarks]
	if *e == 0 {
		var err error
		if *e, err = l.b.dev.NewEvent(); err != nil {
			return 0, err
		}
	}
	if err := l.b.dev.Record(*e, l.stream); err != nil {
		return 0, err
	}
	l.marks.last++
	l.marks.behind = false
	return l.marks.last, nil
}

// queued notes that something was, also where only a part of it could be.
func (l *lane) queued() {
	l.mu.Lock()
	l.marks.behind = l.marks.behind || l.tape == nil
	l.mu.Unlock()
}

// newest is the newest mark.
func (l *lane) newest() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.marks.last
}

// arrived notes that a mark has been reached, and with it all before.
func (l *lane) arrived(at uint64) {
	l.mu.Lock()
	l.marks.reached = max(l.marks.reached, at)
	l.mu.Unlock()
}

// Wait implements device.Lane.
func (l *lane) Wait(m device.Mark) error {
	if m.At == 0 {
		return nil
	}
	if l.recording() {
		return l.refuse("a wait")
	}
	of := l.b.known(m.Lane)
	if of == nil {
		return fmt.Errorf("cuda: there is no lane %d to wait for", m.Lane)
	}
	if err := l.wait(of, m.At); err != nil {
		return fmt.Errorf("cuda: a wait: %w", err)
	}
	return nil
}

// wait lets what is queued from now on come after a mark of another lane. It costs
// nothing where that is known.
func (l *lane) wait(of *lane, at uint64) error {
	if of == l || at <= l.waited[of] {
		return nil
	}
	at, err := of.let(l.stream, at)
	if err != nil || at == 0 {
		return err
	}
	l.waited[of] = at
	l.queued()
	return nil
}

// let makes a stream of another lane wait for a mark, and gives the one that it
// waits for, 0 where it need not. No other lane's lock is asked for with this one's
// held.
func (l *lane) let(s driver.Stream, at uint64) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case at > l.marks.last:
		return 0, fmt.Errorf("lane %d has no mark %d", l.number, at)
	case at <= l.marks.reached:
		return 0, nil
	}
	e, at := l.marks.event(at)
	return at, l.b.dev.Wait(s, e)
}

// waitAll lets what is queued from now on come after all that was queued on any
// other lane.
func (l *lane) waitAll() error {
	for _, of := range l.b.lanes() {
		if of == l {
			continue
		}
		at, err := of.mark()
		if err == nil {
			err = l.wait(of, at)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
