package runtime

import (
	"sync"
	"time"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/runtime/metrics"
	"github.com/locorun/locorun/runtime/pipeline"
)

// Seconds is what a unit spent a batch's time on.
type Seconds struct {
	Forward, Sweep, Update, Recompute float64
	Data, Input, Gradient, Output     float64 // waits
}

// observer turns the pipeline's durations into metrics and sums them up for
// the batch reports.
type observer struct {
	names   []string
	events  []int // the last event of a microbatch, by unit
	images  int   // per microbatch
	metrics *metrics.Set
	mu      sync.Mutex
	sums    []Seconds
}

func newObserver(p *ir.Program, m *metrics.Set) *observer {
	o := &observer{images: p.Microbatch, metrics: m, sums: make([]Seconds, len(p.Units))}
	for i := range p.Units {
		o.names = append(o.names, p.Units[i].Name)
		o.events = append(o.events, len(p.Units[i].Events)-1)
	}
	return o
}

// Ran notes a task; it satisfies pipeline.Observer.
func (o *observer) Ran(u int, t pipeline.Task, _ time.Time, d time.Duration) {
	s := d.Seconds()
	o.mu.Lock()
	sum := &o.sums[u]
	var phase metrics.Phase
	switch t.Kind {
	case pipeline.Embed:
		phase = metrics.Recompute
		sum.Recompute += s
	case pipeline.Forward:
		phase = metrics.Forward
		sum.Forward += s
	case pipeline.Update:
		phase = metrics.Update
		sum.Update += s
	default:
		phase = metrics.Sweep
		sum.Sweep += s
	}
	o.mu.Unlock()
	o.metrics.Step(o.names[u], phase, s)
	if t.Kind == pipeline.Sweep && t.Event == o.events[u] {
		o.metrics.Microbatch(o.names[u], o.images)
	}
}

// Waited notes a wait; it satisfies pipeline.Observer.
func (o *observer) Waited(u int, why pipeline.Reason, _ time.Time, d time.Duration) {
	s := d.Seconds()
	o.mu.Lock()
	sum := &o.sums[u]
	switch why {
	case pipeline.Data:
		sum.Data += s
	case pipeline.Input:
		sum.Input += s
	case pipeline.Gradient:
		sum.Gradient += s
	case pipeline.Output:
		sum.Output += s
	}
	o.mu.Unlock()
	o.metrics.Wait(o.names[u], metrics.Reason(why.String()), s)
}

// take returns and clears what unit u spent since the last time.
func (o *observer) take(u int) Seconds {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.sums[u]
	o.sums[u] = Seconds{}
	return s
}

// channels tells the metrics of the pipeline's channels.
func channels(p *pipeline.Pipeline) []metrics.Channel {
	var cs []metrics.Channel
	for i, c := range p.Channels() {
		cs = append(cs, metrics.Channel{Name: c.Name, Capacity: c.Cap, Length: func() int { return p.Channels()[i].Len }})
	}
	return cs
}
