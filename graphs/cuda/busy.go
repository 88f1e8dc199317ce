package cuda

import (
	"errors"
	"fmt"
	"time"

	"github.com/locorun/locorun/graphs/cuda/driver"
	"github.com/locorun/locorun/graphs/device"
)

var _ device.Timed = (*lane)(nil)

// busy is the time that a lane's device worked: what was counted, and pieces of work
// that have not come to their end. There are no more of these than a card has
// queued, which is bounded.
type busy struct {
	begun  piece   // that has not ended; from is 0 for none
	pieces []piece // in order
	idle   []driver.Event
	sums   map[int]time.Duration // by unit
}

// piece is a piece of a unit's work between two timers.
type piece struct {
	unit     int
	from, to driver.Event
}

// Begin implements device.Timed. On a device without a clock nothing is measured.
func (l *lane) Begin(unit int) error {
	return l.stamp(func(m *busy, e driver.Event) error {
		if m.begun.from != 0 {
			return errors.New("it has begun already")
		}
		m.begun = piece{unit: unit, from: e}
		return nil
	})
}

// End implements device.Timed.
func (l *lane) End() error {
	return l.stamp(func(m *busy, e driver.Event) error {
		if m.begun.from == 0 {
			return errors.New("it has not begun")
		}
		m.begun.to = e
		m.pieces = append(m.pieces, m.begun)
		m.begun = piece{}
		return nil
	})
}

// stamp records a timer and hands it over, unless that is refused.
func (l *lane) stamp(take func(*busy, driver.Event) error) error {
	clock, ok := l.b.dev.(driver.Clock)
	if !ok {
		return nil
	}
	if l.recording() {
		return l.refuse("time of work")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy.count(clock)
	e, err := l.busy.timer(clock)
	if err == nil {
		err = l.b.dev.Record(e, l.stream)
	}
	if err == nil {
		err = take(&l.busy, e)
	}
	if err != nil {
		l.busy.spare(e)
		return fmt.Errorf("cuda: time of work: %w", err)
	}
	return nil
}

// timer is one that nothing waits for.
func (m *busy) timer(clock driver.Clock) (driver.Event, error) {
	n := len(m.idle)
	if n == 0 {
		return clock.NewTimer()
	}
	e := m.idle[n-1]
	m.idle = m.idle[:n-1]
	return e, nil
}

// spare keeps timers for later.
func (m *busy) spare(es ...driver.Event) {
	for _, e := range es {
		if e != 0 {
			m.idle = append(m.idle, e)
		}
	}
}

// count adds the pieces that have come to their end. What fails is looked at the
// next time again; it shows in what is queued.
func (m *busy) count(clock driver.Clock) {
	for len(m.pieces) > 0 {
		p := m.pieces[0]
		if there, err := clock.Reached(p.to); err != nil || !there {
			return
		}
		took, err := clock.Elapsed(p.from, p.to)
		if err != nil {
			return
		}
		if m.sums == nil {
			m.sums = map[int]time.Duration{}
		}
		m.sums[p.unit] += took
		m.spare(p.from, p.to)
		m.pieces = m.pieces[1:]
	}
}

// Busy implements device.Timed.
func (l *lane) Busy(unit int) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if clock, ok := l.b.dev.(driver.Clock); ok && l.tape == nil {
		l.busy.count(clock)
	}
	return l.busy.sums[unit]
}
