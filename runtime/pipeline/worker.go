package pipeline

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// Panic is the error made of a panic in a Unit or hook.
type Panic struct {
	Value any
	Stack []byte // of the goroutine that panicked
}

func (p *Panic) Error() string { return fmt.Sprintf("panic: %v", p.Value) }

// Unwrap is the panic's value where that is an error.
func (p *Panic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// worker runs one unit's program. Only its own goroutine touches it, but for
// the part under mu.
type worker struct {
	p       *Pipeline
	u       int
	unit    Unit
	program []step
	buffers []*buffer
	fate    fate

	mu    sync.Mutex
	now   activity
	moves int
}

// activity is what a worker does at the moment, for the watchdog and for the
// text of errors.
type activity struct {
	do   action
	task Task
	link *link // doSend, doRecv, doClaim: the one it waits on
	over bool  // the run has ended for this unit
}

// run goes through the program batch by batch and reports what ends it early:
// an error, a panic, or a call of runtime.Goexit, after which nothing returns.
func (w *worker) run(ctx context.Context, report func(error)) {
	finished := false
	defer func() {
		if v := recover(); v != nil {
			report(w.fail(&Panic{v, debug.Stack()}))
		} else if !finished {
			report(w.fail(errors.New("it ended its goroutine")))
		}
	}()
	if err := w.batches(ctx); err != nil {
		report(err)
	}
	finished = true
}

func (w *worker) batches(ctx context.Context) error {
	for batch := w.p.spec.First; ; batch++ {
		w.fate = fate{}
		for _, s := range w.program {
			if batch-w.p.spec.First < s.skip {
				continue
			}
			if err := w.step(ctx, s, batch); err != nil {
				return err
			}
		}
		if w.fate.last {
			w.enter(activity{over: true})
			return nil
		}
	}
}

// step does one step of a batch.
func (w *worker) step(ctx context.Context, s step, batch int) error {
	t := s.task
	t.Batch, t.Seq = batch, batch*w.p.spec.Micros+t.Micro
	switch s.do {
	case doRun:
		return w.task(ctx, t)
	case doFeed:
		return w.feed(ctx, t)
	case doClaim:
		return w.claim(ctx, w.buffers[s.at], t)
	case doSend:
		return w.send(ctx, w.p.links[s.at], t)
	case doRecv:
		return w.recv(ctx, w.p.links[s.at], t)
	case doDecide:
		w.fate = w.p.decide(batch)
	case doClose:
		return w.close(ctx, t)
	}
	return nil
}

func (w *worker) task(ctx context.Context, t Task) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	start := w.enter(activity{do: doRun, task: t})
	if err := w.unit.Run(ctx, t); err != nil {
		return w.fail(err)
	}
	if o := w.p.hooks.Observer; o != nil {
		o.Ran(w.u, t, start, time.Since(start))
	}
	return nil
}

func (w *worker) feed(ctx context.Context, t Task) error {
	if w.p.hooks.Feed == nil {
		return nil
	}
	start := w.enter(activity{do: doFeed, task: t})
	if err := w.p.hooks.Feed(ctx, t); err != nil {
		return w.fail(err)
	}
	w.waited(Data, start)
	return nil
}

// close takes the snapshot of a batch that is a barrier.
func (w *worker) close(ctx context.Context, t Task) error {
	if w.u == 0 {
		w.p.next = t.Batch + 1
	}
	if !w.fate.save {
		return nil
	}
	w.enter(activity{do: doClose, task: t})
	if w.p.hooks.Snapshot != nil {
		if err := w.p.hooks.Snapshot(ctx, w.u, t.Batch); err != nil {
			return w.fail(err)
		}
	}
	if !w.p.barrier.arrive(t.Batch, len(w.p.workers)) || w.p.hooks.Barrier == nil {
		return nil
	}
	if err := w.p.hooks.Barrier(t.Batch); err != nil {
		return w.fail(err)
	}
	return nil
}

// send and recv listen to ctx besides their one channel. That is no choice
// between data: once ctx is done the run has no result.
func (w *worker) send(ctx context.Context, l *link, t Task) error {
	tok := token{batch: t.Batch, micro: t.Micro, seq: t.Seq, event: t.Event, fate: w.fate}
	start := w.enter(activity{do: doSend, task: t, link: l})
	select {
	case l.ch <- tok:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	w.waited(Output, start)
	return nil
}

func (w *worker) recv(ctx context.Context, l *link, t Task) error {
	tok, err := w.take(ctx, l, t, doRecv)
	if err != nil {
		return err
	}
	switch l.kind {
	case mapLink:
		w.fate = tok.fate
		l.expect(tok, t)
	case gradientLink:
		l.expect(tok, t)
	case turnLink:
		w.fate = tok.fate
	}
	return nil
}

func (w *worker) take(ctx context.Context, l *link, t Task, as action) (token, error) {
	start := w.enter(activity{do: as, task: t, link: l})
	select {
	case tok := <-l.ch:
		w.waited(l.reason(), start)
		return tok, nil
	case <-ctx.Done():
		return token{}, context.Cause(ctx)
	}
}

// expect panics where a token is not for t: the programs at the two ends of the
// link would be at odds.
func (l *link) expect(tok token, t Task) {
	if tok.batch != t.Batch || tok.micro != t.Micro {
		panic(fmt.Sprintf("pipeline: %s carries batch %d, microbatch %d for %v", l.name, tok.batch, tok.micro, t))
	}
}

// reason is why a unit waits to receive from l.
func (l *link) reason() Reason {
	switch {
	case l.kind == mapLink, l.kind == turnLink && l.from < l.to:
		return Input
	case l.kind == gradientLink, l.kind == turnLink:
		return Gradient
	}
	return Output
}

// enter publishes what the worker turns to.
func (w *worker) enter(a activity) time.Time {
	w.mu.Lock()
	w.now = a
	w.moves++
	w.mu.Unlock()
	if w.p.hooks.Observer == nil {
		return time.Time{}
	}
	return time.Now()
}

func (w *worker) waited(why Reason, start time.Time) {
	if o := w.p.hooks.Observer; o != nil {
		o.Waited(w.u, why, start, time.Since(start))
	}
}

// fail names the unit, and the task where there is one.
func (w *worker) fail(err error) error {
	name := w.p.spec.Units[w.u].Name
	switch a := w.now; a.do {
	case doRun:
		return fmt.Errorf("unit %q: %v: %w", name, a.task, err)
	case doFeed:
		return fmt.Errorf("unit %q: images of batch %d, microbatch %d: %w", name, a.task.Batch, a.task.Micro, err)
	case doClose:
		return fmt.Errorf("unit %q: snapshot after batch %d: %w", name, a.task.Batch, err)
	}
	return fmt.Errorf("unit %q: %w", name, err)
}
