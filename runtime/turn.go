package runtime

import (
	"context"
	"fmt"

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
	// snaps holds the units' parts of the barrier at hand, by batch.
	snaps *snapshots
}

// turn trains turn k from the weights w, which it replaces by what it trained.
func (r *Run) turn(ctx context.Context, k int, w *Weights, j *judge, res *Result) error {
	p, err := r.lower(k)
	if err != nil {
		return err
	}
	g, err := build(p, r.cfg.Backend, w)
	if err != nil {
		return err
	}
	defer g.Close()
	t := &turn{run: r, number: k, ir: p, prog: g, judge: j, base: w.clone(), snaps: newSnapshots(len(p.Units))}
	t.loader, err = r.loader(p)
	if err != nil {
		return err
	}
	defer t.loader.Close()
	if err := t.train(ctx, res); err != nil {
		return err
	}
	trained, err := read(g, p, nil)
	if err != nil {
		return err
	}
	w.replace(trained)
	w.Batch = res.Batches
	res.HighWater, res.Planned = g.HighWater(), p.Sizes
	return nil
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
	t.run.cfg.Metrics.Memory("cpu", metrics.Planned, t.ir.Bytes())
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-t.run.stop:
			pipe.Stop()
		case <-done:
		}
	}()
	if err := pipe.Run(ctx); err != nil {
		return err
	}
	res.Batches = t.first() + pipe.Next()
	res.Stopped = pipe.Next() < t.batches()
	return nil
}

// start makes the units ready for their first batch.
func (t *turn) start() ([]pipeline.Unit, error) {
	t.watch = newObserver(t.ir, t.run.cfg.Metrics)
	var us []pipeline.Unit
	for k := range t.ir.Units {
		m := t.run.net.Units[t.netUnit(k)]
		u := newUnit(t.prog, t.ir, k, m, steps{t.run.PerEpoch(), t.run.net.Train.Epochs}, t.report)
		if err := u.start(); err != nil {
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
		Batches: t.batches(),
		Stall:   t.run.cfg.Stall,
	}
	if t.judge.during() {
		s.BarrierEvery = t.run.PerEpoch()
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

// hooks joins the pipeline to the loader, the readouts and the metrics.
func (t *turn) hooks() pipeline.Hooks {
	return pipeline.Hooks{
		Feed: t.feed, Snapshot: t.snapshot, Barrier: t.barrier,
		Observer: t.watch, Stalled: t.run.cfg.Events.Stalled,
	}
}

// feed copies the next microbatch into its slot.
func (t *turn) feed(ctx context.Context, task pipeline.Task) error {
	mb, err := t.loader.Next(ctx)
	if err != nil {
		return err
	}
	defer t.loader.Release(mb)
	if mb.Batch != task.Batch || mb.Index != task.Micro {
		return fmt.Errorf("the loader gave microbatch %d of batch %d for %d of %d", mb.Index, mb.Batch, task.Micro, task.Batch)
	}
	return t.prog.Write(t.ir.Units[0].In, task.Seq, mb.Pixels)
}

// snapshot copies what unit u owns.
func (t *turn) snapshot(_ context.Context, u, batch int) error {
	ts, err := read(t.prog, t.ir, func(p *ir.Param) bool { return p.Unit == u })
	if err != nil {
		return err
	}
	t.snaps.add(batch, u, ts)
	return nil
}

// barrier gives the snapshot of a batch to the readouts that are due.
func (t *turn) barrier(batch int) error {
	parts := t.snaps.take(batch)
	done := t.first() + batch + 1
	if done%t.run.PerEpoch() != 0 {
		return nil
	}
	w := t.base.clone()
	w.Batch = done
	w.replace(parts)
	t.judge.at(done/t.run.PerEpoch(), done, w)
	return nil
}

// loader starts the loader of a program.
func (r *Run) loader(p *ir.Program) (*source.Loader, error) {
	return source.NewLoader(r.loaderConfig(p))
}

// LoaderBytes is the memory for pictures on their way into a program.
func LoaderBytes(net *model.Net, p *ir.Program, workers int) int64 {
	return source.LoaderConfig{Shape: net.Input, Microbatch: p.Microbatch, Workers: workers}.BufferBytes()
}

func (r *Run) loaderConfig(p *ir.Program) source.LoaderConfig {
	return source.LoaderConfig{
		Dataset: r.images, Views: r.net.Views, Shape: r.net.Input, Norm: r.norm,
		Seed: r.net.Train.Seed, Batch: p.Batch, Microbatch: p.Microbatch, Recompute: p.Recompute,
		Epochs: r.net.Train.Epochs, Workers: r.cfg.Workers,
	}
}
