package graphs

import (
	"fmt"
	"sync"
	"time"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/graphs/device"
)

// Queue is where Calls and copies go: a lane of a backend, or a backend itself.
type Queue interface {
	Run(*device.Call) error
	Write(t device.Tensor, src []byte) error
	Read(dst []byte, t device.Tensor) error
}

// lane is the queue of a unit's work on one backend; in the lean order, in which
// units share addresses and one computes at a time, that of all units. On a
// backend without lanes it is the backend, whose Run is over when it returns.
type lane struct {
	Queue
	own    device.Lane // nil on a backend without lanes
	number int
	mu     sync.Mutex // over own, which is for one goroutine at a time
	// waited is how far the lane has waited for others, by their numbers.
	waited map[int]uint64
}

// newLane is lane number n of a backend.
func newLane(b device.Backend, n int) (*lane, error) {
	l := &lane{Queue: b, number: n}
	laned, ok := b.(device.Laned)
	if !ok {
		return l, nil
	}
	own, err := laned.Lane(n)
	if err != nil {
		return nil, fmt.Errorf("lane %d: %w", n, err)
	}
	l.Queue, l.own, l.waited = own, own, map[int]uint64{}
	return l, nil
}

// hold keeps other goroutines from the lane until the function that it returns
// is called. A backend without lanes takes all comers.
func (l *lane) hold() (release func()) {
	if l.own == nil {
		return func() {}
	}
	l.mu.Lock()
	return l.mu.Unlock
}

// timed runs f as a piece of a unit's work that is measured, where the lane can.
func (l *lane) timed(unit int, f func() error) error {
	t, ok := l.own.(device.Timed)
	if !ok {
		return f()
	}
	if err := t.Begin(unit); err != nil {
		return fmt.Errorf("the time is not measured: %w", err)
	}
	err := f()
	if end := t.End(); end != nil && err == nil {
		err = fmt.Errorf("the time is not measured: %w", end)
	}
	return err
}

// lanes are a program's, by place and number.
type lanes struct {
	first int  // number of the first, on every backend
	apart bool // each unit has its own
	made  map[[2]int]*lane
}

// of is the lane of a unit's work on a place, made when it is first asked for.
func (ls *lanes) of(b device.Backend, place, unit int) (*lane, error) {
	key := [2]int{place, ls.number(unit)}
	if l := ls.made[key]; l != nil {
		return l, nil
	}
	l, err := newLane(b, key[1])
	if err != nil {
		return nil, err
	}
	ls.made[key] = l
	return l, nil
}

// number is that of a unit's lane on any backend.
func (ls *lanes) number(unit int) int {
	if ls.apart {
		return ls.first + unit
	}
	return ls.first
}

// LaneCount is how many lanes of a backend a program may use, from
// Options.Lane on.
func LaneCount(p *ir.Program) int {
	if p.Mode == ir.Pipelined {
		return max(1, len(p.Units))
	}
	return 1
}

// Busy is for how long a unit's device has worked at its segments, as far as
// they have come to their end. It is false where that is not measured.
func (p *Program) Busy(unit int) (time.Duration, bool) {
	if unit < 0 || unit >= len(p.ir.Units) {
		return 0, false
	}
	l := p.lanes.made[[2]int{p.placeOf(unit), p.lanes.number(unit)}]
	if l == nil || l.own == nil {
		return 0, false
	}
	t, ok := l.own.(device.Timed)
	if !ok {
		return 0, false
	}
	defer l.hold()()
	return t.Busy(unit), true
}
