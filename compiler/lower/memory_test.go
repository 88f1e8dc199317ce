package lower

import (
	"fmt"
	"slices"
	"testing"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/memory"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/op"
)

// shadow remembers which value last wrote each 4 bytes of the planned spaces.
type shadow struct {
	p    *ir.Program
	mem  map[ir.Space][]string
	high map[ir.Space]int64
}

func newShadow(p *ir.Program) *shadow {
	s := &shadow{p, map[ir.Space][]string{}, map[ir.Space]int64{}}
	for _, sp := range []ir.Space{ir.Arena, ir.Input} {
		s.mem[sp] = make([]string, (p.Sizes[sp]+3)/4)
	}
	return s
}

// each calls f on every place of the value's slot for microbatch n, with the
// name the place must hold.
func (s *shadow) each(id ir.ValueID, n int, f func(cell *string, owner string)) {
	v := &s.p.Values[id]
	base, slots := v, []int{n % v.Slots}
	if v.Of != ir.None {
		base, slots = &s.p.Values[v.Of], nil
		for i := range base.Slots {
			slots = append(slots, i)
		}
	}
	if v.Space != ir.Arena && v.Space != ir.Input {
		return
	}
	for _, slot := range slots {
		at := base.Offset + int64(slot)*base.Stride
		owner := fmt.Sprintf("%s#%d", base.Name, slot)
		for b := at; b < at+base.Bytes(); b += 4 {
			f(&s.mem[v.Space][b/4], owner)
		}
		s.high[v.Space] = max(s.high[v.Space], at+base.Bytes())
	}
}

func (s *shadow) op(o *ir.Op, n int) error {
	var err error
	for _, v := range o.In {
		if v != ir.None {
			s.each(v, n, func(cell *string, owner string) {
				if *cell != owner && err == nil {
					err = fmt.Errorf("%s %s reads %s but finds %q", o.Layer, o.Code, owner, *cell)
				}
			})
		}
	}
	if e := s.beside(o); err == nil {
		err = e
	}
	for _, v := range o.Out {
		if v != ir.None {
			s.each(v, n, func(cell *string, owner string) { *cell = owner })
		}
	}
	return err
}

// beside finds a result that lies on an argument: kernels work in place only
// where the op table lets them, and both begin at one byte. Results lie apart.
func (s *shadow) beside(o *ir.Op) error {
	for i, b := range o.Out {
		for _, a := range o.In {
			if !s.meet(a, b) {
				continue
			}
			x, y := &s.p.Values[a], &s.p.Values[b]
			switch {
			case x.Offset != y.Offset || x.Bytes() != y.Bytes() || x.Slots != 1 || y.Slots != 1:
				return fmt.Errorf("%s %s writes %s beside the beginning of %s", o.Layer, o.Code, y.Name, x.Name)
			case !slices.Contains(memory.Over(o, b), a):
				return fmt.Errorf("%s %s writes %s over %s", o.Layer, o.Code, y.Name, x.Name)
			}
		}
		for _, a := range o.Out[:i] {
			if s.meet(a, b) {
				return fmt.Errorf("%s %s writes two results to one place", o.Layer, o.Code)
			}
		}
	}
	return nil
}

// meet reports whether two values of the planned spaces share a byte.
func (s *shadow) meet(a, b ir.ValueID) bool {
	if a == ir.None || b == ir.None || a == b {
		return false
	}
	x, y := &s.p.Values[a], &s.p.Values[b]
	if x.Of != ir.None || y.Of != ir.None {
		return false // a window over another value
	}
	end := func(v *ir.Value) int64 { return v.Offset + v.Stride*int64(v.Slots-1) + v.Bytes() }
	return x.Space == y.Space && x.Offset < end(y) && y.Offset < end(x)
}

// run runs one batch in the lean order.
func (s *shadow) run(batch int) error {
	order := s.p.Order()
	for i := 0; i < len(order); {
		j := i + 1
		for order[i].Loop >= 0 && j < len(order) && order[j].Loop == order[i].Loop {
			j++
		}
		micros := s.p.Micros
		if order[i].Loop < 0 {
			micros = 1
		}
		for m := range micros {
			n := batch*s.p.Micros + m
			s.each(0, n, func(cell *string, owner string) { *cell = owner }) // the images
			for _, turn := range order[i:j] {
				for _, seg := range turn.Task {
					for k := range s.p.Segments[seg].Ops {
						if err := s.op(&s.p.Segments[seg].Ops[k], n); err != nil {
							return err
						}
					}
				}
			}
		}
		i = j
	}
	return nil
}

// TestMemoryHoldsWhatIsRead runs each plan on a memory that knows what it
// holds: nothing that will be read is written over, and the highest byte that
// is touched is the plan's.
func TestMemoryHoldsWhatIsRead(t *testing.T) {
	for name, c := range programs() {
		t.Run(name, func(t *testing.T) {
			p, err := Train(c.net, c.opt)
			if err != nil {
				t.Fatal(err)
			}
			if p.Values[0].Kind != ir.Images {
				t.Fatal("the images are not the first value")
			}
			s := newShadow(p)
			for b := range 2 {
				if err := s.run(b); err != nil {
					t.Fatal(err)
				}
			}
			if p.Mode == ir.Lean && roundUp(s.high[ir.Arena]) != p.Sizes[ir.Arena] {
				t.Errorf("touched %d bytes of an arena of %d", s.high[ir.Arena], p.Sizes[ir.Arena])
			}
		})
	}
}

func roundUp(n int64) int64 { return (n + 63) / 64 * 64 }

// TestShiftedResultIsNoticed moves a result by a line against the argument it
// is written over.
func TestShiftedResultIsNoticed(t *testing.T) {
	p, err := Train(residuals(), Options{Turn: -1})
	if err != nil {
		t.Fatal(err)
	}
	if err := newShadow(p).run(0); err != nil {
		t.Fatal(err)
	}
	for i := range p.Segments {
		for _, o := range p.Segments[i].Ops {
			x, y := &p.Values[o.In[0]], &p.Values[o.Out[0]]
			if o.Code != op.Add || x.Offset != y.Offset {
				continue
			}
			y.Offset += 64
			if newShadow(p).beside(&o) == nil {
				t.Fatalf("%s beside %s was not noticed", y.Name, x.Name)
			}
			return
		}
	}
	t.Fatal("nothing works in place")
}

// TestFusedGradientInPlace finds dx on more and dresidual on dy in a plan, and
// that the same overlap is noticed where the op table does not allow it.
func TestFusedGradientInPlace(t *testing.T) {
	twice := func(n *model.Net) { // bodies of two convolutions, so that the first adds to the residual's gradient
		for _, s := range n.Stages {
			body := &s.Layers[3].Branches[1]
			body.Layers = append(body.Layers, conv("1.conv2", body.In, body.Out, 3, 1),
				&model.Layer{Kind: model.Norm, Name: "1.bn2", In: body.Out, Out: body.Out})
		}
	}
	p, err := Train(chain(3, [][2]int{{0, 1}, {1, 2}}, twice), Options{Turn: -1})
	if err != nil {
		t.Fatal(err)
	}
	if err := newShadow(p).run(0); err != nil {
		t.Fatal(err)
	}
	s, row := newShadow(p), &op.Rows[op.ConvNormGrad]
	seen := map[string]bool{}
	for i := range p.Segments {
		for _, o := range p.Segments[i].Ops {
			if o.Code != op.ConvNormGrad {
				continue
			}
			for k, y := range o.Out {
				for j, x := range o.In {
					if s.meet(x, y) {
						seen[row.Out[k].Name+" on "+row.In[j].Name] = true
						wrong := o
						wrong.In = slices.Clone(o.In)
						wrong.In[j], wrong.In[1] = o.In[1], x // as z
						if s.beside(&wrong) == nil {
							t.Errorf("%s on z was not noticed", row.Out[k].Name)
						}
					}
				}
			}
		}
	}
	if len(seen) != 2 || !seen["dx on more"] || !seen["dresidual on dy"] {
		t.Errorf("in place: %v", seen)
	}
}

// residuals is a net whose residuals are added by ops of their own, their
// bodies ending without a norm.
func residuals() *model.Net {
	return chain(3, [][2]int{{0, 1}, {1, 2}}, func(n *model.Net) {
		for _, s := range n.Stages {
			body := &s.Layers[3].Branches[1]
			body.Layers = body.Layers[:1]
		}
	})
}

// TestMemoryTestCanFail shrinks a plan so that two values meet.
func TestMemoryTestCanFail(t *testing.T) {
	c := programs()["loco"]
	p, err := Train(c.net, c.opt)
	if err != nil {
		t.Fatal(err)
	}
	for i := range p.Values {
		if v := &p.Values[i]; v.Kind == ir.Map {
			v.Offset = 0
		}
	}
	if newShadow(p).run(0) == nil {
		t.Fatal("maps at one place were not noticed")
	}
}
