package driver

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"testing"
)

// scaled is a kernel to launch: y = a*x, by element.
const scaled = `extern "C" __global__ void scaled(float *y, const float *x, float a, int n) {
	int i = blockIdx.x * blockDim.x + threadIdx.x;
	if (i < n) y[i] = a * x[i];
}`

// onCard opens the first real card, which LOCORUN_TEST_CARD=1 asks for: then
// there must be one.
func onCard(t *testing.T) (Device, Stream) {
	t.Helper()
	if os.Getenv("LOCORUN_TEST_CARD") != "1" {
		t.Skip("LOCORUN_TEST_CARD is not 1")
	}
	d := must(Open(0))(t)
	t.Cleanup(func() { ok(t, d.Close()) })
	t.Logf("on %s, sm_%d", d.Name(), d.Arch())
	return d, must(d.NewStream())(t)
}

// TestOnCardCopies sends bytes there, around and back, in all sizes at which the
// way of a copy changes.
func TestOnCardCopies(t *testing.T) {
	d, s := onCard(t)
	for _, n := range []int{0, 1, 255, smallChunk, smallChunk + 1, readChunk, 2*readChunk + 1, largeSlots*largeChunk + readChunk + 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			p, q := must(d.Alloc(int64(n)+8))(t), must(d.Alloc(int64(n)+8))(t)
			src := content(uint64(n), n)
			want := bytes.Clone(src)
			ok(t, d.Fill(p, 0x5a, int64(n)+8, s))
			ok(t, d.Upload(p+4, src, s))
			clear(src)
			ok(t, d.Copy(q, p, int64(n)+8, s))
			got := make([]byte, n+8)
			ok(t, d.Download(got, q, s))
			if !bytes.Equal(got[4:n+4], want) || !bytes.Equal(got[:4], []byte("ZZZZ")) || !bytes.Equal(got[n+4:], []byte("ZZZZ")) {
				t.Error("other bytes came back")
			}
			ok(t, d.Free(p))
			ok(t, d.Free(q))
		})
	}
}

// TestOnCardLaunch compiles a kernel, runs it, and lets another stream wait for
// it.
func TestOnCardLaunch(t *testing.T) {
	d, s := onCard(t)
	image := must(newCompiler(t).Compile("scaled.cu", scaled, d.Arch()))(t)
	k := must(d.Function(must(d.Load(image))(t), "scaled"))(t)
	const n = 100_001
	x := put(t, d, s, F32, n, 0)
	y := &floats{must(d.Alloc(4 * n))(t), F32, make([]float32, n)}
	other, e := must(d.NewStream())(t), must(d.NewEvent())(t)
	ok(t, d.Launch(k, Dim{(n + 255) / 256, 1, 1}, Dim{256, 1, 1}, 0, s, []uint64{uint64(y.at), uint64(x.at), uint64(math.Float32bits(3)), n}))
	ok(t, d.Record(e, s))
	ok(t, d.Wait(other, e))
	for i, v := range y.read(t, d, other) {
		if v != 3*x.host[i] {
			t.Fatalf("element %d is %g, not %g", i, v, 3*x.host[i])
		}
	}
}

// TestOnCardMonitor asks NVML for memory that is in use.
func TestOnCardMonitor(t *testing.T) {
	d, s := onCard(t)
	m := must(NewMonitor(d))(t)
	const size = 256 << 20
	before, total, err := m.Memory()
	ok(t, err)
	p := must(d.Alloc(size))(t)
	ok(t, d.Fill(p, 1, size, s))
	ok(t, d.Sync(s))
	after, _, err := m.Memory()
	ok(t, err)
	if after <= before || after > total {
		t.Errorf("%d bytes in use before and %d after an allocation of %d; there are %d", before, after, size, total)
	}
	ok(t, d.Free(p))
	ok(t, m.Close())
}

// TestOnCardBLAS multiplies on the real library.
func TestOnCardBLAS(t *testing.T) {
	d, s := onCard(t)
	l := must(NewBLAS(d))(t)
	t.Logf("cuBLASLt %s", l.Version())
	const bytes = 1 << 22
	space := must(d.Alloc(bytes))(t)
	for _, p := range []Product{
		{M: 64, N: 48, K: 32, StrideA: 32, StrideB: 48, StrideC: 48},
		{M: 61, N: 44, K: 36, TransA: true, StrideA: 64, StrideB: 44, StrideC: 44},
		{M: 64, N: 48, K: 100, TransB: true, StrideA: 100, StrideB: 100, StrideC: 52},
		{M: 8, N: 16, K: 32, TransA: true, TransB: true, StrideA: 8, StrideB: 32, StrideC: 16, Batch: 3, StepA: 256, StepB: 512, StepC: 128},
		{M: 64, N: 48, K: 32, StrideA: 32, StrideB: 48, StrideC: 48, TF32: true},
		{M: 64, N: 48, K: 32, StrideA: 32, StrideB: 48, StrideC: 48, AB: BF16},
	} {
		t.Run(fmt.Sprintf("%+v", p), func(t *testing.T) {
			n, rowsA, rowsB := max(1, p.Batch), p.M, p.K
			if p.TransA {
				rowsA = p.K
			}
			if p.TransB {
				rowsB = p.N
			}
			a := put(t, d, s, p.AB, (n-1)*p.StepA+rowsA*p.StrideA, 0)
			b := put(t, d, s, p.AB, (n-1)*p.StepB+rowsB*p.StrideB, 0)
			o := put(t, d, s, p.C, (n-1)*p.StepC+p.M*p.StrideC, 0)
			want := defined(&p, .5, a.host, b.host, 1, o.host)
			ok(t, l.Multiply(&p, .5, a.at, b.at, 1, o.at, space, bytes, s))
			compare(t, o.read(t, d, s), want)
		})
	}
	ok(t, l.Close())
}

// TestOnCardDNN convolves on the real library, by every algorithm that it
// offers, twice: the bytes are the same.
func TestOnCardDNN(t *testing.T) {
	d, s := onCard(t)
	n := must(NewDNN(d))(t)
	const bytes = 64 << 20
	space := must(d.Alloc(bytes))(t)
	for _, c := range []Conv{
		{N: 2, H: 9, W: 8, C: 8, K: 16, R: 3, S: 3, Stride: 1, Pad: 1, Groups: 1},
		{N: 2, H: 8, W: 8, C: 16, K: 8, R: 1, S: 1, Stride: 2, Groups: 1},
		{N: 2, H: 8, W: 8, C: 16, K: 8, R: 3, S: 3, Stride: 2, Pad: 1, Groups: 1, TF32: true},
		{N: 2, H: 9, W: 8, C: 8, K: 16, R: 3, S: 3, Stride: 1, Pad: 1, Groups: 1, Type: BF16},
		{N: 2, H: 8, W: 8, C: 16, K: 8, R: 3, S: 3, Stride: 2, Pad: 1, Groups: 1, Type: BF16},
	} {
		h, w := c.Out()
		x := put(t, d, s, c.Type, c.N*c.H*c.W*c.C, 0)
		f := put(t, d, s, c.Type, c.K*c.R*c.S*c.C/c.Groups, 0)
		y := put(t, d, s, c.Type, c.N*h*w*c.K, 0)
		for _, way := range []Way{Forward, BackwardData, BackwardFilter} {
			t.Run(fmt.Sprintf("%v %+v", way, c), func(t *testing.T) {
				everyAlgo(t, d, s, n, &c, way, Maps{x.at, f.at, y.at}, [3]*floats{x, f, y}, space, bytes)
			})
		}
	}
	wide := Conv{N: 2, H: 9, W: 8, C: 8, K: 16, R: 3, S: 3, Stride: 1, Pad: 1, Groups: 1, Type: BF16, WideFilter: true}
	_, err := n.Algos(&wide, BackwardFilter) // either way is used
	t.Logf("a float32 gradient of weights for maps of bf16: %v", err)
	ok(t, n.Close())
}

// everyAlgo runs a way of a convolution, by every algorithm, twice.
func everyAlgo(t *testing.T, d Device, s Stream, n DNN, c *Conv, way Way, m Maps, maps [3]*floats, space Pointer, bytes int64) {
	t.Helper()
	algos := must(n.Measure(c, way, m, space, bytes, s))(t)
	if len(algos) == 0 {
		t.Skip("cuDNN has no algorithm whose sums have one order: ours compute it")
	}
	which := [...]int{Forward: 2, BackwardData: 0, BackwardFilter: 1}[way]
	want := convolved(c, way, 1, [3][]float32{maps[0].host, maps[1].host, maps[2].host}, 0)
	for _, a := range algos {
		var first []float32
		for range 2 {
			ok(t, n.Run(c, way, a, 1, m, 0, space, bytes, s))
			got := maps[which].read(t, d, s)
			near(t, c, a, got, want)
			if first == nil {
				first = got
			} else if !sameBits(first, got) {
				t.Errorf("algorithm %d gave other bytes", a.ID)
			}
		}
	}
	ok(t, d.Upload(maps[which].at, maps[which].raw(), s)) // the result is an operand of the other ways
}

// near holds a sum to the size of the largest: what is next to 0 is a difference
// of large terms. In bfloat16 it is rounded.
func near(t *testing.T, c *Conv, a Algo, got, want []float32) {
	t.Helper()
	most, limit := 0.0, [...]float64{F32: 1e-3, BF16: 1.0 / 256}[c.Type]
	for _, v := range want {
		most = max(most, math.Abs(float64(v)))
	}
	for i, v := range want {
		if !(math.Abs(float64(got[i]-v)) <= limit*most) {
			t.Fatalf("algorithm %d: element %d is %g, not %g", a.ID, i, got[i], v)
		}
	}
}

func sameBits(a, b []float32) bool {
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return false
		}
	}
	return true
}
