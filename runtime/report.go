package runtime

import (
	"fmt"
	"math"
	"strings"
	"sync"

	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/runtime/metrics"
)

// report adds what the pipeline measured to a unit's report, passes it to the
// metrics and to whoever listens.
func (t *turn) report(r BatchReport) {
	perEpoch := t.run.PerEpoch()
	r.Step = t.first() + r.Batch + 1
	r.Epoch = (r.Step-1)/perEpoch + 1
	index := 0
	for k := range t.ir.Units {
		if t.ir.Units[k].Name == r.Unit {
			index = k
		}
	}
	r.Seconds = t.watch.take(index)
	t.measureUnit(index)
	if index == 0 && t.fed != nil {
		r.Data = fmt.Sprintf("%016x", t.fed.Sum64())
	}
	t.measure(&r, index)
	if e := t.run.cfg.Events; e.Batch != nil {
		e.Batch(r)
	}
	if e := t.run.cfg.Events; r.Skipped && e.Unapplied != nil {
		e.Unapplied(r.Unit, r.Batch, r.Cause)
	}
}

// measure tells the metrics of a batch. The top unit ends a batch.
func (t *turn) measure(r *BatchReport, index int) {
	m := t.run.cfg.Metrics
	for _, l := range r.Losses {
		m.Loss(l.Name, l.Loss)
		m.EmbeddingStd(l.Name, l.EmbeddingStd)
		if !math.IsNaN(l.EffectiveRank) {
			m.EffectiveRank(l.Name, l.EffectiveRank)
		}
	}
	m.LearningRate(r.Unit, r.LearningRate)
	m.GradientNorm(r.Unit, r.GradientNorm)
	for _, s := range r.Stages {
		m.StageGradientNorm(s.Stage, s.Own, s.OwnNorm)
		m.StageGradientNorm(s.Stage, s.Above, s.AboveNorm)
		m.StageGradientCosine(s.Stage, s.Cosine)
	}
	for _, s := range r.WeightNorms {
		m.StageWeightNorm(s.Stage, s.Norm)
	}
	if r.Skipped {
		m.Error("nan")
	}
	if index == len(t.ir.Units)-1 {
		m.Images(t.ir.Batch)
		m.LastStep()
		t.measureDevice()
	}
}

// measureUnit tells the metrics for how long a unit's device has worked since its
// last batch. Each unit's goroutine reports its own.
func (t *turn) measureUnit(index int) {
	busy, ok := t.prog.Busy(index)
	if !ok {
		return
	}
	u := t.units[index]
	t.run.cfg.Metrics.Device(u.unit().Name, (busy - u.busy).Seconds())
	u.busy = busy
}

// measureDevice tells the metrics what the backend has computed since the last
// batch, readouts included, and how much memory the program has touched.
func (t *turn) measureDevice() {
	m := t.run.cfg.Metrics
	counted := t.run.cfg.Backend.Counted()
	m.FLOPs(counted - t.run.counted)
	t.run.counted = counted
	var used int64
	for _, n := range t.prog.HighWater() {
		used += n
	}
	m.Memory(t.run.deviceKind(), metrics.Used, used)
}

// deviceKind is the kind of device that a run is on: cpu or cuda.
func (r *Run) deviceKind() string { return DeviceKind(r.cfg.Backend) }

// DeviceKind is the kind of a backend's device: its name up to the first slash.
func DeviceKind(b device.Backend) string {
	kind, _, _ := strings.Cut(device.First(b).Name(), "/")
	return kind
}

// part is what a unit adds to a snapshot.
type part struct {
	weights []Tensor // and running statistics
	state   []Tensor // of the optimisers; only where snapshots are saved
}

// snapshots gathers the units' parts of barriers.
type snapshots struct {
	mu    sync.Mutex
	units int
	parts map[int][]part // by batch, then unit
}

func newSnapshots(units int) *snapshots {
	return &snapshots{units: units, parts: map[int][]part{}}
}

func (s *snapshots) add(batch, unit int, p part) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parts[batch] == nil {
		s.parts[batch] = make([]part, s.units)
	}
	s.parts[batch][unit] = p
}

// take joins the parts of a batch, in unit order.
func (s *snapshots) take(batch int) (all part) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.parts[batch] {
		all.weights = append(all.weights, p.weights...)
		all.state = append(all.state, p.state...)
	}
	delete(s.parts, batch)
	return all
}
