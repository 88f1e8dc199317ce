package cpu

import (
	"slices"
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// readCase is a norm between two convolutions, whose result y is written for
// them or applied on read.
type readCase struct {
	name             string
	conv             op.Attr
	channels         int // of the second convolution's result
	inGroups, groups int // of the norm between, of the norm behind
}

// readCases have maps large enough to be read in several parts.
var readCases = []readCase{
	{"3x3", op.Attr{KH: 3, KW: 3, Stride: 2, Pad: 1}, 48, 0, 0},
	{"1x1", op.Attr{KH: 1, KW: 1, Stride: 1}, 32, 0, 0},
	{"1x1 by groups", op.Attr{KH: 1, KW: 1, Stride: 2}, 16, 4, 8},
	{"grouped", op.Attr{KH: 3, KW: 3, Stride: 1, Pad: 2, Groups: 2}, 16, 2, 0},
	{"depthwise", op.Attr{KH: 5, KW: 3, Stride: 2, Pad: 1, Groups: 8}, 8, 0, 2},
	{"few results", op.Attr{KH: 9, KW: 9, Stride: 30}, 3, 0, 0},
}

// readNet is a case's operands on a backend.
type readNet struct {
	t                   *testing.T
	b                   *Backend
	a                   op.Attr // of the second convolution
	norm                op.Attr // of the norm between
	x, y, w             device.Tensor
	scale, shift        device.Tensor
	mean, invstd        device.Tensor
	scale2, shift2      device.Tensor
	z, out, mean2, inv2 device.Tensor
	dy, more, dx        device.Tensor
	dscale, dshift, dw  device.Tensor
}

func newReadNet(t *testing.T, b *Backend, c readCase) *readNet {
	const n, side, ch = 9, 40, 8
	a := c.conv
	a.NormGroups, a.ReLU, a.Eps, a.Weights, a.H, a.W = c.groups, true, 1e-5, true, side, side
	saved := func(groups, channels int) []int {
		if groups > 0 {
			return []int{n, groups}
		}
		return []int{channels}
	}
	at := 0
	m := func(shape ...int) device.Tensor {
		at += 100
		first := at
		return filled(t, b, func(i int) float64 { return wave(first + i) }, shape...)
	}
	k := c.channels
	xs, ws := []int{n, side, side, ch}, []int{k, a.KH, a.KW, ch / max(a.Groups, 1)}
	zs := []int{n, op.ConvOut(side, a.KH, a.Stride, a.Pad), op.ConvOut(side, a.KW, a.Stride, a.Pad), k}
	net := &readNet{t: t, b: b, a: a, norm: op.Attr{Groups: c.inGroups, ReLU: true, Eps: 1e-5}}
	net.x, net.y, net.w, net.scale, net.shift = m(xs...), m(xs...), m(ws...), m(ch), m(ch)
	net.mean, net.invstd = m(saved(c.inGroups, ch)...), m(saved(c.inGroups, ch)...)
	net.scale2, net.shift2, net.z, net.out = m(k), m(k), m(zs...), m(zs...)
	net.mean2, net.inv2 = m(saved(c.groups, k)...), m(saved(c.groups, k)...)
	net.dy, net.more, net.dx = m(zs...), m(xs...), m(xs...)
	net.dscale, net.dshift, net.dw = m(k), m(k), m(ws...)
	return net
}

// run runs the norm between, the convolution and its gradients, and returns
// what they make.
func (n *readNet) run(onRead bool) map[string][]float64 {
	none := device.Tensor{}
	ts := func(ts ...device.Tensor) []device.Tensor { return ts }
	must(n.t, n.b, &device.Call{Code: op.Norm, Attr: n.norm, In: ts(n.x, n.scale, n.shift), Out: ts(n.y, n.mean, n.invstd)})
	a, x, out, shift, in := n.a, n.y, n.out, none, ts(none, none, none, none)
	if onRead {
		a.InReLU, a.InGroups = true, n.norm.Groups
		x, out, shift, in = n.x, none, n.shift2, ts(n.scale, n.shift, n.mean, n.invstd)
	}
	must(n.t, n.b, &device.Call{
		Code: op.ConvNorm, Attr: a, In: append(ts(x, n.w, n.scale2, n.shift2, none, none, none), in...),
		Out: ts(n.z, out, n.mean2, n.inv2),
	})
	must(n.t, n.b, &device.Call{
		Code: op.ConvNormGrad, Attr: a, In: append(ts(n.dy, n.z, out, n.scale2, n.mean2, n.inv2, x, n.w, n.more, shift), in...),
		Out: ts(n.dx, none, n.dscale, n.dshift, n.dw),
	})
	made := map[string][]float64{}
	for name, at := range map[string]device.Tensor{
		"z": n.z, "saved_mean": n.mean2, "saved_invstd": n.inv2, "dx": n.dx, "dscale": n.dscale, "dshift": n.dshift, "dw": n.dw,
	} {
		made[name] = numbers(n.t, n.b, at)
	}
	return made
}

// TestAppliedOnReadChangesNoByte: in the portable tier a norm applied on read,
// and a relu's mask made again, are the norm and the relu.
func TestAppliedOnReadChangesNoByte(t *testing.T) {
	portable, err := TierNamed("portable")
	noError(t, err)
	for _, c := range readCases {
		t.Run(c.name, func(t *testing.T) {
			b := New(Options{Workers: 3, Tier: portable})
			t.Cleanup(func() { b.Close() })
			want := newReadNet(t, b, c).run(false)
			before := b.Counted()
			got := newReadNet(t, b, c).run(true)
			for name, w := range want {
				if !slices.Equal(got[name], w) {
					t.Errorf("%s differs", name)
				}
			}
			if n := b.Counted() - before; n != before {
				t.Errorf("counted %d operations, %d as it lies", n, before)
			}
		})
	}
}

// TestReadingTakesLittleScratch: what a convolution sees of an input that it
// reads through a norm is never there as a whole.
func TestReadingTakesLittleScratch(t *testing.T) {
	portable, err := TierNamed("portable")
	noError(t, err)
	for _, c := range []readCase{readCases[1], readCases[5]} {
		b := New(Options{Workers: 1, Tier: portable})
		n := newReadNet(t, b, c)
		n.run(false)
		without := b.Scratch()
		n.run(true)
		if grown, most := b.Scratch()-without, int64(mapElements*4+4096); grown > most {
			t.Errorf("%s: %d bytes of scratch more, %d are enough", c.name, grown, most)
		}
		noError(t, b.Close())
	}
}
