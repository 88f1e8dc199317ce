package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// token says that what its task names lies at its place. Tokens that go up
// carry unit 0's decision about the batch; it holds with the batch's last one.
type token struct {
	batch, micro, seq, event int
	fate                     fate
}

// fate is what is decided about a batch.
type fate struct {
	save bool // the batch is a barrier
	last bool // the run ends with it
}

// link is a linkSpec with its channel. No channel is closed: the run's end is
// told by the context, so a reader cannot mistake an end for a token.
type link struct {
	linkSpec
	name string
	ch   chan token
}

// Pipeline is one run of the units.
type Pipeline struct {
	spec    Spec
	hooks   Hooks
	links   []*link
	workers []*worker
	barrier barrier

	started  atomic.Bool
	stopping atomic.Bool // the batch at hand is the last
	saving   atomic.Bool // the batch at hand is a barrier
	next     int
}

// New checks the spec and lays out the run. It refuses, naming the units, a
// chain whose messages do not match and channels or slots with less room than
// room.go shows to be needed.
func New(spec Spec, units []Unit, hooks Hooks) (*Pipeline, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	if err := spec.checkRoom(); err != nil {
		return nil, err
	}
	if len(units) != len(spec.Units) {
		return nil, fmt.Errorf("%d units for the %d of the spec", len(units), len(spec.Units))
	}
	return build(spec, units, hooks), nil
}

func build(spec Spec, units []Unit, hooks Hooks) *Pipeline {
	p := &Pipeline{spec: spec, hooks: hooks, next: spec.First}
	p.barrier.left = map[int]int{}
	net := compose(&spec)
	for _, l := range net.links {
		p.links = append(p.links, &link{linkSpec: l, name: p.linkName(l), ch: make(chan token, l.capacity)})
	}
	for u, unit := range units {
		w := &worker{p: p, u: u, unit: unit, program: net.programs[u]}
		for _, b := range net.buffers {
			w.buffers = append(w.buffers, newBuffer(p, b))
		}
		p.workers = append(p.workers, w)
	}
	return p
}

// Run drives the units until the last batch is over, an error, or the end of
// ctx. It returns when all its goroutines have: the first cause, which for a
// unit reads `unit "mid": forward of batch 3, microbatch 0: ...`, or the cause
// for which ctx ended. A panic of a Unit or hook is such an error too. Run is
// for one use.
func (p *Pipeline) Run(ctx context.Context) error {
	if p.started.Swap(true) {
		return errors.New("the pipeline has run already")
	}
	if p.spec.Batches > 0 && p.spec.First >= p.spec.Batches {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stopWatch := p.watch()
	defer stopWatch()
	var failed atomic.Bool
	var wg sync.WaitGroup
	for _, w := range p.workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			w.run(ctx, func(err error) {
				failed.Store(true)
				cancel(err) // keeps the first
			})
		}()
	}
	wg.Wait()
	if failed.Load() {
		return context.Cause(ctx)
	}
	return nil
}

// Stop lets all units finish the batch at hand in unit 0, or the one after it if
// its last map has gone, and then ends the run without an error.
func (p *Pipeline) Stop() { p.stopping.Store(true) }

// RequestBarrier makes the batch at hand in unit 0, or the one after it, a
// barrier.
func (p *Pipeline) RequestBarrier() { p.saving.Store(true) }

// Next is the number of the batch with which a later run goes on. It may be
// asked for after Run returned nil.
func (p *Pipeline) Next() int { return p.next }

// decide is unit 0's word on a batch.
func (p *Pipeline) decide(batch int) fate {
	f := fate{last: p.stopping.Load() || batch+1 == p.spec.Batches}
	asked := p.saving.Swap(false)
	f.save = asked || f.last || p.spec.Barrier != nil && p.spec.Barrier(batch)
	return f
}

// Channel is the state of one channel, for watching.
type Channel struct {
	Name     string // "low>mid:map", "mid>low:gradient1"; unique
	Len, Cap int
}

// Channels reads the channels. It may be called at any time by anyone.
func (p *Pipeline) Channels() []Channel {
	cs := make([]Channel, len(p.links))
	for i, l := range p.links {
		cs[i] = Channel{l.name, len(l.ch), cap(l.ch)}
	}
	return cs
}

func (p *Pipeline) linkName(l linkSpec) string {
	name := p.spec.Units[l.from].Name + ">" + p.spec.Units[l.to].Name
	switch l.kind {
	case mapLink:
		return name + ":map"
	case gradientLink:
		return fmt.Sprintf("%s:gradient%d", name, l.event)
	case releaseLink:
		return name + ":release"
	case endedLink:
		return name + ":ended"
	}
	return name + ":turn"
}

// barrier counts the units that have yet to take the snapshot of a batch. Units
// are at most one batch apart from each neighbour, so left never holds more
// batches than there are units.
type barrier struct {
	mu   sync.Mutex
	left map[int]int
}

// arrive reports whether it is the last of n units to arrive at batch. As every
// unit arrives at batches in order, and the last one reports before it goes on,
// batches are reported in order and one at a time.
func (b *barrier) arrive(batch, n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.left[batch]; !ok {
		b.left[batch] = n
	}
	b.left[batch]--
	if b.left[batch] > 0 {
		return false
	}
	delete(b.left, batch)
	return true
}
