package cuda

import (
	"slices"
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/conformance"
	"github.com/locorun/locorun/graphs/cuda/driver"
	"github.com/locorun/locorun/graphs/cuda/emulate"
	"github.com/locorun/locorun/graphs/device"
)

// remembering runs some ops on a lane, and remembers their Calls and the most that
// the lane held.
type remembering struct {
	*Backend
	t     *testing.T
	lane  device.Lane
	calls []device.Call
	held  int64
}

// Has implements conformance.Partial: the ops that need most memory, of each kind.
func (*remembering) Has(c op.Code) bool {
	return slices.Contains([]op.Code{op.ConvNormGrad, op.ConvNorm, op.DenseWeight, op.NTXent, op.PoolMaxGrad, op.LARS}, c)
}

// Run implements device.Backend.
func (r *remembering) Run(c *device.Call) error {
	r.t.Helper()
	r.calls = append(r.calls, *c)
	err := r.lane.Run(c)
	var held int64
	for _, s := range r.known(0).scratch {
		held += s.size
	}
	for _, t := range r.known(0).updates.tables {
		held += t.size
	}
	r.held = max(r.held, held)
	if most := r.LaneBytes([]device.Call{*c}); r.ScratchBytes(c.Code, c.Attr, shapesOf(c.In), shapesOf(c.Out)) < most {
		r.t.Errorf("%v: of its shapes less is foreseen than of its tensors, %d", c.Code, most)
	}
	return err
}

func shapesOf(ts []device.Tensor) (list [][]int) {
	for i := range ts {
		list = append(list, ts[i].Shape)
	}
	return list
}

// TestNeed: a lane holds at most what was foreseen, and without libraries exactly
// that, once it has run all Calls.
func TestNeed(t *testing.T) {
	kept := images{}
	t.Run("Own", func(t *testing.T) {
		all := rememberingAll(t, func(t *testing.T) *Backend { return emulatedBackend(kept, emulate.Open)(t).(emulated).Backend })
		for _, r := range all {
			if need := r.LaneBytes(r.calls); need != r.held {
				t.Errorf("%d bytes are foreseen, %d held after %d Calls", need, r.held, len(r.calls))
			}
		}
	})
	t.Run("Libraries", func(t *testing.T) {
		all := rememberingAll(t, func(t *testing.T) *Backend {
			f, c := newFakes(t, emulate.Open)
			b := f.open(t, c, kept, false)
			b.repeats, b.narrow = 1, true
			return b
		})
		for _, r := range all {
			if need := r.LaneBytes(r.calls); need < r.held || need > 2*r.held {
				t.Errorf("%d bytes are foreseen, %d held after %d Calls", need, r.held, len(r.calls))
			}
		}
	})
	t.Run("Measured", func(t *testing.T) { testNeedMeasured(t, kept) })
}

// rememberingAll runs the conformance of some ops.
func rememberingAll(t *testing.T, open func(*testing.T) *Backend) (all []*remembering) {
	conformance.Run(t, func() device.Backend {
		b := open(t)
		b.narrow = true
		l, err := b.Lane(0)
		if err != nil {
			t.Fatal(err)
		}
		r := &remembering{Backend: b, t: t, lane: l}
		all = append(all, r)
		return r
	}, conformance.Tolerances{Rel: 1e-3, Abs: 1e-5})
	var held int64
	for _, r := range all {
		held += r.held
	}
	if held == 0 {
		t.Error("nothing was held")
	}
	return all
}

// testNeedMeasured: what is foreseen holds a result and each candidate's workspace,
// where it is looked at, and a map that is read through a norm; nothing runs, and
// the libraries are asked once.
func testNeedMeasured(t *testing.T, kept images) {
	b, f := newLibraryBench(t, kept)
	call := func(n int) device.Call {
		return device.Call{
			Code: op.Dense,
			In:   []device.Tensor{{Shape: []int{n, 1, 1, 8}, Dtype: op.F32}, {Shape: []int{4, 8}, Dtype: op.F32}, {}},
			Out:  []device.Tensor{{Shape: []int{n, 1, 1, 4}, Dtype: op.F32}},
		}
	}
	small, large := call(2), call(32)
	result := func(n int) int64 { return int64(4 * n * 4) }
	for _, c := range []struct {
		name  string
		algos []driver.Algo
		calls []device.Call
		want  int64
	}{
		{"a product", nil, []device.Call{small}, driver.BLASWorkspace + result(2)},
		{"as often as one likes", nil, []device.Call{small, small, small}, driver.BLASWorkspace + result(2)},
		{"in any order", nil, []device.Call{large, small}, driver.BLASWorkspace + result(32)},
		{"a larger workspace", []driver.Algo{{ID: 1, Workspace: mostWorkspace}, {ID: 2, Workspace: mostWorkspace + 1}}, []device.Call{small}, mostWorkspace + result(2)},
		{"what there is no kernel for", nil, []device.Call{{}, {Code: op.Code(255)}, {Code: op.Dense}}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.algos = c.algos
			b.b.foresight = foresight{}
			if got := b.b.LaneBytes(c.calls); got != c.want {
				t.Errorf("%d bytes, not %d", got, c.want)
			}
			f.ranks, f.algos = 0, nil // whoever asks again hears other things
			if got := b.b.LaneBytes(c.calls); got != c.want {
				t.Errorf("%d bytes the second time, not %d", got, c.want)
			}
			f.ranks = 2
		})
	}
	if got := b.b.ScratchBytes(op.Invalid, op.Attr{}, nil, nil) + b.b.ScratchBytes(op.Code(255), op.Attr{}, nil, nil); got != 0 {
		t.Errorf("%d bytes for what there is no kernel for", got)
	}
	if len(f.ran) > 0 || len(b.b.choices) > 0 {
		t.Errorf("ran %v, chose %v", f.ran, b.b.choices)
	}
}
