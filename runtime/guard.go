package runtime

import (
	"fmt"
	"math"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/graphs"
	"github.com/locorun/locorun/runtime/guard"
	"github.com/locorun/locorun/runtime/pipeline"
)

// maxLeftOut is how many batches in a row on_nan skip leaves out.
const maxLeftOut = 100

// Advice that ends errors.
const (
	slower     = "lower the learning rate"
	slowerSkip = "lower the learning rate, or let `train { on_nan skip }` leave such batches out"
	normalised = "give `normalise` other means and deviations"
)

// detection is the error of a unit that has seen something that is not finite.
// It knows what, not where it began.
type detection struct {
	unit    string
	batch   int    // of the turn
	preface string // to what is said of the batch; may be empty
	what    string // "the loss of low is not finite"
	advice  string
}

func (d *detection) Error() string { return d.preface + d.what + "; " + d.advice }

// health is what a unit has seen of the batch at hand, each the name of the
// first that is not finite.
type health struct {
	weights   string // they stay so, whatever is left out
	gradient  string
	large     string // a gradient that is finite and whose square is not
	statistic string
}

// notice looks at a parameter's sums of squares. A float64 holds the sum of any
// squares of float32s, so that the sum is finite where all elements are.
// Optimisers square gradients in float32.
func (h *health) notice(p *ir.Param, weights, gradient float64) {
	first := func(name *string, bad bool) {
		if bad && *name == "" {
			*name = p.Name
		}
	}
	first(&h.weights, !finite(weights))
	first(&h.gradient, !finite(gradient))
	first(&h.large, finite(gradient) && gradient > math.MaxFloat32)
}

// lookAtStatistics looks at the running statistics.
func (u *unit) lookAtStatistics() error {
	for i := range u.ir.Params {
		p := &u.ir.Params[i]
		if p.Unit != u.index || p.Kind != ir.Statistic || u.health.statistic != "" {
			continue
		}
		at, _, err := firstNotFinite(u.prog, p.Value)
		if err != nil {
			return err
		}
		if at >= 0 {
			u.health.statistic = p.Name
		}
	}
	return nil
}

// notFinite says what of the batch is not, or nothing, and whether leaving the
// batch out mends it.
func (u *unit) notFinite(r *BatchReport) (what string, mends bool) {
	if u.health.weights != "" {
		return "the weights " + u.health.weights + " are not finite, so no later batch can be", false
	}
	for _, l := range r.Losses {
		if !finite(l.Loss) {
			return "the loss of " + l.Name + " is not finite", true
		}
	}
	switch h := &u.health; {
	case h.gradient != "":
		return "the gradient of " + h.gradient + " is not finite", true
	case h.large != "":
		return "the gradient of " + h.large + " is too large to be squared", true
	case h.statistic != "":
		return "the running statistic " + h.statistic + " is not finite", true
	}
	return "", true
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// loss runs the losses. Where one that is not finite ends the run, it does so
// before any unit can have updated for the batch because of it.
func (u *unit) loss(t pipeline.Task) error {
	if err := u.prog.RunTask(u.unit().Loss, t.Seq, 0, 0); err != nil || u.model.OnNaN == "skip" {
		return err
	}
	for _, l := range u.unit().Losses {
		v, err := u.prog.Read(l.Value, t.Seq)
		if err != nil {
			return err
		}
		if !finite(float64(v[0])) {
			return u.detected(t.Batch, "the loss of "+l.Name+" is not finite", slowerSkip)
		}
	}
	return nil
}

func (u *unit) detected(batch int, what, advice string) *detection {
	return &detection{unit: u.unit().Name, batch: batch, what: what, advice: advice}
}

// apply updates what the unit owns, or leaves out a batch that is not finite
// where the program wants that.
func (u *unit) apply(r *BatchReport, t pipeline.Task) error {
	what, mends := u.notFinite(r)
	switch {
	case what == "":
		u.leftOut = 0
		if err := u.prog.RunTask(u.unit().Update, t.Batch, r.LearningRate, t.Batch+1); err != nil {
			return err
		}
		return u.keepStatistics()
	case !mends:
		return u.detected(t.Batch, what, slower)
	case u.model.OnNaN != "skip":
		return u.detected(t.Batch, what, slowerSkip)
	}
	if u.leftOut++; u.leftOut == maxLeftOut {
		d := u.detected(t.Batch, what, slower)
		d.preface = fmt.Sprintf("%d batches in a row were not finite and were left out, this is the last: ", maxLeftOut)
		return d
	}
	r.Skipped, r.Cause = true, what
	return u.leaveOut()
}

// guardsOf makes a guard for each loss of a unit.
func (u *unit) guardsOf() (gs []*guard.Guard) {
	for _, l := range u.unit().Losses {
		gs = append(gs, guard.New(guard.Course{Rows: l.Negatives + 2, PerEpoch: u.steps.perEpoch}))
	}
	return gs
}

// heed shows the batch to the losses' guards. What they say is passed on; it
// ends the run where the program wants that.
func (u *unit) heed(r *BatchReport) error {
	if r.Skipped {
		return nil
	}
	for i, l := range r.Losses {
		f := guard.Figures{Batch: r.Batch, Loss: l.Loss, GradientNorm: r.GradientNorm, EmbeddingStd: l.EmbeddingStd}
		if l.Watch {
			f.GradientNorm = math.NaN() // that of the unit says nothing about it
		}
		for _, a := range u.guards[i].Batch(f) {
			if u.alarm != nil {
				u.alarm(l.Name, string(a.Kind), a.Text)
			}
			if !a.Over && u.policy(a.Kind, l.Watch) == "stop" {
				return fmt.Errorf("%s of %s: %s; `on_%s stop` ends the run", a.Kind, l.Name, a.Text, a.Kind)
			}
		}
	}
	return nil
}

// policy is what the program wants done.
func (u *unit) policy(k guard.Kind, watch bool) string {
	divergence, collapse := u.model.OnDivergence, u.model.OnCollapse
	if watch {
		divergence, collapse = u.train.OnDivergence, u.train.OnCollapse
	}
	if k == guard.Divergence {
		return divergence
	}
	return collapse
}

// alarm tells of a guard's alarm; the empty text says that it is over.
func (t *turn) alarm(name, kind, text string) {
	if text != "" {
		t.run.cfg.Metrics.Error(kind)
	}
	if on := t.run.cfg.Events.Alarm; on != nil {
		on(name, kind, text)
	}
}

// notFiniteIn finds the first element of tensors that is a NaN or an infinity:
// its tensor, and its place there.
func notFiniteIn(ts []Tensor) (name string, at int, bad bool) {
	for _, t := range ts {
		if i := graphs.FirstNotFinite(t.Data); i >= 0 {
			return t.Name, i, true
		}
	}
	return "", 0, false
}

// firstNotFinite finds the first element of a persistent value that is not
// finite, and what it is; -1 where there is none.
func firstNotFinite(prog *graphs.Program, v ir.ValueID) (at int, x float64, err error) {
	buffer := make([]float32, partSize)
	for from := 0; ; from += partSize {
		n, err := prog.ReadPart(buffer, v, 0, from)
		if n == 0 || err != nil {
			return -1, 0, err
		}
		if i := graphs.FirstNotFinite(buffer[:n]); i >= 0 {
			return from + i, float64(buffer[i]), nil
		}
	}
}
