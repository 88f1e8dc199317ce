package runtime

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/graphs"
)

// Snapshot is all that a run needs to go on after a batch: the weights with
// their running statistics, and what the optimisers remember. There is nothing
// else: randomness, the order of images and learning rates are functions of
// the batch's number.
type Snapshot struct {
	Weights *Weights // of the whole net; Weights.Batch says after which batch
	// State is the optimisers' memory by name, "s1.0.conv1.weight:momentum", of
	// the units at work. Units that train in turn begin theirs with none.
	State []Tensor
}

// Checkpointing says when snapshots are saved, and how. The end of a run, of
// each turn and a stop are always saved, and what readouts are due of. It changes no byte of the result.
type Checkpointing struct {
	// Save stores a snapshot, which is its own from then on. It is called by one
	// goroutine at a time beside the training, which waits for it only where the
	// next snapshot is there already. Nil: nothing is saved. What it returns is
	// Result.Unsaved if the last snapshot could not be saved; training goes on.
	Save  func(*Snapshot) error
	Every int           // batches of the run; 0: none because of their number
	After time.Duration // at the first batch that ends so long after the last request; 0: never
}

// stateName names what an optimiser keeps for a parameter.
func stateName(p *ir.Program, v ir.ValueID) string { return p.Values[v].Name }

// readState copies the state that the optimisers of a program keep for the
// parameters that only lets through.
func readState(prog *graphs.Program, p *ir.Program, only func(*ir.Param) bool) ([]Tensor, error) {
	var ts []Tensor
	for i := range p.Params {
		q := &p.Params[i]
		if only != nil && !only(q) {
			continue
		}
		for _, v := range q.State {
			data, err := prog.Read(v, 0)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", stateName(p, v), err)
			}
			ts = append(ts, Tensor{Name: stateName(p, v), Shape: slices.Clone(p.Values[v].Shape), Data: data})
		}
	}
	return ts, nil
}

// loadState writes the state that a program's optimisers keep, where there is
// some; the rest stays zero, as it is at a run's start.
func loadState(prog *graphs.Program, p *ir.Program, state []Tensor) error {
	byName := map[string]*Tensor{}
	for i := range state {
		byName[state[i].Name] = &state[i]
	}
	for i := range p.Params {
		for _, v := range p.Params[i].State {
			t := byName[stateName(p, v)]
			if t == nil {
				continue
			}
			if err := prog.Write(v, 0, t.Data); err != nil {
				return err
			}
		}
	}
	return nil
}

// saver saves snapshots in a goroutine of its own, one after another. At most
// two are in memory: one being saved, one whose unit waits.
type saver struct {
	save  func(*Snapshot) error
	jobs  chan *Snapshot
	done  chan struct{}
	asked atomic.Bool // by the clock, since the last one
	last  int         // batch of the last one offered
	err   error       // of the last one
}

func newSaver(c Checkpointing, from int) *saver {
	s := &saver{save: c.Save, done: make(chan struct{}), last: from}
	if c.Save == nil {
		close(s.done)
		return s
	}
	s.jobs = make(chan *Snapshot)
	go func() {
		defer close(s.done)
		for snap := range s.jobs {
			s.err = s.attempt(snap)
		}
	}()
	return s
}

// attempt makes an error of a panic in Save.
func (s *saver) attempt(snap *Snapshot) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("saving batch %d: panic: %v", snap.Weights.Batch, v)
		}
	}()
	return s.save(snap)
}

func (s *saver) active() bool { return s.jobs != nil }

// offer hands a snapshot over, unless that batch was offered before, and waits
// until the one before it is saved or ctx ends.
func (s *saver) offer(ctx context.Context, snap *Snapshot) {
	if !s.active() || snap.Weights.Batch <= s.last {
		return
	}
	select {
	case s.jobs <- snap:
		s.last = snap.Weights.Batch
	case <-ctx.Done():
	}
}

// wait ends the saver when all that was offered is saved, and tells how the
// last one went.
func (s *saver) wait() error {
	if s.jobs != nil {
		close(s.jobs)
		<-s.done
		s.jobs = nil
	}
	return s.err
}
