package runtime

import (
	"fmt"
	"slices"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/graphs"
	"github.com/locorun/locorun/runtime/rng"
)

// Weights is a copy of parameters and running statistics by name, in host
// memory and in the layouts of the op table.
type Weights struct {
	Batch   int // updates applied
	Tensors []Tensor
	index   map[string]int
}

// Tensor is one named tensor.
type Tensor struct {
	Name   string
	Export string // name in exported files; "" for what is not exported
	Shape  []int
	Data   []float32
}

// Add appends a tensor.
func (w *Weights) Add(t Tensor) {
	if w.index == nil {
		w.index = map[string]int{}
	}
	w.index[t.Name] = len(w.Tensors)
	w.Tensors = append(w.Tensors, t)
}

// Get finds a tensor by name.
func (w *Weights) Get(name string) (Tensor, bool) {
	i, ok := w.index[name]
	if !ok {
		return Tensor{}, false
	}
	return w.Tensors[i], true
}

// replace puts tensors in the place of those of the same names; others are
// added.
func (w *Weights) replace(ts []Tensor) {
	for _, t := range ts {
		if i, ok := w.index[t.Name]; ok {
			w.Tensors[i] = t
			continue
		}
		w.Add(t)
	}
}

// clone copies the list; the tensors' data, which nobody writes, are shared.
func (w *Weights) clone() *Weights {
	c := &Weights{Batch: w.Batch}
	for _, t := range w.Tensors {
		c.Add(t)
	}
	return c
}

// Initial draws the weights of a program as its parameters' Init say; every
// draw is a function of the seed, the parameter's key and the element.
func Initial(p *ir.Program, seed uint64) *Weights {
	w := &Weights{}
	for i := range p.Params {
		q := &p.Params[i]
		shape := p.Values[q.Value].Shape
		data := make([]float32, elements(shape))
		draw(data, q.Init, seed)
		w.Add(Tensor{q.Name, q.Export, slices.Clone(shape), data})
	}
	return w
}

func draw(data []float32, in ir.Init, seed uint64) {
	if in.Kind == "constant" {
		for i := range data {
			data[i] = float32(in.Std)
		}
		return
	}
	s := rng.New(seed, "init "+in.Key)
	for i := range data {
		if in.Kind == "normal" {
			data[i] = float32(in.Std * s.Normal())
		} else {
			data[i] = float32(in.Std * (2*s.Float64() - 1))
		}
	}
}

// load writes the parameters that the program has; none may be missing in w.
func load(prog *graphs.Program, p *ir.Program, w *Weights) error {
	for i := range p.Params {
		q := &p.Params[i]
		t, ok := w.Get(q.Name)
		if !ok {
			return fmt.Errorf("weights have no %s", q.Name)
		}
		if !slices.Equal(t.Shape, p.Values[q.Value].Shape) {
			return fmt.Errorf("weights %s have shape %v, the program %v", q.Name, t.Shape, p.Values[q.Value].Shape)
		}
		if err := prog.Write(q.Value, 0, t.Data); err != nil {
			return err
		}
	}
	return nil
}

// read copies the parameters that only lets through out of a program; nil means
// all.
func read(prog *graphs.Program, p *ir.Program, only func(*ir.Param) bool) ([]Tensor, error) {
	var ts []Tensor
	for i := range p.Params {
		q := &p.Params[i]
		if only != nil && !only(q) {
			continue
		}
		data, err := prog.Read(q.Value, 0)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", q.Name, err)
		}
		ts = append(ts, Tensor{q.Name, q.Export, slices.Clone(p.Values[q.Value].Shape), data})
	}
	return ts, nil
}
