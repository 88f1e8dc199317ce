// Package guard judges the course of one loss: whether its training diverges,
// and whether its embeddings collapse.
//
// In: a batch's figures, in order. Out: an alarm when something begins, and one
// when it is over.
//
//	Figures --Batch--> [loss far above its usual] ----------+
//	                   [gradient far above, loss above] ----+--> divergence --> Alarm
//	                   [loss worse than chance] ------------+
//	                   [embeddings close together] -----------> collapse ----> Alarm
//
// # The rules
//
// Divergence is one of three, for Row batches in a row:
//
//   - the loss stands more than Far deviations above its mean;
//   - the gradient norm does, and the loss at least one above its own: a
//     gradient that grows while the loss falls is learning that has begun;
//   - after the first epoch, the loss is above Worse times that of embeddings
//     which are all the same, ln(rows-1).
//
// Mean and deviation are those of the last Window batches, at least Seen of
// them, without those that stood out. The deviation counts as at least Floor of
// the mean, so that a loss that hardly moves may move a little.
//
// Collapse is that the embeddings' deviation (package stats: 0 where they are
// all the same, 1 where they fill the sphere) is below Close for CloseRow
// batches in a row. Embeddings that are close together because nothing has been
// learnt yet are no collapse: they count once they have been apart, and after
// the first epoch. The effective rank is not judged: sound runs of small
// networks pass through ranks near 1.
//
// Either is over after as many batches in a row without.
//
// # What always holds
//
// A Guard is a function of the figures it was given: no clock, no chance. A
// figure that is not finite is not judged and not remembered: whoever watches
// for such numbers has the word on them. A Guard reads and never touches what
// it judges.
package guard

import (
	"fmt"
	"math"
)

// The bounds of the rules.
const (
	Window   = 128  // batches whose figures are usual
	Seen     = 32   // of them at least
	Far      = 8.0  // deviations above the mean
	Floor    = 0.01 // least deviation, as a share of the mean
	Worse    = 1.5  // times the loss of embeddings that are all the same
	Row      = 5    // batches of divergence in a row
	Close    = 0.1  // deviation of embeddings
	CloseRow = 10   // batches of collapse in a row
)

// Kind is what an alarm is about.
type Kind string

// The kinds of alarm.
const (
	Divergence Kind = "divergence"
	Collapse   Kind = "collapse"
)

// Alarm says that something begins, or that it is over.
type Alarm struct {
	Kind Kind
	Over bool
	Text string // what was seen, and what may help; "" where it is over
}

// Figures are those of one batch.
type Figures struct {
	Batch        int // of the training, from 0
	Loss         float64
	GradientNorm float64
	EmbeddingStd float64
}

// Course is what is known of a loss before.
type Course struct {
	Rows     int // that the loss compares: two for each image
	PerEpoch int // batches in an epoch
}

// Guard judges one loss. It is for one goroutine.
type Guard struct {
	course         Course
	losses, norms  usual
	up, steep, bad row // the three rules of divergence
	close          row
	apart          bool // embeddings have once been apart
}

// New makes a guard for a loss that begins.
func New(c Course) *Guard { return &Guard{course: c} }

// Batch judges a batch. At most one alarm of a kind comes back.
func (g *Guard) Batch(f Figures) (alarms []Alarm) {
	if a, ok := g.divergence(f); ok {
		alarms = append(alarms, a)
	}
	if a, ok := g.collapse(f); ok {
		alarms = append(alarms, a)
	}
	return alarms
}

// Diverged reports whether divergence has begun and is not over.
func (g *Guard) Diverged() bool { return g.up.on || g.steep.on || g.bad.on }

// Collapsed reports whether a collapse has begun and is not over.
func (g *Guard) Collapsed() bool { return g.close.on }

const slower = "lower the learning rate or lengthen the warm-up"

// divergence applies its three rules. What the first to strike has seen is the
// alarm's text; the last to be over ends it.
func (g *Guard) divergence(f Figures) (a Alarm, rang bool) {
	before, text := g.Diverged(), ""
	strike := func(r *row, out bool, format string, args ...any) {
		if r.step(out, Row) && r.on && text == "" {
			text = fmt.Sprintf(format, args...)
		}
	}
	if finite(f.Loss) {
		mean, dev := g.losses.mean(), g.losses.deviation()
		up := g.losses.far(f.Loss, Far)
		if finite(f.GradientNorm) {
			steep := g.norms.far(f.GradientNorm, Far) && g.losses.far(f.Loss, 1)
			strike(&g.steep, steep, "the gradient norm has been far above its usual for %d batches and the loss above its own (%.3g, the mean was %.3g); %s",
				Row, f.GradientNorm, g.norms.mean(), slower)
			g.norms.add(f.GradientNorm, steep)
		}
		strike(&g.up, up, "the loss has been far above its usual for %d batches (%.3g, it was %.3g to within %.2g); %s", Row, f.Loss, mean, dev, slower)
		g.losses.add(f.Loss, up)
		strike(&g.bad, g.worse(f), "the loss has been far worse than chance for %d batches (%.3g, embeddings that are all the same give %.3g); %s",
			Row, f.Loss, g.chance(), slower)
	}
	return Alarm{Kind: Divergence, Over: before, Text: text}, before != g.Diverged()
}

// chance is the loss of embeddings that are all the same.
func (g *Guard) chance() float64 { return math.Log(float64(g.course.Rows - 1)) }

func (g *Guard) worse(f Figures) bool {
	return g.settled(f) && g.course.Rows > 2 && f.Loss > Worse*g.chance()
}

// settled reports whether the first epoch is over.
func (g *Guard) settled(f Figures) bool { return f.Batch >= g.course.PerEpoch }

func (g *Guard) collapse(f Figures) (Alarm, bool) {
	if !finite(f.EmbeddingStd) {
		return Alarm{}, false
	}
	near := f.EmbeddingStd < Close
	g.apart = g.apart || !near
	if !g.close.step(near && (g.apart || g.settled(f)), CloseRow) {
		return Alarm{}, false
	}
	a := Alarm{Kind: Collapse, Over: !g.close.on}
	if g.close.on {
		a.Text = fmt.Sprintf("the embeddings have collapsed: their deviation has been below %g for %d batches (%.2g; it is 0 where they are all the same, near 1 in health); lower the learning rate, or make batches larger",
			Close, CloseRow, f.EmbeddingStd)
	}
	return a, true
}

// row is on after some batches in a row that were out, until as many were not.
type row struct {
	on bool
	n  int // in a row that speak against on
}

// step takes a batch and reports whether on has changed.
func (r *row) step(out bool, need int) bool {
	if out == r.on {
		r.n = 0
		return false
	}
	if r.n++; r.n < need {
		return false
	}
	r.on, r.n = !r.on, 0
	return true
}

// usual remembers the last figures that did not stand out.
type usual struct {
	last [Window]float64
	n    int // ever added
}

func (u *usual) add(x float64, standsOut bool) {
	if !standsOut {
		u.last[u.n%Window] = x
		u.n++
	}
}

func (u *usual) seen() []float64 { return u.last[:min(u.n, Window)] }

func (u *usual) mean() (m float64) {
	for _, x := range u.seen() {
		m += x / float64(len(u.seen()))
	}
	return m
}

// deviation is that of the figures seen, at least Floor of their mean.
func (u *usual) deviation() float64 {
	m, sum := u.mean(), 0.0
	for _, x := range u.seen() {
		sum += (x - m) / float64(len(u.seen())) * (x - m)
	}
	return max(math.Sqrt(sum), Floor*math.Abs(m))
}

// far reports whether x stands more than so many deviations above the mean.
func (u *usual) far(x, deviations float64) bool {
	return len(u.seen()) >= Seen && x > u.mean()+deviations*u.deviation()
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
