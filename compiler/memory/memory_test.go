package memory

import (
	"testing"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/op"
)

// program is one task of ops on values of the given numbers of lines.
func program(ops []ir.Op, lines ...int) *ir.Program {
	p := &ir.Program{Micros: 1, Depth: 1}
	for i, n := range lines {
		p.Values = append(p.Values, ir.Value{ID: ir.ValueID(i), Kind: ir.Activation, Shape: []int{16 * n}, Dtype: op.F32, Of: ir.None})
	}
	p.Segments = []ir.Segment{{Ops: ops}}
	p.Units = []ir.Unit{{Forward: ir.Task{0}, Events: []ir.Task{nil}, Starts: []int{0}}}
	return p
}

func ids(v ...ir.ValueID) []ir.ValueID { return v }

// TestInPlaceIsExact has a sum y = x+w that may lie where x dies; the lowest
// place free of w begins in the middle of x.
//
//	z |--3 lines--|       x at 3     w at 0, live with y: y at 2 would
//	x         |-------|              overlap the first half of x
//	w             |-------|
//	y                 |---|
func TestInPlaceIsExact(t *testing.T) {
	const z, x, w, y, end = 0, 1, 2, 3, 4
	p := program([]ir.Op{
		{Code: op.Resize, Out: ids(z)},
		{Code: op.Resize, In: ids(z), Out: ids(x)},
		{Code: op.Resize, In: ids(x), Out: ids(w)},
		{Code: op.Add, In: ids(x, w), Out: ids(y)},
		{Code: op.Concat, In: ids(y, w), Out: ids(end)},
	}, 3, 2, 2, 2, 1)
	if err := Plan(p); err != nil {
		t.Fatal(err)
	}
	from := func(v int) int64 { return p.Values[v].Offset }
	if from(x) != 3*align || from(w) != 0 {
		t.Fatalf("x at %d, w at %d: the case no longer shows anything", from(x), from(w))
	}
	if from(y) != from(x) {
		t.Errorf("y at %d is not x at %d", from(y), from(x))
	}
}

// TestInPlaceGivesWay has a third value on the bytes of x when y needs them: y
// lies apart from both.
func TestInPlaceGivesWay(t *testing.T) {
	const x, a, b, y = 0, 1, 2, 3
	p := program([]ir.Op{
		{Code: op.Resize, Out: ids(x)},
		{Code: op.Resize, Out: ids(a)},
		{Code: op.Add, In: ids(x, a), Out: ids(b)},
		{Code: op.Add, In: ids(x, b), Out: ids(y)},
		{Code: op.Add, In: ids(y, b), Out: ids(y)},
	}, 2, 2, 2, 2)
	if err := Plan(p); err != nil {
		t.Fatal(err)
	}
	spots := map[int64]int{}
	for v := range p.Values {
		spots[p.Values[v].Offset]++
	}
	if p.Values[y].Offset == p.Values[b].Offset || p.Values[x].Offset == p.Values[b].Offset {
		t.Errorf("values that live together share bytes: %v", spots)
	}
}
