package cpu

import (
	"bytes"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// ntxentProblem is embeddings with what is asked of them.
type ntxentProblem struct {
	name               string
	temperature, scale float64
	rows, dim          int
	e                  func(i int) float64
}

// solve runs NTXent and returns loss and gradient, as numbers and as bytes.
func (p ntxentProblem) solve(t *testing.T, b *Backend) (numbers64 []float64, data []byte) {
	t.Helper()
	in, out, de := filled(t, b, p.e, p.rows, 1, 1, p.dim), filled(t, b, zero, 1), filled(t, b, zero, p.rows, 1, 1, p.dim)
	must(t, b, &device.Call{
		Code: op.NTXent, Attr: op.Attr{Temperature: p.temperature, Scale: p.scale},
		In: []device.Tensor{in}, Out: []device.Tensor{out, de},
	})
	for _, at := range []device.Tensor{out, de} {
		numbers64 = append(numbers64, numbers(t, b, at)...)
		mem := make([]byte, at.Bytes())
		if err := b.Read(mem, at); err != nil {
			t.Fatal(err)
		}
		data = append(data, mem...)
		b.Free(at.Buffer)
	}
	b.Free(in.Buffer)
	return numbers64, data
}

// agree compares with the portable tier, which computes in float64.
func (p ntxentProblem) agree(t *testing.T, b, portable *Backend) {
	t.Helper()
	got, _ := p.solve(t, b)
	want, _ := p.solve(t, portable)
	if d := math.Abs(got[0] - want[0]); !(d <= 1e-6+5e-6*math.Abs(want[0])) {
		t.Errorf("%s, %s: %d rows of %d: loss %g, not %g", b.Name(), p.name, p.rows, p.dim, got[0], want[0])
	}
	limit := 1e-6 + 5e-6*largest(want[1:])
	for i, v := range want[1:] {
		if d := math.Abs(got[1+i] - v); !(d <= limit) {
			t.Fatalf("%s, %s: %d rows of %d: gradient %d is %g, not %g +- %.2g", b.Name(), p.name, p.rows, p.dim, i, got[1+i], v, limit)
		}
	}
}

func portableTier(t *testing.T) *Backend {
	tier, err := TierNamed("portable")
	if err != nil {
		t.Fatal(err)
	}
	b := New(Options{Workers: 2, Tier: tier})
	t.Cleanup(func() { b.Close() })
	return b
}

// eachVectorTier runs f on a backend of two workers of each vector tier.
func eachVectorTier(t *testing.T, f func(t *testing.T, b *Backend)) {
	for _, tier := range assemblyTiers() {
		t.Run(tier.Name(), func(t *testing.T) {
			b := New(Options{Workers: 2, Tier: tier})
			defer b.Close()
			f(t, b)
		})
	}
}

// hash is a number in [-1,1) that looks random.
func hash(i int) float64 {
	x := uint64(i+1) * 0x9e3779b97f4a7c15
	x ^= x >> 29
	x *= 0xbf58476d1ce4e5b9
	return float64(int64(x)) / (1 << 63)
}

func TestFastNTXentSizes(t *testing.T) {
	portable := portableTier(t)
	temperatures := []float64{0.5, 0.1, 0.05, 1, 1. / 32, 7, 1e4}
	eachVectorTier(t, func(t *testing.T, b *Backend) {
		for rows := 2; rows <= 70; rows += 2 {
			for dim := 1; dim <= 70; dim++ {
				i := rows/2*71 + dim
				p := ntxentProblem{"random", temperatures[i%7], []float64{1, 0.3, 2}[i%3], rows, dim, hash}
				p.agree(t, b, portable)
			}
		}
	})
}

func TestFastNTXentRows(t *testing.T) {
	portable := portableTier(t)
	const rows, dim = 120, 33
	row := func(i int) int { return i / dim }
	problems := []ntxentProblem{
		{"views alike", 0.1, 1, rows, dim, func(i int) float64 { return hash(i/dim/2*dim+i%dim) + 0.01*hash(i) }},
		{"duplicates", 0.2, 1, rows, dim, func(i int) float64 { return hash(row(i)%5*dim + i%dim) }},
		{"identical", 0.1, 1, rows, dim, func(i int) float64 { return hash(i % dim) }},
		{"a zero row", 0.1, 1, rows, dim, func(i int) float64 { return hash(i) * float64(min(row(i), 1)) }},
		{"all zero", 0.1, 1, rows, dim, zero},
		{"opposite", 1. / 32, 1, rows, dim, func(i int) float64 { return hash(i%dim) * float64(1-2*(row(i)&1)) }},
		{"huge", 0.1, 1, rows, dim, func(i int) float64 { return 3e38 * hash(i) }},
		{"tiny", 0.1, 1e-30, rows, dim, func(i int) float64 { return 1e-38 * hash(i) }},
		{"some short", 0.1, 1, rows, dim, func(i int) float64 { return hash(i) * math.Pow(10, float64(-row(i)%12)) }},
		{"cold", 0.01, 1, rows, dim, hash},
		{"colder", 1e-4, 1, rows, dim, hash},
		{"hot", 1e300, 1, rows, dim, hash},
		{"infinitely hot", math.Inf(1), 1, rows, dim, hash},
		{"squares", 0.1, 1, 2*squareRows + 2, 5, hash},
		{"a square", 0.1, 1, squareRows, 65, hash},
		{"blocks of 56", 0.2, 1, 500, 20, hash},
		{"blocks of 112", 0.2, 1, 900, 9, hash},
		{"wide", 0.1, 1, 60, 5000, hash},
	}
	eachVectorTier(t, func(t *testing.T, b *Backend) {
		for _, p := range problems {
			t.Run(p.name, func(t *testing.T) { p.agree(t, b, portable) })
		}
	})
}

// TestFastNTXentShowsNaN: one NaN or infinity anywhere makes the loss, and all
// of the gradient, NaN.
func TestFastNTXentShowsNaN(t *testing.T) {
	eachVectorTier(t, func(t *testing.T, b *Backend) {
		for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			for _, rows := range []int{2, 6, 40, squareRows + 4} {
				for at := range 6 {
					at *= rows * 3 / 6
					p := ntxentProblem{"NaN", 0.5, 1, rows, 3, func(i int) float64 {
						if i == at {
							return bad
						}
						return hash(i)
					}}
					got, _ := p.solve(t, b)
					for i, v := range got {
						if v == v {
							t.Fatalf("%g at %d of %d rows: result %d is %g", bad, at, rows, i, v)
						}
					}
				}
			}
		}
	})
}

func TestFastNTXentIsNamed(t *testing.T) {
	shape := [][]int{{8, 1, 1, 4}}
	eachVectorTier(t, func(t *testing.T, b *Backend) {
		for temperature, want := range map[float64]string{0.1: b.tier.name, 1. / 32: b.tier.name, 0.03: "portable", 1e9: "portable"} {
			got := b.KernelName(op.NTXent, op.Attr{Temperature: temperature, Scale: 1}, shape, [][]int{{1}, shape[0]}, op.F32)
			if got != want {
				t.Errorf("temperature %g: kernel %q, not %q", temperature, got, want)
			}
		}
	})
}

// TestFastNTXentBytes: the same bytes whatever the workers.
func TestFastNTXentBytes(t *testing.T) {
	for _, tier := range assemblyTiers() {
		for _, rows := range []int{2, 58, 230, 900} {
			p := ntxentProblem{"random", 0.1, 1, rows, 37, hash}
			var want []byte
			for _, workers := range []int{1, 2, 3, 8} {
				b := New(Options{Workers: workers, Tier: tier})
				for range 3 {
					_, got := p.solve(t, b)
					if want == nil {
						want = got
					}
					if !bytes.Equal(got, want) {
						t.Errorf("%s: %d rows: %d workers give other bytes", tier.Name(), rows, workers)
					}
				}
				b.Close()
			}
		}
	}
}

// TestFastNTXentScratch: two forms of the embeddings and a few numbers a row
// are held together, and a tile by each worker.
func TestFastNTXentScratch(t *testing.T) {
	for _, tier := range assemblyTiers() {
		for _, size := range [][2]int{{4096, 16}, {512, 2048}, {2, 1}} {
			b := New(Options{Workers: 1, Tier: tier})
			p := ntxentProblem{"random", 0.5, 1, size[0], size[1], hash}
			p.solve(t, b)
			rows, dim := int64(max(size[0], 32)), int64(max(size[1], 32))
			if s, most := b.Scratch(), 2*4*dim*(rows+squareRows)+40*rows+1<<21; s > most {
				t.Errorf("%s: %d bytes of scratch for %v, more than %d", tier.Name(), s, size, most)
			}
			b.Close()
		}
	}
}

// BenchmarkNTXent reports, beside the time, the share of the peak of
// multiply-adds that one worker would reach if the three products were all.
func BenchmarkNTXent(b *testing.B) {
	for _, tier := range Tiers() {
		for _, size := range [][2]int{{256, 128}, {1024, 128}, {1024, 512}, {4096, 128}, {2048, 2048}} {
			if tier.set == nil && size[0]*size[1] > 1<<18 {
				continue // seconds
			}
			b.Run(fmt.Sprintf("%s/%dx%d", tier.Name(), size[0], size[1]), func(b *testing.B) {
				be := New(Options{Workers: 1, Tier: tier})
				defer be.Close()
				benchNTXent(b, be, size[0], size[1])
			})
		}
	}
}

func benchNTXent(b *testing.B, be *Backend, rows, dim int) {
	e, loss, de := benchTensor(b, be, []int{rows, 1, 1, dim}), benchTensor(b, be, []int{1}), benchTensor(b, be, []int{rows, 1, 1, dim})
	for i, m := 0, typed[float32](e.Buffer.(*Buffer).mem); i < rows*dim; i++ {
		m[i] = float32(hash(i))
	}
	call := &device.Call{
		Code: op.NTXent, Attr: op.Attr{Temperature: 0.5, Scale: 1},
		In: []device.Tensor{e}, Out: []device.Tensor{loss, de},
	}
	best := timed(func() { be.Run(call) })
	peak := 0.0
	for b.Loop() {
		if be.tier.set != nil {
			peak = max(peak, be.Peak())
		}
		best = min(best, timed(func() { be.Run(call) }))
	}
	rate := 3 * 2 * float64(rows) * float64(rows) * float64(dim) / best
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(best*1e3, "ms")
	b.ReportMetric(rate/1e9, "GFLOP/s")
	if peak > 0 {
		b.ReportMetric(100*rate/peak, "%peak")
	}
}

// timed is how long f takes, in seconds.
func timed(f func()) float64 {
	start := time.Now()
	f()
	return time.Since(start).Seconds()
}
