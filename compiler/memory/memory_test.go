package memory

import (
	"slices"
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

// TestWhatLiesOverWhat has a conv_norm_grad whose results may lie over more and
// dy; each is kept apart where its argument is read again, is there twice or
// has another result.
func TestWhatLiesOverWhat(t *testing.T) {
	const dy, z, v, x, w, more, dx, dres, end = 0, 1, 2, 3, 4, 5, 6, 7, 8
	const none = ir.None
	tests := []struct {
		name     string
		code     op.Code
		in, out  []ir.ValueID
		then     []ir.ValueID // read by the next op
		dx, dres ir.ValueID   // what they lie over
	}{
		{"both", op.ConvNormGrad, ids(dy, z, none, v, v, v, x, w, more), ids(dx, dres), ids(dx, dres), more, dy},
		{"more is read again", op.ConvNormGrad, ids(dy, z, none, v, v, v, x, w, more), ids(dx, dres), ids(dx, dres, more), none, dy},
		{"dy is read again", op.ConvNormGrad, ids(dy, z, none, v, v, v, x, w, more), ids(dx, dres), ids(dx, dres, dy), more, none},
		{"dy is more", op.ConvNormGrad, ids(dy, z, none, v, v, v, x, w, dy), ids(dx, dres), ids(dx, dres), none, none},
		{"one place for two", op.NormGrad, ids(dy, z, none, v, v, v), ids(dx, dres), ids(dx, dres), dy, none},
		{"the second of two", op.Add, ids(more, dy), ids(dx), ids(dx, more), dy, none},
		{"not z", op.NormGrad, ids(dy, z, none, v, v, v), ids(dx), ids(dx, dy), none, none},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := program([]ir.Op{
				{Code: op.Resize, Out: ids(dy, z, v, x, w, more)},
				{Code: tt.code, In: tt.in, Out: tt.out},
				{Code: op.Concat, In: tt.then, Out: ids(end)},
			}, 2, 2, 2, 2, 2, 2, 2, 2, 1)
			if err := Plan(p); err != nil {
				t.Fatal(err)
			}
			for result, want := range map[ir.ValueID]ir.ValueID{dx: tt.dx, dres: tt.dres} {
				got := ir.ValueID(none)
				for _, a := range tt.in {
					if a != none && slices.Contains(tt.out, result) && p.Values[a].Offset == p.Values[result].Offset {
						got = a
					}
				}
				if got != want {
					t.Errorf("result %d lies over %d, not %d", result, got, want)
				}
			}
		})
	}
}

// TestChainInPlace has gradients added one to the next: all lie in the memory
// of the first.
func TestChainInPlace(t *testing.T) {
	const dy, w, a, b, c, end = 0, 1, 2, 3, 4, 5
	grad := func(more, dx ir.ValueID) ir.Op {
		return ir.Op{Code: op.ConvNormGrad, In: ids(dy, w, ir.None, w, w, w, w, w, more), Out: ids(dx)}
	}
	p := program([]ir.Op{
		{Code: op.Resize, Out: ids(dy, w)},
		{Code: op.ConvInput, In: ids(dy, w), Out: ids(a)},
		grad(a, b), grad(b, c),
		{Code: op.Concat, In: ids(c, dy, w), Out: ids(end)},
	}, 1, 1, 2, 2, 2, 1)
	if err := Plan(p); err != nil {
		t.Fatal(err)
	}
	at := func(v int) int64 { return p.Values[v].Offset }
	if at(a) != at(b) || at(b) != at(c) {
		t.Errorf("a chain lies at %d, %d, %d", at(a), at(b), at(c))
	}
}
