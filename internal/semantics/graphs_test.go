package semantics

import (
	"testing"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/graphs"
	"github.com/locorun/locorun/internal/reference"
)

// TestGraphsGiveTheSameBytes runs programs as Gorgonia's graphs: the same
// losses, statistics and weights as op by op, to the bit.
func TestGraphsGiveTheSameBytes(t *testing.T) {
	cases := arrangements()
	for name, c := range layerNets() {
		cases["layer: "+name] = c
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			plain := newMachine(t, c.net, c.opt, reference.Start(c.net, c.opt.Turn, 1))
			graph := newMachine(t, c.net, c.opt, reference.Start(c.net, c.opt.Turn, 1))
			g, err := graphs.Build(graph.p, graph.backend)
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			graph.run, graph.tensor = g.RunTask, g.Tensor
			graph.load(reference.Start(c.net, c.opt.Turn, 1))
			for batch := range 2 {
				x := pictures(c.net, batch)
				want, got := plain.step(x, 0.1), graph.step(x, 0.1)
				want.gradients = nil // the graphs' are gone after the update
				if bad := compare(got, want, 0); len(bad) > 0 {
					t.Fatalf("batch %d:\n%s", batch, join(bad))
				}
			}
			high := g.HighWater()
			for space, planned := range graph.p.Sizes {
				// Pipelined plans have room for maps that the lean order never needs.
				if used := high[space]; used > planned || used < planned && graph.p.Mode == ir.Lean {
					t.Errorf("%d bytes of %s used, %d planned", used, space, planned)
				}
			}
		})
	}
}
