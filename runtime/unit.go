package runtime

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs"
	"github.com/locorun/locorun/runtime/guard"
	"github.com/locorun/locorun/runtime/metrics/stats"
	"github.com/locorun/locorun/runtime/optim"
	"github.com/locorun/locorun/runtime/pipeline"
)

// unit runs one unit's tasks on its subgraphs and reports each batch.
type unit struct {
	prog  *graphs.Program
	ir    *ir.Program
	index int
	model *model.Unit
	steps steps
	// report is told of each batch right before its update, with the gradients
	// still there.
	report func(BatchReport)
	// joins are the segments in which a stage's losses meet, by event.
	joins map[int]join
	last  BatchReport // what is gathered of the batch at hand
	// statistics are the running statistics after the last batch that was
	// applied, for on_nan skip.
	statistics []Tensor
	health     health // of the batch at hand
	leftOut    int    // batches in a row
	guards     []*guard.Guard
	train      *model.Train // whose policies hold for watches
	// alarm, where set, is told what a loss' guard says.
	alarm func(name, kind, text string)
	busy  time.Duration // of the device, as told to the metrics
	// buffers are for looking at tensors part by part.
	buffers [][]float32
}

// steps says how far a run goes, for the schedule.
type steps struct{ perEpoch, epochs int }

// join is where the gradient of a unit's own loss meets those from above.
type join struct {
	stage      string
	own, above ir.ValueID
	from       string // the unit whose loss arrives
}

// BatchReport is what one unit tells of one batch.
type BatchReport struct {
	Unit         string
	Batch        int // of the turn, from 0
	Epoch, Step  int // of the run, from 1
	Seconds      Seconds
	LearningRate float64
	GradientNorm float64
	Losses       []LossReport
	Stages       []StageReport
	WeightNorms  []StageNorm
	// Data tells batches of images apart: a hash of the epoch and the images in
	// their order. The unit at the images has it, others "".
	Data    string
	Skipped bool   // on_nan skip: the batch was not finite and not applied
	Cause   string // what was not finite, where it was skipped
}

// LossReport is one loss of a batch and the health of its embeddings.
type LossReport struct {
	Name          string // unit or watch
	Watch         bool
	Loss          float64
	EmbeddingStd  float64
	EffectiveRank float64 // NaN where it was not taken this batch
}

// StageReport is the gradients that met at a shared stage's output in the
// batch's last microbatch.
type StageReport struct {
	Stage              string
	Own, Above         string // units
	OwnNorm, AboveNorm float64
	Cosine             float64
}

// StageNorm is the norm of a stage's weights.
type StageNorm struct {
	Stage string
	Norm  float64
}

func newUnit(prog *graphs.Program, p *ir.Program, index int, m *model.Unit, s steps, report func(BatchReport)) *unit {
	u := &unit{prog: prog, ir: p, index: index, model: m, steps: s, report: report, joins: map[int]join{}, train: &model.Train{}}
	u.guards = u.guardsOf()
	for k, e := range u.unit().Events {
		if k == 0 || len(e) == 0 {
			continue
		}
		seg := &p.Segments[e[0]]
		if len(seg.Ops) == 1 && seg.Ops[0].Code == op.Add && len(u.unit().Owns) > 0 {
			in := seg.Ops[0].In
			u.joins[k] = join{seg.Site, in[0], in[1], p.Units[u.unit().Starts[k]].Name}
		}
	}
	return u
}

func (u *unit) unit() *ir.Unit { return &u.ir.Units[u.index] }

// Run does one task; it satisfies pipeline.Unit.
func (u *unit) Run(_ context.Context, t pipeline.Task) error {
	iu := u.unit()
	switch t.Kind {
	case pipeline.Embed:
		return u.prog.RunTask(iu.Embed, t.Seq, 0, 0)
	case pipeline.Forward:
		return u.prog.RunTask(iu.Forward, t.Seq, 0, 0)
	case pipeline.Loss:
		return u.loss(t)
	case pipeline.Sweep:
		return u.sweep(t)
	case pipeline.Update:
		return u.update(t)
	}
	return fmt.Errorf("unit %q: no task %v", iu.Name, t.Kind)
}

// sweep runs an event; before the first sum that it makes of a batch's last
// microbatch it looks at the gradients that meet there.
func (u *unit) sweep(t pipeline.Task) error {
	if j, ok := u.joins[t.Event]; ok && t.Micro == u.ir.Micros-1 {
		if err := u.meet(j, t.Seq); err != nil {
			return err
		}
	}
	return u.prog.RunTask(u.unit().Events[t.Event], t.Seq, 0, 0)
}

func (u *unit) meet(j join, seq int) error {
	var own, above, dot float64
	err := u.parts(seq, []ir.ValueID{j.own, j.above}, func(x [][]float32) {
		own += product(x[0], x[0])
		above += product(x[1], x[1])
		dot += product(x[0], x[1])
	})
	if err != nil {
		return err
	}
	r := StageReport{Stage: j.stage, Own: u.unit().Name, Above: j.from, OwnNorm: math.Sqrt(own), AboveNorm: math.Sqrt(above)}
	if own > 0 && above > 0 {
		r.Cosine = dot / (r.OwnNorm * r.AboveNorm)
	}
	u.last.Stages = append(u.last.Stages, r)
	return nil
}

// partSize is the elements looked at at a time, so that looking at a large
// tensor takes little memory.
const partSize = 1 << 14

// parts calls f on the values' elements, part by part, side by side.
func (u *unit) parts(seq int, vs []ir.ValueID, f func([][]float32)) error {
	for len(u.buffers) < len(vs) {
		u.buffers = append(u.buffers, make([]float32, partSize))
	}
	x := make([][]float32, len(vs))
	for from := 0; ; from += partSize {
		for i, v := range vs {
			n, err := u.prog.ReadPart(u.buffers[i], v, seq, from)
			if err != nil {
				return err
			}
			x[i] = u.buffers[i][:n]
		}
		if len(x[0]) == 0 {
			return nil
		}
		f(x)
	}
}

// squares is the sum of squares of a persistent value.
func (u *unit) squares(v ir.ValueID) (float64, error) {
	var sum float64
	err := u.parts(0, []ir.ValueID{v}, func(x [][]float32) {
		sum += product(x[0], x[0])
	})
	return sum, err
}

// product is the inner product of a and b, in four sums so that none waits for
// the one before.
func product(a, b []float32) float64 {
	var s0, s1, s2, s3 float64
	for ; len(a) >= 4 && len(b) >= 4; a, b = a[4:], b[4:] {
		s0 += float64(a[0]) * float64(b[0])
		s1 += float64(a[1]) * float64(b[1])
		s2 += float64(a[2]) * float64(b[2])
		s3 += float64(a[3]) * float64(b[3])
	}
	for i, x := range a {
		s0 += float64(x) * float64(b[i])
	}
	return s0 + s1 + s2 + s3
}

// update looks at the batch's losses and gradients, reports them, and applies
// the gradients.
func (u *unit) update(t pipeline.Task) error {
	r := u.last
	u.last = BatchReport{}
	r.Unit, r.Batch = u.unit().Name, t.Batch
	r.LearningRate = optim.Rate(u.model.Schedule, u.model.Optimizer.LR, t.Batch, u.steps.perEpoch, u.steps.epochs)
	if err := u.losses(&r, t); err != nil {
		return err
	}
	if err := u.gradients(&r); err != nil {
		return err
	}
	if err := u.lookAtStatistics(); err != nil {
		return err
	}
	if err := u.apply(&r, t); err != nil {
		return err
	}
	if u.report != nil {
		r.LearningRate *= u.model.LR
		u.report(r)
	}
	if err := u.heed(&r); err != nil {
		return err
	}
	return u.publish(t.Batch + 1)
}

// start makes ready for a turn's batch, the first that is trained.
func (u *unit) start(batch int) error {
	if err := u.publish(batch); err != nil {
		return err
	}
	return u.keepStatistics()
}

// publish copies tied weights for the neighbour's batch.
func (u *unit) publish(batch int) error {
	return u.prog.RunTask(u.unit().Publish, batch, 0, 0)
}

// rankEvery is how many batches lie between two effective ranks, which cost an
// eigendecomposition each.
const rankEvery = 20

// losses reads the batch's losses and embeddings.
func (u *unit) losses(r *BatchReport, t pipeline.Task) error {
	for _, l := range u.unit().Losses {
		lr := LossReport{Name: l.Name, Watch: l.Watch, EffectiveRank: math.NaN()}
		var embeddings []float32
		first := t.Seq - u.ir.Micros + 1
		for seq := first; seq <= t.Seq; seq++ {
			if !l.PerBatch || seq == t.Seq {
				v, err := u.prog.Read(l.Value, seq)
				if err != nil {
					return err
				}
				lr.Loss += float64(v[0])
			}
			e, err := u.prog.Read(l.Embedding, seq)
			if err != nil {
				return err
			}
			embeddings = append(embeddings, e...)
		}
		width := u.width(l.Embedding)
		lr.EmbeddingStd = stats.EmbeddingStd(embeddings, len(embeddings)/width, width)
		if t.Batch%rankEvery == 0 {
			lr.EffectiveRank = stats.EffectiveRank(embeddings, len(embeddings)/width, width)
		}
		r.Losses = append(r.Losses, lr)
	}
	return nil
}

func (u *unit) width(v ir.ValueID) int {
	s := u.ir.Values[v].Shape
	return s[len(s)-1]
}

// gradients takes the norms of the unit's gradients and of its stages' weights.
func (u *unit) gradients(r *BatchReport) error {
	var total float64
	u.health = health{weights: u.health.weights}
	weights := map[string]float64{}
	for i := range u.ir.Params {
		p := &u.ir.Params[i]
		if p.Unit != u.index || p.Grad == ir.None {
			continue
		}
		g, err := u.squares(p.Grad)
		if err != nil {
			return err
		}
		w, err := u.squares(p.Value)
		if err != nil {
			return err
		}
		u.health.notice(p, w, g)
		total += g
		weights[p.Stage] += w
	}
	r.GradientNorm = math.Sqrt(total)
	for _, s := range u.unit().Owns {
		r.WeightNorms = append(r.WeightNorms, StageNorm{s, math.Sqrt(weights[s])})
	}
	return nil
}

// keepStatistics copies the running statistics where a later batch may have to
// be left out.
func (u *unit) keepStatistics() (err error) {
	if u.model.OnNaN == "skip" {
		u.statistics, err = read(u.prog, u.ir, func(p *ir.Param) bool { return p.Unit == u.index && p.Kind == ir.Statistic })
	}
	return err
}

// leaveOut takes back what the batch has changed: its forward passes moved the
// running statistics, its sweeps added to the gradients.
func (u *unit) leaveOut() error {
	i := 0
	for k := range u.ir.Params {
		p := &u.ir.Params[k]
		if p.Unit != u.index || p.Kind != ir.Statistic {
			continue
		}
		if err := u.prog.Write(p.Value, 0, u.statistics[i].Data); err != nil {
			return err
		}
		i++
	}
	return u.clear()
}

// clear forgets the batch's gradients.
func (u *unit) clear() error {
	for i := range u.ir.Params {
		p := &u.ir.Params[i]
		if p.Unit != u.index || p.Grad == ir.None {
			continue
		}
		zero := make([]float32, elements(u.ir.Values[p.Grad].Shape))
		if err := u.prog.Write(p.Grad, 0, zero); err != nil {
			return err
		}
	}
	return nil
}

func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}
