package runtime

import (
	"fmt"
	"slices"
	"strings"
)

// Resumed says what of a snapshot a run goes on with, by layer names' prefixes:
// stages as they are called, decoders as "unit/decoder".
type Resumed struct {
	Batch   int      // after which the run goes on
	Taken   []string // weights from the snapshot
	Fresh   []string // weights at their start: the snapshot has none of that name and shape
	Unused  []string // of the snapshot, not in this program
	Restart []string // of those taken, whose optimisers begin anew
}

// Whole reports whether the run goes on with all of the snapshot and nothing
// else.
func (r *Resumed) Whole() bool { return len(r.Fresh)+len(r.Unused)+len(r.Restart) == 0 }

// Resume makes Train go on after the snapshot's last batch. Weights and
// optimiser state are matched by name and shape, so a file that was cut into
// other units finds what still exists. Whether the program still means what the
// snapshot's did is for Differences to say. One that holds what is not finite is
// refused. The snapshot is the run's from then on.
func (r *Run) Resume(s *Snapshot) (*Resumed, error) {
	if n := s.Weights.Batch; n < 0 || n > r.Batches() {
		return nil, fmt.Errorf("it was saved after batch %d, and the run has %d", n, r.Batches())
	}
	for _, ts := range [][]Tensor{s.Weights.Tensors, s.State} {
		if name, at, bad := notFiniteIn(ts); bad {
			return nil, fmt.Errorf("%s is not finite, at element %d", name, at)
		}
	}
	w, err := r.initial()
	if err != nil {
		return nil, err
	}
	m := &match{into: w, from: s, taken: map[string]bool{}}
	m.weights()
	if err := m.state(r, s.Weights.Batch); err != nil {
		return nil, err
	}
	w.Batch = s.Weights.Batch
	r.from = &Snapshot{Weights: w, State: m.kept}
	return m.result(s.Weights.Batch), nil
}

// Origin is what the run goes on from, brought to its program; nil where it
// starts.
func (r *Run) Origin() *Snapshot { return r.from }

// Owe has the readouts made of an earlier snapshot of the run, before it goes on.
// It reports whether the snapshot has all weights of the program.
func (r *Run) Owe(s *Snapshot) (bool, error) {
	w, err := r.initial()
	if err != nil {
		return false, err
	}
	m := &match{into: w, from: s, taken: map[string]bool{}}
	m.weights()
	if len(m.fresh) > 0 {
		return false, nil
	}
	w.Batch = s.Weights.Batch
	r.owed = append(r.owed, w)
	return true, nil
}

// match compares a snapshot with the parameters of a program.
type match struct {
	into    *Weights // the program's, as they start; replaced by the snapshot's
	from    *Snapshot
	taken   map[string]bool // parameters
	fresh   []string
	restart []string
	kept    []Tensor // state
}

// site is the stage or decoder that a parameter belongs to: "s1" of
// "s1.0.conv1.weight", "mid/proj" of "mid/proj.fc1.weight".
func site(name string) string {
	s, _, _ := strings.Cut(name, ".")
	return s
}

func (m *match) weights() {
	for i, t := range m.into.Tensors {
		got, ok := m.from.Weights.Get(t.Name)
		if !ok || !slices.Equal(got.Shape, t.Shape) {
			m.fresh = append(m.fresh, site(t.Name))
			continue
		}
		got.Export = t.Export
		m.into.Tensors[i] = got
		m.taken[t.Name] = true
	}
}

// state keeps what the optimisers of the coming turn can go on with.
func (m *match) state(r *Run, batch int) error {
	turn := r.turnOf(batch)
	if turn == r.turns() || batch == turn*r.perTurn() {
		return nil // a turn's start remembers nothing, and after the last nothing is needed
	}
	p, err := r.lower(turn)
	if err != nil {
		return err
	}
	have := map[string]Tensor{}
	for _, t := range m.from.State {
		have[t.Name] = t
	}
	for i := range p.Params {
		q := &p.Params[i]
		for _, v := range q.State {
			t, ok := have[stateName(p, v)]
			switch {
			case ok && slices.Equal(t.Shape, p.Values[v].Shape) && m.taken[q.Name]:
				m.kept = append(m.kept, t)
			case m.taken[q.Name]:
				m.restart = append(m.restart, site(q.Name))
			}
		}
	}
	return nil
}

func (m *match) result(batch int) *Resumed {
	res := &Resumed{Batch: batch, Fresh: unique(m.fresh), Restart: unique(m.restart)}
	for _, t := range m.from.Weights.Tensors {
		if m.taken[t.Name] {
			res.Taken = append(res.Taken, site(t.Name))
		} else {
			res.Unused = append(res.Unused, site(t.Name))
		}
	}
	res.Taken, res.Unused = unique(res.Taken), unique(res.Unused)
	return res
}

// unique sorts names and drops the ones that come again.
func unique(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

// turnOf is the turn in which a run goes on after so many batches; the number
// of turns after the last.
func (r *Run) turnOf(batches int) int { return batches / max(r.perTurn(), 1) }

// perTurn is the number of batches in a turn.
func (r *Run) perTurn() int { return r.net.Train.Epochs * r.PerEpoch() }
