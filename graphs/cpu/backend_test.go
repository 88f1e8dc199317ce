package cpu

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"go.uber.org/goleak"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/conformance"
	"github.com/locorun/locorun/graphs/device"
)

func started(t *testing.T, workers int) *Backend {
	b := New(Options{Workers: workers})
	t.Cleanup(func() { b.Close() })
	return b
}

// filled is a float32 tensor of b whose element i is f(i).
func filled(t *testing.T, b *Backend, f func(i int) float64, shape ...int) device.Tensor {
	t.Helper()
	at := device.Tensor{Shape: shape, Dtype: op.F32}
	buf, err := b.Alloc(at.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	at.Buffer = buf
	var data []byte
	for i := range at.Elements() {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(f(i))))
	}
	if err := b.Write(at, data); err != nil {
		t.Fatal(err)
	}
	return at
}

func wave(i int) float64 { return math.Sin(float64(i) * 1.7) }
func zero(int) float64   { return 0 }

// numbers reads a float32 tensor.
func numbers(t *testing.T, b *Backend, at device.Tensor) []float64 {
	t.Helper()
	data := make([]byte, at.Bytes())
	if err := b.Read(data, at); err != nil {
		t.Fatal(err)
	}
	var out []float64
	for i := range at.Elements() {
		out = append(out, float64(math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))))
	}
	return out
}

func must(t *testing.T, b device.Backend, c *device.Call) {
	t.Helper()
	if err := b.Run(c); err != nil {
		t.Fatal(err)
	}
}

// counting compares what the kernels count with the op table, Call by Call.
type counting struct {
	*Backend
	differ int
	calls  int
}

func (c *counting) Run(call *device.Call) error {
	before := c.Counted()
	err := c.Backend.Run(call)
	want := int64(0)
	if f := op.Rows[call.Code].MultiplyAdds; f != nil {
		want = 2 * f(call.Attr, shapesOf(call.In), shapesOf(call.Out))
		c.calls++
	}
	if c.Counted()-before != want {
		c.differ++
	}
	return err
}

func shapesOf(ts []device.Tensor) (s [][]int) {
	for _, t := range ts {
		s = append(s, t.Shape)
	}
	return s
}

// TestConformance also compares, over all shapes, what the tiles count with
// what the op table says.
func TestConformance(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) {
		c := &counting{Backend: New(Options{Workers: 2, Tier: tier})}
		conformance.Run(t, func() device.Backend { return c }, conformance.Tolerances{Rel: 5e-6, Abs: 1e-6})
		if c.differ > 0 || c.calls < 7*20 {
			t.Errorf("%d of %d calls count otherwise than the table", c.differ, c.calls)
		}
	})
}

func TestSkippedTileIsMissed(t *testing.T) {
	for _, s := range benchShapes {
		for _, code := range []op.Code{op.Conv, op.ConvInput, op.ConvWeight} {
			b := started(t, 2)
			b.skipTile = func(_ op.Code, tile int) bool { return tile == 0 }
			c := &counting{Backend: b}
			a := s.a
			x := []int{2, 9, 8, s.x[3]}
			a.H, a.W = x[1], x[2]
			w := []int{s.k, a.KH, a.KW, s.x[3] / max(a.Groups, 1)}
			y := []int{2, op.ConvOut(a.H, a.KH, a.Stride, a.Pad), op.ConvOut(a.W, a.KW, a.Stride, a.Pad), s.k}
			in, wt, out := filled(t, b, wave, x...), filled(t, b, wave, w...), filled(t, b, wave, y...)
			call := &device.Call{Code: code, Attr: a, In: []device.Tensor{in, wt}, Out: []device.Tensor{out}}
			switch code {
			case op.ConvInput:
				call.In, call.Out = []device.Tensor{out, wt}, []device.Tensor{in}
			case op.ConvWeight:
				call.In, call.Out = []device.Tensor{in, out}, []device.Tensor{wt}
			}
			if must(t, c, call); c.differ != 1 {
				t.Errorf("%s %v: a skipped tile is not missed", s.name, code)
			}
		}
	}
}

func TestPanicBecomesAnError(t *testing.T) {
	b := started(t, 3)
	broken := func(r *run) error {
		return r.each(5, func(tile int, _ *workspace) {
			var none []int
			_ = none[tile]
		})
	}
	good := b.kernels[op.ReLU]
	b.kernels[op.ReLU] = kernel{broken, broken}
	x, y := filled(t, b, wave, 4, 3), filled(t, b, wave, 4, 3)
	call := &device.Call{Code: op.ReLU, In: []device.Tensor{x}, Out: []device.Tensor{y}}
	for range 20 {
		err := b.Run(call)
		if err == nil || !strings.Contains(err.Error(), "cpu: relu: panic in kernel: runtime error: index out of range") ||
			!strings.Contains(err.Error(), "graphs/cpu/backend_test.go:") {
			t.Fatalf("got %v", err)
		}
	}
	b.kernels[op.ReLU] = good
	must(t, b, call)
}

func TestPanicOutsideTilesBecomesAnError(t *testing.T) {
	b := started(t, 1)
	broken := func(*run) error { panic("no") }
	b.kernels[op.ReLU] = kernel{broken, broken}
	x := filled(t, b, wave, 2)
	err := b.Run(&device.Call{Code: op.ReLU, In: []device.Tensor{x}, Out: []device.Tensor{x}})
	if err == nil || !strings.Contains(err.Error(), "cpu: relu: panic in kernel: no") {
		t.Fatalf("got %v", err)
	}
}

func TestIndexOutsideTheMap(t *testing.T) {
	b := started(t, 1)
	dy, dx := filled(t, b, wave, 1, 1, 1, 1), filled(t, b, wave, 1, 2, 2, 1)
	index := filled(t, b, func(int) float64 { return -1 }, 1, 1, 1, 1)
	index.Dtype = op.I32
	err := b.Run(&device.Call{Code: op.PoolMaxGrad, Attr: op.Attr{KH: 2, KW: 2, Stride: 2, H: 2, W: 2}, In: []device.Tensor{dy, index}, Out: []device.Tensor{dx}})
	if err == nil || !strings.Contains(err.Error(), "lies outside a map of 4 pixels") {
		t.Fatalf("got %v", err)
	}
}

func TestMemory(t *testing.T) {
	b := started(t, 1)
	for _, n := range []int64{0, 1, 63, 64, 1000} {
		buf, err := b.Alloc(n)
		if err != nil || buf.Size() != n {
			t.Fatal(buf.Size(), err)
		}
		mem := buf.(*Buffer).mem
		if n > 0 && uintptr(unsafe.Pointer(&mem[0]))%64 != 0 {
			t.Errorf("%d bytes are not aligned", n)
		}
		if !bytes.Equal(mem, make([]byte, n)) {
			t.Errorf("%d bytes are not zero", n)
		}
	}
	buf, _ := b.Alloc(16)
	at := device.Tensor{Buffer: buf, Offset: 4, Shape: []int{3}, Dtype: op.F32}
	if err := b.Write(at, []byte("abcdefghijkl")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 12)
	if err := b.Read(got, at); err != nil || string(got) != "abcdefghijkl" {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestMemoryRefusals(t *testing.T) {
	b, other := started(t, 1), started(t, 1)
	buf, _ := b.Alloc(16)
	freed, _ := b.Alloc(16)
	b.Free(freed)
	b.Free(freed)
	foreign, _ := other.Alloc(16)
	b.Free(foreign)
	tests := []struct {
		name string
		at   device.Tensor
		data int
		want string
	}{
		{"freed", device.Tensor{Buffer: freed, Shape: []int{1}, Dtype: op.F32}, 4, "cpu: write: tensor lies in a buffer that was freed"},
		{"foreign", device.Tensor{Buffer: foreign, Shape: []int{1}, Dtype: op.F32}, 4, "cpu: write: tensor lies in no buffer of this backend"},
		{"absent", device.Tensor{Shape: []int{1}, Dtype: op.F32}, 4, "cpu: write: tensor lies in no buffer of this backend"},
		{"no type", device.Tensor{Buffer: buf, Shape: []int{1}}, 4, "cpu: write: tensor [1] has no type"},
		{"long", device.Tensor{Buffer: buf, Shape: []int{5}, Dtype: op.F32}, 20, "cpu: write: tensor f32 [5] at byte 0 does not lie in a buffer of 16 bytes"},
		{"odd", device.Tensor{Buffer: buf, Offset: 2, Shape: []int{1}, Dtype: op.F32}, 4, "cpu: write: tensor f32 [1] at byte 2 does not lie in a buffer of 16 bytes"},
		{"before", device.Tensor{Buffer: buf, Offset: -4, Shape: []int{1}, Dtype: op.F32}, 4, "cpu: write: tensor f32 [1] at byte -4 does not lie in a buffer of 16 bytes"},
		{"empty", device.Tensor{Buffer: buf, Shape: []int{0, 3}, Dtype: op.F32}, 0, "cpu: write: shape [0 3] is empty or too large"},
		{"huge", device.Tensor{Buffer: buf, Shape: []int{1 << 40, 1 << 40}, Dtype: op.F32}, 0, "cpu: write: shape [1099511627776 1099511627776] is empty or too large"},
		{"length", device.Tensor{Buffer: buf, Shape: []int{2}, Dtype: op.F32}, 4, "cpu: write: 4 bytes for a tensor of 8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := b.Write(tt.at, make([]byte, tt.data)); err == nil || err.Error() != tt.want {
				t.Errorf("got %v\nwant %s", err, tt.want)
			}
			if err := b.Read(make([]byte, tt.data), tt.at); err == nil {
				t.Error("read passes")
			}
		})
	}
	if _, err := b.Alloc(-1); err == nil || err.Error() != "cpu: cannot allocate -1 bytes" {
		t.Errorf("got %v", err)
	}
	if err := other.Write(device.Tensor{Buffer: foreign, Shape: []int{1}, Dtype: op.F32}, make([]byte, 4)); err != nil {
		t.Error("another backend's Free freed a buffer:", err)
	}
}

func TestClosed(t *testing.T) {
	defer goleak.VerifyNone(t)
	b := New(Options{Workers: 4})
	for _, c := range residualStep(t, b) {
		must(t, b, c)
	}
	for range 2 {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Alloc(4); err != errClosed {
		t.Errorf("got %v", err)
	}
	if err := b.Run(&device.Call{Code: op.ReLU}); err != errClosed {
		t.Errorf("got %v", err)
	}
}

// residualStep is a few ops on tensors of b, as a training step has them.
func residualStep(t *testing.T, b *Backend) []*device.Call {
	conv := op.Attr{KH: 3, KW: 3, Stride: 1, Pad: 1, H: 12, W: 12}
	s := []int{4, 12, 12, 16}
	x, z, y, dz := filled(t, b, wave, s...), filled(t, b, zero, s...), filled(t, b, zero, s...), filled(t, b, zero, s...)
	w, dw := filled(t, b, wave, 16, 3, 3, 16), filled(t, b, zero, 16, 3, 3, 16)
	c := func() device.Tensor { return filled(t, b, wave, 16) }
	scale, shift, m, v, ds, dh := c(), c(), c(), c(), c(), c()
	e, loss, de := filled(t, b, wave, 4, 1, 1, 16), filled(t, b, zero, 1), filled(t, b, zero, 4, 1, 1, 16)
	none := device.Tensor{}
	norm := op.Attr{ReLU: true, Eps: 1e-5, Weights: true}
	ts := func(ts ...device.Tensor) []device.Tensor { return ts }
	return []*device.Call{
		{Code: op.Conv, Attr: conv, In: ts(x, w), Out: ts(z)},
		{Code: op.Norm, Attr: norm, In: ts(z, scale, shift), Out: ts(y, m, v)},
		{Code: op.Mean, In: ts(y), Out: ts(e)},
		{Code: op.NTXent, Attr: op.Attr{Temperature: 0.5, Scale: 1}, In: ts(e), Out: ts(loss, de)},
		{Code: op.MeanGrad, Attr: conv, In: ts(de), Out: ts(dz)},
		{Code: op.NormGrad, Attr: norm, In: ts(dz, z, y, scale, m, v), Out: ts(dz, none, ds, dh)},
		{Code: op.ConvWeight, Attr: conv, In: ts(x, dz), Out: ts(dw)},
		{Code: op.ConvInput, Attr: conv, In: ts(dz, w), Out: ts(y)},
		{Code: op.SGD, Attr: op.Attr{LRFactor: 1}, LR: 0.01, In: ts(w, dw), Out: ts(w, dw)},
	}
}

func TestSteadyStateAllocatesAlmostNothing(t *testing.T) {
	b := started(t, 2)
	step := residualStep(t, b)
	run := func() {
		for _, c := range step {
			must(t, b, c)
		}
	}
	for range 200 { // until every worker has had its share of every kind of tile
		run()
	}
	if n := testing.AllocsPerRun(20, run); n > float64(15*len(step)) {
		t.Errorf("%g allocations a step of %d ops", n, len(step))
	}
	before := b.Scratch()
	for range 50 {
		run()
	}
	if after := b.Scratch(); after > before+before/2 || after > 4<<20 {
		t.Errorf("scratch grew from %d to %d bytes", before, after)
	}
}

// TestCallersAtOnce: steps run from several goroutines at once, on tensors of
// their own, give the bytes of a step run alone.
func TestCallersAtOnce(t *testing.T) {
	alone := started(t, 1)
	want := residualStep(t, alone)
	for range 3 {
		for _, c := range want {
			must(t, alone, c)
		}
	}
	weights := fmt.Sprint(numbers(t, alone, want[0].In[1]))
	b := started(t, 3)
	var all sync.WaitGroup
	for range 4 {
		step := residualStep(t, b)
		all.Go(func() {
			for range 3 {
				for _, c := range step {
					if err := b.Run(c); err != nil {
						t.Error(err)
						return
					}
				}
			}
			if got := fmt.Sprint(numbers(t, b, step[0].In[1])); got != weights {
				t.Error("weights differ from those of a step run alone")
			}
		})
	}
	all.Wait()
}
