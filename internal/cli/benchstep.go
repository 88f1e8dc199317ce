package cli

import (
	"fmt"
	"io"
	goruntime "runtime"

	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/plan"
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/internal/measure"
	"github.com/locorun/locorun/runtime"
)

// benchStepCmd times training steps.
type benchStepCmd struct {
	program
	memoryFlags
	deviceFlags
	stepFlags
	Microbatch int  `placeholder:"N" help:"Images in a microbatch; default: as the file says."`
	Turn       int  `default:"1" help:"Which turn to time, where units train in turn."`
	JSON       bool `help:"Print JSON."`
}

// stepFlags say how many steps are timed.
type stepFlags struct {
	Steps  int `default:"10" help:"Steps to time."`
	Warmup int `default:"2" help:"Steps before them."`
}

func (f stepFlags) valid() error {
	if f.Steps < 1 || f.Warmup < 0 || f.Steps > 1<<20 || f.Warmup > 1<<20 {
		return wrongf("--steps %d --warmup %d: at least one step is timed, a million at most", f.Steps, f.Warmup)
	}
	return nil
}

// Help shows an example.
func (benchStepCmd) Help() string {
	return "Example:\n  locorun bench step --method e2e --steps 20 examples/quickstart.loco\n\n" +
		"The data need not be there: every step is taken on noise that was written once. It is otherwise a step of training, reports included, " +
		"without readouts, journal and views. Steps are timed from the end of one to the end of the next."
}

// stepResult is what is measured of steps.
type stepResult struct {
	File       string `json:"file"`
	Method     string `json:"method"`
	Turn       string `json:"turn,omitempty"` // the unit, where units train in turn
	Tier       string `json:"tier"`
	Precision  string `json:"precision"` // the program's
	Workers    int    `json:"workers"`
	Batch      int    `json:"batch"`
	Microbatch int    `json:"microbatch"`
	Depth      int    `json:"depth"`
	Frames     string `json:"frames"`

	Steps  []float64 `json:"step_seconds"`
	Median float64   `json:"median_seconds"`
	Low    float64   `json:"median_low_seconds"`  // a 95 % interval of the median
	High   float64   `json:"median_high_seconds"` // of fewer than 6 steps the least and the most
	Images float64   `json:"images_per_second"`   // at the median
	FLOPs  int64     `json:"conv_flops_per_step"`
	Peak   float64   `json:"peak_gflops"` // the higher of before and after
	Share  float64   `json:"share_of_peak"`

	Start    int64 `json:"resident_start_bytes"` // when all was ready but the program's memory
	Resident int64 `json:"resident_bytes"`       // after the last step
	Most     int64 `json:"resident_peak_bytes"`
	GCs      int   `json:"gc_cycles"` // during the timed steps
	Heap     int64 `json:"heap_bytes"`
	Scratch  int64 `json:"scratch_bytes"` // that kernels hold of their own
	// Card is what the program took of a card's memory by its last step, libraries
	// included; 0 where there is no card.
	Card int64 `json:"card_bytes,omitempty"`

	PlanBytes int64            `json:"plan_bytes"`
	Plan      map[string]int64 `json:"plan"`       // by space, and what kernels hold of their own
	HighWater map[string]int64 `json:"high_water"` // that was touched
}

// Run times steps.
func (c *benchStepCmd) Run(env *Env) error {
	net, err := c.net(env)
	if err != nil {
		return err
	}
	backend, err := c.open(env, net.Train.Precision)
	if err != nil {
		return err
	}
	defer backend.Close()
	trial, err := c.trial(net, backend)
	if err != nil {
		return err
	}
	res, err := measureSteps(env, trial, c.Warmup, peakOf(env, backend, net.Train.Precision))
	if err != nil {
		return err
	}
	if res.Workers = c.count(); c.JSON {
		return printJSON(env.Stdout, res)
	}
	res.print(env.Stdout)
	return nil
}

// net compiles the file and cuts its batches as asked.
func (c *benchStepCmd) net(env *Env) (*model.Net, error) {
	net, _, err := c.compile(env, false)
	if err != nil {
		return nil, err
	}
	if err := c.valid(); err != nil {
		return nil, err
	}
	return recut(net, c.Microbatch)
}

// trial is what is tried of a net.
func (c *benchStepCmd) trial(net *model.Net, b device.Backend) (*runtime.Trial, error) {
	turn, err := turnOf(net, c.Turn)
	if err != nil {
		return nil, err
	}
	opt, _, err := c.choose(net, 0, b)
	if err != nil {
		return nil, err
	}
	return &runtime.Trial{
		Config: runtime.Config{Net: net, Backend: b, Depth: opt.Depth, Recompute: opt.Recompute},
		Turn:   turn, Batches: c.Warmup + c.Steps,
	}, c.fit(net, opt, 0, b, false)
}

// measureSteps runs a trial between two looks at the peak.
func measureSteps(env *Env, t *runtime.Trial, warmup int, peak func() float64) (*stepResult, error) {
	net := t.Net
	res := &stepResult{
		File: net.File, Method: net.Method, Tier: t.Backend.Name(), Precision: net.Train.Precision.String(),
		Batch: net.Train.Batch, Microbatch: net.Train.Microbatch, Depth: t.Depth,
	}
	if err := res.plan(t); err != nil {
		return nil, err
	}
	before := peak()
	res.watch(t, warmup)
	res.Start = measure.Resident().Now
	tried, err := t.Run(env.Context)
	if err != nil {
		return nil, err
	}
	if s, ok := t.Backend.(interface{ Scratch() int64 }); ok {
		res.Scratch = s.Scratch()
	}
	res.settle(tried, warmup, max(before, peak()))
	return res, nil
}

// plan fills in what is planned.
func (r *stepResult) plan(t *runtime.Trial) error {
	turns, err := lower.Turns(t.Net, lower.Options{Depth: t.Depth, Recompute: t.Recompute})
	if err != nil {
		return fmt.Errorf("%s: %w", t.Net.File, err)
	}
	pl := runtime.PlanOf(t.Net, turns[t.Turn:t.Turn+1], 0, t.Backend, 0)
	r.Frames = pl.Frames
	r.PlanBytes, r.Plan = planned(pl.Memory)
	return nil
}

// planned is a plan's bytes by space, with those that kernels hold of their
// own, and all of them together. Steps that are measured have no loader.
func planned(m plan.Memory) (all int64, by map[string]int64) {
	return m.Total - m.Loader, map[string]int64{
		"arena": m.Arena, "input": m.Input, "weights": m.Weights, "gradients": m.Gradients, "states": m.States, "kernels": m.Kernels,
	}
}

// watch looks at the heap when the timed steps begin and at all memory when
// they have ended.
func (r *stepResult) watch(t *runtime.Trial, warmup int) {
	var before, after goruntime.MemStats
	free := freeOn(t.Backend)
	t.Ready = func() { goruntime.ReadMemStats(&before) }
	t.Ended = func(batch int) {
		switch batch {
		case warmup - 1:
			goruntime.ReadMemStats(&before)
		case t.Batches - 1:
			goruntime.ReadMemStats(&after)
			r.GCs, r.Heap = int(after.NumGC-before.NumGC), int64(after.HeapAlloc)
			m := measure.Resident()
			r.Resident, r.Most = m.Now, m.Peak
			r.Card = max(free-freeOn(t.Backend), 0)
		}
	}
}

// freeOn is what is free of a card's memory, 0 where there is no card.
func freeOn(b device.Backend) int64 {
	h, ok := b.(interface {
		Memory() (free, total int64, err error)
	})
	if !ok {
		return 0
	}
	free, _, err := h.Memory()
	if err != nil {
		return 0 // a figure beside the measurement, which goes on
	}
	return free
}

// settle fills in what a trial gave.
func (r *stepResult) settle(t *runtime.Tried, warmup int, peak float64) {
	r.Turn, r.Steps, r.FLOPs = t.Program, t.Seconds[warmup:], t.FLOPs
	s := measure.Summarise(r.Steps)
	r.Median, r.Low, r.High = s.Median, s.Low, s.High
	r.Images = float64(r.Batch) / r.Median
	r.Peak, r.Share = peak/1e9, share(float64(r.FLOPs)/r.Median, peak)
	r.HighWater = map[string]int64{}
	for s, n := range t.HighWater {
		r.HighWater[s.String()] = n
	}
}

// print writes the result for people.
func (r *stepResult) print(w io.Writer) {
	fmt.Fprintf(w, "%s  method %s", r.File, r.Method)
	if r.Turn != "" {
		fmt.Fprintf(w, "  turn of %s", r.Turn)
	}
	fmt.Fprintf(w, "  %s, %s, %d workers\n", r.Tier, r.Precision, r.Workers)
	fmt.Fprintf(w, "step      median %.4g ms of %d (%s), %.4g images/s\n", 1e3*r.Median, len(r.Steps), spread(measure.Summarise(r.Steps)), r.Images)
	fmt.Fprintf(w, "products  %.4g GFLOP a step in convolutions and dense layers: %s GFLOP/s, %s of the peak of %s\n",
		float64(r.FLOPs)/1e9, giga(float64(r.FLOPs)/r.Median), percent(r.Share), giga(1e9*r.Peak))
	fmt.Fprintf(w, "memory    planned %s, of which %s for kernels, which hold %s", plan.Bytes(r.PlanBytes), plan.Bytes(r.Plan["kernels"]), plan.Bytes(r.Scratch))
	if r.Resident > 0 {
		fmt.Fprintf(w, "; resident %s above the %s at the start, at the most %s above", plan.Bytes(r.Resident-r.Start), plan.Bytes(r.Start), plan.Bytes(r.Most-r.Start))
	}
	if r.Card > 0 {
		fmt.Fprintf(w, "; of the card %s", plan.Bytes(r.Card))
	}
	fmt.Fprintf(w, "\nheap      %s, collected %d times\n", plan.Bytes(r.Heap), r.GCs)
}
