package semantics

import (
	"testing"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cpu"
	"github.com/locorun/locorun/internal/reference"
)

// bottleneck is a stage of three convolutions around a shortcut with one of its
// own: two norms are read by one convolution each, one by two.
func bottleneck(width, stride, norm int) func(*build) {
	return func(b *build) {
		b.conv(3, width, 1)
		b.norm(norm)
		b.relu()
		b.residual(func(b *build) {
			b.conv(1, 2*width, stride)
			b.norm(norm)
		}, func(b *build) {
			b.conv(1, width, 1)
			b.norm(norm)
			b.relu()
			b.groupConv(3, width, stride, 2, false)
			b.norm(norm)
			b.conv(1, 2*width, 1)
			b.norm(norm)
		})
		b.relu()
	}
}

func bottlenecks(n, norm int) []func(*build) {
	var fs []func(*build)
	for s := range n {
		fs = append(fs, bottleneck(4, 1+s%2, norm))
	}
	return fs
}

// onReadSamples are nets with bottlenecks and ways to lower them.
func onReadSamples() map[string]sample {
	return map[string]sample{
		"batch norm":     {net(bottlenecks(3, 0), gim, 0), together},
		"group norm":     {net(bottlenecks(3, 2), gim, 2), together},
		"loco":           {net(bottlenecks(4, 0), loco, 0, watch(1, 0)), together},
		"loco by groups": {net(bottlenecks(4, 2), loco, 2, micro(2, true)), together},
		"recomputed":     {net(bottlenecks(4, 0), loco, 0, micro(2, true)), twice},
		"pipelined":      {net(bottlenecks(4, 0), loco, 0, micro(2, false)), deep},
		"soft":           {net(bottlenecks(3, 0), gim, 0, micro(2, true), copies(0, 0.02, 1), copies(1, 0.05, 2)), together},
	}
}

// readThrough counts the convolutions of a program that read through a norm.
func readThrough(p *ir.Program) (n int) {
	at := op.Place(op.Rows[op.ConvNorm].In, "in_mean")
	for i := range p.Segments {
		for _, o := range p.Segments[i].Ops {
			if o.Code == op.ConvNorm && o.In[at] != ir.None {
				n++
			}
		}
	}
	return n
}

// TestNormsAppliedOnRead compares with the reference, which knows no such
// thing.
func TestNormsAppliedOnRead(t *testing.T) {
	for name, s := range onReadSamples() {
		t.Run(name, func(t *testing.T) {
			if n := readThrough(lowered(t, s.net, s.opt)); n < 4*len(s.net.Stages) {
				t.Fatalf("%d convolutions read through a norm", n)
			}
			follow(t, s, 1e-9)
		})
	}
}

// TestAppliedOnReadChangesNoByte trains with and without the pass on the
// portable tier.
func TestAppliedOnReadChangesNoByte(t *testing.T) {
	tier, err := cpu.TierNamed("portable")
	if err != nil {
		t.Fatal(err)
	}
	train := func(t *testing.T, n *model.Net, o lower.Options) (rs []result) {
		m := newMachineOn(t, n, o, reference.Start(n, o.Turn, 1), cpu.Options{Workers: 2, Tier: tier})
		for b := range 3 {
			rs = append(rs, m.step(pictures(n, b), 0.1))
		}
		return rs
	}
	for name, s := range onReadSamples() {
		t.Run(name, func(t *testing.T) {
			for _, dtype := range []op.Dtype{op.F32, op.F64} {
				o := s.opt
				o.Dtype = dtype
				with := train(t, s.net, o)
				o.Without = "onread"
				if n := readThrough(lowered(t, s.net, o)); n > 0 {
					t.Fatalf("%d convolutions read through a norm without the pass", n)
				}
				for b, want := range train(t, s.net, o) {
					if bad := compare(with[b], want, 0); len(bad) > 0 {
						t.Fatalf("%v, batch %d:\n%s", dtype, b, join(bad))
					}
				}
			}
		})
	}
}

// TestPlansAgreeOnRead: the fastest tier too gives the same bytes by all plans.
func TestPlansAgreeOnRead(t *testing.T) {
	n := net(bottlenecks(4, 0), loco, 0, watch(1, 0), micro(2, true))
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
	}
}
