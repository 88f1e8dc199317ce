package plan_test

import (
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/compiler/plan"
)

// TestKindOfOp names ops by what decides on their kernels.
func TestKindOfOp(t *testing.T) {
	p := &ir.Program{Micros: 3, Units: []ir.Unit{{Name: "low"}}, Values: []ir.Value{
		{ID: 0, Kind: ir.Activation, Shape: []int{2, 8, 8, 16}},
		{ID: 1, Kind: ir.Weight, Shape: []int{32, 3, 3, 16}},
		{ID: 2, Kind: ir.Weight, Shape: []int{32, 3, 3, 4}},
		{ID: 3, Kind: ir.WeightGrad, Shape: []int{16, 3, 3, 1}},
	}}
	window := op.Attr{KH: 3, KW: 3, Stride: 2, Groups: 1}
	grouped := func(n int) op.Attr { a := window; a.Groups = n; return a }
	for _, c := range []struct {
		name string
		o    ir.Op
		want string
	}{
		{"convolution", ir.Op{Code: op.Conv, Attr: window, In: []ir.ValueID{0, 1, ir.None}}, "conv 3x3 s2"},
		{"grouped", ir.Op{Code: op.ConvNorm, Attr: grouped(4), In: []ir.ValueID{0, 2}}, "conv_norm 3x3 s2 groups=4"},
		{"depthwise, from the gradient", ir.Op{Code: op.ConvWeight, Attr: grouped(16), In: []ir.ValueID{0, 0}, Out: []ir.ValueID{3}}, "conv_weight 3x3 s2 depthwise"},
		{"no window", ir.Op{Code: op.Dense, In: []ir.ValueID{0, 1}}, "dense"},
		{"groups that are no products", ir.Op{Code: op.Shuffle, Attr: op.Attr{Groups: 4}, In: []ir.ValueID{0}}, "shuffle"},
		{"pooling", ir.Op{Code: op.PoolMax, Attr: window, In: []ir.ValueID{0}}, "pool_max 3x3 s2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.FLOPs = 7
			k := plan.KernelOf(p, &ir.Segment{Site: "s1", Phase: ir.PhaseForward}, &c.o, "quick")
			want := plan.Kernel{Unit: "low", Site: "s1", Phase: "forward", Op: c.want, Kernel: "quick", FLOPs: 21}
			if k != want {
				t.Errorf("have %+v\nwant %+v", k, want)
			}
		})
	}
}

// TestPrintKernels joins ops of one stage, kind and kernel, whatever comes
// between, and puts those without products last.
func TestPrintKernels(t *testing.T) {
	pl := &plan.Plan{FLOPs: 200, Kernels: []plan.Kernel{
		{Site: "s1", Op: "conv 3x3 s1", Kernel: "quick", FLOPs: 50},
		{Site: "s1", Op: "relu", Kernel: "quick"},
		{Site: "s1", Op: "conv 3x3 s1", Kernel: "slow", FLOPs: 20},
		{Site: "all", Op: "conv 1x1 s1", Kernel: "quick", FLOPs: 30},
		{Site: "s1", Op: "conv 3x3 s1", Kernel: "quick", FLOPs: 100},
		{Site: "all", Op: "relu", Kernel: "quick"},
	}}
	want := `
Kernels
stage  op           kernel  ops  operations
s1     conv 3x3 s1  quick   2    75.0%
       conv 3x3 s1  slow    1    10.0%
all    conv 1x1 s1  quick   1    15.0%
(all)  relu         quick   2
`
	b := &strings.Builder{}
	if err := pl.PrintKernels(b); err != nil || b.String() != want {
		t.Errorf("%v\n%s\nwant%s", err, b, want)
	}
	b.Reset()
	if err := (&plan.Plan{FLOPs: 200}).PrintKernels(b); err != nil || b.Len() > 0 {
		t.Errorf("without kernels: %v %q", err, b)
	}
}
