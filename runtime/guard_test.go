package runtime

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/locorun/locorun/compiler"
	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/graphs"
	"github.com/locorun/locorun/graphs/cpu"
	"github.com/locorun/locorun/graphs/std"
	"github.com/locorun/locorun/runtime/pipeline"
)

// collapsing is a program that pushes a unit's embeddings together: a rate so
// high that what is left of the decoder is its bias.
func collapsing(unit int) *model.Net {
	net := tiny(3, [][2]int{{0, 1}, {1, 2}}, nil)
	net.Train.Epochs = 8
	for _, u := range net.Units {
		u.Optimizer.LR, u.Optimizer.Momentum = 1e-3, 0
	}
	net.Units[unit].Optimizer.WeightDecay = 900 // times the rate, 0.9 of the weights go in each batch
	net.Units[unit].Schedule = model.Schedule{Kind: "constant"}
	return net
}

// alarms trains and gathers what is said, in order.
func alarms(t *testing.T, net *model.Net) (said []string, res *Result, err error) {
	var mu sync.Mutex
	res, err = attempt(t, net, func(c *Config) {
		c.Depth = 3
		c.Events.Alarm = func(name, kind, text string) {
			mu.Lock()
			defer mu.Unlock()
			said = append(said, name+" "+kind+": "+text)
		}
	})
	return said, res, err
}

// TestCollapseIsToldOf warns of the unit whose embeddings collapse, once, and
// changes no byte; or stops it, where the program says so.
func TestCollapseIsToldOf(t *testing.T) {
	for unit, name := range []string{"u1", "u2"} {
		said, res, err := alarms(t, collapsing(unit))
		if err != nil {
			t.Fatal(err)
		}
		// What lies on collapsed stages collapses too.
		said = slices.DeleteFunc(said, func(s string) bool { return !strings.HasPrefix(s, name+" collapse") })
		if len(said) != 1 || !strings.HasPrefix(said[0], name+" collapse: the embeddings have collapsed: their deviation has been below 0.1 for 10 batches (") {
			t.Errorf("unit %s: %q", name, said)
		}
		silent := must(attempt(t, collapsing(unit), nil))(t)
		if !bytes.Equal(dump(silent.Weights), dump(res.Weights)) {
			t.Error("the guard changed weights")
		}
		net := collapsing(unit)
		net.Units[unit].OnCollapse = "stop"
		_, _, err = alarms(t, net)
		if err == nil || !strings.HasPrefix(err.Error(), fmt.Sprintf("unit %q: update of batch ", name)) || !strings.HasSuffix(err.Error(), "; `on_collapse stop` ends the run") {
			t.Errorf("unit %s: %v", name, err)
		}
	}
	net := collapsing(1)
	net.Units[0].OnCollapse = "stop" // the other's
	if _, _, err := alarms(t, net); err != nil {
		t.Error(err)
	}
}

// TestDivergenceIsToldOf takes a temperature at which embeddings that nobody
// trains are far worse than ones that are all the same.
func TestDivergenceIsToldOf(t *testing.T) {
	diverging := func() *model.Net {
		net := tiny(3, [][2]int{{0, 0}, {1, 2}}, nil)
		net.Train.Epochs = 12
		u := net.Units[1]
		u.Loss.Temperature = 0.002
		u.Optimizer = model.Optimizer{Kind: "sgd", LR: 1e-9}
		u.Schedule = model.Schedule{Kind: "constant"}
		return net
	}
	said, _, err := alarms(t, diverging())
	if err != nil {
		t.Fatal(err)
	}
	said = slices.DeleteFunc(said, func(s string) bool { return !strings.Contains(s, "divergence") })
	if len(said) == 0 || !strings.HasPrefix(said[0], "u2 divergence: the loss has been far worse than chance for 5 batches (") {
		t.Errorf("%q", said)
	}
	for i, s := range said {
		if over := strings.HasSuffix(s, ": "); over != (i%2 == 1) {
			t.Errorf("begin and end do not alternate: %q", said)
		}
	}
	net := diverging()
	net.Units[1].OnDivergence = "stop"
	_, _, err = alarms(t, net)
	if err == nil || !strings.HasPrefix(err.Error(), `unit "u2": update of batch `) || !strings.HasSuffix(err.Error(), "; `on_divergence stop` ends the run") {
		t.Errorf("%v", err)
	}
}

// TestLargeGradientsStop sees a gradient whose square an optimiser could not
// hold, before it is remembered.
func TestLargeGradientsStop(t *testing.T) {
	h := health{}
	h.notice(&ir.Param{Name: "a"}, 1, 1e38)
	if h != (health{}) {
		t.Errorf("%+v", h)
	}
	h.notice(&ir.Param{Name: "b"}, 1, 1e39)
	u := &unit{health: h}
	if what, mends := u.notFinite(&BatchReport{}); what != "the gradient of b is too large to be squared" || !mends {
		t.Errorf("%q, %t", what, mends)
	}
}

// BenchmarkDetector reports which share of a step goes into looking for what is
// not finite and into the guards, on the network of the comparison with
// PyTorch, and which into the rest of what is measured about a batch.
func BenchmarkDetector(b *testing.B) {
	text, err := os.ReadFile("../bench/resnet-small.loco")
	if err != nil {
		b.Fatal(err)
	}
	net, found := compiler.Compile("resnet-small.loco", text, compiler.Options{Std: std.Files})
	if net == nil {
		b.Fatal(found)
	}
	backend := onCPU(b, cpu.Options{})
	defer backend.Close()
	trial := &Trial{Config: Config{Net: net, Backend: backend, Depth: 1}, Batches: 4}
	tried, err := trial.Run(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	step := slices.Min(tried.Seconds)
	us, close := measured(b, trial)
	defer close()
	var detect, rest time.Duration = 1 << 62, 1 << 62
	for range b.N {
		d, r := parts(b, us)
		detect, rest = min(detect, d), min(rest, r)
	}
	b.ReportMetric(100*detect.Seconds()/step, "%detector")
	b.ReportMetric(100*rest.Seconds()/step, "%reports")
	b.ReportMetric(1000*step, "ms/step")
}

// measured makes the units of a trial, after no batch.
func measured(b *testing.B, trial *Trial) ([]*unit, func()) {
	r, err := trial.prepare()
	if err != nil {
		b.Fatal(err)
	}
	p, err := r.lower(0)
	if err != nil {
		b.Fatal(err)
	}
	g, err := build(p, trial.Backend, graphs.Options{}, Initial(p, 1))
	if err != nil {
		b.Fatal(err)
	}
	t := &turn{run: r, ir: p, prog: g, judge: &judge{}, save: &saver{}}
	if _, err := t.start(); err != nil {
		b.Fatal(err)
	}
	return t.units, func() { g.Close(); r.Close() }
}

// parts times what the units look at once per batch.
func parts(b *testing.B, us []*unit) (detect, rest time.Duration) {
	timed := func(sum *time.Duration, f func() error) {
		begun := time.Now()
		if err := f(); err != nil {
			b.Fatal(err)
		}
		*sum += time.Since(begun)
	}
	for _, u := range us {
		last := pipeline.Task{Kind: pipeline.Update, Batch: 1, Seq: 2*u.ir.Micros - 1}
		r := BatchReport{Batch: 1}
		timed(&rest, func() error { return u.losses(&r, last) })
		timed(&detect, func() error { return u.gradients(&r) })
		timed(&detect, u.lookAtStatistics)
		timed(&detect, func() error { _, _ = u.notFinite(&r); return u.heed(&r) })
		for _, j := range u.joins {
			timed(&rest, func() error { return u.meet(j, last.Seq) })
		}
	}
	return detect, rest
}
