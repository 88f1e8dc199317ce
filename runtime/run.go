package runtime

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/plan"
	"github.com/locorun/locorun/graphs"
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/runtime/metrics"
	"github.com/locorun/locorun/runtime/source"
)

// Config is a run's program and surroundings. Only Net, Backend and DeviceViews
// change bytes of the result.
type Config struct {
	Net     *model.Net
	Backend device.Backend
	DataDir string // root of the data's paths; "" is the directory of the file

	Workers   int  // that decode and augment; 0 does it in the loader's reader
	Depth     int  // microbatches in flight per unit; 1 is lean
	Recompute bool // send microbatches through twice instead of keeping frames

	// DeviceViews has the backend make the views that units are trained on; it must
	// be able to: see MakesViews. Readouts see pictures as the host makes them.
	DeviceViews bool

	// Launch has every op queued anew on a device that could keep a segment's and
	// queue them at once; see graphs.Options.
	Launch bool

	Checkpoints Checkpointing

	Stall   time.Duration // until the watchdog speaks; 0 never
	Metrics *metrics.Set  // may be nil
	Events  Events
}

// Events are told what goes on, each from one goroutine at a time of its
// unit's; all may be nil.
type Events struct {
	Batch   func(BatchReport)
	Readout func(Readout)
	Stalled func(report string)
	// Judged is told when all readouts that are due after a batch have been made.
	Judged func(batch int)
	// Unapplied is told of a batch left out by on_nan skip, and of what in it was
	// not finite.
	Unapplied func(unit string, batch int, what string)
	// Alarm is told once when a loss, named after its unit or watch, begins to go
	// wrong, and once, with an empty text, when that is over. The kind is
	// divergence or collapse.
	Alarm func(name, kind, text string)
}

// Run is a prepared run.
type Run struct {
	cfg                 Config
	net                 *model.Net
	images, train, test source.Dataset
	norm                source.Norm
	first               *ir.Program // of the first turn, for the plan
	from                *Snapshot   // what it goes on with; nil: it starts
	owed                []*Weights  // earlier ones whose readouts are missing, in order
	stop                chan struct{}
	stopOnce            sync.Once
	counted             int64 // the backend's operations that the metrics know of
}

// Result is what a run ends with.
type Result struct {
	Weights   *Weights // of the encoder and of the last turn's decoders
	Readouts  []Readout
	Batches   int   // of all turns together
	Stopped   bool  // on request, before its last batch or readout
	Trained   bool  // to the end or to the stop; Weights are good though a readout may have failed
	Unsaved   error // why the last snapshot could not be saved
	HighWater map[ir.Space]int64
	Planned   map[ir.Space]int64
}

// Prepare opens the data, compiles the program and checks that one fits the
// other.
func Prepare(cfg Config) (*Run, error) {
	if cfg.Workers < 0 || cfg.Depth < 1 || cfg.Stall < 0 {
		return nil, fmt.Errorf("%d workers, depth %d, stall %v: depth is at least 1, the others are not negative", cfg.Workers, cfg.Depth, cfg.Stall)
	}
	if cfg.DeviceViews && !MakesViews(cfg.Net, cfg.Backend) {
		return nil, fmt.Errorf("%s makes no views of the images, which the host can", cfg.Backend.Name())
	}
	r := &Run{cfg: cfg, net: cfg.Net, stop: make(chan struct{})}
	if err := r.open(); err != nil {
		r.Close()
		return nil, err
	}
	var err error
	if r.first, err = r.lower(0); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// open opens the data and settles its normalisation.
func (r *Run) open() error {
	d := r.net.Data
	opt := source.Options{DataDir: r.cfg.DataDir, FileDir: filepath.Dir(r.net.File)}
	open := func(s *model.Source) (source.Dataset, error) {
		if s == nil {
			return nil, nil
		}
		return source.Open(s, opt)
	}
	var err error
	if r.images, err = open(d.Images); err != nil {
		return err
	}
	if r.train = r.images; d.Train != d.Images {
		if r.train, err = open(d.Train); err != nil {
			return err
		}
	}
	if r.test, err = open(d.Test); err != nil {
		return err
	}
	if r.images.Len() < r.net.Train.Batch {
		return fmt.Errorf("%s: %d images are less than one batch of %d; lower `batch` or name more images", d.Images.Range, r.images.Len(), r.net.Train.Batch)
	}
	if err := r.labels(); err != nil {
		return err
	}
	return r.normalise()
}

// labels refuses data on which no readout can be fitted and scored, and gives
// the test pictures the classes of the training pictures.
func (r *Run) labels() error {
	if len(r.net.Readouts) == 0 {
		return nil
	}
	d := r.net.Data
	for _, s := range []struct {
		of   string
		data source.Dataset
		src  *model.Source
	}{{"train", r.train, d.Train}, {"test", r.test, d.Test}} {
		if s.data == nil {
			return fmt.Errorf("%s: a readout needs `%s` pictures with labels, and the data names none", r.net.Readouts[0].Range, s.of)
		}
		if !labelled(s.data) {
			return fmt.Errorf("%s: the `%s` pictures have no labels, which a readout needs; put each class into a folder of its own, name the labels' file, or drop the readouts", s.src.Range, s.of)
		}
	}
	test, err := source.Relabel(r.test, r.train.Classes())
	if err != nil {
		return fmt.Errorf("%s: the `test` pictures have %w; a readout scores on the classes it was fitted on", d.Test.Range, err)
	}
	r.test = test
	return nil
}

// labelled reports whether any picture has a label.
func labelled(ds source.Dataset) bool {
	for i := range ds.Len() {
		if ds.Label(i) >= 0 {
			return true
		}
	}
	return false
}

// Close lets the data go.
func (r *Run) Close() {
	if r.train != nil && r.train != r.images {
		r.train.Close()
	}
	for _, d := range []source.Dataset{r.images, r.test} {
		if d != nil {
			d.Close()
		}
	}
}

// turns is the number of programs trained one after another.
func (r *Run) turns() int {
	if r.net.Train.InTurn {
		return len(r.net.Units)
	}
	return 1
}

// lower compiles turn k.
func (r *Run) lower(k int) (*ir.Program, error) {
	opt := lower.Options{Depth: r.cfg.Depth, Recompute: r.cfg.Recompute, Turn: -1}
	if r.net.Train.InTurn {
		opt.Turn = k
	}
	p, err := lower.Train(r.net, opt)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.net.File, err)
	}
	return p, nil
}

// Plan is what is known before the run.
func (r *Run) Plan() *plan.Plan {
	turns := []*ir.Program{r.first}
	if r.net.Train.InTurn {
		// Where a later turn cannot be lowered, that turn will say so.
		if all, err := lower.Turns(r.net, lower.Options{Depth: r.cfg.Depth, Recompute: r.cfg.Recompute}); err == nil {
			turns = all
		}
	}
	return PlanOf(r.net, turns, r.images.Len(), r.cfg.Backend, r.cfg.Workers)
}

// PerEpoch is the number of batches in an epoch.
func (r *Run) PerEpoch() int { return r.images.Len() / r.net.Train.Batch }

// Batches is the number of batches of the whole run, all turns together.
func (r *Run) Batches() int { return r.turns() * r.perTurn() }

// Done is the number of batches that were trained before.
func (r *Run) Done() int {
	if r.from == nil {
		return 0
	}
	return r.from.Weights.Batch
}

// Norm says how pictures are normalised.
func (r *Run) Norm() source.Norm { return r.norm }

// Stop asks the run to end after the batch at hand.
func (r *Run) Stop() { r.stopOnce.Do(func() { close(r.stop) }) }

// Train trains all turns and judges the encoder. It returns when all its
// goroutines have ended. A readout whose floors cannot be made ends the
// training; one that fails later does not, and its error comes with a whole
// Result.
func (r *Run) Train(ctx context.Context) (*Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	res := &Result{}
	r.counted = r.cfg.Backend.Counted()
	initial, err := r.initial()
	if err != nil {
		return nil, err
	}
	judge := r.startReadouts(ctx, initial, cancel)
	at := r.from
	if at == nil {
		at = &Snapshot{Weights: initial}
	}
	res.Batches, res.Weights = at.Weights.Batch, at.Weights
	save := newSaver(r.cfg.Checkpoints, res.Batches)
	err = r.turnsFrom(ctx, at, judge, save, res)
	res.Unsaved = save.wait()
	res.Trained = err == nil
	readouts, jerr := judge.wait(err == nil)
	res.Readouts = readouts
	res.Stopped = res.Stopped || judge.cut
	if jerr != nil && errors.Is(err, jerr) {
		return res, jerr
	}
	return res, errors.Join(err, jerr)
}

// turnsFrom trains what is left of all turns from a snapshot. Readouts that were
// due when it was taken may not have been made, so they are made first.
func (r *Run) turnsFrom(ctx context.Context, at *Snapshot, j *judge, save *saver, res *Result) error {
	for _, w := range r.owed {
		j.at(w.Batch/r.PerEpoch(), w.Batch, w)
	}
	if n := at.Weights.Batch; n > 0 && n%r.PerEpoch() == 0 {
		j.at(n/r.PerEpoch(), n, at.Weights.clone())
	}
	w := at.Weights.clone()
	res.Weights = w
	state := at.State
	for k := r.turnOf(res.Batches); k < r.turns(); k++ {
		if err := r.turn(ctx, k, &Snapshot{w, state}, j, save, res); err != nil || res.Stopped {
			return err
		}
		state = nil // the next turn's optimisers begin anew
	}
	return nil
}

// initial draws the weights of the whole net: encoder and every unit's decoder.
func (r *Run) initial() (*Weights, error) {
	p, err := lower.Train(r.net, lower.Options{Turn: -1})
	if err != nil {
		return nil, err
	}
	return Initial(p, r.net.Train.Seed), nil
}

// build makes the subgraphs of a program with the given weights.
func build(p *ir.Program, b device.Backend, o graphs.Options, w *Weights) (*graphs.Program, error) {
	g, err := graphs.BuildWith(p, b, o)
	if err != nil {
		return nil, err
	}
	if err := load(g, p, w); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// options are how training uses the backend; options of the encoder differ in
// the lane, for it works while training goes on.
func (r *Run) options() graphs.Options { return graphs.Options{Launch: r.cfg.Launch} }
