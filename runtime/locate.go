package runtime

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/dsl/diag"
	"github.com/locorun/locorun/graphs"
	"github.com/locorun/locorun/runtime/source"
)

// NotFinite ends a run in which a loss, a gradient, a weight or a running
// statistic was NaN or infinite.
type NotFinite struct {
	Unit        string // in which it began
	Batch       int    // of the training, from 0
	Epoch, Step int    // of the run, from 1
	Text        string // where it began, and what may help
	Err         error  // of the op where it began, or of the unit that saw it
}

// Error gives `unit "low": batch 12 (epoch 1, step 13): s1.0.conv1
// (graph.loco:14:3): the output of conv is not finite (NaN), its inputs are;
// lower the learning rate`.
func (e *NotFinite) Error() string {
	return fmt.Sprintf("unit %q: batch %d (epoch %d, step %d): %s", e.Unit, e.Batch, e.Epoch, e.Step, e.Text)
}

// Unwrap returns what it was made of.
func (e *NotFinite) Unwrap() error { return e.Err }

// finding is where something that is not finite began.
type finding struct {
	unit   string
	text   string
	advice string // "" where that of the unit that saw it holds
	err    error
}

// located finds where what ended the pipeline began, if that was a number that
// is not finite. It decides which unit is named: which of several saw it first
// is chance. The pipeline's goroutines have ended, and nobody needs what the
// program holds any more: it is trained no further and never saved.
func (t *turn) located(ctx context.Context, err error) error {
	var d *detection
	if !errors.As(err, &d) || ctx.Err() != nil {
		return err
	}
	found, lost := t.locate(ctx, d.batch)
	step := t.first() + d.batch + 1
	e := &NotFinite{Unit: d.unit, Batch: d.batch, Step: step, Epoch: (step-1)/t.run.PerEpoch() + 1, Err: d}
	switch {
	case lost != nil:
		e.Text = fmt.Sprintf("%s, and where that began is not known: %v; %s", d.what, lost, d.advice)
	case found == nil:
		e.Text = fmt.Sprintf("%s, but everything was when the batch was run again; %s", d.what, d.advice)
	default:
		if found.advice == "" {
			found.advice = d.advice
		}
		e.Unit, e.Err = found.unit, errors.Join(found.err, d)
		e.Text = found.text + "; " + found.advice
	}
	e.Text = d.preface + e.Text
	return e
}

// locator runs a batch again and looks at every number.
type locator struct {
	turn   *turn
	ctx    context.Context
	batch  int
	loader *source.Loader
	found  *finding
}

// errFound ends the search.
var errFound = errors.New("found")

// locate finds where the first number of a batch that is not finite is: among
// what was there before, among the images, or among the results of ops, in the
// order of depth 1. It is nil where there is none.
//
// Units are up to a batch apart when one of them stops the others: those below
// may have updated for the batch, those above not yet for the one before. So
// the second run is not the first one to the bit. It need not be: a unit that
// was ahead took in nothing that was not finite, or it would have stopped
// itself, and moved by one step; what a unit above has not got yet cannot have
// harmed the one below. Only where a number went over the edge by a hair the
// second run may find none, and then that is what the run ends with.
func (t *turn) locate(ctx context.Context, batch int) (*finding, error) {
	l := &locator{turn: t, ctx: ctx, batch: batch}
	err := l.run()
	if errors.Is(err, errFound) {
		err = nil
	}
	return l.found, err
}

func (l *locator) run() error {
	if err := l.before(); err != nil {
		return err
	}
	if err := l.clear(); err != nil {
		return err
	}
	if err := l.load(); err != nil {
		return err
	}
	defer l.loader.Close()
	l.turn.prog.Watch(true)
	defer l.turn.prog.Watch(false)
	s := &sequence{p: l.turn.ir, feed: l.feed, task: l.task}
	return s.batch(l.batch)
}

// before looks at what the batch began with. Running statistics that the batch
// moves may have been spoilt by its first run, and nothing in it reads them.
func (l *locator) before() error {
	p := l.turn.ir
	moves := moved(p)
	for i := range p.Params {
		q := &p.Params[i]
		if q.Kind == ir.Statistic && moves[q.Value] {
			continue
		}
		what := "the weights " + q.Name + " were"
		if q.Kind == ir.Statistic {
			what = "the running statistic " + q.Name + " was"
		}
		if err := l.look(q, q.Value, what); err != nil {
			return err
		}
		for _, v := range q.State {
			if err := l.look(q, v, "the optimiser's "+stateName(p, v)+" was"); err != nil {
				return err
			}
		}
	}
	return nil
}

// look ends the search where a value that persists is not finite.
func (l *locator) look(q *ir.Param, v ir.ValueID, what string) error {
	at, x, err := firstNotFinite(l.turn.prog, v)
	if err != nil || at < 0 {
		return err
	}
	layer := strings.TrimSuffix(q.Name, path.Ext(q.Name))
	l.found = &finding{
		unit: l.turn.ir.Units[q.Unit].Name, advice: slower,
		text: fmt.Sprintf("%s: %s not finite before the batch (%v at element %d)", layerAt(layer, q.Range), what, x, at),
	}
	return errFound
}

// layerAt is a layer with its place in the source, where it has one.
func layerAt(layer string, r diag.Range) string {
	if r.IsZero() {
		return layer
	}
	return fmt.Sprintf("%s (%s)", layer, r)
}

// clear forgets what the batch has left of its first run: sums of gradients, and
// running statistics, which begin anew so that they are known to be finite.
func (l *locator) clear() error {
	t := l.turn
	for _, u := range t.units {
		if err := u.clear(); err != nil {
			return err
		}
	}
	moves := moved(t.ir)
	for i := range t.ir.Params {
		q := &t.ir.Params[i]
		if q.Kind != ir.Statistic || !moves[q.Value] {
			continue
		}
		data := make([]float32, elements(t.ir.Values[q.Value].Shape))
		draw(data, q.Init, t.run.net.Train.Seed)
		if err := t.prog.Write(q.Value, 0, data); err != nil {
			return err
		}
	}
	return nil
}

// load starts a loader at the batch. The turn's own is closed before, so that
// both are never in memory.
func (l *locator) load() (err error) {
	if l.turn.loader != nil {
		l.turn.loader.Close()
	}
	c := l.turn.run.loaderConfig(l.turn.ir)
	c.StartBatch, c.Workers = l.batch, 0
	l.loader, err = source.NewLoader(c)
	return err
}

// feed looks at a microbatch's images before it passes them on.
func (l *locator) feed(micro int) error {
	mb, err := l.loader.Next(l.ctx)
	if err != nil {
		return err
	}
	defer l.loader.Release(mb)
	size := len(mb.Pixels) / len(mb.Images)
	for i, image := range mb.Images {
		at := graphs.FirstNotFinite(mb.Pixels[i*size:][:size])
		if at < 0 {
			continue
		}
		l.found = &finding{
			unit: l.turn.ir.Units[0].Name, advice: normalised,
			text: fmt.Sprintf("the views of %s are not finite (%v)", l.imageName(image), mb.Pixels[i*size+at]),
		}
		return errFound
	}
	return l.turn.prog.Write(l.turn.ir.Units[0].In, micro, mb.Pixels)
}

// imageName is the file of an image, or its number.
func (l *locator) imageName(i int) string {
	if named, ok := l.turn.run.images.(interface{ Name(i int) string }); ok {
		return named.Name(i)
	}
	return fmt.Sprintf("image %d", i)
}

// task runs a step and ends the search at an op that makes a number which is
// not finite.
func (l *locator) task(task ir.Task, n int) error {
	select {
	case <-l.turn.run.stop:
		return errors.New("the run was asked to stop")
	case <-l.ctx.Done():
		return context.Cause(l.ctx)
	default:
	}
	err := l.turn.prog.RunTask(task, n, 0, 0)
	var e *graphs.Error
	var bad *graphs.NotFinite
	if !errors.As(err, &e) || !errors.As(err, &bad) {
		return err
	}
	l.found = &finding{unit: e.Unit, text: fmt.Sprintf("%s: %v", layerAt(e.Layer, e.Range), bad), err: e}
	return errFound
}
