package cli

import (
	"sync"

	"github.com/locorun/locorun/runtime/checkpoint"
	"github.com/locorun/locorun/runtime/journal"
)

// unjudged is the steps whose readouts are not made yet. Their checkpoints are
// held, so that a run that is killed meanwhile can make them when it goes on.
type unjudged struct {
	mu     sync.Mutex
	held   map[int]bool
	judged map[int]bool // before they were saved
}

// saving notes that a step of which readouts are due is about to be saved.
func (u *unjudged) saving(step int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.judged[step] {
		delete(u.judged, step)
		return
	}
	if u.held == nil {
		u.held = map[int]bool{}
	}
	u.held[step] = true
}

// done notes that a step's readouts have been made.
func (u *unjudged) done(step int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.held[step] {
		delete(u.held, step)
		return
	}
	if u.judged == nil {
		u.judged = map[int]bool{}
	}
	u.judged[step] = true
}

// holds reports whether a step's checkpoint is to be kept.
func (u *unjudged) holds(step int) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.held[step]
}

// owe finds the checkpoints before a step whose readouts are not all written
// down, and has them made first of all. Those of the step itself are made again.
func (s *session) owe(step int) error {
	if s.run.Due(step) > 0 {
		s.unjudged.saving(step)
	}
	names, err := s.store.List()
	if err != nil {
		return err
	}
	written, err := journal.ReadoutsOf(s.dir.FS)
	if err != nil {
		return err
	}
	for _, name := range names {
		n, _ := checkpoint.StepOf(name)
		if n >= step || s.run.Due(n) == 0 || written[n] == s.run.Due(n) {
			continue
		}
		c, err := s.store.Load(name)
		if err != nil {
			s.skipped(name, err)
			continue
		}
		whole, err := s.run.Owe(snapshotOf(c))
		if err != nil {
			return err
		}
		if whole {
			s.unjudged.saving(n)
			s.again = append(s.again, n)
		}
	}
	return nil
}
