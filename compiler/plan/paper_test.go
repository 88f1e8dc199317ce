package plan_test

import (
	"math"
	"os"
	"regexp"
	"testing"

	"github.com/locorun/locorun/compiler"
	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/plan"
	"github.com/locorun/locorun/graphs/std"
)

// paper plans a network of examples/paper with one microbatch of 16 images.
func paper(t *testing.T, name, method string) *plan.Plan {
	t.Helper()
	file := "../../examples/paper/" + name
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	src = regexp.MustCompile(`batch \d+; microbatch \d+;`).ReplaceAll(src, []byte("batch 16;"))
	net, found := compiler.Compile(file, src, compiler.Options{Std: std.Files, Method: method})
	if net == nil {
		t.Fatal(found)
	}
	p, err := lower.Train(net, lower.Options{Turn: -1})
	if err != nil {
		t.Fatal(err)
	}
	return plan.Of(net, p, 0)
}

func multiplyAdds(p *plan.Plan) (total int64) {
	for _, s := range p.Stages {
		total += s.MultiplyAdds
	}
	return total
}

// TestResNet50 compares with Table 6 of Xiong et al. 2020: 4.09 G in all (the
// table says 4.14 with the classifier), shares of the stages within 2 %.
func TestResNet50(t *testing.T) {
	p := paper(t, "resnet50.loco", "e2e")
	if g := float64(multiplyAdds(p)) / 1e9; math.Abs(g-4.09) > 0.005 {
		t.Errorf("%.3f G multiply-adds", g)
	}
	for i, want := range []float64{19.39, 25.09, 35.80, 19.73} {
		if got := 100 * p.Stages[i].Share; math.Abs(got-want) > 0.02*want {
			t.Errorf("%s: share %.2f %%, the paper's %.2f %%", p.Stages[i].Name, got, want)
		}
	}
}

// TestPResNet50 compares maps, widths and multiply-adds with the table of the
// paper's supplement: shares of 4.16 G. res5 and res6 are known to differ; the
// example's head says by how much.
func TestPResNet50(t *testing.T) {
	p := paper(t, "presnet50.loco", "e2e")
	shapes := []string{"56x56x56", "36x36x96", "24x24x576", "16x16x1024", "12x12x2048", "8x8x4096"}
	shares := []float64{13.50, 14.63, 14.77, 16.62, 20.45, 20.04}
	for i, s := range p.Stages {
		if s.Out != shapes[i] {
			t.Errorf("%s: %s, the paper's %s", s.Name, s.Out, shapes[i])
		}
		want, got := shares[i]*4.16e7, float64(s.MultiplyAdds)
		off := got/want - 1
		t.Logf("%s: %.0f M, %.1f %% off", s.Name, got/1e6, 100*off)
		if known := i == 3 || i == 4; math.Abs(off) > 0.03 != known {
			t.Errorf("%s: %.0f M multiply-adds, %.1f %% off the paper's", s.Name, got/1e6, 100*off)
		}
	}
}

// TestSavedActivations compares lean LoCo with end to end, same file, batch and
// microbatch, no frame recomputed: the paper's ratios are 1.28 and 2.76, and ours
// 1.298 and 2.707 where norms are not applied on read. That pass takes 15 %
// of the activations from both methods, slightly more from end to end. Whole
// arenas have gradients too; results made in place keep those few.
func TestSavedActivations(t *testing.T) {
	least := map[string]struct{ saved, arena float64 }{
		"resnet50.loco":  {1.28, 1.15},
		"presnet50.loco": {2.67, 2.30},
	}
	for name, least := range least {
		e2e, loco := paper(t, name, "e2e").Memory, paper(t, name, "loco").Memory
		saved, arena := float64(e2e.Saved)/float64(loco.Saved), float64(e2e.Arena)/float64(loco.Arena)
		t.Logf("%s: saved activations %.3f; whole arena %.3f, %d and %d MiB", name, saved, arena, e2e.Arena>>20, loco.Arena>>20)
		if saved < least.saved {
			t.Errorf("%s: end to end saves %.3f times what LoCo does, less than %.2f", name, saved, least.saved)
		}
		if arena < least.arena {
			t.Errorf("%s: end to end's arena is %.3f times LoCo's, less than %.2f", name, arena, least.arena)
		}
	}
}
