package runtime

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/fnv"
	"time"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/graphs"
	"github.com/locorun/locorun/runtime/metrics"
	"github.com/locorun/locorun/runtime/pipeline"
	"github.com/locorun/locorun/runtime/source"
)

// turn is one program being trained: all units together, or the one whose turn
// it is.
type turn struct {
	run    *Run
	number int
	ir     *ir.Program
	prog   *graphs.Program
	units  []*unit
	loader *source.Loader
	watch  *observer
	judge  *judge
	base   *Weights // what the turn started from
	begin  int      // number in the turn of the first batch it trains
	save   *saver
	ctx    context.Context // of the run, for the barrier
	fed    hash.Hash64     // of the images of the batch at hand, in order
	// snaps holds the units' parts of the barrier at hand, by batch.
	snaps  *snapshots
	canvas canvas // of views that the device makes
}

// turn trains what is left of turn k after the snapshot, whose weights it
// replaces by what it trained.
func (r *Run) turn(ctx context.Context, k int, at *Snapshot, j *judge, save *saver, res *Result) error {
	p, err := r.lower(k)
	if err != nil {
		return err
	}
	w := at.Weights
	g, err := build(p, r.cfg.Backend, r.options(), w)
	if err != nil {
		return err
	}
	defer g.Close()
	if err := loadState(g, p, at.State); err != nil {
		return err
	}
	t := &turn{
		run: r, number: k, ir: p, prog: g, judge: j, base: w.clone(), begin: w.Batch - k*r.perTurn(),
		save: save, ctx: ctx, snaps: newSnapshots(len(p.Units)),
	}
	t.loader, err = r.loader(p, t.begin)
	if err != nil {
		return err
	}
	defer t.loader.Close()
	if err := t.train(ctx, res); err != nil {
		return err
	}
	res.HighWater, res.Planned = g.HighWater(), p.Sizes
	return t.finish(w, res)
}

// finish takes over what the turn trained, and saves it.
func (t *turn) finish(w *Weights, res *Result) error {
	last, err := t.read(nil)
	if err != nil {
		return err
	}
	w.replace(last.weights)
	w.Batch = res.Batches
	t.save.offer(t.ctx, &Snapshot{w.clone(), last.state})
	return nil
}

// read copies what only lets through. What an update made not finite is refused,
// so that it is never saved or judged.
func (t *turn) read(only func(*ir.Param) bool) (p part, err error) {
	if p.weights, err = read(t.prog, t.ir, only); err != nil {
		return p, err
	}
	if t.save.active() {
		if p.state, err = readState(t.prog, t.ir, only); err != nil {
			return p, err
		}
	}
	for _, ts := range [][]Tensor{p.weights, p.state} {
		if name, at, bad := notFiniteIn(ts); bad {
			return p, fmt.Errorf("the update made %s not finite, at element %d; %s", name, at, slower)
		}
	}
	return p, nil
}

// train runs the pipeline to the end of the turn.
func (t *turn) train(ctx context.Context, res *Result) error {
	us, err := t.start()
	if err != nil {
		return err
	}
	pipe, err := pipeline.New(t.spec(), us, t.hooks())
	if err != nil {
		return err
	}
	t.run.cfg.Metrics.SetChannels(channels(pipe))
	t.run.cfg.Metrics.Memory(t.run.deviceKind(), metrics.Planned, t.ir.Bytes())
	done := make(chan struct{})
	defer close(done)
	go t.ask(pipe, done)
	if err := pipe.Run(ctx); err != nil {
		return t.located(ctx, err)
	}
	res.Batches = t.first() + pipe.Next()
	res.Stopped = pipe.Next() < t.batches()
	return nil
}

// ask passes on to the pipeline what is asked for from outside and by the clock.
func (t *turn) ask(pipe *pipeline.Pipeline, done <-chan struct{}) {
	var due <-chan time.Time
	if after := t.run.cfg.Checkpoints.After; after > 0 && t.save.active() {
		clock := time.NewTicker(after)
		defer clock.Stop()
		due = clock.C
	}
	for {
		select {
		case <-t.run.stop:
			pipe.Stop()
			return
		case <-due:
			t.save.asked.Store(true)
			pipe.RequestBarrier()
		case <-done:
			return
		}
	}
}

// start makes the units ready for their first batch.
func (t *turn) start() ([]pipeline.Unit, error) {
	t.watch = newObserver(t.ir, t.run.cfg.Metrics)
	var us []pipeline.Unit
	for k := range t.ir.Units {
		m := t.run.net.Units[t.netUnit(k)]
		u := newUnit(t.prog, t.ir, k, m, steps{t.run.PerEpoch(), t.run.net.Train.Epochs}, t.report)
		u.alarm, u.train = t.alarm, &t.run.net.Train
		if err := u.start(t.begin); err != nil {
			return nil, err
		}
		t.units = append(t.units, u)
		us = append(us, u)
	}
	return us, nil
}

// batches is the number of batches in a turn.
func (t *turn) batches() int { return t.run.net.Train.Epochs * t.run.PerEpoch() }

// first is the number in the run of the turn's first batch.
func (t *turn) first() int { return t.number * t.batches() }

// netUnit is the index in the net of program unit k.
func (t *turn) netUnit(k int) int {
	if t.run.net.Train.InTurn {
		return t.number
	}
	return k
}

// spec tells the pipeline the shape of the program.
func (t *turn) spec() pipeline.Spec {
	p := t.ir
	s := pipeline.Spec{
		Micros: p.Micros, Depth: p.Depth, Lean: p.Mode == ir.Lean,
		BatchLoss: p.BatchLoss, Recompute: p.Recompute,
		First: t.begin, Batches: t.batches(), Barrier: t.due,
		Stall: t.run.cfg.Stall,
	}
	for k := range p.Units {
		u := &p.Units[k]
		us := pipeline.UnitSpec{
			Name: u.Name, Feedbacks: len(u.Events) - 1,
			Relays: len(u.Owns) == 0,
			Tied:   k+1 < len(p.Units) && len(u.Publish) > 0 && len(p.Units[k+1].Publish) > 0,
		}
		for _, send := range u.Sends {
			us.Sends = append(us.Sends, len(send) > 0)
		}
		if u.Out != ir.None {
			us.Slots = p.Values[u.Out].Slots
		}
		s.Units = append(s.Units, us)
	}
	s.InputSlots = p.Values[p.Units[0].In].Slots
	if s.Lean {
		return s
	}
	return s.Roomy()
}

// due reports whether a batch of the turn is one after which somebody wants a
// snapshot.
func (t *turn) due(batch int) bool { return t.judged(batch) || t.saved(batch) }

func (t *turn) judged(batch int) bool {
	return t.judge.during() && (batch+1)%t.run.PerEpoch() == 0
}

func (t *turn) saved(batch int) bool {
	every, done := t.run.cfg.Checkpoints.Every, t.first()+batch+1
	return t.save.active() && (every > 0 && done%every == 0 || t.run.Due(done) > 0)
}

// hooks joins the pipeline to the loader, the readouts and the metrics.
func (t *turn) hooks() pipeline.Hooks {
	return pipeline.Hooks{
		Feed: t.feed, Snapshot: t.snapshot, Barrier: t.barrier,
		Observer: t.watch, Stalled: t.run.cfg.Events.Stalled,
	}
}

// feed brings the next microbatch into its slot.
func (t *turn) feed(ctx context.Context, task pipeline.Task) error {
	mb, err := t.loader.Next(ctx)
	if err != nil {
		return err
	}
	defer t.loader.Release(mb)
	if mb.Batch != task.Batch || mb.Index != task.Micro {
		return fmt.Errorf("the loader gave microbatch %d of batch %d for %d of %d", mb.Index, mb.Batch, task.Micro, task.Batch)
	}
	if mb.Pass == 0 {
		t.note(mb)
	}
	return t.show(t.ir.Units[0].In, task.Seq, mb)
}

// note adds a microbatch's images to what is known of the batch.
func (t *turn) note(mb *source.Microbatch) {
	if mb.Index == 0 {
		t.fed = fnv.New64a()
	}
	for _, i := range mb.Images {
		t.fed.Write(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, uint64(mb.Epoch)), uint64(i)))
	}
}

// snapshot copies what unit u owns.
func (t *turn) snapshot(_ context.Context, u, batch int) error {
	p, err := t.read(func(p *ir.Param) bool { return p.Unit == u })
	if err != nil {
		return err
	}
	t.snaps.add(batch, u, p)
	return nil
}

// barrier gives the snapshot of a batch to the readouts that are due, and has
// it saved if that is.
func (t *turn) barrier(batch int) error {
	all := t.snaps.take(batch)
	done := t.first() + batch + 1
	w := t.base.clone()
	w.Batch = done
	w.replace(all.weights)
	if t.judged(batch) {
		t.judge.at(done/t.run.PerEpoch(), done, w)
	}
	if asked := t.save.asked.Swap(false); asked || t.saved(batch) {
		t.save.offer(t.ctx, &Snapshot{w.clone(), all.state})
	}
	return nil
}

// loader starts the loader of a program at a batch.
func (r *Run) loader(p *ir.Program, batch int) (*source.Loader, error) {
	c := r.loaderConfig(p)
	c.StartBatch = batch
	return source.NewLoader(c)
}

// LoaderBytes is the memory for pictures on their way into a program.
func LoaderBytes(net *model.Net, p *ir.Program, workers int) int64 {
	return source.LoaderConfig{Shape: net.Input, Microbatch: p.Microbatch, Workers: workers}.BufferBytes()
}

func (r *Run) loaderConfig(p *ir.Program) source.LoaderConfig {
	c := source.LoaderConfig{
		Dataset: r.images, Views: r.net.Views, Shape: r.net.Input, Norm: r.norm,
		Seed: r.net.Train.Seed, Batch: p.Batch, Microbatch: p.Microbatch, Recompute: p.Recompute,
		Epochs: r.net.Train.Epochs, Workers: r.cfg.Workers,
	}
	if r.cfg.DeviceViews {
		c.Sketches = bounds()
	}
	return c
}
