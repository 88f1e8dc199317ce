package runtime

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/graphs"
	"github.com/locorun/locorun/runtime/pipeline"
	"github.com/locorun/locorun/runtime/rng"
)

// Trial is training steps to be measured: the pipeline, segments and reports of
// a run, without its readouts and snapshots. What it trains is thrown away.
//
// Of Config's Events a trial tells Batch only. Where Views is not set the data
// are not opened: every slot of the images is filled with normal numbers once,
// and there is no loader.
type Trial struct {
	Config
	Turn    int  // the unit whose turn is tried, where units train in turn
	Batches int  // at least 1
	Views   bool // train on views of the data's images
	// Ready, where set, is called when the memory has been laid out and the
	// weights and images have been written.
	Ready func()
	// Ended, where set, is told of each batch, from 0, that all units have ended.
	Ended func(batch int)
}

// Tried is what a trial ends with.
type Tried struct {
	Program            string    // which turn, "" where all units train together
	Seconds            []float64 // of each batch: from the end of the one before
	FLOPs              int64     // of convolutions and dense products in a batch, as counted
	Planned, HighWater map[ir.Space]int64
}

// Bytes is all memory that was planned.
func (t *Tried) Bytes() (n int64) {
	for _, b := range t.Planned {
		n += b
	}
	return n
}

// Run runs the trial. It returns when all its goroutines have ended.
func (t *Trial) Run(ctx context.Context) (*Tried, error) {
	r, err := t.prepare()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	p, err := r.lower(t.Turn)
	if err != nil {
		return nil, err
	}
	g, err := graphs.BuildWith(p, t.Backend, graphs.Options{Launch: t.Launch})
	if err != nil {
		return nil, err
	}
	defer g.Close()
	if err := begin(g, p, r.net.Train.Seed); err != nil {
		return nil, err
	}
	tn := &turn{run: r, number: t.Turn, ir: p, prog: g, judge: &judge{}, save: &saver{}}
	if err := t.images(tn); err != nil {
		return nil, err
	}
	if tn.loader != nil {
		defer tn.loader.Close()
	}
	if t.Ready != nil {
		t.Ready()
	}
	return t.train(ctx, tn)
}

// train runs the pipeline over the trial's batches.
func (t *Trial) train(ctx context.Context, tn *turn) (*Tried, error) {
	units, err := tn.start()
	if err != nil {
		return nil, err
	}
	spec, hooks := tn.spec(), tn.hooks()
	spec.Batches = t.Batches
	pace := &pace{Observer: tn.watch, units: len(units), ended: t.Ended}
	hooks.Snapshot, hooks.Barrier, hooks.Observer = nil, nil, pace
	if !t.Views {
		hooks.Feed = nil
	}
	pipe, err := pipeline.New(spec, units, hooks)
	if err != nil {
		return nil, err
	}
	before := t.Backend.Counted()
	pace.last = time.Now()
	if err := pipe.Run(ctx); err != nil {
		return nil, err
	}
	res := &Tried{
		Seconds: pace.seconds, FLOPs: (t.Backend.Counted() - before) / int64(t.Batches),
		Planned: tn.ir.Sizes, HighWater: tn.prog.HighWater(),
	}
	if tn.run.net.Train.InTurn {
		res.Program = tn.ir.Units[len(tn.ir.Units)-1].Name
	}
	return res, nil
}

// prepare prepares a run of the net without what a trial leaves out.
func (t *Trial) prepare() (*Run, error) {
	net := *t.Net
	turns := 1
	if net.Train.InTurn {
		turns = len(net.Units)
	}
	switch {
	case t.Batches < 1:
		return nil, fmt.Errorf("a trial of %d batches", t.Batches)
	case t.Turn < 0 || t.Turn >= turns:
		return nil, fmt.Errorf("there is no turn %d; the program has %d", t.Turn+1, turns)
	}
	net.Readouts = nil
	if !t.Views {
		// Stands for the number of images, on which the learning rate's course
		// depends; none of them is drawn.
		net.Data.Images = &model.Source{Kind: "synthetic", N: t.Batches * net.Train.Batch, Classes: 2, Size: [2]int{32, 32}}
		net.Data.Normalise = model.Normalise{Kind: "none"}
	}
	net.Data.Train, net.Data.Test = net.Data.Images, nil
	cfg := t.Config
	cfg.Net, cfg.Events = &net, Events{Batch: t.Events.Batch}
	r, err := Prepare(cfg)
	if err != nil {
		return nil, err
	}
	epochs := (t.Batches + r.PerEpoch() - 1) / r.PerEpoch()
	net.Train.Epochs = max(net.Train.Epochs, epochs)
	return r, nil
}

// images makes the images of a trial: a loader, or noise in every slot.
func (t *Trial) images(tn *turn) (err error) {
	if t.Views {
		tn.loader, err = tn.run.loader(tn.ir, 0)
		return err
	}
	in := tn.ir.Units[0].In
	for slot := range tn.ir.Values[in].Slots {
		s := rng.New(tn.run.net.Train.Seed, "trial", uint64(slot))
		if err := fill(tn.prog, in, slot, elements(tn.ir.Values[in].Shape), &s); err != nil {
			return err
		}
	}
	return nil
}

// fill writes normal numbers into a value of n elements, part by part, so that the
// host never holds them all.
func fill(g *graphs.Program, v ir.ValueID, micro, n int, s *rng.Stream) error {
	data := make([]float32, partSize)
	for from := 0; from < n; from += partSize {
		part := data[:min(partSize, n-from)]
		for i := range part {
			part[i] = float32(s.Normal())
		}
		if err := g.WritePart(v, micro, from, part); err != nil {
			return fmt.Errorf("the images: %w", err)
		}
	}
	return nil
}

// begin writes the weights that a run begins with, one tensor at a time, so
// that the host never holds them all.
func begin(g *graphs.Program, p *ir.Program, seed uint64) error {
	var buffer []float32
	for i := range p.Params {
		q := &p.Params[i]
		n := elements(p.Values[q.Value].Shape)
		if cap(buffer) < n {
			buffer = make([]float32, n)
		}
		draw(buffer[:n], q.Init, seed)
		if err := g.Write(q.Value, 0, buffer[:n]); err != nil {
			return fmt.Errorf("%s: %w", q.Name, err)
		}
	}
	return nil
}

// Loading is how many images a second the loader alone delivers, two views of
// each, with the trial's Workers: of those that come within the time, three
// microbatches at least.
func (t *Trial) Loading(ctx context.Context, within time.Duration) (float64, error) {
	real := *t
	real.Views, real.Batches = true, 1
	r, err := real.prepare()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	r.net.Train.Epochs = math.MaxInt32 // it ends by the clock
	loader, err := r.loader(r.first, 0)
	if err != nil {
		return 0, err
	}
	defer loader.Close()
	images, begun := 0, time.Now()
	for n := 0; n < 3 || time.Since(begun) < within; n++ {
		mb, err := loader.Next(ctx)
		if err != nil {
			return 0, err
		}
		images += len(mb.Images)
		loader.Release(mb)
	}
	return float64(images) / time.Since(begun).Seconds(), nil
}

// pace takes the times of batches' ends. It tells another observer all it is
// told.
type pace struct {
	pipeline.Observer
	units   int
	ended   func(batch int)
	mu      sync.Mutex
	updated map[int]int // units that have updated, by batch
	last    time.Time
	seconds []float64
}

// Ran notes the last update of a batch. A unit updates for a batch after it did
// so for the one before, so batches end in order.
func (p *pace) Ran(u int, t pipeline.Task, start time.Time, d time.Duration) {
	p.Observer.Ran(u, t, start, d)
	if t.Kind != pipeline.Update {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.updated == nil {
		p.updated = map[int]int{}
	}
	if p.updated[t.Batch]++; p.updated[t.Batch] < p.units {
		return
	}
	delete(p.updated, t.Batch)
	p.seconds = append(p.seconds, time.Since(p.last).Seconds())
	if p.ended != nil {
		p.ended(t.Batch)
	}
	p.last = time.Now()
}
