package graphs

import (
	"errors"
	"runtime/debug"

	"github.com/locorun/locorun/graphs/device"
)

// Bounds on recordings: of a segment's combinations of slots, and of attempts at
// one that the backend would not record.
const (
	maxTakes    = 32
	maxAttempts = 3
)

// tape is a segment's recordings, by the microbatch's number modulo the least
// common multiple of its values' slots, which decides all that its Calls touch.
type tape struct {
	recorder device.Recorder
	takes    []take
}

// take is one combination of slots.
type take struct {
	ran      bool // as it is, so that marks of memory and kernels are settled
	recorded bool
	attempts int
	what     device.Recording
}

// newTape is the tape of a segment whose graph has just been built; nil where the
// lane cannot record, an op changes from step to step, or the combinations are
// too many.
func newTape(s *segment) *tape {
	r, ok := s.route.lane.own.(device.Recorder)
	if !ok {
		return nil
	}
	for i := range s.ir.Ops {
		if updates(s.ir.Ops[i].Code) {
			return nil
		}
	}
	n := 1
	for _, v := range s.graph.frame.values {
		if n = n / gcd(n, v.slots) * v.slots; n > maxTakes {
			return nil
		}
	}
	return &tape{recorder: r, takes: make([]take, n)}
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// play replays the segment where it is recorded, and else runs it: the first time
// as it is, from then on as a recording if the backend can. Where results are
// watched nothing is replayed, for they are read one by one; nor after a failure,
// whatever its cause.
func (p *Program) play(s *segment, micro int, lr float64, step int) error {
	if s.tape == nil || p.watch != nil {
		return p.orForget(s, p.together(s, func() error { return p.compute(s, micro, lr, step) }))
	}
	t := &s.tape.takes[micro%len(s.tape.takes)]
	if t.ran && !t.recorded && t.attempts < maxAttempts {
		if err := p.record(s, t, micro, lr, step); err != nil {
			return p.orForget(s, err)
		}
	}
	if t.recorded {
		return p.orForget(s, s.tape.recorder.Replay(t.what))
	}
	t.ran = true
	return p.orForget(s, p.compute(s, micro, lr, step))
}

// together lets the lane do the segment's updates at once if it can. Where results
// are watched it must not: they are read one by one.
func (p *Program) together(s *segment, compute func() error) error {
	j, ok := s.route.lane.own.(device.Joiner)
	if !ok || p.watch != nil {
		return compute()
	}
	return j.Join(compute)
}

// orForget gives up recording where a segment has failed.
func (p *Program) orForget(s *segment, err error) error {
	if err != nil {
		s.forget()
	}
	return err
}

// record tries to record a combination. That the backend would not is no error.
// The graph's machine runs ops on a goroutine of its own, while a card records what
// one thread queues: so the Calls are noted first.
func (p *Program) record(s *segment, t *take, micro int, lr float64, step int) error {
	t.attempts++
	calls, err := p.note(s, micro, lr, step)
	if err != nil {
		return err
	}
	what, err := s.tape.recorder.Record(func() error { return p.queue(s, calls) })
	switch {
	case errors.Is(err, device.ErrNotRecorded):
		return nil
	case err != nil:
		return err
	}
	t.what, t.recorded = what, true
	return nil
}

// noting is a Queue that notes Calls and runs none.
type noting struct {
	Queue
	calls []*device.Call
}

func (q *noting) Run(c *device.Call) error {
	q.calls = append(q.calls, c)
	return nil
}

// note is a segment's Calls, in the order of its ops. They are the graph's own, and
// as they are until it runs again.
func (p *Program) note(s *segment, micro int, lr float64, step int) ([]*device.Call, error) {
	f := s.graph.frame
	q := &noting{Queue: f.on}
	f.on = q
	defer func() { f.on = q.Queue }()
	err := p.compute(s, micro, lr, step)
	return q.calls, err
}

// queue queues a segment's Calls on its lane. A panic becomes an error, as under Do.
func (p *Program) queue(s *segment, calls []*device.Call) (err error) {
	at := 0
	fail := func(err error, stack []byte) error { return opError(p.unit(s.ir), &s.ir.Ops[at], err, stack) }
	defer func() {
		if v := recover(); v != nil {
			err = fail(panicError(v), debug.Stack())
		}
	}()
	for ; at < len(calls); at++ {
		if err := s.tape.recorder.Run(calls[at]); err != nil {
			return fail(err, nil)
		}
	}
	return nil
}

// forget lets the recordings go, for good.
func (s *segment) forget() {
	if s.tape == nil {
		return
	}
	for _, t := range s.tape.takes {
		if t.recorded {
			s.tape.recorder.Forget(t.what)
		}
	}
	s.tape = nil
}
