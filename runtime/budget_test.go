package runtime

import (
	"fmt"
	"slices"
	"testing"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/plan"
	"github.com/locorun/locorun/graphs/cpu"
)

// bytesOf is what a candidate needs, by frames and depth.
func bytesOf(t *testing.T, c *plan.Choice, frames string, depth int) int64 {
	t.Helper()
	for _, d := range c.Candidates {
		if d.Frames == frames && d.Depth == depth {
			return d.Bytes
		}
	}
	t.Fatalf("no candidate %s, depth %d in %+v", frames, depth, c.Candidates)
	return 0
}

// TestChoose walks the limit down through the sizes of the candidates.
func TestChoose(t *testing.T) {
	net := tiny(4, pairs, func(n *model.Net) {
		batchLoss(n)
		n.Train.Batch = 64 // kept frames outweigh any depth of recomputed ones
	})
	all := must(Budget{}.Choose(net))(t)
	limits := func(frames string, depth int) int64 { return bytesOf(t, all, frames, depth) }
	deep := min(len(net.Units), net.Train.Batch/net.Train.Microbatch)
	if deep < 2 {
		t.Fatalf("the net is of no use: depth %d", deep)
	}
	for _, c := range []struct {
		name   string
		budget Budget
		want   string // "" where nothing fits
	}{
		{"no limit", Budget{}, "frames kept, depth 1"},
		{"no limit, deep", Budget{Depth: 5}, "frames kept, depth 5"},
		{"no limit, recomputed", Budget{Frames: "recomputed"}, "frames recomputed, depth 1"},
		{"all fits", Budget{Limit: limits("kept", deep)}, fmt.Sprintf("frames kept, depth %d", deep)},
		{"a byte less", Budget{Limit: limits("kept", deep) - 1}, "frames kept, depth 1"},
		{"lean and kept", Budget{Limit: limits("kept", 1)}, "frames kept, depth 1"},
		{"kept does not fit", Budget{Limit: limits("kept", 1) - 1}, fmt.Sprintf("frames recomputed, depth %d", deep)},
		{"only the least", Budget{Limit: limits("recomputed", 1)}, "frames recomputed, depth 1"},
		{"nothing", Budget{Limit: limits("recomputed", 1) - 1}, ""},
		{"kept asked", Budget{Limit: limits("kept", 1) - 1, Frames: "kept"}, ""},
		{"recomputed asked", Budget{Limit: limits("kept", deep), Frames: "recomputed"}, fmt.Sprintf("frames recomputed, depth %d", deep)},
		{"depth asked", Budget{Limit: limits("kept", deep), Depth: 1}, "frames kept, depth 1"},
		{"depth asked, too deep for kept", Budget{Limit: limits("kept", 1), Depth: deep}, fmt.Sprintf("frames recomputed, depth %d", deep)},
	} {
		t.Run(c.name, func(t *testing.T) {
			choice := must(c.budget.Choose(net))(t)
			got := ""
			if d := choice.Chosen(); d != nil {
				got = d.String()
			}
			if got != c.want {
				t.Errorf("chose %q of %+v, want %q", got, choice.Candidates, c.want)
			}
			if (choice.Why == "") != (c.want == "") {
				t.Errorf("why: %q", choice.Why)
			}
		})
	}
}

// TestCandidateIsPlan holds the bytes of every candidate to the total of the
// plan of a run that takes it, whatever the units, turns and losses.
func TestCandidateIsPlan(t *testing.T) {
	b := onCPU(t, cpu.Options{Workers: 1})
	defer b.Close()
	nets := variants()
	nets["in turn"] = func() *model.Net { return tiny(4, pairs, func(n *model.Net) { batchLoss(n); n.Train.InTurn = true }) }
	for name, make := range nets {
		t.Run(name, func(t *testing.T) {
			net := make()
			choice := must(Budget{Workers: 2, Backend: b}.Choose(net))(t)
			for _, c := range choice.Candidates {
				turns := must(lower.Turns(net, lower.Options{Depth: c.Depth, Recompute: c.Frames == "recomputed"}))(t)
				pl := PlanOf(net, turns, 0, b, 2)
				if pl.Memory.Total != c.Bytes || pl.Frames != c.Frames || pl.Depth != c.Depth {
					t.Errorf("%s needs %d bytes, its plan %d, frames %s, depth %d", c, c.Bytes, pl.Memory.Total, pl.Frames, pl.Depth)
				}
				if recomputes := c.Extra > 0; recomputes != (c.Frames == "recomputed") {
					t.Errorf("%s costs %.1f %%", c, c.Extra)
				}
			}
		})
	}
}

// TestManyUnitsHaveFewDepths: planning a depth of a large program takes seconds.
func TestManyUnitsHaveFewDepths(t *testing.T) {
	p := &ir.Program{Units: make([]ir.Unit, 500), Micros: 1000}
	want := []int{500, 250, 125, 62, 31, 15, 8, 7, 6, 5, 4, 3, 2, 1}
	if got := (Budget{}).depths([]*ir.Program{p}); !slices.Equal(got, want) {
		t.Errorf("the depths are %v, want %v", got, want)
	}
}
