package runtime

import (
	"testing"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/compiler/plan"
	"github.com/locorun/locorun/graphs/device"
)

// plain is a backend that says nothing of its kernels.
type plain struct{ device.Backend }

func (plain) Name() string { return "test/plain" }

// telling is one that does: a byte of scratch for each picture an op reads, a
// hundred bytes for each weight tensor of a convolution, a thousand more where
// the gradient of its input is wanted.
type telling struct{ plain }

func (telling) ScratchBytes(_ op.Code, _ op.Attr, in, _ [][]int) int64 {
	if len(in[0]) == 4 {
		return int64(in[0][0])
	}
	return 0
}

func (telling) PackedBytes(code op.Code, _ op.Attr, _, out [][]int) int64 {
	switch {
	case code == op.ConvNorm:
		return 100
	case code == op.ConvNormGrad && out[0] != nil:
		return 1000
	}
	return 0
}

func (telling) KernelName(code op.Code, _ op.Attr, _, _ [][]int, dtype op.Dtype) string {
	return op.Rows[code].Name + " " + dtype.String()
}

// laning has lanes that hold a byte for each element of their Calls' first
// arguments; what one Call takes is not asked for.
type laning struct{ plain }

func (laning) ScratchBytes(op.Code, op.Attr, [][]int, [][]int) int64 { return 1 << 40 }

func (laning) LaneBytes(calls []device.Call) (n int64) {
	for _, c := range calls {
		n += int64(c.In[0].Elements())
	}
	return n + 1<<30
}

// TestLaneBytes: a lane for each unit that computes at the same time, else one.
func TestLaneBytes(t *testing.T) {
	net := tiny(4, pairs, batchLoss)
	for depth, lanes := range map[int]int64{1: 1, 2: int64(len(net.Units))} {
		p := must(lower.Train(net, lower.Options{Depth: depth, Turn: -1}))(t)
		var elements int64
		for _, o := range ops(p) {
			n := int64(1)
			for _, d := range p.Values[o.In[0]].Shape {
				n *= int64(d)
			}
			elements += n
		}
		if got, want := KernelBytes(laning{}, p), lanes<<30+elements; got != want {
			t.Errorf("depth %d: %d bytes, want %d", depth, got, want)
		}
	}
}

// TestKernelBytes counts the scratch of the largest op once for each unit that
// computes at the same time, and packed weights once, however often they are read.
func TestKernelBytes(t *testing.T) {
	net := tiny(4, pairs, batchLoss)
	// Four convolutions; all but the first pass a gradient on.
	pictures := int64(2 * net.Train.Batch) // the loss reads all embeddings
	for _, c := range []struct {
		name  string
		b     device.Backend
		depth int
		want  int64
	}{
		{"no backend", nil, 1, 0},
		{"one that does not know", plain{}, 1, 0},
		{"lean", telling{}, 1, pictures + 4*100 + 3*1000},
		{"pipelined", telling{}, 2, int64(len(net.Units))*pictures + 4*100 + 3*1000},
	} {
		t.Run(c.name, func(t *testing.T) {
			// Recomputed, so that every convolution is there twice.
			p := must(lower.Train(net, lower.Options{Depth: c.depth, Recompute: true, Turn: -1}))(t)
			if got := KernelBytes(c.b, p); got != c.want {
				t.Errorf("%d bytes, want %d", got, c.want)
			}
			pl := PlanOf(net, []*ir.Program{p}, 0, c.b, 0)
			if m := pl.Memory; m.Kernels != c.want || m.Total != p.Bytes()+m.Loader+c.want {
				t.Errorf("the plan has %d bytes of kernels, %d in all", m.Kernels, m.Total)
			}
		})
	}
}

// TestKernels names a kernel for each op, and accounts for all operations.
func TestKernels(t *testing.T) {
	net := tiny(4, pairs, nil)
	p := must(lower.Train(net, lower.Options{Turn: -1}))(t)
	turns := []*ir.Program{p}
	if ks := Kernels(nil, turns); ks != nil {
		t.Errorf("without a backend there are %d kernels", len(ks))
	}
	for _, k := range Kernels(plain{}, turns) {
		if k.Kernel != "test/plain" {
			t.Errorf("%+v: want the backend's name", k)
		}
	}
	var sum int64
	ks := Kernels(telling{}, turns)
	for _, k := range ks {
		sum += k.FLOPs
	}
	if len(ks) != len(ops(p)) || sum != plan.FLOPs(p) {
		t.Errorf("%d kernels with %d operations, the program has %d with %d", len(ks), sum, len(ops(p)), plan.FLOPs(p))
	}
	first := plan.Kernel{Unit: "u1", Site: "s1", Phase: "forward", Layer: ks[0].Layer, Op: "conv_norm 3x3 s2", Kernel: "conv_norm f32", FLOPs: ks[0].FLOPs}
	if ks[0] != first {
		t.Errorf("the first is %+v", ks[0])
	}
}
