package semantics

import (
	"math"
	"testing"

	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/internal/reference"
)

var (
	together = lower.Options{Turn: -1, Dtype: op.F64}
	deep     = lower.Options{Turn: -1, Dtype: op.F64, Depth: 3}
	twice    = lower.Options{Turn: -1, Dtype: op.F64, Recompute: true}
	twiceIn2 = lower.Options{Turn: -1, Dtype: op.F64, Recompute: true, Depth: 2}
)

func turn(k int) lower.Options { return lower.Options{Turn: k, Dtype: op.F64} }

var (
	e2e   = [][2]int{{0, 2}}
	gim   = [][2]int{{0, 0}, {1, 1}, {2, 2}}
	loco  = [][2]int{{0, 1}, {1, 2}, {2, 3}}
	three = [][2]int{{0, 2}, {1, 3}, {2, 4}}
)

// sample is a net with options and what to do to the reference's start.
type sample struct {
	net *model.Net
	opt lower.Options
}

// arrangements are units in all their relations.
func arrangements() map[string]sample {
	all := func(n int, units [][2]int, o lower.Options, edits ...func(*model.Net)) sample {
		return sample{net(blocks(n, 0), units, 0, edits...), o}
	}
	return map[string]sample{
		"e2e":                         all(3, e2e, together),
		"gim":                         all(3, gim, together),
		"loco":                        all(4, loco, together),
		"three":                       all(5, three, together),
		"four":                        all(6, [][2]int{{0, 3}, {1, 4}, {2, 5}, {3, 5}}, together),
		"also":                        all(3, [][2]int{{0, 1}, {0, 1}, {1, 2}}, together),
		"also at the top":             all(3, [][2]int{{0, 1}, {1, 2}, {1, 2}}, together),
		"also from higher up":         all(3, [][2]int{{0, 1}, {1, 1}, {1, 2}}, together),
		"all on one":                  all(2, [][2]int{{0, 1}, {0, 1}, {0, 1}}, together),
		"same start":                  all(4, [][2]int{{0, 1}, {1, 2}, {1, 3}}, together),
		"same start at the images":    all(3, [][2]int{{0, 0}, {0, 1}, {0, 2}}, together),
		"upper":                       all(4, loco, together, upper(1)),
		"upper twice":                 all(4, loco, together, upper(1), upper(2)),
		"upper three":                 all(5, three, together, upper(2)),
		"upper all of three":          all(5, three, together, upper(1), upper(2), upper(3)),
		"upper also":                  all(3, [][2]int{{0, 1}, {0, 1}, {1, 2}}, together, upper(0), upper(1)),
		"soft":                        all(3, [][2]int{{0, 0}, {1, 2}}, together, copies(0, 0.03, 1)),
		"soft two stages":             all(4, [][2]int{{0, 0}, {1, 3}}, together, copies(0, 0.03, 1, 2)),
		"soft chain":                  all(3, gim, together, copies(0, 0.02, 1), copies(1, 0.05, 2)),
		"free":                        all(3, [][2]int{{0, 0}, {1, 2}}, together, copies(0, 0, 1)),
		"soft microbatches":           all(3, gim, together, micro(2, true), copies(0, 0.02, 1), copies(1, 0.05, 2)),
		"soft pipelined":              all(3, gim, deep, micro(2, false), copies(0, 0.02, 1), copies(1, 0.05, 2)),
		"first":                       all(3, [][2]int{{0, 1}, {1, 2}}, together, cut(1, 3)),
		"first, upper":                all(3, [][2]int{{0, 1}, {1, 2}}, together, cut(1, 3), upper(1)),
		"watch alone":                 all(4, loco, together, watch(0, 0)),
		"watch shared":                all(4, loco, together, watch(1, 0), watch(2, 0)),
		"watch three":                 all(5, three, together, watch(2, 0), watch(4, 0)),
		"turn 0":                      all(3, gim, turn(0), watch(0, 0)),
		"turn 1":                      all(3, gim, turn(1), watch(0, 0), watch(1, 0)),
		"turn 2":                      all(3, gim, turn(2), micro(2, true)),
		"turn of wide units":          all(4, [][2]int{{0, 1}, {2, 3}}, turn(1), watch(1, 0), watch(2, 0)),
		"microbatch":                  all(4, loco, together, micro(2, false), watch(1, 0)),
		"microbatch pipelined":        all(4, loco, deep, micro(2, false), watch(1, 0)),
		"three pipelined":             all(5, three, deep, micro(2, false)),
		"kept":                        all(4, loco, together, watch(1, 0), micro(2, true)),
		"kept pipelined":              all(4, loco, deep, watch(1, 0), micro(2, true)),
		"recomputed":                  all(4, loco, twice, watch(1, 0), micro(2, true)),
		"recomputed pipelined":        all(4, loco, twiceIn2, watch(1, 0), micro(2, true)),
		"three recomputed":            all(5, three, twice, micro(2, true)),
		"also recomputed":             all(3, [][2]int{{0, 1}, {0, 1}, {1, 2}}, twice, micro(2, true)),
		"both kinds of negatives":     all(4, loco, together, micro(2, true), mixed),
		"both kinds, recomputed":      all(4, loco, twice, micro(2, true), mixed),
		"both kinds, pipelined":       all(4, loco, deep, micro(2, true), mixed),
		"both kinds, recomputed in 2": all(4, loco, twiceIn2, micro(2, true), mixed),
		"upper recomputed":            all(5, three, twice, micro(2, true), upper(2)),
		"turn recomputed":             all(3, gim, lower.Options{Turn: 1, Dtype: op.F64, Recompute: true}, micro(2, true)),
	}
}

// mixed makes the middle unit's loss see its microbatch only.
func mixed(n *model.Net) { n.Units[1].Loss.Batch = false }

// layerNets use every kind of layer, in every place fusion looks at.
func layerNets() map[string]sample {
	stages := map[string]func(*build){
		"depthwise": func(b *build) {
			b.conv(1, 6, 1)
			b.norm(0)
			b.groupConv(3, 6, 2, 6, false)
			b.norm(0)
			b.relu()
		},
		"grouped":           func(b *build) { b.conv(3, 6, 1); b.groupConv(3, 8, 1, 2, false); b.norm(0); b.relu() },
		"grouped with bias": func(b *build) { b.conv(3, 6, 1); b.relu(); b.groupConv(3, 4, 2, 2, true); b.relu() },
		"conv alone":        func(b *build) { b.conv(3, 5, 1) },
		"conv bias, norm":   func(b *build) { b.groupConv(3, 6, 1, 1, true); b.norm(2); b.relu() },
		"even window":       func(b *build) { b.groupConv(2, 5, 2, 1, true); b.norm(0) },
		"max pool":          func(b *build) { b.conv(3, 5, 1); b.norm(0); b.relu(); b.pool(true, 3, 2, 1) },
		"mean pool":         func(b *build) { b.conv(3, 5, 1); b.pool(false, 3, 2, 1); b.relu() },
		"pools alone":       func(b *build) { b.pool(true, 2, 1, 0); b.pool(false, 2, 1, 1) },
		"max of all":        func(b *build) { b.conv(3, 5, 1); b.pool(true, 0, 0, 0); b.dense(6); b.relu() },
		"dense": func(b *build) {
			b.conv(3, 5, 2)
			b.relu()
			b.pool(false, 0, 0, 0)
			b.dense(7)
			b.relu()
			b.dense(5)
		},
		"dense, norm": func(b *build) { b.pool(false, 0, 0, 0); b.dense(7); b.norm(0); b.relu() },
		"resize":      func(b *build) { b.conv(3, 4, 2); b.resize(7, 5); b.norm(0); b.relu(); b.resize(3, 3) },
		"shuffle":     func(b *build) { b.conv(1, 6, 1); b.shuffle(3); b.norm(0); b.shuffle(2) },
		"split": func(b *build) {
			b.conv(1, 6, 1)
			b.norm(0)
			b.split(identity, func(b *build) { b.conv(3, 3, 1); b.norm(0); b.relu() })
			b.shuffle(2)
		},
		"split of images": func(b *build) {
			parts := []func(*build){identity, func(b *build) { b.groupConv(3, 2, 1, 1, true) }}
			if b.at.C%2 == 1 {
				parts = append(parts, func(b *build) { b.relu() })
			}
			b.split(parts...)
		},
		"fork": func(b *build) {
			b.conv(3, 4, 1)
			b.fork(identity, func(b *build) { b.conv(1, 3, 1); b.norm(0) }, func(b *build) { b.pool(true, 3, 1, 1) })
			b.relu()
		},
		"fork of identities": func(b *build) { b.conv(3, 4, 1); b.fork(identity, identity); b.norm(0) },
		"shortcut": func(b *build) {
			b.residual(func(b *build) { b.conv(1, 6, 2); b.norm(0) }, func(b *build) {
				b.conv(3, 4, 2)
				b.norm(0)
				b.relu()
				b.conv(3, 6, 1)
				b.norm(0)
			})
			b.relu()
		},
		"norm as shortcut": func(b *build) {
			b.conv(3, 4, 1)
			b.residual(func(b *build) { b.norm(0) }, func(b *build) { b.conv(3, 4, 1) })
		},
		"body without norm": func(b *build) {
			b.conv(3, 4, 1)
			b.relu()
			b.residual(identity, func(b *build) { b.conv(3, 4, 1); b.relu() })
		},
		"empty body": func(b *build) { b.conv(3, 4, 1); b.norm(0); b.residual(identity, identity); b.relu() },
		"nested": func(b *build) {
			b.conv(3, 4, 1)
			b.norm(0)
			b.relu()
			b.residual(identity, func(b *build) {
				b.residual(func(b *build) { b.conv(1, 4, 1) }, func(b *build) { b.conv(3, 4, 1); b.norm(0) })
				b.relu()
				b.residual(identity, func(b *build) { b.conv(3, 4, 1); b.norm(0) })
			})
		},
		"residual without relu": func(b *build) {
			b.conv(1, 4, 1)
			b.residual(identity, func(b *build) { b.conv(3, 4, 1); b.norm(0) })
			b.residual(identity, func(b *build) { b.conv(3, 4, 1); b.norm(0) })
		},
		"before activation": func(b *build) {
			b.conv(3, 4, 1)
			b.residual(identity, func(b *build) { b.norm(0); b.relu(); b.conv(3, 4, 1) })
			b.norm(0)
			b.relu()
		},
		"residual of the input": func(b *build) {
			b.residual(identity, func(b *build) { b.conv(3, b.at.C, 1); b.norm(0) })
			b.relu()
		},
		"group norm": func(b *build) {
			b.conv(3, 6, 1)
			b.norm(3)
			b.relu()
			b.residual(identity, func(b *build) { b.conv(3, 6, 1); b.norm(2) })
			b.norm(1)
		},
		"norm first":      func(b *build) { b.norm(0); b.relu(); b.conv(3, 4, 1) },
		"norm twice":      func(b *build) { b.conv(3, 4, 1); b.norm(0); b.norm(2) },
		"relu twice":      func(b *build) { b.conv(3, 4, 1); b.norm(0); b.relu(); b.relu() },
		"no weights":      func(b *build) { b.relu(); b.pool(false, 2, 1, 0) },
		"nothing":         identity,
		"inverted bottle": func(b *build) { b.conv(1, 8, 1); b.groupConv(3, 8, 1, 8, true); b.relu(); b.conv(1, 4, 1) },
	}
	cases := map[string]sample{}
	for name, f := range stages {
		// The stage at hand is shared, and is swept with and without weights.
		cases[name] = sample{net([]func(*build){block(4, 1, 0), f, tail}, [][2]int{{0, 1}, {1, 2}}, -1), together}
		if name != "nothing" && name != "no weights" && name != "pools alone" {
			cases[name+", lowest"] = sample{net([]func(*build){f, tail}, [][2]int{{0, 0}, {0, 1}}, -1, micro(2, true)), twice}
		}
	}
	return cases
}

// tail fits behind maps of every size.
func tail(b *build) { b.conv(1, 5, 1); b.norm(1); b.relu() }

// TestReference follows the reference over three batches with their updates:
// losses, every gradient, running statistics, weights.
func TestReference(t *testing.T) {
	for name, c := range arrangements() {
		t.Run(name, func(t *testing.T) { follow(t, c, 1e-10) })
	}
}

// TestReferenceLayers does so for every kind of layer.
func TestReferenceLayers(t *testing.T) {
	for name, c := range layerNets() {
		t.Run(name, func(t *testing.T) { follow(t, c, 1e-10) })
	}
}

// follow runs both sides and compares after every batch. A gradient, loss or
// statistic that is off by little more than the tolerance must be noticed.
func follow(t *testing.T, c sample, tolerance float64) {
	ref := reference.Start(c.net, c.opt.Turn, 1)
	m := newMachine(t, c.net, c.opt, ref)
	for batch := range 3 {
		x, lr := pictures(c.net, batch), 0.1/float64(1+batch)
		want := refStep(ref, x, lr, batch+1)
		got := m.step(x, lr)
		if bad := compare(got, want, tolerance); len(bad) > 0 {
			t.Fatalf("batch %d:\n%s", batch, join(bad))
		}
		if batch < 2 {
			continue
		}
		for _, part := range []map[string][]float64{want.losses, want.gradients, want.statistics, want.weights} {
			for name, v := range part {
				if !noticed(got, want, v, tolerance) {
					t.Errorf("%s may be wrong without notice", name)
				}
			}
		}
	}
}

// noticed reports whether compare finds fault when v, a part of want, moves.
func noticed(got, want result, v []float64, tolerance float64) bool {
	length := 0.0
	for _, x := range v {
		length += x * x
	}
	kept := v[0]
	v[0] += 3*tolerance*math.Sqrt(length) + 1e-12
	defer func() { v[0] = kept }()
	return len(compare(got, want, tolerance)) == 1
}

func join(lines []string) string {
	s := ""
	for _, l := range lines {
		s += "  " + l + "\n"
	}
	return s
}
