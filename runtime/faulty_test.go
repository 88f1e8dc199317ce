package runtime

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/dsl/diag"
	"github.com/locorun/locorun/graphs/cpu"
	"github.com/locorun/locorun/graphs/device"
)

// long asks for the versions of tests that take minutes.
func long() bool { return os.Getenv("LOCORUN_LONG") != "" }

// rounds is n, or many where the long versions are asked for.
func rounds(n, many int) int {
	if long() {
		return many
	}
	return n
}

var errPlanted = errors.New("planted")

// faulty is a backend that fails in its own ways: before tells, for each op that
// is run, counted from 0, what happens instead.
type faulty struct {
	device.Backend
	ran    atomic.Int64
	before func(n int64, c *device.Call) error
}

func (f *faulty) Run(c *device.Call) error {
	n := f.ran.Add(1) - 1
	if f.before != nil {
		if err := f.before(n, c); err != nil {
			return err
		}
	}
	return f.Backend.Run(c)
}

// ways are the ways in which an op goes wrong.
var ways = []struct {
	name string
	do   func() error
}{
	{"fails", func() error { return errPlanted }},
	{"panics", func() error { panic(errPlanted) }},
}

// placed gives every layer a place in the file, each a line of its own.
func placed(net *model.Net) *model.Net {
	line := 10
	put := func(r *diag.Range) {
		line++
		r.File = net.File
		r.Start, r.End = diag.Pos{Line: line, Column: 3}, diag.Pos{Line: line, Column: 9}
	}
	for _, s := range net.Stages {
		put(&s.Range)
		for _, l := range s.Layers {
			put(&l.Range)
		}
	}
	for _, u := range net.Units {
		put(&u.Range)
		put(&u.Loss.Range)
		put(&u.Decoder.Range)
		for _, l := range u.Decoder.Layers {
			put(&l.Range)
		}
	}
	return net
}

// opRun is an op that a run runs: of which unit, in which phase of it.
type opRun struct {
	unit, phase string
	op          *ir.Op
}

// text is what an error of the op begins with, but for the number of the
// microbatch: `unit "u1": s1.conv1 (tiny.loco:11:3): `.
func (o opRun) text() string {
	layer := o.op.Layer
	if layer == "" {
		layer = o.op.Code.String()
	}
	return fmt.Sprintf("unit %q: %s (%s): ", o.unit, layer, o.op.Range)
}

// opsOf lists the ops of the first batches of the lean order, as they run.
func opsOf(t *testing.T, net *model.Net, recompute bool, batches int) []opRun {
	t.Helper()
	b := onCPU(t, cpu.Options{Workers: 1})
	defer b.Close()
	r := must(Prepare(Config{Net: net, Backend: b, Depth: 1, Recompute: recompute}))(t)
	defer r.Close()
	p := must(r.lower(0))(t)
	var list []opRun
	add := func(task ir.Task) {
		for _, id := range task {
			s := &p.Segments[id]
			u := &p.Units[s.Unit]
			for i := range s.Ops {
				list = append(list, opRun{u.Name, phase(u, task), &s.Ops[i]})
			}
		}
	}
	for u := range p.Units {
		add(p.Units[u].Publish)
	}
	o := &sequential{t: t, run: r, p: p}
	o.task = func(task ir.Task, _ int, _ float64, _ int) { add(task) }
	o.feed = func(int) {}
	for batch := range batches {
		o.batch(batch)
	}
	return list
}

// phase names a unit's task as the pipeline does.
func phase(u *ir.Unit, task ir.Task) string {
	for name, t := range map[string]ir.Task{
		"embed": u.Embed, "forward": u.Forward, "loss": u.Loss, "update": u.Update, "publish": u.Publish,
	} {
		if same(task, t) {
			return name
		}
	}
	for k, e := range u.Events {
		if same(task, e) {
			return fmt.Sprintf("sweep %d", k)
		}
	}
	return "?"
}
