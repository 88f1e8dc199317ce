package cuda

import (
	"math"
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// TestNTXentSplits: columns are shared among blocks as soon as there are several
// tiles of them.
func TestNTXentSplits(t *testing.T) {
	for rows, want := range map[int]int{2: 1, 64: 1, 66: 2, 512: 8, 64 * 40: 4, 1 << 16: 1} {
		if got := ntxentSplits(rows); got != want {
			t.Errorf("%d rows: %d splits, not %d", rows, got, want)
		}
	}
}

// ntxentOfLargeAndSmall: rows far from length 1, of zeros, and of more
// elements than a block has threads stay finite, and the loss does not know of
// lengths.
func ntxentOfLargeAndSmall(b *bench) {
	const rows, d = 130, 300
	e := b.numbers(rows * d)
	first := b.ntxent(e, rows, d, 0.1)
	for _, scale := range []float32{1e-30, 1e30} {
		scaled := make([]float32, len(e))
		for i, v := range e {
			scaled[i] = v * scale
		}
		if got := b.ntxent(scaled, rows, d, 0.1); math.Abs(got-first) > 1e-6*first && scale > 1 {
			b.Errorf("scaled by %g: loss %g, not %g", scale, got, first)
		}
	}
	clear(e[d : 3*d])
	b.ntxent(e, rows, d, 1e-3)
	clear(e)
	if got, want := b.ntxent(e, rows, d, 1e-3), math.Log(rows-1); math.Abs(got-want) > 1e-6 {
		b.Errorf("zeros: loss %g, not %g", got, want)
	}
}

// ntxent runs the op and gives its loss; loss and gradient must be finite.
func (b *bench) ntxent(e []float32, rows, d int, temperature float64) float64 {
	b.Helper()
	in, out := b.put(e, 0), b.put(make([]float32, len(e)+1), 0)
	tensor := func(at *buffer, shape ...int) device.Tensor { return device.Tensor{Buffer: at, Shape: shape} }
	call := device.Call{Code: op.NTXent, Attr: op.Attr{Temperature: temperature, Scale: 1}}
	call.In = []device.Tensor{tensor(&buffer{in, int64(4 * len(e))}, rows, 1, 1, d)}
	call.Out = []device.Tensor{tensor(&buffer{out, 4}, 1), tensor(&buffer{out + 4, int64(4 * len(e))}, rows, 1, 1, d)}
	b.check(b.b.Run(&call))
	got := b.get(out, len(e)+1)
	for i, v := range got {
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			b.Fatalf("result %d is %g", i, f)
		}
	}
	return float64(got[0])
}
