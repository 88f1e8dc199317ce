package semantics

import (
	"testing"

	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/internal/reference"
)

// cutInto sets a batch of six images with losses over the batch, and how many
// of them travel at once.
func cutInto(images int) func(*model.Net) {
	return func(n *model.Net) {
		micro(images, true)(n)
		n.Train.Batch = 6
	}
}

// recut lays the pictures of one microbatch out as several.
func recut(all reference.Map, micros int) []reference.Map {
	var cut []reference.Map
	n := len(all.V) / micros
	for k := range micros {
		cut = append(cut, reference.Map{N: all.N / micros, H: all.H, W: all.W, C: all.C, V: all.V[k*n : (k+1)*n]})
	}
	return cut
}

// TestCutsOfTheBatch has losses over the batch and norms over groups: how the
// batch is cut into microbatches does not matter.
func TestCutsOfTheBatch(t *testing.T) {
	tolerances := map[op.Dtype]float64{op.F64: 1e-10, op.F32: 1e-5}
	for dtype, tolerance := range tolerances {
		t.Run(dtype.String(), func(t *testing.T) {
			run := func(images int, o lower.Options) result {
				n := net(blocks(4, 2), loco, 2, watch(1, 2), cutInto(images))
				o.Dtype = dtype
				whole := *n
				whole.Train.Microbatch = 6
				m := newMachine(t, n, o, reference.Start(n, -1, 1))
				return m.step(recut(pictures(&whole, 0)[0], 6/images), 0.1)
			}
			whole := run(6, together)
			for _, o := range []lower.Options{together, deep, twice, twiceIn2} {
				for _, images := range []int{1, 2, 3} {
					got := run(images, o)
					if bad := compare(got, whole, tolerance); len(bad) > 0 {
						t.Errorf("microbatch %d, %+v:\n%s", images, o, join(bad))
					}
				}
			}
			other := run(2, together)
			other.gradients["s2.1.conv.weight"][3] *= 1 + 1000*tolerance
			if len(compare(other, whole, tolerance)) == 0 {
				t.Error("a wrong gradient goes unnoticed")
			}
		})
	}
}

// TestPlansGiveTheSameBytes runs each net by all plans that may be chosen for
// it: depth and recomputation change no bit of anything.
func TestPlansGiveTheSameBytes(t *testing.T) {
	nets := map[string]*model.Net{
		"batch norm":  net(blocks(4, 0), loco, 0, watch(1, 0), micro(2, true)),
		"group norm":  net(blocks(4, 2), loco, 2, watch(1, 2), micro(2, true)),
		"three":       net(blocks(5, 0), three, 0, micro(2, true)),
		"microbatch":  net(blocks(4, 0), loco, 0, micro(2, false)),
		"both":        net(blocks(4, 0), loco, 0, micro(2, true), mixed),
		"soft":        net(blocks(3, 0), gim, 0, micro(2, true), copies(0, 0.02, 1), copies(1, 0.05, 2)),
		"upper":       net(blocks(5, 0), three, 0, micro(2, true), upper(2)),
		"also":        net(blocks(3, 0), [][2]int{{0, 1}, {0, 1}, {1, 2}}, 0, micro(2, true)),
		"one at once": net(blocks(4, 0), loco, 0),
	}
	for name, n := range nets {
		t.Run(name, func(t *testing.T) {
			for _, dtype := range []op.Dtype{op.F32, op.F64} {
				first := batches(t, n, lower.Options{Turn: -1, Dtype: dtype}, 3)
				for _, o := range []lower.Options{deep, twice, twiceIn2} {
					o.Dtype = dtype
					for b, got := range batches(t, n, o, 3) {
						if bad := compare(got, first[b], 0); len(bad) > 0 {
							t.Fatalf("%+v, batch %d:\n%s", o, b, join(bad))
						}
					}
				}
				first[2].weights["s1.1.conv.weight"][0] *= 1 + 1e-7
				again := batches(t, n, lower.Options{Turn: -1, Dtype: dtype}, 3)
				if len(compare(again[2], first[2], 0)) != 1 {
					t.Fatal("another bit goes unnoticed")
				}
			}
		})
	}
}

// batches runs a net for some batches.
func batches(t *testing.T, n *model.Net, o lower.Options, count int) []result {
	m := newMachine(t, n, o, reference.Start(n, o.Turn, 1))
	var rs []result
	for b := range count {
		rs = append(rs, m.step(pictures(n, b), 0.1))
	}
	return rs
}
