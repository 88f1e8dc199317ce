package ir

import (
	"fmt"
	"slices"

	"github.com/locorun/locorun/compiler/op"
)

// Verify checks the program's invariants: ids in range and dense, every op
// fits its row, every value made before it is read, every segment in exactly
// one place, and what units send is what the unit below reads.
func (p *Program) Verify() error {
	if err := p.VerifyOps(); err != nil {
		return err
	}
	return p.verifyOrder()
}

// VerifyOps is the part of Verify that holds after every pass: values and ops,
// not yet the order in which they run.
func (p *Program) VerifyOps() error {
	for i := range p.Values {
		if err := p.verifyValue(i); err != nil {
			return err
		}
	}
	for i := range p.Segments {
		s := &p.Segments[i]
		if s.ID != i {
			return fmt.Errorf("segment %s: id %d at place %d", s.Name(), s.ID, i)
		}
		for j := range s.Ops {
			if err := p.verifyOp(&s.Ops[j]); err != nil {
				return fmt.Errorf("%s, op %d: %w", s.Name(), j, err)
			}
		}
	}
	return nil
}

func (p *Program) verifyValue(i int) error {
	v := &p.Values[i]
	if int(v.ID) != i {
		return fmt.Errorf("value %s: id %d at place %d", v.Name, v.ID, i)
	}
	for _, d := range v.Shape {
		if d < 1 {
			return fmt.Errorf("value %s: shape %v", v.Name, v.Shape)
		}
	}
	if (v.Kind == Table) != (v.Of != None) {
		return fmt.Errorf("value %s: a %s of %d", v.Name, v.Kind, v.Of)
	}
	return nil
}

// verifyOp checks an op against its row of the op table.
func (p *Program) verifyOp(o *Op) error {
	row := &op.Rows[o.Code]
	if err := verifyArgs(row.In, o.In); err != nil {
		return fmt.Errorf("%s arguments: %w", row.Name, err)
	}
	if err := verifyArgs(row.Out, o.Out); err != nil {
		return fmt.Errorf("%s results: %w", row.Name, err)
	}
	if err := p.verifyTypes(o, row); err != nil {
		return fmt.Errorf("%s: %w", row.Name, err)
	}
	if row.Shape == nil {
		return nil
	}
	want, err := row.Shape(o.Attr, p.Shapes(o.In))
	if err != nil {
		return fmt.Errorf("%s: %w", row.Name, err)
	}
	for i, v := range o.Out {
		if v != None && !slices.Equal(want[i], p.Values[v].Shape) {
			return fmt.Errorf("%s: result %s has shape %v, not %v", row.Name, p.Values[v].Name, p.Values[v].Shape, want[i])
		}
	}
	return nil
}

func verifyArgs(row []op.Arg, ids []ValueID) error {
	many := len(row) > 0 && row[len(row)-1].Many
	if len(ids) != len(row) && !(many && len(ids) >= len(row)) {
		return fmt.Errorf("%d, not %d", len(ids), len(row))
	}
	for i, id := range ids {
		a := row[min(i, len(row)-1)]
		if id == None && !a.Optional {
			return fmt.Errorf("%s is absent", a.Name)
		}
	}
	return nil
}

// verifyTypes checks that an op's maps are of one type, and that nothing else is
// BF16, but for what is copied as it is.
func (p *Program) verifyTypes(o *Op, row *op.Row) error {
	var narrow, wide ValueID = None, None
	for _, side := range []struct {
		args []op.Arg
		ids  []ValueID
	}{{row.In, o.In}, {row.Out, o.Out}} {
		for i, id := range side.ids {
			if id == None {
				continue
			}
			is := p.Values[id].Dtype == op.BF16
			a := &side.args[min(i, len(side.args)-1)]
			switch {
			case is && !a.Map && o.Code != op.Copy:
				return fmt.Errorf("%s is %s, but no map", p.Values[id].Name, op.BF16)
			case is:
				narrow = id
			case a.Map || o.Code == op.Copy:
				wide = id
			}
		}
	}
	if narrow != None && wide != None {
		return fmt.Errorf("%s is %s and %s is %s", p.Values[narrow].Name, op.BF16, p.Values[wide].Name, p.Values[wide].Dtype)
	}
	return nil
}

// verifyOrder walks each unit's tasks in the order in which they run and
// checks that what is read has been made.
func (p *Program) verifyOrder() error {
	made := make([]bool, len(p.Values))
	for i := range p.Values {
		made[i] = p.Values[i].Kind == Images || p.Values[i].persists()
	}
	seen := make([]bool, len(p.Segments))
	for _, t := range p.Order() {
		for _, id := range t.Task {
			if seen[id] {
				return fmt.Errorf("segment %s is in two tasks", p.Segments[id].Name())
			}
			seen[id] = true
			if err := p.verifyReads(&p.Segments[id], made); err != nil {
				return err
			}
		}
	}
	for i, ok := range seen {
		if !ok {
			return fmt.Errorf("segment %s is in no task", p.Segments[i].Name())
		}
	}
	return nil
}

func (p *Program) verifyReads(s *Segment, made []bool) error {
	for _, o := range s.Ops {
		for _, v := range o.In {
			if v != None && !made[v] && !(p.Values[v].Kind == Table && made[p.Values[v].Of]) {
				return fmt.Errorf("%s: %s reads %s before it is made", s.Name(), o.Code, p.Values[v].Name)
			}
		}
		for _, v := range o.Out {
			if v == None {
				continue
			}
			made[v] = true
			if of := p.Values[v].Of; of != None {
				made[of] = true
			}
		}
	}
	return nil
}

// persists reports whether a value outlives the batch.
func (v *Value) persists() bool {
	switch v.Kind {
	case Weight, Statistic, WeightGrad, State, Peer:
		return true
	}
	return false
}
