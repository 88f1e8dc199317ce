package driver

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"
)

// floats are n values in the card's memory, with what they are on the host.
type floats struct {
	at   Pointer
	kind Type
	host []float32
}

// put puts values of small, exact size onto a card; skew moves them away from
// where memory begins, in bytes.
func put(t *testing.T, d Device, s Stream, kind Type, n, skew int) *floats {
	t.Helper()
	f := &floats{must(d.Alloc(int64(n*kind.Size()+skew)))(t) + Pointer(skew), kind, make([]float32, n)}
	for i := range f.host {
		f.host[i] = float32((i*7+n)%11-5) / 4
	}
	ok(t, d.Upload(f.at, f.raw(), s))
	ok(t, d.Sync(s))
	return f
}

// raw is what the host has, as it lies in memory.
func (f *floats) raw() []byte {
	raw := make([]byte, 0, len(f.host)*4)
	for _, v := range f.host {
		bits := math.Float32bits(v)
		if f.kind == BF16 {
			raw = binary.LittleEndian.AppendUint16(raw, uint16(bits>>16))
		} else {
			raw = binary.LittleEndian.AppendUint32(raw, bits)
		}
	}
	return raw
}

// read gives what a card has there now.
func (f *floats) read(t *testing.T, d Device, s Stream) []float32 {
	t.Helper()
	raw := make([]byte, len(f.host)*f.kind.Size())
	ok(t, d.Download(raw, f.at, s))
	now := make([]float32, len(f.host))
	for i := range now {
		if f.kind == BF16 {
			now[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(raw[2*i:])) << 16)
		} else {
			now[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		}
	}
	return now
}

// TestBLAS multiplies every way and compares with the definition.
func TestBLAS(t *testing.T) {
	f := newFake(t)
	d := f.device()
	l := must(NewBLAS(d))(t)
	s := must(d.NewStream())(t)
	space := must(d.Alloc(1 << 10))(t)
	for _, c := range []struct {
		name        string
		p           Product
		alpha, beta float32
		skew        int
	}{
		{"plain", Product{M: 2, N: 3, K: 4, StrideA: 4, StrideB: 3, StrideC: 3}, 1, 0, 0},
		{"one", Product{M: 1, N: 1, K: 1, StrideA: 1, StrideB: 1, StrideC: 1}, 2, 1, 0},
		{"a transposed", Product{M: 5, N: 3, K: 4, TransA: true, StrideA: 5, StrideB: 3, StrideC: 3}, 1, 0, 0},
		{"b transposed", Product{M: 5, N: 3, K: 4, TransB: true, StrideA: 4, StrideB: 4, StrideC: 3}, 1, 0, 0},
		{"both, strides, sums", Product{M: 5, N: 3, K: 4, TransA: true, TransB: true, StrideA: 9, StrideB: 6, StrideC: 8}, .5, 1, 0},
		{"a batch", Product{M: 2, N: 3, K: 4, StrideA: 4, StrideB: 3, StrideC: 3, Batch: 3, StepA: 8, StepB: 0, StepC: 10}, 1, .5, 0},
		{"tf32", Product{M: 2, N: 3, K: 4, StrideA: 4, StrideB: 3, StrideC: 3, TF32: true}, 1, 0, 0},
		{"bf16 into f32", Product{M: 2, N: 3, K: 4, StrideA: 4, StrideB: 3, StrideC: 3, AB: BF16}, 1, 1, 0},
		{"bf16", Product{M: 4, N: 2, K: 3, TransA: true, StrideA: 4, StrideB: 2, StrideC: 2, AB: BF16, C: BF16}, 1, 0, 0},
		{"the third kernel", Product{M: 2, N: 3, K: 4, StrideA: 4, StrideB: 3, StrideC: 3, Rank: 2}, 1, 0, 0},
		{"away from 16 bytes", Product{M: 2, N: 3, K: 4, StrideA: 4, StrideB: 3, StrideC: 3}, 1, 0, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := max(1, c.p.Batch)
			rowsA, rowsB := c.p.M, c.p.K
			if c.p.TransA {
				rowsA = c.p.K
			}
			if c.p.TransB {
				rowsB = c.p.N
			}
			a := put(t, d, s, c.p.AB, (n-1)*c.p.StepA+rowsA*c.p.StrideA, c.skew)
			b := put(t, d, s, c.p.AB, (n-1)*c.p.StepB+rowsB*c.p.StrideB, 2*c.skew)
			o := put(t, d, s, c.p.C, (n-1)*c.p.StepC+c.p.M*c.p.StrideC, 3*c.skew)
			for _, space := range []Pointer{0, space} {
				before := o.read(t, d, s)
				ok(t, l.Multiply(&c.p, c.alpha, a.at, b.at, c.beta, o.at, space, 1<<10, s))
				compare(t, o.read(t, d, s), defined(&c.p, c.alpha, a.host, b.host, c.beta, before))
			}
		})
	}
	if v := l.Version(); v != "13.4.1" {
		t.Errorf("version %s", v)
	}
	ok(t, l.Close())
	if n := call(dlsym(f.open("libcublasLt.so.13"), "fake_blas_live")); n != 0 {
		t.Errorf("%d of the library's objects are left", n)
	}
}

// defined is a product by its definition.
func defined(p *Product, alpha float32, a, b []float32, beta float32, c []float32) []float32 {
	o := append([]float32(nil), c...)
	for t := range max(1, p.Batch) {
		for i := range p.M {
			for j := range p.N {
				sum := 0.0
				for k := range p.K {
					x, y := i*p.StrideA+k, k*p.StrideB+j
					if p.TransA {
						x = k*p.StrideA + i
					}
					if p.TransB {
						y = j*p.StrideB + k
					}
					sum += float64(a[t*p.StepA+x]) * float64(b[t*p.StepB+y])
				}
				at := t*p.StepC + i*p.StrideC + j
				o[at] = alpha*float32(sum) + beta*c[at]
			}
		}
	}
	return o
}

// compare wants values that were exact in the making.
func compare(t *testing.T, got, want []float32) {
	t.Helper()
	for i := range want {
		if math.Abs(float64(got[i]-want[i])) > 1e-2*math.Abs(float64(want[i])) {
			t.Fatalf("element %d is %g, not %g", i, got[i], want[i])
		}
	}
}

// TestBLASRefuses holds products that are none to their errors.
func TestBLASRefuses(t *testing.T) {
	d := newFake(t).device()
	l := must(NewBLAS(d))(t)
	s := must(d.NewStream())(t)
	for _, c := range []struct {
		name string
		p    Product
		want string
	}{
		{"nothing", Product{M: 1, N: 0, K: 2}, "a product of [1,2] and [2,0]"},
		{"short rows", Product{M: 2, N: 3, K: 4, StrideA: 3, StrideB: 3, StrideC: 3}, "rows of 4, 3 and 3 elements, 3, 3 and 3 apart"},
		{"one result", Product{M: 2, N: 3, K: 4, StrideA: 4, StrideB: 3, StrideC: 3, Batch: 2}, "2 products into one matrix"},
		{"rounded", Product{M: 2, N: 3, K: 4, StrideA: 4, StrideB: 3, StrideC: 3, C: BF16}, "a product of f32 into bf16"},
		{"too few", Product{M: 2, N: 3, K: 4, StrideA: 4, StrideB: 3, StrideC: 3, Rank: 3}, "cuBLASLt has 3 kernels for {M:2 N:3 K:4"},
		{"below the first", Product{M: 2, N: 3, K: 4, StrideA: 4, StrideB: 3, StrideC: 3, Rank: -1}, "kernel -1 of a product"},
		{"no kernel", Product{M: 13, N: 13, K: 4, StrideA: 4, StrideB: 13, StrideC: 13}, "cuBLASLt has no kernel for {M:13 N:13 K:4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := l.Multiply(&c.p, 1, 0, 0, 0, 0, 0, 0, s)
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("want %q, have %v", c.want, err)
			}
		})
	}
	p := Product{M: 1, N: 1, K: 1, StrideA: 1, StrideB: 1, StrideC: 1}
	if err := l.Multiply(&p, 1, 0, 0, 0, 0, 0, 0, 0); err == nil || err.Error() != "cublasLtMatmul: CUBLAS_STATUS_INVALID_VALUE: an unsupported value or parameter was passed" {
		t.Errorf("the library's refusal: %v", err)
	}
	ok(t, l.Close())
	ok(t, l.Close())
}

// TestBLASKernels counts what is offered, for the Ranks.
func TestBLASKernels(t *testing.T) {
	l := must(NewBLAS(newFake(t).device()))(t)
	p := Product{M: 2, N: 3, K: 4, StrideA: 4, StrideB: 3, StrideC: 3, Rank: 7}
	for most, want := range map[int]int{1: 1, 2: 2, 8: 3} {
		if n := must(l.Kernels(&p, 0, most))(t); n != want {
			t.Errorf("%d kernels of %d, not %d", n, most, want)
		}
	}
	none := Product{M: 13, N: 13, K: 4, StrideA: 4, StrideB: 13, StrideC: 13}
	if n := must(l.Kernels(&none, 0, 3))(t); n != 0 {
		t.Errorf("%d kernels where there is none", n)
	}
	if _, err := l.Kernels(&Product{}, 0, 3); err == nil {
		t.Error("kernels for nothing")
	}
	ok(t, l.Close())
}

// TestAlignment counts no further than 16.
func TestAlignment(t *testing.T) {
	for p, want := range map[Pointer]int{0: 16, 1: 1, 2: 2, 4: 4, 12: 4, 24: 8, 16: 16, 48: 16, 1 << 40: 16} {
		if got := alignment(p); got != want {
			t.Errorf("%d is aligned to %d, not %d", p, want, got)
		}
	}
}

// TestDNN convolves every way, chooses and measures.
func TestDNN(t *testing.T) {
	f := newFake(t)
	d := f.device()
	n := must(NewDNN(d))(t)
	s := must(d.NewStream())(t)
	const bytes = 1 << 16
	space := must(d.Alloc(bytes))(t)
	for _, c := range []Conv{
		{N: 2, H: 5, W: 4, C: 3, K: 2, R: 3, S: 3, Stride: 1, Pad: 1, Groups: 1},
		{N: 1, H: 7, W: 6, C: 4, K: 6, R: 3, S: 2, Stride: 2, Pad: 1, Groups: 2},
		{N: 2, H: 4, W: 4, C: 3, K: 3, R: 2, S: 2, Stride: 2, Pad: 0, Groups: 3},
		{N: 3, H: 2, W: 2, C: 5, K: 4, R: 1, S: 1, Stride: 1, Pad: 0, Groups: 1, TF32: true},
		{N: 2, H: 5, W: 4, C: 4, K: 2, R: 3, S: 3, Stride: 1, Pad: 1, Groups: 2, Type: BF16},
		{N: 2, H: 5, W: 4, C: 3, K: 2, R: 3, S: 3, Stride: 2, Pad: 1, Groups: 1, Type: BF16, WideFilter: true},
	} {
		h, w := c.Out()
		filter := c.Type
		if c.WideFilter {
			filter = F32
		}
		x := put(t, d, s, c.Type, c.N*c.H*c.W*c.C, 0)
		f := put(t, d, s, filter, c.K*c.R*c.S*c.C/c.Groups, 0)
		y := put(t, d, s, c.Type, c.N*h*w*c.K, 0)
		m := Maps{x.at, f.at, y.at}
		for _, way := range []Way{Forward, BackwardData, BackwardFilter} {
			t.Run(fmt.Sprintf("%v %dx%d/%d groups %d %v", way, c.R, c.S, c.Stride, c.Groups, c.Type), func(t *testing.T) {
				if c.WideFilter && way != BackwardFilter {
					if _, err := n.Algos(&c, way); err == nil || !strings.Contains(err.Error(), "CUDNN_STATUS_NOT_SUPPORTED") {
						t.Errorf("weights of another type than maps: %v", err)
					}
					return
				}
				algos := must(n.Algos(&c, way))(t)
				if want := "1 4 5"; c.rounds() == (ids(algos) == want) {
					t.Errorf("offered are %s", ids(algos))
				}
				algos = must(n.Measure(&c, way, m, space, bytes, s))(t)
				if algos[len(algos)-1].ID != 1 || algos[len(algos)-2].ID != 4 || algos[0].Workspace > bytes {
					t.Errorf("measured were %s", ids(algos))
				}
				o := []*floats{y, x, f}[way]
				in := [3][]float32{x.read(t, d, s), f.read(t, d, s), y.read(t, d, s)}
				ok(t, n.Run(&c, way, algos[len(algos)-2], .5, m, 2, space, bytes, s))
				compare(t, o.read(t, d, s), convolved(&c, way, .5, in, 2))
			})
		}
	}
	ok(t, n.Close())
	ok(t, n.Close())
	if k := call(dlsym(f.open("libcudnn.so.9"), "fake_dnn_live")); k != 0 {
		t.Errorf("%d of the library's objects are left", k)
	}
}

// rounds reports whether factors may be other than float32.
func (c *Conv) rounds() bool { return c.TF32 || c.Type == BF16 }

// ids are the numbers of algorithms.
func ids(algos []Algo) string {
	var list []string
	for _, a := range algos {
		list = append(list, fmt.Sprint(a.ID))
	}
	return strings.Join(list, " ")
}

// convolved is a way of a convolution by its definition, from x, w and y.
func convolved(c *Conv, way Way, alpha float32, in [3][]float32, beta float32) []float32 {
	which := [...]int{Forward: 2, BackwardData: 0, BackwardFilter: 1}[way]
	sums := make([]float64, len(in[which]))
	c.each(func(x, w, y int) {
		at := [3]int{x, w, y}
		term := 1.0
		for i := range 3 {
			if i != which {
				term *= float64(in[i][at[i]])
			}
		}
		sums[at[which]] += term
	})
	o := make([]float32, len(sums))
	for i, v := range sums {
		o[i] = alpha*float32(v) + beta*in[which][i]
	}
	return o
}

// each goes through the products of a convolution: indices of x, w and y.
func (c *Conv) each(do func(x, w, y int)) {
	h, v := c.Out()
	group, part := c.K/c.Groups, c.C/c.Groups
	for i := range c.N * h * v * c.K {
		k, column, row, picture := i%c.K, i/c.K%v, i/c.K/v%h, i/c.K/v/h
		for j := range c.R * c.S * part {
			channel, s, r := j%part, j/part%c.S, j/part/c.S
			a, b := row*c.Stride-c.Pad+r, column*c.Stride-c.Pad+s
			if a >= 0 && b >= 0 && a < c.H && b < c.W {
				do(((picture*c.H+a)*c.W+b)*c.C+k/group*part+channel, k*c.R*c.S*part+j, i)
			}
		}
	}
}

// TestDNNRefuses holds convolutions that are none to their errors.
func TestDNNRefuses(t *testing.T) {
	d := newFake(t).device()
	n := must(NewDNN(d))(t)
	s := must(d.NewStream())(t)
	good := Conv{N: 1, H: 4, W: 4, C: 4, K: 4, R: 3, S: 3, Stride: 1, Groups: 1}
	for _, c := range []struct {
		name   string
		change func(c *Conv)
		want   string
	}{
		{"nothing", func(c *Conv) { c.K = 0 }, "a convolution of {N:1 H:4 W:4 C:4 K:0"},
		{"window", func(c *Conv) { c.R = 5 }, "a window of 5x3 does not fit a map of 4x4 with padding 0"},
		{"groups", func(c *Conv) { c.Groups = 3 }, "4 and 4 channels do not split into 3 groups"},
		{"large", func(c *Conv) { c.N = 1 << 30 }, "a map of 68719476736 elements; cuDNN counts to 2147483647"},
		{"type", func(c *Conv) { c.Type, c.WideFilter = BF16, true }, "cudnnGetConvolutionForwardAlgorithm_v7: CUDNN_STATUS_NOT_SUPPORTED: a fake's reason"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wrong := good
			c.change(&wrong)
			if _, err := n.Algos(&wrong, Forward); err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("want %q, have %v", c.want, err)
			}
		})
	}
	err := n.Run(&good, Forward, Algo{ID: 4, Workspace: 4096}, 1, Maps{}, 0, 0, 4095, s)
	if err == nil || err.Error() != "a workspace of 4095 bytes for an algorithm that needs 4096" {
		t.Errorf("too little workspace: %v", err)
	}
	ok(t, n.Close())
}

// TestDNNKeeps lets no algorithm through that has no order of sums, that cannot
// run, that needs too much, or that rounds factors which are to stay.
func TestDNNKeeps(t *testing.T) {
	list := []dnnPerf{
		{algo: 0, deterministic: 0, math: dnnFMAMath}, {algo: 1, deterministic: 1, math: dnnFMAMath},
		{algo: 2, deterministic: 1, math: dnnTensorMath}, {algo: 3, deterministic: 1, math: dnnDefaultMath},
		{algo: 4, deterministic: 1, math: dnnFMAMath, status: 3000}, {algo: 5, deterministic: 1, math: dnnFMAMath, memory: 100},
	}
	exact, rounded := Conv{}, Conv{TF32: true}
	if got := exact.keep(list, 99); ids(got) != "1 3" || got[1].Math != dnnFMAMath {
		t.Errorf("exact: %v", got)
	}
	if got := rounded.keep(list, 100); ids(got) != "1 2 3 5" || got[1].Math != dnnTensorMath {
		t.Errorf("rounded: %v", got)
	}
}

// TestLibrariesNeedADevice refuses a Device of another kind.
func TestLibrariesNeedADevice(t *testing.T) {
	for name, open := range map[string]func(Device) error{
		"BLAS":    func(d Device) error { _, err := NewBLAS(d); return err },
		"DNN":     func(d Device) error { _, err := NewDNN(d); return err },
		"Monitor": func(d Device) error { _, err := NewMonitor(d); return err },
	} {
		if err := open(other{}); err == nil || err.Error() != "another was not opened by this package" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// other is a Device of another kind.
type other struct{ Device }

// Name implements Device.
func (other) Name() string { return "another" }
