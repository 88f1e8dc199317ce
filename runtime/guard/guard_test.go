package guard

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// noise draws deviations around zero.
type noise func(*rand.Rand) float64

func gaussian(r *rand.Rand) float64 { return r.NormFloat64() }

// tails is Student's t of three degrees of freedom.
func tails(r *rand.Rand) float64 {
	sum := 0.0
	for range 3 {
		x := r.NormFloat64()
		sum += x * x
	}
	return r.NormFloat64() / math.Sqrt(sum/3)
}

// world is a course of training without anything wrong: figures by batch.
type world struct {
	name string
	at   func(r *rand.Rand, b int) Figures
}

const epoch = 400

// drifting remembers: each value keeps most of the one before.
func drifting(keep float64) noise {
	last := 0.0
	return func(r *rand.Rand) float64 {
		last = keep*last + math.Sqrt(1-keep*keep)*r.NormFloat64()
		return last
	}
}

// sound are courses of several kinds. ln(255) = 5.54 is chance.
func sound() []world {
	plain := func(n noise) func(*rand.Rand, int) Figures {
		return func(r *rand.Rand, _ int) Figures {
			return Figures{Loss: 4 + 0.05*n(r), GradientNorm: math.Exp(0.3 * n(r)), EmbeddingStd: 0.5 + 0.02*gaussian(r)}
		}
	}
	slow, fast := drifting(0.99), drifting(0.9)
	return []world{
		{"gaussian", plain(gaussian)},
		{"heavy tails", func(r *rand.Rand, _ int) Figures {
			return Figures{Loss: 4 + 0.05*tails(r), GradientNorm: 1 + 0.1*math.Abs(tails(r)), EmbeddingStd: 0.5 + 0.02*tails(r)}
		}},
		{"skewed gradients", func(r *rand.Rand, _ int) Figures {
			return Figures{Loss: 4 + 0.05*gaussian(r), GradientNorm: math.Exp(1.2 * gaussian(r)), EmbeddingStd: 0.15 + 0.02*gaussian(r)}
		}},
		{"drifting", func(r *rand.Rand, _ int) Figures {
			return Figures{Loss: 4 + 0.3*slow(r), GradientNorm: math.Exp(0.5 * fast(r)), EmbeddingStd: 0.5 + 0.1*fast(r)}
		}},
		{"trend", func(r *rand.Rand, b int) Figures {
			far := float64(b) / 2000
			return Figures{Loss: 5.5 - 3*far + 0.02*gaussian(r), GradientNorm: 1 + 20*far + 0.05*gaussian(r), EmbeddingStd: 0.3 + 0.5*far}
		}},
		{"trend upwards", func(r *rand.Rand, b int) Figures { // a loss of embeddings that grow harder
			far := float64(b) / 2000
			return Figures{Loss: 4 + far + 0.002*gaussian(r), GradientNorm: 1 + 20*far, EmbeddingStd: 0.5}
		}},
		{"warm-up", func(r *rand.Rand, b int) Figures {
			up := min(1, float64(b)/epoch)
			return Figures{Loss: 5.54 + 0.6*up*(1-up) + 0.01*gaussian(r), GradientNorm: 0.01 + 3*up*up + 0.05*up*math.Abs(tails(r)),
				EmbeddingStd: 0.02 + 0.6*up}
		}},
		{"breakthrough", func(r *rand.Rand, b int) Figures { // nothing for long, then all at once, and more of it
			loss, norm, std := 5.54, 0.1, 0.2
			if b > 1000 {
				over := 1 - math.Exp(-float64(b-1000)/20)
				loss, norm, std = 5.54-1.5*over, 0.1+2*over, 0.2+0.4*over
			}
			return Figures{Loss: loss + 0.02*gaussian(r), GradientNorm: norm * math.Exp(0.05*gaussian(r)), EmbeddingStd: std}
		}},
		{"rate divided by ten", func(r *rand.Rand, b int) Figures {
			loss := 4.0
			if b > 800 {
				loss = 3
			}
			return Figures{Loss: loss + 0.01*gaussian(r), GradientNorm: 1 + 0.02*gaussian(r), EmbeddingStd: 0.5}
		}},
		{"nothing moves", func(*rand.Rand, int) Figures { return Figures{Loss: 4, GradientNorm: 1, EmbeddingStd: 0.5} }},
		{"batches left out", func(r *rand.Rand, b int) Figures {
			f := plain(tails)(r, b)
			f.EmbeddingStd = 0.5
			if b%7 < 3 {
				f.Loss, f.GradientNorm, f.EmbeddingStd = math.NaN(), math.Inf(1), math.NaN()
			}
			return f
		}},
	}
}

// TestNoFalseAlarm runs more than 100,000 batches in which nothing is wrong.
func TestNoFalseAlarm(t *testing.T) {
	const runs, batches = 5, 2000
	total := 0
	for i, w := range sound() {
		for run := range uint64(runs) {
			r := rand.New(rand.NewPCG(run, uint64(i)))
			g := New(Course{Rows: 256, PerEpoch: epoch})
			for b := range batches {
				f := w.at(r, b)
				f.Batch = b
				for _, a := range g.Batch(f) {
					t.Errorf("%s, run %d, batch %d: %s: %s", w.name, run, b, a.Kind, a.Text)
				}
				total++
			}
		}
	}
	if total < 100_000 {
		t.Errorf("only %d batches", total)
	}
}

// fault is something that goes wrong k batches after it began.
type fault struct {
	name  string
	kind  Kind
	after int // batches until the alarm, at most
	text  string
	with  func(f *Figures, k int)
}

var faults = []fault{
	{"loss jumps", Divergence, Row - 1, "the loss has been far above its usual for 5 batches", func(f *Figures, _ int) { f.Loss *= 2 }},
	{"loss grows", Divergence, 40, "the loss has been far above its usual for 5 batches", func(f *Figures, k int) { f.Loss *= math.Pow(1.1, float64(k)) }},
	{"gradient explodes", Divergence, 30, "the gradient norm has been far above its usual for 5 batches and the loss above its own", func(f *Figures, k int) {
		f.Loss *= 1.3
		f.GradientNorm *= math.Pow(2, float64(k))
	}},
	{"embeddings meet", Collapse, CloseRow - 1, "the embeddings have collapsed: their deviation has been below 0.1 for 10 batches", func(f *Figures, _ int) { f.EmbeddingStd = 0.001 }},
	{"embeddings draw together", Collapse, 60, "the embeddings have collapsed", func(f *Figures, k int) { f.EmbeddingStd *= math.Exp(-float64(k) / 10) }},
}

// TestFindsWhatGoesWrong plants each fault in a course that is sound, for a
// time, and wants one alarm when it begins and one when it is over.
func TestFindsWhatGoesWrong(t *testing.T) {
	for _, f := range faults {
		for _, w := range sound()[:2] {
			for run := range uint64(20) {
				t.Run(fmt.Sprintf("%s/%s/%d", f.name, w.name, run), func(t *testing.T) {
					r := rand.New(rand.NewPCG(run, 9))
					begin := Window + r.IntN(900)
					plant(t, f, w, r, begin)
				})
			}
		}
	}
}

func plant(t *testing.T, f fault, w world, r *rand.Rand, begin int) {
	g := New(Course{Rows: 256, PerEpoch: epoch})
	const lasts = 80
	var heard []string
	for b := range begin + lasts + 100 {
		figures := w.at(r, b)
		figures.Batch = b
		if b >= begin && b < begin+lasts {
			f.with(&figures, b-begin)
		}
		for _, a := range g.Batch(figures) {
			if a.Kind != f.kind {
				continue // what draws other alarms after it is no fault of the guard
			}
			if heard = append(heard, fmt.Sprintf("%t %s", a.Over, a.Text)); !a.Over && (b < begin || b > begin+f.after) {
				t.Errorf("begun at %d, alarm at %d", begin, b)
			}
		}
		if on := len(heard)%2 == 1; on != (f.kind == Divergence && g.Diverged() || f.kind == Collapse && g.Collapsed()) {
			t.Fatalf("batch %d: on is %t", b, !on)
		}
	}
	if len(heard) != 2 || !strings.Contains(heard[0], "false "+prefix(f)) || heard[1] != "true " {
		t.Errorf("heard %q", heard)
	}
}

// prefix is the text looked for; a loss that grows may be noticed by its
// gradient first.
func prefix(f fault) string {
	if f.kind == Divergence && f.name == "gradient explodes" {
		return "the "
	}
	return f.text
}

// TestWorseThanChance is silent in the first epoch and where a mean is not
// known, and speaks of a loss that was never better.
func TestWorseThanChance(t *testing.T) {
	g := New(Course{Rows: 256, PerEpoch: 50})
	for b := range 80 {
		alarms := g.Batch(Figures{Batch: b, Loss: 9, GradientNorm: 1, EmbeddingStd: 0.5})
		if (len(alarms) == 1) != (b == 50+Row-1) {
			t.Fatalf("batch %d: %v", b, alarms)
		}
		if len(alarms) == 1 && alarms[0].Text != "the loss has been far worse than chance for 5 batches (9, embeddings that are all the same give 5.54); lower the learning rate or lengthen the warm-up" {
			t.Error(alarms[0].Text)
		}
	}
	two := New(Course{Rows: 2, PerEpoch: 1})
	for b := range 80 {
		if alarms := two.Batch(Figures{Batch: b, Loss: 1, EmbeddingStd: 0.5}); len(alarms) > 0 {
			t.Fatalf("rows without negatives have no chance: %v", alarms)
		}
	}
}

// TestCloseFromTheStart counts embeddings that have never been apart only after
// the first epoch.
func TestCloseFromTheStart(t *testing.T) {
	g := New(Course{Rows: 256, PerEpoch: 50})
	for b := range 80 {
		alarms := g.Batch(Figures{Batch: b, Loss: 5, GradientNorm: 1, EmbeddingStd: 0.05})
		if (len(alarms) == 1) != (b == 50+CloseRow-1) {
			t.Fatalf("batch %d: %v", b, alarms)
		}
	}
}

// TestOutliersAreNotUsual gives less than Row outliers, again and again: they
// must not widen what is usual.
func TestOutliersAreNotUsual(t *testing.T) {
	g := New(Course{Rows: 256, PerEpoch: 1 << 20})
	r := rand.New(rand.NewPCG(3, 3))
	loss := func(out bool) float64 {
		if out {
			return 50
		}
		return 4 + 0.05*r.NormFloat64()
	}
	for b := range 1000 {
		out := b > 100 && b%10 < Row-1
		if alarms := g.Batch(Figures{Batch: b, Loss: loss(out), GradientNorm: 1, EmbeddingStd: 0.5}); len(alarms) > 0 {
			t.Fatalf("batch %d: %v", b, alarms)
		}
	}
	if m, d := g.losses.mean(), g.losses.deviation(); m > 4.1 || d > 0.1 {
		t.Errorf("usual is %v to within %v", m, d)
	}
}
