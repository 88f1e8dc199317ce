package cpu

import (
	"testing"
	"time"

	"github.com/locorun/locorun/compiler/op"
)

// mapBenches are maps of several megabytes: nothing stays in the caches but
// tiles.
var mapBenches = []mapCase{
	{op.Conv, op.Attr{KH: 3, KW: 3, Stride: 1, Pad: 1, Groups: 32}, []int{64, 32, 32, 32}},
	{op.Conv, op.Attr{KH: 3, KW: 3, Stride: 1, Pad: 1, Groups: 144}, []int{4, 56, 56, 144}},
	{op.Conv, op.Attr{KH: 3, KW: 3, Stride: 2, Pad: 1, Groups: 128}, []int{32, 16, 16, 128}},
	{op.Conv, op.Attr{KH: 3, KW: 3, Stride: 1, Pad: 1, Groups: 512}, []int{32, 14, 14, 512}},
	{op.Conv, op.Attr{KH: 5, KW: 5, Stride: 1, Pad: 2, Groups: 240}, []int{32, 14, 14, 240}},
	{op.Conv, op.Attr{KH: 7, KW: 7, Stride: 1, Pad: 3, Groups: 96}, []int{4, 56, 56, 96}},
	{op.PoolMax, op.Attr{KH: 3, KW: 3, Stride: 2, Pad: 1}, []int{4, 112, 112, 64}},
	{op.PoolMax, op.Attr{KH: 2, KW: 2, Stride: 2}, []int{64, 32, 32, 32}},
	{op.PoolMaxGrad, op.Attr{KH: 3, KW: 3, Stride: 2, Pad: 1}, []int{4, 112, 112, 64}},
	{op.PoolMaxGrad, op.Attr{KH: 2, KW: 2, Stride: 2}, []int{64, 32, 32, 32}},
	{op.PoolMean, op.Attr{KH: 2, KW: 2, Stride: 2}, []int{64, 32, 32, 32}},
	{op.PoolMeanGrad, op.Attr{KH: 2, KW: 2, Stride: 2}, []int{64, 32, 32, 32}},
	{op.Mean, op.Attr{}, []int{64, 7, 7, 512}},
	{op.Mean, op.Attr{}, []int{16, 56, 56, 64}},
	{op.MeanGrad, op.Attr{}, []int{64, 7, 7, 512}},
	{op.Resize, op.Attr{H: 32, W: 32}, []int{32, 16, 16, 64}},
	{op.Resize, op.Attr{H: 96, W: 96}, []int{32, 128, 128, 3}},
	{op.ResizeGrad, op.Attr{H: 32, W: 32}, []int{32, 16, 16, 64}},
	{op.Shuffle, op.Attr{Groups: 2}, []int{16, 28, 28, 116}},
	{op.Shuffle, op.Attr{Groups: 58}, []int{16, 28, 28, 116}},
	{op.Shuffle, op.Attr{Groups: 3}, []int{16, 28, 28, 240}},
	{op.Shuffle, op.Attr{Groups: 8}, []int{16, 28, 28, 256}},
}

// BenchmarkMaps reports the bytes of operands a second that one worker reaches
// at its best, and beside them those of a copy of as many bytes, which need
// not read what it overwrites.
func BenchmarkMaps(b *testing.B) {
	for _, tier := range Tiers() {
		be := New(Options{Workers: 1, Tier: tier})
		defer be.Close()
		for _, c := range mapBenches {
			if c.code != op.Conv {
				b.Run(tier.name+"/"+c.String(), func(b *testing.B) { c.bench(b, be) })
				continue
			}
			for _, c.code = range depthwiseOps {
				b.Run(tier.name+"/"+c.String(), func(b *testing.B) { c.bench(b, be) })
			}
		}
	}
}

func (c mapCase) bench(b *testing.B, be *Backend) {
	call := c.call(b, be, op.F32, false, wave)
	c.winners(b, be, call)
	bytes := 0
	for _, t := range append(call.In, call.Out...) {
		bytes += int(t.Bytes())
	}
	from, to := make([]byte, bytes/2), make([]byte, bytes/2)
	best, plain := time.Hour, time.Hour
	for b.Loop() {
		start := time.Now()
		copy(to, from)
		plain = min(plain, time.Since(start))
		start = time.Now()
		if err := be.Run(call); err != nil {
			b.Fatal(err)
		}
		best = min(best, time.Since(start))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(bytes)/best.Seconds()/1e9, "GB/s")
	b.ReportMetric(float64(bytes)/plain.Seconds()/1e9, "copy-GB/s")
}
