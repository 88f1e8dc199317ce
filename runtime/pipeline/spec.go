package pipeline

import (
	"context"
	"fmt"
	"time"
)

// Unit is what the pipeline drives: one unit of the program. Run does one task
// and returns when others may read what it wrote. It is called by one goroutine
// at a time, always the same one within a run.
type Unit interface {
	Run(ctx context.Context, t Task) error
}

// TaskKind says what a task does.
type TaskKind uint8

// The kinds of task.
const (
	Embed   TaskKind = iota + 1 // forward that keeps only embeddings; moves running statistics
	Forward                     // forward that keeps what the sweeps need
	Loss                        // per microbatch, or once per batch with BatchLoss
	Sweep                       // a pass of gradients down; see Task.Event
	Update                      // once per batch
)

var kindNames = [...]string{"invalid", "embed", "forward", "loss", "sweep", "update"}

func (k TaskKind) String() string { return kindNames[k] }

// Task is one piece of a unit's work.
type Task struct {
	Kind  TaskKind
	Batch int // since the program's start, from 0
	// Micro is the microbatch within the batch. Tasks for a whole batch
	// (Update, and Loss with BatchLoss) carry the last one.
	Micro int
	// Seq is the microbatch's number since the program's start:
	// Batch*Micros + Micro. Slots are chosen by it.
	Seq int
	// Event tells the sweeps of a microbatch apart: 0 is the unit's own loss,
	// k >= 1 the sweep that the k-th message from the unit above allows.
	Event int
}

func (t Task) String() string {
	switch {
	case t.Kind == Update:
		return fmt.Sprintf("update of batch %d", t.Batch)
	case t.Kind == Sweep:
		return fmt.Sprintf("sweep %d of batch %d, microbatch %d", t.Event, t.Batch, t.Micro)
	}
	return fmt.Sprintf("%s of batch %d, microbatch %d", t.Kind, t.Batch, t.Micro)
}

// Spec is the shape of a run. Capacities and slots are exact; Roomy fills in
// comfortable ones.
type Spec struct {
	Units []UnitSpec // from the images upwards; at least one
	// Micros is the number of microbatches in a batch, Depth the most that may
	// lie between sending a map and reading its gradient; both at least 1.
	Micros, Depth int
	// Lean lets one unit work at a time, in the order of Turns; Depth is 1, and
	// capacities and slots are not looked at.
	Lean bool
	// BatchLoss takes each loss once per batch; all frames are kept until then
	// or, with Recompute, every microbatch goes through twice.
	BatchLoss, Recompute bool
	// InputSlots is the number of slots of the images. When Feed is called for
	// Seq, nobody reads the images of Seq-InputSlots any more.
	InputSlots int

	First   int // number of the first batch
	Batches int // the run ends after batch Batches-1; 0: when stopped

	// Barrier says which batches are barriers, beside the last one and those
	// asked for by RequestBarrier. It is a function of the number alone; nil:
	// no others.
	Barrier func(batch int) bool
	// Stall is how long nothing may move before Hooks.Stalled is told. 0: never.
	Stall time.Duration
}

// UnitSpec is one unit's place in the chain.
type UnitSpec struct {
	Name string
	// Feedbacks is the number of messages per microbatch from the unit above.
	Feedbacks int
	// Sends[k] says that Sweep event k leaves a gradient for the unit below, of
	// which one message tells. Its length is 1+Feedbacks, and as many are set
	// as the unit below has Feedbacks.
	Sends []bool
	// Relays is set for a unit that owns no stage: it passes the map below it
	// on, so the units above read the same slot.
	Relays bool
	// Tied says that Update reads what the unit above published when the batch
	// began (tie=soft): it waits until that unit has ended the batch before.
	// Two slots for what is published are then enough, either way.
	Tied bool
	// Slots is the number of slots of the map this unit writes; not looked at
	// for the top and for relays.
	Slots int
	// Maps is the capacity of the channel of maps to the unit above, Gradients
	// that of each of the Feedbacks channels from it. Channel k carries the
	// k-th message of every microbatch, so each stays in order.
	Maps, Gradients int
}

// Hooks are what the pipeline calls beside the units. All may be nil.
type Hooks struct {
	// Feed is called by unit 0 right before its Embed or Forward of a
	// microbatch, with that task; it returns when the images lie in their slot.
	Feed func(ctx context.Context, t Task) error
	// Snapshot copies what unit u will change next. It is called in u's
	// goroutine, after u's update for batch and before its next one.
	Snapshot func(ctx context.Context, u, batch int) error
	// Barrier is called when all units have taken their snapshots of batch, by
	// the last one's goroutine, in the order of batches. That unit waits for
	// it, so slow work belongs elsewhere.
	Barrier func(batch int) error
	// Observer is told durations.
	Observer Observer
	// Stalled is told, by a goroutine of its own, who waits for whom when
	// nothing has moved for Spec.Stall, and the empty text when it moves again.
	Stalled func(report string)
}

// Reason says what a unit waits for.
type Reason uint8

// The reasons, with the names DESIGN 9 gives them.
const (
	Data     Reason = iota // the loader
	Input                  // a map from the unit below
	Gradient               // a gradient from the unit above
	Output                 // room for what it passes on, or the unit above a batch behind
)

var reasonNames = [...]string{"data", "input", "gradient", "output"}

func (r Reason) String() string { return reasonNames[r] }

// Observer is told what units spend time on. Its methods are called by the
// units' goroutines, several at once. The clock is read only for it.
type Observer interface {
	Ran(u int, t Task, start time.Time, d time.Duration)
	Waited(u int, why Reason, start time.Time, d time.Duration)
}

// check refuses a Spec that is not well formed. Room is checked apart.
func (s *Spec) check() error {
	switch {
	case len(s.Units) == 0:
		return fmt.Errorf("there are no units")
	case s.Micros < 1:
		return fmt.Errorf("%d microbatches in a batch; at least 1 is needed", s.Micros)
	case s.Depth < 1:
		return fmt.Errorf("depth %d; at least 1 is needed", s.Depth)
	case s.Lean && s.Depth != 1:
		return fmt.Errorf("depth %d; the lean order has depth 1", s.Depth)
	case s.Recompute && !s.BatchLoss:
		return fmt.Errorf("nothing to recompute for: the loss is taken per microbatch")
	case s.First < 0 || s.Batches < 0 || s.Stall < 0:
		return fmt.Errorf("first batch %d, batches %d, stall %v: none may be negative",
			s.First, s.Batches, s.Stall)
	}
	for u := range s.Units {
		if err := s.checkUnit(u); err != nil {
			return fmt.Errorf("unit %q: %w", s.Units[u].Name, err)
		}
	}
	return nil
}

func (s *Spec) checkUnit(u int) error {
	us := &s.Units[u]
	if us.Feedbacks < 0 || us.Slots < 0 || us.Maps < 0 || us.Gradients < 0 {
		return fmt.Errorf("feedbacks %d, slots %d, maps %d, gradients %d: none may be negative",
			us.Feedbacks, us.Slots, us.Maps, us.Gradients)
	}
	if u == s.top() && us.Feedbacks != 0 {
		return fmt.Errorf("it is the top, but expects %d gradients per microbatch", us.Feedbacks)
	}
	if len(us.Sends) != 1+us.Feedbacks {
		return fmt.Errorf("%d sweeps say whether they send; it has %d", len(us.Sends), 1+us.Feedbacks)
	}
	below := 0
	if u > 0 {
		below = s.Units[u-1].Feedbacks
	}
	if n := count(us.Sends); n != below {
		return fmt.Errorf("%d sweeps send a gradient down; the unit below expects %d", n, below)
	}
	return nil
}

func (s *Spec) top() int { return len(s.Units) - 1 }

func (s *Spec) kept() bool { return s.BatchLoss && !s.Recompute }

// writes reports whether unit u writes a map of its own.
func (s *Spec) writes(u int) bool { return u < s.top() && !s.Units[u].Relays }

// root is the unit whose map unit u reads, through relays; -1 for the images.
func (s *Spec) root(u int) int {
	for u--; u >= 0 && s.Units[u].Relays; u-- {
	}
	return u
}

func count(bs []bool) int {
	n := 0
	for _, b := range bs {
		if b {
			n++
		}
	}
	return n
}
