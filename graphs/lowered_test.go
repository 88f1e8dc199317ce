package graphs

import (
	"bytes"
	"fmt"
	"maps"
	"testing"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// net is three units over four stages, neighbours sharing one, with a
// residual, a pool and both norms.
func net(edit func(*model.Net)) *model.Net {
	n := &model.Net{File: "small.loco", Input: model.Shape{H: 8, W: 6, C: 3}}
	in := n.Input
	for i := range 4 {
		s := stage(fmt.Sprint("s", i+1), in, 4+2*i)
		s.Range = at(10+i, 1)
		n.Stages = append(n.Stages, s)
		in = s.Out
	}
	loss := model.Loss{Temperature: 0.5}
	n.Train = model.Train{Batch: 4, Microbatch: 2, Loss: loss, Optimizer: model.Optimizer{Kind: "lars", Trust: 0.001, Momentum: 0.9, WeightDecay: 1e-4}}
	for i, name := range []string{"low", "mid", "high"} {
		n.Units = append(n.Units, &model.Unit{
			Name: name, First: i, Last: i + 1, LR: 1, Loss: loss, Optimizer: n.Train.Optimizer, Range: at(20+i, 1),
			Decoder: projection(n.Stages[i+1].Out),
		})
	}
	if edit != nil {
		edit(n)
	}
	return n
}

func stage(name string, in model.Shape, width int) *model.Stage {
	mid := model.Shape{H: in.H, W: in.W, C: width}
	out := model.Shape{H: (in.H + 1) / 2, W: (in.W + 1) / 2, C: width}
	body := model.Branch{In: mid, Out: mid, Layers: []*model.Layer{
		conv("1.conv1", mid, mid), {Kind: model.Norm, Name: "1.bn1", Groups: 2, In: mid, Out: mid},
	}}
	return &model.Stage{Name: name, As: name, In: in, Out: out, Tie: model.Shared, Layers: []*model.Layer{
		conv("0.conv1", in, mid),
		{Kind: model.Norm, Name: "0.bn1", In: mid, Out: mid},
		{Kind: model.ReLU, In: mid, Out: mid},
		{Kind: model.Residual, In: mid, Out: mid, Branches: []model.Branch{{In: mid, Out: mid}, body}},
		{Kind: model.ReLU, In: mid, Out: mid},
		{Kind: model.Pool, Max: true, In: mid, Out: out, KH: 3, KW: 3, Stride: 2, Pad: 1},
	}}
}

func conv(name string, in, out model.Shape) *model.Layer {
	return &model.Layer{Kind: model.Conv, Name: name, In: in, Out: out, KH: 3, KW: 3, Stride: 1, Pad: 1, Groups: 1}
}

func projection(in model.Shape) model.Decoder {
	flat, out := model.Shape{H: 1, W: 1, C: in.C}, model.Shape{H: 1, W: 1, C: 5}
	return model.Decoder{Name: "proj", In: in, Out: 5, Layers: []*model.Layer{
		{Kind: model.Pool, In: in, Out: flat},
		{Kind: model.Dense, Name: "fc1", In: flat, Out: out},
	}}
}

// lowered are programs that between them use every phase and mode.
func lowered(t *testing.T) map[string]*ir.Program {
	batch := func(n *model.Net) {
		for _, u := range n.Units {
			u.Loss.Batch = true
		}
	}
	progs := map[string]*ir.Program{}
	for name, c := range map[string]struct {
		edit func(*model.Net)
		opt  lower.Options
	}{
		"lean":       {nil, lower.Options{Turn: -1}},
		"deep":       {nil, lower.Options{Turn: -1, Depth: 3}},
		"kept":       {batch, lower.Options{Turn: -1}},
		"recomputed": {batch, lower.Options{Turn: -1, Recompute: true}},
		"f64":        {nil, lower.Options{Turn: -1, Dtype: op.F64}},
	} {
		p, err := lower.Train(net(c.edit), c.opt)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		progs[name] = p
	}
	p, err := lower.Encoder(net(nil), 5)
	if err != nil {
		t.Fatal(err)
	}
	progs["encoder"] = p
	return progs
}

// One node per op: what the graphs hold, read back from their edges, prints as
// the segments do.
func TestNodesAreTheOps(t *testing.T) {
	for name, p := range lowered(t) {
		t.Run(name, func(t *testing.T) {
			g, err := Build(p, newSpy(t))
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			names := func(ids []ir.ValueID) []string {
				out := make([]string, len(ids))
				for i, id := range ids {
					if id != ir.None {
						out[i] = p.Values[id].Name
					}
				}
				return out
			}
			for i := range p.Segments {
				var got, want bytes.Buffer
				for _, n := range g.Nodes(i) {
					fmt.Fprintf(&got, "%q = %s %s(%q)\n", n.Out, n.Layer, n.Code, n.In)
				}
				for _, o := range p.Segments[i].Ops {
					fmt.Fprintf(&want, "%q = %s %s(%q)\n", names(o.Out), o.Layer, o.Code, names(o.In))
				}
				if got.String() != want.String() {
					t.Errorf("%s: graph\n%s\nsegment\n%s", p.Segments[i].Name(), &got, &want)
				}
			}
		})
	}
}

// plain runs a program without graphs and without its memory plan: every value
// and slot has memory of its own.
type plain struct {
	p       *ir.Program
	b       device.Backend
	buffers []device.Buffer
}

func newPlain(t *testing.T, p *ir.Program, b device.Backend) *plain {
	x := &plain{p, b, make([]device.Buffer, len(p.Values))}
	for i := range p.Values {
		v := &p.Values[i]
		var err error
		if x.buffers[i], err = b.Alloc(int64(v.Slots) * v.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	return x
}

func (x *plain) tensor(id ir.ValueID, micro int) device.Tensor {
	if id == ir.None {
		return device.Tensor{}
	}
	v := &x.p.Values[id]
	buffer := x.buffers[id]
	if v.Of != ir.None {
		return device.Tensor{Buffer: x.buffers[v.Of], Shape: v.Shape, Dtype: v.Dtype}
	}
	return device.Tensor{Buffer: buffer, Offset: int64(micro%v.Slots) * v.Bytes(), Shape: v.Shape, Dtype: v.Dtype}
}

func (x *plain) task(t ir.Task, micro int, lr float64, step int) error {
	for _, id := range t {
		for _, o := range x.p.Segments[id].Ops {
			c := device.Call{Code: o.Code, Attr: o.Attr, LR: lr, Step: step}
			for _, v := range o.In {
				c.In = append(c.In, x.tensor(v, micro))
			}
			for _, v := range o.Out {
				c.Out = append(c.Out, x.tensor(v, micro))
			}
			if err := x.b.Run(&c); err != nil {
				return err
			}
		}
	}
	return nil
}

// batches runs a program in its order for some batches; images writes a
// microbatch's pictures.
func batches(p *ir.Program, n int, images func(micro int) error, task func(ir.Task, int, float64, int) error) error {
	turns := p.Order()
	for b := range n {
		for i := 0; i < len(turns); {
			j := i + 1
			if turns[i].Loop < 0 {
				if err := task(turns[i].Task, b, 0.1, b+1); err != nil {
					return err
				}
				i = j
				continue
			}
			for j < len(turns) && turns[j].Loop == turns[i].Loop {
				j++
			}
			for m := range p.Micros {
				if err := images(b*p.Micros + m); err != nil {
					return err
				}
				for _, turn := range turns[i:j] {
					if err := task(turn.Task, b*p.Micros+m, 0.1, b+1); err != nil {
						return err
					}
				}
			}
			i = j
		}
	}
	return nil
}

// twins are a program's graphs and its plain form, on one backend.
type twins struct {
	t *testing.T
	p *ir.Program
	b *spy
	g *Program
	x *plain
}

func newTwins(t *testing.T, p *ir.Program) *twins {
	b := newSpy(t)
	g, err := Build(p, b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return &twins{t, p, b, g, newPlain(t, p, b)}
}

// write gives a value of both the same data, small and away from zero on
// average where the value is a vector: a variance must be positive.
func (w *twins) write(id ir.ValueID, micro, seed int) error {
	v := &w.p.Values[id]
	data := ramp(int(v.Bytes())/v.Dtype.Size(), seed)
	for i := range data {
		data[i] = data[i]*0.3 + 0.5*float32(len(v.Shape)%2)
	}
	if err := w.g.Write(id, micro, data); err != nil {
		return err
	}
	return w.b.Write(w.x.tensor(id, micro), w.graphs(id, micro))
}

func (w *twins) graphs(v ir.ValueID, micro int) []byte {
	return contents(w.t, w.b, w.g.Tensor(v, micro))
}

// same reports what the graphs hold of a value, and fails where the plain form
// holds something else.
func (w *twins) same(name string, v ir.ValueID) []byte {
	w.t.Helper()
	got := w.graphs(v, 0)
	if !bytes.Equal(got, contents(w.t, w.b, w.x.tensor(v, 0))) {
		w.t.Errorf("%s differs", name)
	}
	return got
}

// Whole programs, in planned memory through Gorgonia, write the same bytes to
// every weight as op by op with memory to spare, and use the memory planned.
func TestProgramsEqualDirectCalls(t *testing.T) {
	for name, p := range lowered(t) {
		t.Run(name, func(t *testing.T) {
			w := newTwins(t, p)
			start := make([][]byte, len(p.Params))
			for i, param := range p.Params {
				if err := w.write(param.Value, 0, i); err != nil {
					t.Fatal(err)
				}
				start[i] = w.graphs(param.Value, 0)
			}
			images := func(micro int) error { return w.write(p.Units[0].In, micro, 100+micro) }
			if err := batches(p, 2, images, w.g.RunTask); err != nil {
				t.Fatal(err)
			}
			counted := w.g.Counted()
			if err := batches(p, 2, images, w.x.task); err != nil {
				t.Fatal(err)
			}
			if direct := w.b.Counted() - counted; direct != counted || counted == 0 {
				t.Errorf("%d operations counted, %d directly", counted, direct)
			}
			for i, param := range p.Params {
				moved := !bytes.Equal(w.same(param.Name, param.Value), start[i])
				if moves := name != "encoder" || param.Kind == ir.Statistic; moved != moves {
					t.Errorf("%s moved: %v", param.Name, moved)
				}
			}
			for _, f := range p.Features {
				w.same("features of "+f.Stage, f.Value)
			}
			if got := w.g.HighWater(); !maps.Equal(got, p.Sizes) {
				t.Errorf("memory used %v, planned %v", got, p.Sizes)
			}
		})
	}
}

func contents(t *testing.T, b device.Backend, w device.Tensor) []byte {
	t.Helper()
	raw := make([]byte, w.Bytes())
	if err := b.Read(raw, w); err != nil {
		t.Fatal(err)
	}
	return raw
}
