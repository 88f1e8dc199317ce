package runtime

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/locorun/locorun/runtime/metrics"
	"github.com/locorun/locorun/runtime/pipeline"
	"github.com/locorun/locorun/runtime/readout"
)

// Readout is a readout's result beside the figures to judge it by.
type Readout struct {
	Kind, Stage    string
	Index          int // of the readout in the program
	Epoch, Batch   int // of the run, from 1: after how many
	Trained        readout.Result
	Random, Pixels readout.Result
}

// judge runs readouts on copies of the weights, in a goroutine of its own,
// while training goes on.
type judge struct {
	run     *Run
	jobs    chan judgement
	done    chan struct{}
	results []Readout
	err     error
	cancel  context.CancelFunc
	cut     bool // the run was asked to stop before all was judged
}

// judgement is weights to judge by some readouts.
type judgement struct {
	epoch, batch int
	weights      *Weights
	due          []int // into Net.Readouts
}

// floor is the figures of one readout on one stage that training is compared
// with.
type floor struct{ random, pixels readout.Result }

// startReadouts starts the judge; the floors come first, from the weights of
// step 0. Without readouts it judges nothing. Where the floors cannot be made,
// abandon is told why.
func (r *Run) startReadouts(ctx context.Context, w *Weights, abandon func(error)) *judge {
	ctx, cancel := context.WithCancel(ctx)
	j := &judge{run: r, done: make(chan struct{}), cancel: cancel}
	if len(r.net.Readouts) == 0 {
		close(j.done)
		return j
	}
	j.jobs = make(chan judgement, 2)
	initial := w.clone()
	go func() {
		defer close(j.done)
		ready, err := j.loop(ctx, initial)
		if err != nil && ctx.Err() == nil {
			j.err = fmt.Errorf("readout: %w", err)
			if !ready {
				abandon(j.err)
			}
		}
		for range j.jobs { // whoever sends must not wait for a judge that gave up
		}
	}()
	return j
}

// during reports whether the judge wants the weights of epochs' ends.
func (j *judge) during() bool { return j.jobs != nil }

// at offers the weights at the end of an epoch.
func (j *judge) at(epoch, batch int, w *Weights) {
	if j.jobs == nil {
		return
	}
	due := j.run.due(epoch)
	if len(due) == 0 {
		return
	}
	select {
	case j.jobs <- judgement{epoch, batch, w, due}:
	case <-j.run.stop:
		j.cut = true
	}
}

// due lists the readouts that are due at the end of an epoch.
func (r *Run) due(epoch int) (list []int) {
	last := epoch == r.turns()*r.net.Train.Epochs
	for i, ro := range r.net.Readouts {
		if last || ro.Every > 0 && epoch%ro.Every == 0 {
			list = append(list, i)
		}
	}
	return list
}

// Due is how many results the readouts give of the weights after a batch.
func (r *Run) Due(batch int) (n int) {
	if batch == 0 || batch%r.PerEpoch() != 0 {
		return 0
	}
	for _, i := range r.due(batch / r.PerEpoch()) {
		n += len(r.net.Readouts[i].On)
	}
	return n
}

// wait ends the judge: after what was asked of it, or at once where the run
// failed or is asked to stop.
func (j *judge) wait(finish bool) ([]Readout, error) {
	defer j.cancel()
	if j.jobs != nil {
		close(j.jobs)
	}
	if !finish {
		j.cancel()
	}
	select {
	case <-j.done:
		return j.results, j.err // finished, whatever was asked for since
	default:
	}
	select {
	case <-j.done:
	case <-j.run.stop:
		j.cut = true
		j.cancel()
		<-j.done
	}
	return j.results, j.err
}

// loop judges what comes. ready says that the floors were made. A panic on the
// way, such as one of Events.Readout, is an error.
func (j *judge) loop(ctx context.Context, initial *Weights) (ready bool, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &pipeline.Panic{Value: v, Stack: debug.Stack()}
		}
	}()
	e, err := newEncoder(j.run)
	if err != nil {
		return false, err
	}
	defer e.close()
	floors, err := j.floors(ctx, e, initial)
	if err != nil {
		return false, err
	}
	ready = true
	for job := range j.jobs {
		if err := e.load(job.weights); err != nil {
			return true, err
		}
		for _, i := range job.due {
			if err := j.judge(ctx, e, job, i, floors); err != nil {
				return true, err
			}
		}
		if on := j.run.cfg.Events.Judged; on != nil {
			on(job.batch)
		}
	}
	return true, nil
}

// judge runs one readout on its stages.
func (j *judge) judge(ctx context.Context, e *encoder, job judgement, i int, floors map[floorKey]floor) error {
	ro := &j.run.net.Readouts[i]
	for _, s := range ro.On {
		res, err := e.readout(ctx, ro, s)
		if err != nil {
			return err
		}
		stage := j.run.net.Stages[s].Name
		f := floors[floorKey{i, s}]
		out := Readout{Kind: ro.Kind, Stage: stage, Index: i, Epoch: job.epoch, Batch: job.batch, Trained: res, Random: f.random, Pixels: f.pixels}
		j.results = append(j.results, out)
		j.run.cfg.Metrics.Readout(ro.Kind, stage, metrics.Trained, res.Top1)
		if on := j.run.cfg.Events.Readout; on != nil {
			on(out)
		}
	}
	return nil
}

// floorKey names what a floor belongs to: a readout and a stage, by index.
type floorKey struct{ readout, stage int }

// floors judges the random encoder, its running statistics from one pass over
// the training pictures, and the raw pixels.
func (j *judge) floors(ctx context.Context, e *encoder, initial *Weights) (map[floorKey]floor, error) {
	if err := e.load(initial); err != nil {
		return nil, err
	}
	if err := e.statistics(ctx); err != nil {
		return nil, err
	}
	m, fs := j.run.cfg.Metrics, map[floorKey]floor{}
	for i := range j.run.net.Readouts {
		ro := &j.run.net.Readouts[i]
		pixels, err := e.pixels(ctx, ro)
		if err != nil {
			return nil, err
		}
		m.Readout(ro.Kind, "", metrics.Pixels, pixels.Top1)
		for _, s := range ro.On {
			random, err := e.readout(ctx, ro, s)
			if err != nil {
				return nil, err
			}
			stage := j.run.net.Stages[s].Name
			m.Readout(ro.Kind, stage, metrics.Random, random.Top1)
			fs[floorKey{i, s}] = floor{random, pixels}
		}
	}
	return fs, nil
}
