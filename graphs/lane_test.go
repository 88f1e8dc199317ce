package graphs

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/graphs/device/devicetest"
)

// late is a backend whose lanes run late.
func late(t testing.TB, o devicetest.Options) *devicetest.Late {
	return devicetest.New(newSpy(t).Backend, o)
}

// orders are the orders in which lanes may do their work.
func orders() map[string]devicetest.Options {
	return map[string]devicetest.Options{
		"lazy":     {Order: devicetest.Lazy},
		"others":   {Order: devicetest.Others},
		"drawn":    {Order: devicetest.Drawn, Seed: 3},
		"recorded": {Order: devicetest.Drawn, Seed: 4, Records: true, Warm: 4},
		"timed":    {Order: devicetest.Lazy, Records: true, Timed: true},
	}
}

// trained builds a program, trains some batches without reading anything, and
// gives what then lies in its parameters, with what it counted and touched.
func trained(t *testing.T, p *ir.Program, b device.Backend, n int) string {
	t.Helper()
	g, err := Build(p, b)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	fill := func(v ir.ValueID, micro, seed int) error {
		shape := p.Values[v].Shape
		data := ramp(device.Tensor{Shape: shape}.Elements(), seed)
		for i := range data {
			data[i] = data[i]*0.3 + 0.5*float32(len(shape)%2)
		}
		return g.Write(v, micro, data)
	}
	for i, q := range p.Params {
		if err := fill(q.Value, 0, i); err != nil {
			t.Fatal(err)
		}
	}
	images := func(micro int) error { return fill(p.Units[0].In, micro, 100+micro) }
	if err := batches(p, n, images, g.RunTask); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, q := range p.Params {
		data, err := g.Read(q.Value, 0)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&out, q.Name, data)
	}
	if got := g.HighWater(); !maps.Equal(got, p.Sizes) {
		t.Errorf("memory used %v, planned %v", got, p.Sizes)
	}
	fmt.Fprintln(&out, g.Counted())
	return out.String()
}

// TestLanesGiveTheSameBytes trains programs on lanes that run late, where nothing
// makes them keep up with the host.
func TestLanesGiveTheSameBytes(t *testing.T) {
	const n = 6 // batches: every slot more than once
	for name, p := range lowered(t) {
		t.Run(name, func(t *testing.T) {
			want := trained(t, p, newSpy(t), n)
			for kind, o := range orders() {
				b := late(t, o)
				if trained(t, p, b, n) != want {
					t.Errorf("%s: lanes give other bytes", kind)
				}
				replayed, kept := b.Replays.Load(), b.Kept.Load()
				if o.Records != (replayed > 0) || kept != 0 {
					t.Errorf("%s: %d replays, %d recordings kept", kind, replayed, kept)
				}
			}
			deaf, differ := false, false
			for _, o := range []devicetest.Order{devicetest.Lazy, devicetest.Others, devicetest.Drawn} {
				b := late(t, devicetest.Options{Order: o, Deaf: true})
				differ = trained(t, p, b, n) != want || differ
				deaf = deaf || b.Waits.Load() > 0
			}
			if deaf != (p.Mode == ir.Pipelined) || deaf != differ {
				t.Errorf("lanes wait: %v; where they do not, bytes differ: %v", deaf, differ)
			}
		})
	}
}

// crossing is a sketch of two units that share x: each kind of hazard in turn.
func crossing() (s sketch, write, read, rewrite int, x, y ir.ValueID) {
	s = newSketch()
	s.Mode = ir.Pipelined
	a, b := s.f32("a", 4), s.f32("b", 4)
	x, y = s.value("x", ir.Map, op.F32, 1, 4), s.f32("y", 4)
	s.Values[y].Unit, s.Values[b].Unit = 1, 1
	write = s.segment("w", do(op.Copy, op.Attr{}, ids(a), ids(x)))
	s.Segments[write].Unit = 0
	read = s.segment("r", do(op.ReLU, op.Attr{}, ids(x), ids(y)))
	rewrite = s.segment("v", do(op.Copy, op.Attr{}, ids(b), ids(x)))
	return s, write, read, rewrite, x, y
}

// TestHazards takes each order that lanes must keep, and shows that it is lost
// where lanes do not wait.
func TestHazards(t *testing.T) {
	for name, c := range map[string]struct {
		steps []string // w, r, v: the segments; others are what the host does
		read  string
		want  []float32
		order devicetest.Order
	}{
		"read after write":       {[]string{"w", "r"}, "y", []float32{1, 2, 3, 4}, devicetest.Lazy},
		"write after read":       {[]string{"w", "r", "h"}, "y", []float32{1, 2, 3, 4}, devicetest.Others},
		"write after write":      {[]string{"w", "v"}, "x", []float32{5, 6, 7, 8}, devicetest.Lazy},
		"host's read":            {[]string{"v"}, "x", []float32{5, 6, 7, 8}, devicetest.Lazy},
		"host's write":           {[]string{"w", "h", "r"}, "y", []float32{9, 9, 9, 9}, devicetest.Lazy},
		"host's write, then v":   {[]string{"h", "v", "r"}, "y", []float32{5, 6, 7, 8}, devicetest.Lazy},
		"a unit after the other": {[]string{"v", "w", "r"}, "y", []float32{1, 2, 3, 4}, devicetest.Lazy},
	} {
		t.Run(name, func(t *testing.T) {
			attempt := func(deaf bool) []float32 {
				s, w, r, v, x, y := crossing()
				p := build(t, s, late(t, devicetest.Options{Order: c.order, Deaf: deaf}))
				write(t, p, s.id("a"), 0, 1, 2, 3, 4)
				write(t, p, s.id("b"), 0, 5, 6, 7, 8)
				for _, step := range c.steps {
					if step == "h" {
						write(t, p, x, 0, 9, 9, 9, 9)
						continue
					}
					run(t, p, map[string]int{"w": w, "r": r, "v": v}[step], 0)
				}
				return read(t, p, map[string]ir.ValueID{"x": x, "y": y}[c.read], 0)
			}
			if got := attempt(false); !slices.Equal(got, c.want) {
				t.Errorf("%v, not %v", got, c.want)
			}
			if got := attempt(true); slices.Equal(got, c.want) && name != "host's write, then v" {
				t.Error("lanes that do not wait give the same")
			}
		})
	}
}

// id finds a value by name.
func (s sketch) id(name string) ir.ValueID {
	return ir.ValueID(slices.IndexFunc(s.Values, func(v ir.Value) bool { return v.Name == name }))
}

// TestSharedAddressesShareALane gives two units' values one address, as no plan
// does, and looks whether their work still is in order.
func TestSharedAddressesShareALane(t *testing.T) {
	for _, overlap := range []bool{false, true} {
		s, _, _, _, _, y := crossing()
		if overlap {
			s.Values[s.id("a")].Offset = s.Values[y].Offset
		}
		b := late(t, devicetest.Options{})
		build(t, s, b)
		if got, want := len(b.Lanes()), map[bool]int{false: 2, true: 1}[overlap]; got != want {
			t.Errorf("overlap %v: %d lanes, not %d", overlap, got, want)
		}
	}
}

// TestUnitsUseTheirLane starts at the lane that the options name.
func TestUnitsUseTheirLane(t *testing.T) {
	s, _, _, _, _, _ := crossing()
	b := late(t, devicetest.Options{})
	p, err := BuildWith(s.Program, b, Options{Lane: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if got := b.Lanes(); !slices.Equal(got, []int{3, 4}) || LaneCount(s.Program) != 2 {
		t.Errorf("lanes %v of %d", got, LaneCount(s.Program))
	}
}

// TestRecordsAfterOneRun counts what is run as it is, recorded and replayed: each
// combination of slots on its own.
func TestRecordsAfterOneRun(t *testing.T) {
	for name, c := range map[string]struct {
		slots, warm, runs   int
		recordings, replays int64
	}{
		"one slot":           {1, 0, 5, 1, 4},
		"three slots":        {3, 0, 7, 3, 4},
		"warming up":         {1, 2, 5, 1, 2},
		"never":              {1, 9, 9, 0, 0},
		"too many to record": {maxTakes + 1, 0, 3 * maxTakes, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSketch()
			x, y := s.value("x", ir.Activation, op.F32, c.slots, 4), s.f32("y", 4)
			seg := s.segment("s1", do(op.ReLU, op.Attr{}, ids(x), ids(y)))
			b := late(t, devicetest.Options{Records: true, Warm: c.warm})
			p := build(t, s, b)
			for i := range c.runs {
				write(t, p, x, i, ramp(4, i)...)
				run(t, p, seg, i)
				for j, v := range read(t, p, y, i) {
					if v != max(ramp(4, i)[j], 0) {
						t.Fatalf("run %d: element %d is %v", i, j, v)
					}
				}
			}
			if b.Recordings.Load() != c.recordings || b.Replays.Load() != c.replays {
				t.Errorf("%d recordings, %d replays", b.Recordings.Load(), b.Replays.Load())
			}
			p.Close()
			if b.Kept.Load() != 0 {
				t.Errorf("%d recordings are not forgotten", b.Kept.Load())
			}
		})
	}
}

// TestUpdatesAreNotRecorded runs an update, whose rate changes.
func TestUpdatesAreNotRecorded(t *testing.T) {
	s := newSketch()
	w, g := s.value("w", ir.Weight, op.F32, 1, 1), s.value("g", ir.WeightGrad, op.F32, 1, 1)
	seg := s.segment("s1", do(op.SGD, op.Attr{LRFactor: 1}, ids(w, g, ir.None), ids(w, g, ir.None)))
	b := late(t, devicetest.Options{Records: true})
	p := build(t, s, b)
	for i := range 4 {
		write(t, p, g, 0, 1)
		if err := p.Run(seg, 0, float64(i), i+1); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, p, w, 0)[0]; got != -6 || b.Recordings.Load() != 0 {
		t.Errorf("w is %v after %d recordings", got, b.Recordings.Load())
	}
}

// TestWatchReplaysNothing looks at results of a segment that is recorded.
func TestWatchReplaysNothing(t *testing.T) {
	s := newSketch()
	x, y := s.f32("x", 4), s.f32("y", 4)
	seg := s.segment("s3", do(op.ReLU, op.Attr{}, ids(x), ids(y)))
	b := late(t, devicetest.Options{Records: true})
	p := build(t, s, b)
	for range 3 {
		run(t, p, seg, 0)
	}
	before := b.Replays.Load()
	p.Watch(true)
	run(t, p, seg, 0)
	write(t, p, x, 0, 1, inf, 2, 3)
	var found *NotFinite
	if err := p.Run(seg, 0, 0, 1); !errors.As(err, &found) || !found.Input {
		t.Errorf("error %v", err)
	}
	if before == 0 || b.Replays.Load() != before || b.Kept.Load() != 0 {
		t.Errorf("%d replays, then %d; %d recordings kept", before, b.Replays.Load(), b.Kept.Load())
	}
}

// broken is a Late whose lanes fail where a test says so.
type broken struct {
	*devicetest.Late
	fail map[string]bool
}

type brokenLane struct {
	device.Lane
	b *broken
}

func (b *broken) Lane(n int) (device.Lane, error) {
	l, err := b.Late.Lane(n)
	if b.fail["lane"] {
		return nil, errors.New("none left")
	}
	return brokenLane{l, b}, err
}

func (l brokenLane) step(name string) error {
	if l.b.fail[name] {
		return errors.New("the card is gone")
	}
	return nil
}

func (l brokenLane) Mark() (device.Mark, error) {
	if err := l.step("mark"); err != nil {
		return device.Mark{}, err
	}
	return l.Lane.Mark()
}

func (l brokenLane) Wait(m device.Mark) error {
	if err := l.step("wait"); err != nil {
		return err
	}
	return l.Lane.Wait(m)
}

func (l brokenLane) Record(f func() error) (device.Recording, error) {
	if err := l.step("record"); err != nil {
		return nil, err
	}
	return l.Lane.(device.Recorder).Record(f)
}

func (l brokenLane) Replay(r device.Recording) error {
	if err := l.step("replay"); err != nil {
		return err
	}
	return l.Lane.(device.Recorder).Replay(r)
}

func (l brokenLane) Forget(r device.Recording) { l.Lane.(device.Recorder).Forget(r) }
func (l brokenLane) Begin(int) error           { return l.step("begin") }
func (l brokenLane) End() error                { return l.step("end") }
func (l brokenLane) Busy(int) time.Duration    { return 0 }

// TestLanesFail has each step of a lane fail once; the segment runs again after.
func TestLanesFail(t *testing.T) {
	for step, want := range map[string]string{
		"mark":   `unit "low": w.forward: marking lane 0: the card is gone`,
		"wait":   `unit "mid": r.forward: waiting for lane 0: the card is gone`,
		"record": `unit "low": w.forward: the card is gone`,
		"replay": `unit "low": w.forward: the card is gone`,
		"begin":  `unit "low": w.forward: the time is not measured: the card is gone`,
		"end":    `unit "low": w.forward: the time is not measured: the card is gone`,
	} {
		s, w, r, _, _, y := crossing()
		b := &broken{late(t, devicetest.Options{Records: true}), map[string]bool{step: true}}
		p := build(t, s, b)
		write(t, p, s.id("a"), 0, 1, 2, 3, 4)
		var err error
		for range 3 {
			if err = p.RunTask(ir.Task{w, r}, 0, 0, 1); err != nil {
				break
			}
		}
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v\nnot %s", step, err, want)
		}
		b.fail[step] = false
		run(t, p, w, 0)
		run(t, p, r, 0)
		if got := read(t, p, y, 0); !slices.Equal(got, []float32{1, 2, 3, 4}) {
			t.Errorf("%s: then %v", step, got)
		}
	}
	s, _, _, _, _, _ := crossing()
	_, err := Build(s.Program, &broken{late(t, devicetest.Options{}), map[string]bool{"lane": true}})
	if want := "graphs of sketch: lane 0: none left"; err == nil || err.Error() != want {
		t.Errorf("%v\nnot %s", err, want)
	}
}

// TestBusy tells the time of each unit, on lanes of their own and on one.
func TestBusy(t *testing.T) {
	s, w, r, _, _, y := crossing()
	for _, mode := range []ir.Mode{ir.Pipelined, ir.Lean} {
		s.Mode = mode
		p := build(t, s, late(t, devicetest.Options{Timed: true}))
		for range 3 {
			run(t, p, w, 0)
		}
		run(t, p, r, 0)
		read(t, p, y, 0)
		for unit, want := range []time.Duration{3 * time.Microsecond, time.Microsecond} {
			if got, ok := p.Busy(unit); !ok || got != want {
				t.Errorf("mode %v, unit %d: %v, %v", mode, unit, got, ok)
			}
		}
		if _, ok := p.Busy(2); ok {
			t.Error("a unit that is none has a time")
		}
	}
	if _, ok := build(t, s, late(t, devicetest.Options{})).Busy(0); ok {
		t.Error("a lane that does not measure has a time")
	}
	if _, ok := build(t, s, newSpy(t)).Busy(0); ok {
		t.Error("a backend without lanes has a time")
	}
}

// TestFill has a value written on its lane, in order with what reads it.
func TestFill(t *testing.T) {
	s, _, r, _, x, y := crossing()
	b := late(t, devicetest.Options{Order: devicetest.Lazy})
	p := build(t, s, b)
	a := p.Tensor(s.id("a"), 0)
	write(t, p, s.id("a"), 0, 4, 3, 2, 1)
	err := p.Fill(x, 0, func(on Queue, to device.Tensor) error {
		return on.Run(&device.Call{Code: op.Copy, In: []device.Tensor{a}, Out: []device.Tensor{to}})
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, p, r, 0)
	if got := read(t, p, y, 0); !slices.Equal(got, []float32{4, 3, 2, 1}) {
		t.Errorf("y is %v", got)
	}
	err = p.Fill(99, 0, nil)
	if want := "graphs: write: no value 99"; err == nil || err.Error() != want {
		t.Errorf("%v\nnot %s", err, want)
	}
}

// TestWritePart writes parts, and refuses what lies outside.
func TestWritePart(t *testing.T) {
	s := newSketch()
	x := s.value("x", ir.Activation, op.F32, 2, 2, 3)
	p := build(t, s, newSpy(t))
	for from := 0; from < 6; from += 2 {
		if err := p.WritePart(x, 1, from, []float32{float32(from), float32(from + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.WritePart(x, 1, 6, nil); err != nil {
		t.Error(err)
	}
	if got := read(t, p, x, 1); !slices.Equal(got, []float32{0, 1, 2, 3, 4, 5}) {
		t.Errorf("x is %v", got)
	}
	for _, from := range []int{-1, 5} {
		err := p.WritePart(x, 1, from, make([]float32, 2))
		if err == nil || !strings.HasSuffix(err.Error(), fmt.Sprintf("write x: elements %d to %d of 6", from, from+2)) {
			t.Errorf("from %d: %v", from, err)
		}
	}
}
