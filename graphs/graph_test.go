package graphs

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// A graph of Gorgonia's own ops runs: the pinned modules fit this Go.
func TestGorgoniaRuns(t *testing.T) {
	g := gorgonia.NewGraph()
	x := gorgonia.NewVector(g, tensor.Float32, gorgonia.WithShape(3), gorgonia.WithName("x"))
	y := gorgonia.Must(gorgonia.Add(x, x))
	if err := gorgonia.Let(x, tensor.New(tensor.WithBacking([]float32{1, 2, 3}))); err != nil {
		t.Fatal(err)
	}
	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	if err := vm.RunAll(); err != nil {
		t.Fatal(err)
	}
	if got := y.Value().Data().([]float32); !slices.Equal(got, []float32{2, 4, 6}) {
		t.Errorf("x+x = %v", got)
	}
}

func TestWindowsMoveToTheMicrobatchsSlot(t *testing.T) {
	s := newSketch()
	s.f32("padding", 5)
	x := s.value("x", ir.Activation, op.F32, 3, 4)
	y := s.value("y", ir.Activation, op.F32, 2, 4)
	z := s.f32("z", 4)
	seg := s.segment("s1", do(op.ReLU, op.Attr{}, ids(x), ids(y)), do(op.Copy, op.Attr{}, ids(y), ids(z)))
	b := newSpy(t)
	p := build(t, s, b)
	for micro := range 7 {
		write(t, p, x, micro, -1, float32(micro), -2, 3)
		run(t, p, seg, micro)
		c := b.take()
		if got, want := c[0].In[0].Offset, int64(64+64*(micro%3)); got != want {
			t.Errorf("microbatch %d: x at %d, not %d", micro, got, want)
		}
		if got, want := c[0].Out[0].Offset, int64(64+3*64+64*(micro%2)); got != want || c[1].In[0].Offset != want {
			t.Errorf("microbatch %d: y at %d and %d, not %d", micro, got, c[1].In[0].Offset, want)
		}
		if got := p.Tensor(y, micro).Offset; got != c[0].Out[0].Offset {
			t.Errorf("microbatch %d: Tensor says %d", micro, got)
		}
		if got := read(t, p, z, micro); !slices.Equal(got, []float32{0, float32(micro), 0, 3}) {
			t.Errorf("microbatch %d: %v", micro, got)
		}
	}
	if got := read(t, p, y, 5); !slices.Equal(got, []float32{0, 5, 0, 3}) {
		t.Errorf("slot 1 of y holds %v", got)
	}
}

func TestTableSeesAllSlots(t *testing.T) {
	s := newSketch()
	s.f32("padding", 3)
	e := s.value("e", ir.Embedding, op.F32, 3, 2, 5)
	all := s.table("all", e)
	sum := s.f32("sum", 6, 5)
	seg := s.segment("loss", do(op.Add, op.Attr{}, ids(all, all), ids(sum)))
	b := newSpy(t)
	p := build(t, s, b)
	for micro := range 3 {
		write(t, p, e, micro, ramp(10, micro)...)
	}
	run(t, p, seg, 2)
	if in := b.take()[0].In[1]; in.Offset != 64 || !slices.Equal(in.Shape, []int{6, 5}) {
		t.Errorf("the table lies at %d, shape %v", in.Offset, in.Shape)
	}
	want := slices.Concat(ramp(10, 0), ramp(10, 1), ramp(10, 2))
	for i := range want {
		want[i] *= 2
	}
	if got := read(t, p, sum, 0); !slices.Equal(got, want) {
		t.Errorf("sum %v, not %v", got, want)
	}
}

// Each consumer of an op with several results takes its own.
func TestTuplesGiveEachConsumerItsPart(t *testing.T) {
	s := newSketch()
	x := s.f32("x", 1, 1, 2, 6)
	a, b, c := s.f32("a", 1, 1, 2, 1), s.f32("b", 1, 1, 2, 2), s.f32("c", 1, 1, 2, 3)
	turned := s.f32("turned", 1, 1, 2, 6)
	y, index := s.f32("y", 1, 1, 1, 6), s.value("index", ir.Activation, op.I32, 1, 1, 1, 1, 6)
	back := s.f32("back", 1, 1, 2, 6)
	window := op.Attr{KH: 1, KW: 2, Stride: 2}
	sized := window
	sized.H, sized.W = 1, 2
	seg := s.segment("s1",
		do(op.Split, op.Attr{}, ids(x), ids(a, b, c)),
		do(op.Concat, op.Attr{}, ids(c, a, b), ids(turned)),
		do(op.PoolMax, window, ids(turned), ids(y, index)),
		do(op.PoolMaxGrad, sized, ids(y, index), ids(back)))
	p := build(t, s, newSpy(t))
	write(t, p, x, 0, 1, 2, 3, 4, 5, 6, 9, 8, 7, 6, 5, 4)
	run(t, p, seg, 0)
	if got := read(t, p, turned, 0); !slices.Equal(got, []float32{4, 5, 6, 1, 2, 3, 6, 5, 4, 9, 8, 7}) {
		t.Errorf("turned %v", got)
	}
	if got := read(t, p, back, 0); !slices.Equal(got, []float32{0, 5, 6, 0, 0, 0, 6, 0, 0, 9, 8, 7}) {
		t.Errorf("back %v", got)
	}
}

// An absent argument and an absent result stay absent.
func TestAbsentOperands(t *testing.T) {
	s := newSketch()
	w := s.value("w", ir.Weight, op.F32, 1, 3)
	g := s.value("g", ir.WeightGrad, op.F32, 1, 3)
	seg := s.segment("low", do(op.SGD, op.Attr{LRFactor: 2}, ids(w, g, ir.None), ids(w, g, ir.None)))
	b := newSpy(t)
	p := build(t, s, b)
	write(t, p, w, 0, 1, 2, 3)
	write(t, p, g, 0, 1, 0, -1)
	if err := p.Run(seg, 0, 0.25, 7); err != nil {
		t.Fatal(err)
	}
	c := b.take()[0]
	if c.In[2].Buffer != nil || c.Out[2].Buffer != nil || c.LR != 0.25 || c.Step != 7 {
		t.Errorf("call %+v", c)
	}
	if got := read(t, p, w, 0); !slices.Equal(got, []float32{0.5, 2, 3.5}) {
		t.Errorf("w %v", got)
	}
}

// What an op updates in place or adds to is seen by the ops that follow it.
func TestUpdatesInPlace(t *testing.T) {
	s := newSketch()
	w := s.value("w", ir.Weight, op.F32, 1, 2)
	other := s.value("other", ir.Peer, op.F32, 1, 2)
	g := s.value("g", ir.WeightGrad, op.F32, 1, 2)
	m := s.value("m", ir.State, op.F32, 1, 2)
	twin := s.f32("twin", 2)
	seg := s.segment("low",
		do(op.Pull, op.Attr{Scale: 0.5}, ids(w, other), ids(g)),
		do(op.SGD, op.Attr{LRFactor: 1, Momentum: 0.5}, ids(w, g, m), ids(w, g, m)),
		do(op.Copy, op.Attr{}, ids(w), ids(twin)))
	p := build(t, s, newSpy(t))
	write(t, p, w, 0, 1, 2)
	write(t, p, other, 0, 0, 1)
	write(t, p, g, 0, 1, 1)
	if err := p.Run(seg, 0, 0.25, 1); err != nil {
		t.Fatal(err)
	}
	if got := read(t, p, twin, 0); !slices.Equal(got, []float32{0.5, 1.5}) {
		t.Errorf("twin %v", got)
	}
	n := p.Nodes(seg)
	if !slices.Contains(n[1].Children, n[0].ID) || n[1].After != -1 {
		t.Errorf("sgd does not take the pulled gradient along an edge: %+v", n[1])
	}
}

// Ops with no edge between them, results nobody reads and memory used again
// at once: the ops run in the segment's order, whatever Gorgonia would choose.
func TestOrderIsTheSegments(t *testing.T) {
	for seed := range uint64(30) {
		s, order := scramble(rand.New(rand.NewPCG(seed, 1)))
		b := newSpy(t)
		p := build(t, s, b)
		want := make([][]float32, places)
		for i := range want {
			want[i] = ramp(4, i)
			write(t, p, ir.ValueID(i), 0, want[i]...)
		}
		run(t, p, 0, 0)
		calls := b.take()
		for i, o := range order {
			interpret(o, s.Program, want)
			if calls[i].Code != o.Code || calls[i].Out[0].Offset != s.Values[o.Out[0]].Offset {
				t.Fatalf("seed %d: call %d is %v", seed, i, calls[i])
			}
		}
		nodes := p.Nodes(0)
		for i := range nodes[1:] {
			if !slices.Contains(nodes[i+1].Children, nodes[i].ID) {
				t.Fatalf("seed %d: no edge holds op %d behind the one before", seed, i+1)
			}
		}
		for i := range want {
			if got := read(t, p, ir.ValueID(i), 0); !slices.Equal(got, want[i]) {
				t.Fatalf("seed %d: place %d holds %v, not %v", seed, i, got, want[i])
			}
		}
	}
}

// places is the number of places in memory that scramble's values share.
const places = 5

// scramble is a segment of random ops whose values lie on few places: a value
// is only good until the next one takes its place.
func scramble(r *rand.Rand) (sketch, []ir.Op) {
	s := newSketch()
	live := make([]ir.ValueID, places)
	for i := range live {
		live[i] = s.f32(fmt.Sprint("place", i), 4)
	}
	var ops []ir.Op
	for i := range 60 {
		at := r.IntN(places)
		a, b := live[r.IntN(places)], live[r.IntN(places)]
		v := s.Values[at]
		v.ID, v.Name = ir.ValueID(len(s.Values)), fmt.Sprint("value", i)
		s.Values = append(s.Values, v)
		o := do(op.Add, op.Attr{}, ids(a, b), ids(v.ID))
		if r.IntN(2) == 0 {
			o = do(op.ReLU, op.Attr{}, ids(a), ids(v.ID))
		}
		ops, live[at] = append(ops, o), v.ID
	}
	s.segment("s1", ops...)
	return s, ops
}

// interpret runs one op of scramble on places.
func interpret(o ir.Op, p *ir.Program, mem [][]float32) {
	at := func(v ir.ValueID) []float32 { return mem[p.Values[v].Offset/line] }
	y := at(o.Out[0])
	for i := range y {
		switch o.Code {
		case op.Add:
			y[i] = at(o.In[0])[i] + at(o.In[1])[i]
		case op.ReLU:
			y[i] = max(at(o.In[0])[i], 0)
		}
	}
}

// The order holds even against a node that runs out of turn.
func TestNodeOutOfTurnIsRefused(t *testing.T) {
	n := &node{frame: &frame{unit: "mid"}, op: &ir.Op{Code: op.Add, Layer: "s1.0.add"}, index: 3}
	_, err := n.Do()
	if want := `unit "mid": s1.0.add: op 3 of the segment is about to run as number 0`; err == nil || err.Error() != want {
		t.Errorf("%v, not %s", err, want)
	}
}

// A value that is not the one the op reads is refused, whoever sent it.
func TestWrongValueAlongAnEdgeIsRefused(t *testing.T) {
	n := &node{frame: &frame{}, op: &ir.Op{Code: op.ReLU, Layer: "s1.relu", In: ids(4)}, in: []source{{0, 0}}, call: device.Call{In: make([]device.Tensor, 1)}}
	for want, v := range map[string]gorgonia.Value{
		"s1.relu: argument 0 is x, not value 4":                                 &value{id: 3, name: "x"},
		"s1.relu: the graph carries a *tensor.Dense, not a value on the device": tensor.New(tensor.WithBacking([]float32{1})),
	} {
		n.frame.next = 0
		if _, err := n.Do(v); err == nil || err.Error() != want {
			t.Errorf("%v, not %s", err, want)
		}
	}
}

// Two names with one hash code: both nodes are kept, and run right.
func TestEqualHashCodesAreToldApart(t *testing.T) {
	a, b := collide(t)
	s := newSketch()
	x, y, z := s.f32(a, 4), s.f32(b, 4), s.f32("z", 4)
	seg := s.segment("s1", do(op.Add, op.Attr{}, ids(x, y), ids(z)))
	p := build(t, s, newSpy(t))
	write(t, p, x, 0, 1, 2, 3, 4)
	write(t, p, y, 0, 10, 20, 30, 40)
	run(t, p, seg, 0)
	if got := read(t, p, z, 0); !slices.Equal(got, []float32{11, 22, 33, 44}) {
		t.Errorf("z %v", got)
	}
	plain := &builder{program: p, segment: &s.Segments[seg]}
	if _, err := plain.build(); err == nil {
		t.Error("the names do not collide: the test shows nothing")
	}
}

// collide finds two names whose leaf nodes have one hash code.
func collide(t *testing.T) (string, string) {
	prefix := fmt.Sprintf("%v%v", gorgonia.TensorType{Dims: 1, Of: tensor.Float32}, tensor.Shape{4})
	seen := map[uint32]string{}
	r := rand.New(rand.NewPCG(1, 2))
	for range 1 << 20 {
		name := fmt.Sprintf("value%x", r.Uint64())
		h := fnv.New32a()
		fmt.Fprint(h, prefix, name)
		if other, ok := seen[h.Sum32()]; ok {
			return other, name
		}
		seen[h.Sum32()] = name
	}
	t.Fatal("no collision")
	return "", ""
}

// Long lists of arguments and results, the same value twice.
func TestWideOps(t *testing.T) {
	s := newSketch()
	x := s.f32("x", 1, 1, 1, 120)
	var parts []ir.ValueID
	for i := range 120 {
		parts = append(parts, s.f32(fmt.Sprint("part", i), 1, 1, 1, 1))
	}
	y := s.f32("y", 1, 1, 1, 121)
	back := slices.Clone(parts)
	slices.Reverse(back)
	seg := s.segment("s1",
		do(op.Split, op.Attr{}, ids(x), parts),
		do(op.Concat, op.Attr{}, append(back, parts[0]), ids(y)))
	p := build(t, s, newSpy(t))
	data := ramp(120, 1)
	write(t, p, x, 0, data...)
	run(t, p, seg, 0)
	slices.Reverse(data)
	if got := read(t, p, y, 0); !slices.Equal(got, append(data, data[119])) {
		t.Errorf("y %v", got)
	}
}

func TestEmptySegmentRuns(t *testing.T) {
	s := newSketch()
	seg := s.segment("s1")
	p := build(t, s, newSpy(t))
	run(t, p, seg, 0)
	if n := p.Nodes(seg); len(n) != 0 {
		t.Errorf("nodes %v", n)
	}
}
