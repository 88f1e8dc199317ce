package cpu

import (
	"fmt"
	"testing"
	"time"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// conv is a convolution from x to k channels.
func convShape(name string, n, hw, c, k, window, stride, groups int) benchShape {
	return benchShape{name, []int{n, hw, hw, c}, k, op.Attr{KH: window, KW: window, Stride: stride, Pad: window / 2, Groups: groups}}
}

var directShapes = []benchShape{
	convShape("stem3", 32, 32, 3, 32, 3, 1, 1),
	convShape("stem7", 4, 224, 3, 64, 7, 2, 1),
	convShape("16", 32, 32, 16, 16, 3, 1, 1),
	convShape("32", 32, 32, 32, 32, 3, 1, 1),
	convShape("64", 32, 16, 64, 64, 3, 1, 1),
	convShape("128", 64, 8, 128, 128, 3, 1, 1),
	convShape("256", 64, 4, 256, 256, 3, 1, 1),
	convShape("512at7", 16, 7, 512, 512, 3, 1, 1),
	convShape("64at56", 4, 56, 64, 64, 3, 1, 1),
	convShape("32to64s2", 32, 32, 32, 64, 3, 2, 1),
	convShape("1x1s2", 32, 32, 32, 64, 1, 2, 1),
	convShape("1x1", 32, 16, 256, 64, 1, 1, 1),
	convShape("1x1at56", 4, 56, 64, 256, 1, 1, 1),
	convShape("groups4", 32, 16, 128, 128, 3, 1, 4),
	convShape("groups32", 32, 16, 128, 128, 3, 1, 32),
}

// BenchmarkDirect reports the share of the peak of multiply-adds that one
// worker reaches: the fastest call against the fastest peak loop of the run.
func BenchmarkDirect(b *testing.B) {
	for _, tier := range Tiers() {
		if tier.set == nil {
			continue
		}
		be := New(Options{Workers: 1, Tier: tier})
		defer be.Close()
		for _, s := range directShapes {
			for _, c := range []op.Code{op.Conv, op.ConvInput, op.ConvWeight} {
				b.Run(fmt.Sprintf("%s/%s/%v", tier.name, s.name, c), func(b *testing.B) { benchDirect(b, be, s, c) })
			}
		}
	}
}

func benchDirect(b *testing.B, be *Backend, s benchShape, c op.Code) {
	call := s.call(b, be, c)
	const rounds = 20_000
	peak, best := time.Hour, time.Hour
	before := be.Counted()
	for b.Loop() {
		start := time.Now()
		be.tier.set.Peak(rounds)
		peak = min(peak, time.Since(start))
		start = time.Now()
		if err := be.Run(call); err != nil {
			b.Fatal(err)
		}
		best = min(best, time.Since(start))
	}
	flops := float64(be.Counted()-before) / float64(b.N)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(flops/best.Seconds()/1e9, "GFLOP/s")
	b.ReportMetric(100*flops/best.Seconds()/(rounds*float64(be.tier.set.PeakOps)/peak.Seconds()), "%peak")
}

// call is op c of the convolution.
func (s benchShape) call(b *testing.B, be *Backend, c op.Code) *device.Call {
	a := s.a
	a.H, a.W = s.x[1], s.x[2]
	w := []int{s.k, a.KH, a.KW, s.x[3] / max(a.Groups, 1)}
	y := []int{s.x[0], op.ConvOut(a.H, a.KH, a.Stride, a.Pad), op.ConvOut(a.W, a.KW, a.Stride, a.Pad), s.k}
	x, wt, out := benchTensor(b, be, s.x), benchTensor(b, be, w), benchTensor(b, be, y)
	switch c {
	case op.ConvInput:
		return &device.Call{Code: c, Attr: a, In: []device.Tensor{out, wt}, Out: []device.Tensor{x}}
	case op.ConvWeight:
		return &device.Call{Code: c, Attr: a, In: []device.Tensor{x, out}, Out: []device.Tensor{wt}}
	}
	return &device.Call{Code: c, Attr: a, In: []device.Tensor{x, wt}, Out: []device.Tensor{out}}
}
