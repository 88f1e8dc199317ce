package graphs

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/graphs/device"
)

// Program is a program ready to run on a device. Its methods may be called
// from several goroutines, but no segment runs twice at a time, and a caller
// reads and writes values only while no segment that uses them runs.
type Program struct {
	ir       *ir.Program
	memory   memory
	mirrors  mirrors
	lanes    lanes
	segments []segment
	hosts    []host // by value
	closed   atomic.Bool
	watch    *watch // nil where nobody watches
}

// segment is a segment's graph, and whether it is running.
type segment struct {
	ir    *ir.Segment
	busy  atomic.Bool
	graph *graph // nil where there are no ops, and after a failure
	nodes []Node
	route route
	wrote []touch
	tape  *tape // nil where nothing is recorded
}

// Options say how a program uses its backend. None changes a byte of any result.
type Options struct {
	// Lane is the number of the first lane it uses where the backend has lanes; see
	// LaneCount. Programs that are at work at the same time have lanes of their own.
	Lane int
	// Launch queues every op anew. Else, where a lane can record, segments are
	// recorded and queued again at once.
	Launch bool
}

// Build allocates the program's memory on the device, a buffer for every
// space, and builds and compiles the graph of every segment. The program must
// have been verified and its memory planned, and must not change any more.
// Close gives the memory back; the backend stays the caller's.
func Build(p *ir.Program, b device.Backend) (*Program, error) { return BuildWith(p, b, Options{}) }

// BuildWith is Build with options.
func BuildWith(p *ir.Program, b device.Backend, o Options) (*Program, error) {
	g := &Program{ir: p, segments: make([]segment, len(p.Segments))}
	if err := g.build(b, o); err != nil {
		g.memory.free()
		return nil, fmt.Errorf("graphs of %s: %w", p.Name, err)
	}
	return g, nil
}

func (p *Program) build(b device.Backend, o Options) error {
	if err := p.memory.allocate(p.ir, b); err != nil {
		return err
	}
	if err := p.mirrors.allocate(p.ir, &p.memory); err != nil {
		return err
	}
	for i := range p.segments {
		p.segments[i].ir = &p.ir.Segments[i]
	}
	if err := p.route(o.Lane); err != nil {
		return err
	}
	for i := range p.segments {
		s := &p.segments[i]
		if len(s.ir.Ops) == 0 {
			continue
		}
		g, err := p.newGraph(s)
		if err != nil {
			return err
		}
		s.graph, s.nodes = g, list(g.expr)
		if !o.Launch {
			s.tape = newTape(s)
		}
	}
	return nil
}

// unit is the name of a segment's unit.
func (p *Program) unit(s *ir.Segment) string {
	if s.Unit < 0 || s.Unit >= len(p.ir.Units) {
		return ""
	}
	return p.ir.Units[s.Unit].Name
}

// RunTask runs the segments of a task one after another.
func (p *Program) RunTask(task ir.Task, micro int, lr float64, step int) error {
	for _, id := range task {
		if err := p.Run(id, micro, lr, step); err != nil {
			return err
		}
	}
	return nil
}

// Run runs one segment for microbatch number micro, counted from the start of
// the run. lr and step are the learning rate and the number of the update,
// from 1; updates alone look at them. An error is an *Error, and the segment
// may be run again after it.
func (p *Program) Run(segment, micro int, lr float64, step int) error {
	if segment < 0 || segment >= len(p.segments) {
		return fmt.Errorf("graphs: no segment %d", segment)
	}
	s := &p.segments[segment]
	if err := p.run(s, micro, lr, step); err != nil {
		if _, ok := err.(*Error); ok {
			return err
		}
		return &Error{Unit: p.unit(s.ir), Layer: s.ir.Name(), Err: err}
	}
	return nil
}

func (p *Program) run(s *segment, micro int, lr float64, step int) error {
	if micro < 0 {
		return fmt.Errorf("no microbatch %d", micro)
	}
	if !s.busy.CompareAndSwap(false, true) {
		return errors.New("the segment is running already")
	}
	defer s.busy.Store(false)
	if p.closed.Load() {
		return errors.New("the program is closed")
	}
	if len(s.ir.Ops) == 0 {
		return nil
	}
	for _, f := range s.route.fetches {
		if err := f.bring(micro); err != nil {
			return err
		}
	}
	l := s.route.lane
	err := l.within(s.route.accesses, micro, func() error {
		return l.timed(s.ir.Unit, func() error { return p.play(s, micro, lr, step) })
	})
	for _, t := range s.wrote {
		p.mirrors.wrote(t.value, micro, t.all)
	}
	return err
}

// compute runs the segment's ops, or, while the lane records, has them recorded.
func (p *Program) compute(s *segment, micro int, lr float64, step int) error {
	if s.graph == nil {
		g, err := p.newGraph(s)
		if err != nil {
			return err
		}
		s.graph = g
	}
	s.graph.frame.watch = p.watch
	err := s.graph.run(micro, lr, step)
	p.touched(s.graph.frame)
	if err != nil {
		s.graph.close()
		s.graph = nil
	}
	return err
}

// touched adds the marks of a run to the program's.
func (p *Program) touched(f *frame) {
	for s, end := range f.high {
		p.memory.touch(ir.Space(s), end)
	}
}

// HighWater is how far each space has been used since Build: the end of the
// highest argument or result of any op that ran and of any Tensor handed out,
// the last line of 64 bytes counted whole, as the memory plan does. Spaces
// that were not used are absent.
func (p *Program) HighWater() map[ir.Space]int64 {
	high := map[ir.Space]int64{}
	for _, s := range ir.Spaces() {
		if n := p.memory.high[s].Load(); n > 0 {
			high[s] = (n + line - 1) / line * line
		}
	}
	return high
}

// Counted is the backend's count of floating-point operations, of all that
// runs on it.
func (p *Program) Counted() int64 { return p.memory.backend.Counted() }

// Close gives the program's memory back to the backend. No Run may be under
// way; later ones are errors. Closing twice does nothing.
func (p *Program) Close() {
	if !p.closed.CompareAndSwap(false, true) {
		return
	}
	for i := range p.segments {
		s := &p.segments[i]
		release := s.route.lane.hold()
		s.forget()
		release()
		if s.graph != nil {
			s.graph.close()
			s.graph = nil
		}
	}
	p.memory.free()
}
