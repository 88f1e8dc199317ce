package cpu

import (
	"fmt"
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// benchShape is a convolution to time.
type benchShape struct {
	name string
	x    []int
	k    int
	a    op.Attr
}

var benchShapes = []benchShape{
	{"stem3", []int{16, 32, 32, 3}, 16, op.Attr{KH: 3, KW: 3, Stride: 1, Pad: 1}},
	{"16x32x32", []int{32, 32, 32, 16}, 16, op.Attr{KH: 3, KW: 3, Stride: 1, Pad: 1}},
	{"32to64s2", []int{32, 16, 16, 32}, 64, op.Attr{KH: 3, KW: 3, Stride: 2, Pad: 1}},
	{"1x1", []int{32, 16, 16, 64}, 64, op.Attr{KH: 1, KW: 1, Stride: 1}},
	{"depthwise", []int{32, 16, 16, 64}, 64, op.Attr{KH: 3, KW: 3, Stride: 1, Pad: 1, Groups: 64}},
	{"batch1", []int{1, 14, 14, 256}, 256, op.Attr{KH: 3, KW: 3, Stride: 1, Pad: 1}},
}

// BenchmarkConv reports GFLOP/s of one worker, forward and both gradients.
func BenchmarkConv(b *testing.B) {
	be := New(Options{Workers: 1})
	defer be.Close()
	for _, s := range benchShapes {
		for _, c := range []op.Code{op.Conv, op.ConvInput, op.ConvWeight} {
			b.Run(fmt.Sprintf("%s/%v", s.name, c), func(b *testing.B) { benchConv(b, be, s, c) })
		}
	}
}

func benchConv(b *testing.B, be *Backend, s benchShape, c op.Code) {
	a := s.a
	a.H, a.W = s.x[1], s.x[2]
	w := []int{s.k, a.KH, a.KW, s.x[3] / max(a.Groups, 1)}
	y := []int{s.x[0], op.ConvOut(a.H, a.KH, a.Stride, a.Pad), op.ConvOut(a.W, a.KW, a.Stride, a.Pad), s.k}
	x, wt, out := benchTensor(b, be, s.x), benchTensor(b, be, w), benchTensor(b, be, y)
	call := &device.Call{Code: c, Attr: a, In: []device.Tensor{x, wt}, Out: []device.Tensor{out}}
	switch c {
	case op.ConvInput:
		call.In, call.Out = []device.Tensor{out, wt}, []device.Tensor{x}
	case op.ConvWeight:
		call.In, call.Out = []device.Tensor{x, out}, []device.Tensor{wt}
	}
	before := be.Counted()
	b.ReportAllocs()
	for b.Loop() {
		if err := be.Run(call); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(be.Counted()-before)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}

func benchTensor(b *testing.B, be *Backend, shape []int) device.Tensor {
	t := device.Tensor{Shape: shape, Dtype: op.F32}
	buf, err := be.Alloc(t.Bytes())
	if err != nil {
		b.Fatal(err)
	}
	t.Buffer = buf
	return t
}
