package semantics

import (
	"slices"
	"testing"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/internal/reference"
)

// passes are how often a layer of a stage ran per microbatch.
type passes struct{ forward, input, weight int }

// count counts the passes of a convolution over a batch; they must be the same
// in every microbatch.
func count(t *testing.T, m *machine, layer string) passes {
	t.Helper()
	per := map[int]passes{}
	for _, r := range m.ran {
		if r.op.Layer != layer {
			continue
		}
		p := per[r.micro]
		switch r.op.Code {
		case op.Conv, op.ConvNorm:
			p.forward++
		case op.ConvInput:
			p.input++
		case op.ConvWeight:
			p.weight++
		case op.ConvNormGrad:
			if r.op.Out[0] != ir.None {
				p.input++
			}
			if r.op.Out[4] != ir.None {
				p.weight++
			}
		}
		per[r.micro] = p
	}
	first := per[(m.batch-1)*m.p.Micros]
	for n, p := range per {
		if p != first {
			t.Errorf("%s: %v in microbatch %d, %v in the first", layer, p, n, first)
		}
	}
	if len(per) != m.p.Micros {
		t.Errorf("%s ran in %d microbatches", layer, len(per))
	}
	return first
}

// promised are the passes of the last and the first convolution of a stage, by
// the sets of losses whose sum has to go through it: for its own weights, and
// for the weights of each stage below.
func promised(n *model.Net, s int) (last, first passes) {
	reach := func(s int, trained bool) int {
		set := 0
		for k, u := range n.Units {
			if u.First <= s && s <= u.Last {
				if trained && n.Stages[s].Tie == model.Upper {
					set = 0
				}
				set |= 1 << k
			}
		}
		return set
	}
	var on []int
	for below := range s {
		if set := reach(below, true) & reach(s, false); set != 0 && !slices.Contains(on, set) {
			on = append(on, set)
		}
	}
	first = passes{1, len(on), 1}
	last = first
	if !slices.Contains(on, reach(s, true)) {
		last.input++ // the sum for the weights alone
	}
	return last, first
}

// TestPasses counts forwards, sweeps and weight gradients as they run.
func TestPasses(t *testing.T) {
	for _, name := range []string{
		"e2e", "gim", "loco", "three", "four", "also", "same start", "upper", "upper three", "all on one",
		"microbatch", "kept", "kept pipelined", "recomputed", "three recomputed", "watch shared",
	} {
		c := arrangements()[name]
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, c.net, c.opt, reference.Start(c.net, -1, 1))
			m.step(pictures(c.net, 0), 0.1)
			m.step(pictures(c.net, 1), 0.1)
			for s, st := range c.net.Stages {
				last, first := promised(c.net, s)
				if m.p.Recompute {
					last.forward++
					first.forward++
				}
				if got := count(t, m, st.Name+".3.conv"); got != last {
					t.Errorf("%s, last convolution: %+v, not %+v", st.Name, got, last)
				}
				if got := count(t, m, st.Name+".1.conv"); got != first {
					t.Errorf("%s, first convolution: %+v, not %+v", st.Name, got, first)
				}
			}
		})
	}
}

// TestPromisedPasses spells out what a stage costs: in one unit 3 parts, in
// two 4, in three one more sweep for each prefix that goes on.
func TestPromisedPasses(t *testing.T) {
	cases := []struct {
		name        string
		units       [][2]int
		stages      int
		stage       int
		last, first passes
	}{
		{"alone, lowest", loco, 4, 0, passes{1, 1, 1}, passes{1, 0, 1}},
		{"in two units", loco, 4, 1, passes{1, 2, 1}, passes{1, 1, 1}},
		{"alone, top", loco, 4, 3, passes{1, 1, 1}, passes{1, 1, 1}},
		{"inside one unit", e2e, 3, 1, passes{1, 1, 1}, passes{1, 1, 1}},
		{"a unit of its own", gim, 3, 1, passes{1, 1, 1}, passes{1, 0, 1}},
		{"in three units", three, 5, 2, passes{1, 3, 1}, passes{1, 2, 1}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			n := net(blocks(c.stages, 0), c.units, 0)
			if last, first := promised(n, c.stage); last != c.last || first != c.first {
				t.Errorf("%+v and %+v, not %+v and %+v", last, first, c.last, c.first)
			}
		})
	}
}

// TestFLOPs compares what the kernels count as they dispatch tiles with the
// sum of what the program says of the ops that ran, and that with the layers'
// own sizes.
func TestFLOPs(t *testing.T) {
	cases := arrangements()
	for name, c := range layerNets() {
		cases["layer: "+name] = c
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, c.net, c.opt, reference.Start(c.net, c.opt.Turn, 1))
			before := m.backend.Counted()
			m.step(pictures(c.net, 0), 0.1)
			counted, planned, forward := m.backend.Counted()-before, int64(0), int64(0)
			for _, r := range m.ran {
				planned += r.op.FLOPs
				if r.segment.Phase == ir.PhaseForward {
					forward += r.op.FLOPs
				}
			}
			if counted != planned || planned == 0 {
				t.Errorf("the kernels counted %d operations, the program says %d", counted, planned)
			}
			if c.opt.Turn >= 0 {
				return // stages below the unit do not run in this phase
			}
			pictures := int64(2 * c.net.Train.Batch)
			if want := pictures * encoderFLOPs(c.net); forward != want {
				t.Errorf("%d operations forward, %d by the layers' sizes", forward, want)
			}
		})
	}
}

// encoderFLOPs are those of one picture through every stage and decoder once.
func encoderFLOPs(n *model.Net) int64 {
	total := int64(0)
	for _, s := range n.Stages {
		total += layerFLOPs(s.Layers)
	}
	for _, u := range n.Units {
		total += layerFLOPs(u.Decoder.Layers)
	}
	for _, w := range n.Watches {
		total += layerFLOPs(w.Decoder.Layers)
	}
	return total
}

func layerFLOPs(ls []*model.Layer) int64 {
	total := int64(0)
	for _, l := range ls {
		switch l.Kind {
		case model.Conv:
			total += 2 * int64(l.Out.Elements()*l.KH*l.KW*l.In.C/max(l.Groups, 1))
		case model.Dense:
			total += 2 * int64(l.Out.C*l.In.Elements())
		}
		for _, b := range l.Branches {
			total += layerFLOPs(b.Layers)
		}
	}
	return total
}
