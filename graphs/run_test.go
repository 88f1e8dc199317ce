package graphs

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// relay is a segment of three ops from x to y.
func relay(s sketch, n int) (seg int, x, y ir.ValueID) {
	name := func(v string) string { return fmt.Sprintf("%s%d", v, n) }
	x, y = s.f32(name("x"), 4), s.f32(name("y"), 4)
	a, b := s.f32(name("a"), 4), s.f32(name("b"), 4)
	seg = s.segment(fmt.Sprint("s", n),
		do(op.Copy, op.Attr{}, ids(x), ids(a)),
		do(op.ReLU, op.Attr{}, ids(a), ids(b)),
		do(op.Add, op.Attr{}, ids(a, b), ids(y)))
	return seg, x, y
}

func TestErrorsNameUnitLayerAndPlace(t *testing.T) {
	broken := errors.New("the device is gone")
	for name, c := range map[string]struct {
		before func(*device.Call) error
		want   string
		is     error
		stack  bool
	}{
		"error": {
			func(*device.Call) error { return broken },
			`unit "mid": s3.0.relu (graph.loco:31:5): the device is gone`, broken, false,
		},
		"panic": {
			func(*device.Call) error { panic("no such thing") },
			`unit "mid": s3.0.relu (graph.loco:31:5): panic: no such thing`, nil, true,
		},
		"panic with an error": {
			func(*device.Call) error { panic(fmt.Errorf("deep down: %w", broken)) },
			`unit "mid": s3.0.relu (graph.loco:31:5): panic: deep down: the device is gone`, broken, true,
		},
		"index out of range": {
			func(c *device.Call) error { return fmt.Errorf("%v", c.In[len(c.In)]) },
			`unit "mid": s3.0.relu (graph.loco:31:5): panic: runtime error: index out of range [1] with length 1`, nil, true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSketch()
			seg, x, y := relay(s, 1)
			b := newSpy(t)
			p := build(t, s, b)
			b.before = func(d *device.Call) error {
				if d.Code == op.ReLU {
					return c.before(d)
				}
				return nil
			}
			err := p.RunTask(ir.Task{seg, seg}, 0, 0, 1)
			var e *Error
			switch {
			case err == nil || err.Error() != c.want:
				t.Fatalf("%v\nnot %s", err, c.want)
			case !errors.As(err, &e) || e.Range != at(31, 5) || (e.Stack != nil) != c.stack:
				t.Errorf("error %+v", e)
			case c.stack && !strings.Contains(string(e.Stack), "run_test.go"):
				t.Errorf("the stack does not show the panic:\n%s", e.Stack)
			case c.is != nil && !errors.Is(err, c.is):
				t.Errorf("%v does not wrap its cause", err)
			}
			if n := len(b.take()); n != 2 {
				t.Errorf("%d ops ran, not 2: the one that failed must be the last", n)
			}
			if p.segments[seg].graph != nil {
				t.Error("the graph that failed is kept")
			}
			b.before = nil
			write(t, p, x, 0, 1, -2, 3, -4)
			run(t, p, seg, 0)
			if got := read(t, p, y, 0); !slices.Equal(got, []float32{2, -2, 6, -4}) {
				t.Errorf("after the failure: %v", got)
			}
		})
	}
}

func TestErrorText(t *testing.T) {
	err := errors.New("why")
	for _, c := range []struct {
		e    Error
		want string
	}{
		{Error{Unit: "mid", Layer: "s3.0.conv1", Range: at(31, 5), Err: err}, `unit "mid": s3.0.conv1 (graph.loco:31:5): why`},
		{Error{Unit: "mid", Layer: "s3.forward", Err: err}, `unit "mid": s3.forward: why`},
		{Error{Layer: "s3.infer", Err: err}, `s3.infer: why`},
		{*opError("mid", &ir.Op{Code: op.Add}, err, nil), `unit "mid": add: why`},
	} {
		if got := c.e.Error(); got != c.want {
			t.Errorf("%s\nnot %s", got, c.want)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	s := newSketch()
	seg, _, _ := relay(s, 1)
	b := newSpy(t)
	p := build(t, s, b)
	refuse := func(err error, want string) {
		t.Helper()
		if err == nil || err.Error() != want {
			t.Errorf("%v\nnot %s", err, want)
		}
	}
	refuse(p.Run(7, 0, 0, 1), "graphs: no segment 7")
	refuse(p.Run(-1, 0, 0, 1), "graphs: no segment -1")
	refuse(p.Run(seg, -1, 0, 1), `unit "mid": s1.forward: no microbatch -1`)
	b.before = func(*device.Call) error { return p.Run(seg, 0, 0, 1) }
	refuse(p.Run(seg, 0, 0, 1), `unit "mid": s3.0.copy (graph.loco:31:5): unit "mid": s1.forward: the segment is running already`)
	b.before = nil
	run(t, p, seg, 0)
	p.Close()
	p.Close()
	refuse(p.Run(seg, 0, 0, 1), `unit "mid": s1.forward: the program is closed`)
	if b.freed != 1 {
		t.Errorf("%d buffers freed, not 1", b.freed)
	}
}

// Segments side by side, some failing: each its own results.
func TestSegmentsRunConcurrently(t *testing.T) {
	const segments, runs = 8, 60
	s := newSketch()
	var segs [segments]int
	var xs, ys [segments]ir.ValueID
	for i := range segments {
		segs[i], xs[i], ys[i] = relay(s, i)
	}
	b := newSpy(t)
	p := build(t, s, b)
	doomed := p.Tensor(xs[segments-1], 0).Offset
	b.before = func(c *device.Call) error {
		if c.Code == op.Copy && c.In[0].Offset == doomed {
			panic("doomed")
		}
		return nil
	}
	var wg sync.WaitGroup
	for i := range segments {
		wg.Go(func() {
			for n := range runs {
				data := ramp(4, i*runs+n)
				if err := p.Write(xs[i], 0, data); err != nil {
					t.Error(err)
					return
				}
				err := p.Run(segs[i], n, 0, 1)
				if i == segments-1 {
					if err == nil {
						t.Error("a panic is lost")
					}
					continue
				}
				got, rerr := p.Read(ys[i], 0)
				if err != nil || rerr != nil {
					t.Error(err, rerr)
					return
				}
				for j, v := range data {
					if got[j] != v+max(v, 0) {
						t.Errorf("segment %d, run %d: %v from %v", i, n, got, data)
						return
					}
				}
				p.HighWater()
			}
		})
	}
	wg.Wait()
}

// Graphs may be built side by side: Gorgonia shares pools between them.
func TestProgramsBuildConcurrently(t *testing.T) {
	progs := lowered(t)
	b := newSpy(t)
	var wg sync.WaitGroup
	for _, p := range progs {
		wg.Go(func() {
			g, err := Build(p, &lenient{b})
			if err != nil {
				t.Error(err)
				return
			}
			g.Close()
		})
	}
	wg.Wait()
}

// lenient hides the spy's counters, which are not for several goroutines.
type lenient struct{ *spy }

func (l *lenient) Free(b device.Buffer) { l.Backend.Free(b) }

// A thousand runs, with the garbage collector at work between ops, leave the
// heap as it was.
func TestRunsLeakNothing(t *testing.T) {
	s := newSketch()
	seg, x, y := relay(s, 1)
	b := newSpy(t)
	p := build(t, s, b)
	write(t, p, x, 0, 1, 2, 3, -4)
	collect := 0
	b.before = func(*device.Call) error {
		if collect++; collect%100 == 0 {
			runtime.GC()
		}
		return nil
	}
	heap := func() (uint64, int) { b.calls = nil; return heap() }
	loop := func(n int) {
		for i := range n {
			run(t, p, seg, i)
			b.calls = b.calls[:0]
		}
	}
	loop(100)
	before, routines := heap()
	loop(1000)
	after, left := heap()
	if after > before+64<<10 || left > routines {
		t.Errorf("heap %d bytes, then %d; goroutines %d, then %d", before, after, routines, left)
	}
	if got := read(t, p, y, 0); !slices.Equal(got, []float32{2, 4, 6, -4}) {
		t.Errorf("y %v", got)
	}
}

// heap is the live heap in bytes, and the number of goroutines. The second
// collection frees what finalizers of the first let go.
func heap() (uint64, int) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, runtime.NumGoroutine()
}

// Graphs thrown away after a failure, and closed programs, are collected.
func TestDiscardedGraphsAreCollected(t *testing.T) {
	s := newSketch()
	seg, _, _ := relay(s, 1)
	b := newSpy(t)
	p := build(t, s, b)
	b.before = func(c *device.Call) error {
		if c.Code == op.Add {
			panic("no")
		}
		return nil
	}
	loop := func(n int) {
		for range n {
			if p.Run(seg, 0, 0, 1) == nil {
				t.Fatal("a panic is lost")
			}
			q, err := Build(s.Program, b)
			if err != nil {
				t.Fatal(err)
			}
			q.Close()
		}
		b.calls = nil
	}
	loop(20)
	before, routines := heap()
	loop(200)
	after, left := heap()
	if after > before+256<<10 || left > routines {
		t.Errorf("heap %d bytes, then %d; goroutines %d, then %d", before, after, routines, left)
	}
}

// A run allocates a few small things of Gorgonia's, none of them per element.
func TestRunAllocatesLittle(t *testing.T) {
	s := newSketch()
	x, y := s.f32("x", 1<<16), s.f32("y", 1<<16)
	ops := []ir.Op{do(op.ReLU, op.Attr{}, ids(x), ids(y))}
	for range 19 {
		ops = append(ops, do(op.Copy, op.Attr{}, ids(x), ids(y)))
	}
	seg := s.segment("s1", ops...)
	p := build(t, s, still{newSpy(t).Backend})
	n := testing.AllocsPerRun(50, func() { run(t, p, seg, 0) })
	if perOp := n / 20; perOp > 6 {
		t.Errorf("%.1f allocations an op", perOp)
	}
}

// still is a backend whose ops do nothing.
type still struct{ device.Backend }

func (still) Run(*device.Call) error { return nil }

func TestHighWaterIsWhatWasTouched(t *testing.T) {
	s := newSketch()
	x := s.value("x", ir.Activation, op.F32, 3, 20) // slots of 128 bytes
	y := s.f32("y", 20)
	far := s.f32("far", 20)
	w := s.value("w", ir.Weight, op.F32, 1, 3)
	seg := s.segment("s1", do(op.ReLU, op.Attr{}, ids(x), ids(y)))
	p := build(t, s, newSpy(t))
	if got := p.HighWater(); len(got) != 0 {
		t.Errorf("before anything runs: %v", got)
	}
	p.Tensor(x, 1)
	if got := p.HighWater(); got[ir.Arena] != 256 {
		t.Errorf("after a tensor in the second slot: %v", got)
	}
	run(t, p, seg, 0)
	if got := p.HighWater(); got[ir.Arena] != 4*128 || got[ir.Weights] != 0 {
		t.Errorf("after a run: %v", got)
	}
	write(t, p, w, 0, 1, 2, 3)
	read(t, p, far, 0)
	if got := p.HighWater(); got[ir.Arena] != s.Sizes[ir.Arena] || got[ir.Weights] != 64 {
		t.Errorf("after a write: %v, not %v", got, s.Sizes)
	}
}
