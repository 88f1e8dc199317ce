package cpu

import (
	"fmt"
	"math"
	"runtime/debug"
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// mapCase is an op on maps of a shape.
type mapCase struct {
	code op.Code
	attr op.Attr
	x    []int
}

func (c mapCase) String() string {
	return fmt.Sprintf("%v x %v window %dx%d stride %d pad %d groups %d to %dx%d", c.code, c.x, c.attr.KH, c.attr.KW, c.attr.Stride, c.attr.Pad, c.attr.Groups, c.attr.H, c.attr.W)
}

// windowed is x's shape behind the window.
func (c mapCase) windowed() []int {
	a := c.attr
	return []int{c.x[0], op.ConvOut(c.x[1], a.KH, a.Stride, a.Pad), op.ConvOut(c.x[2], a.KW, a.Stride, a.Pad), c.x[3]}
}

// shapes are those of the op's arguments and results.
func (c mapCase) shapes() (in, out [][]int) {
	x, w := c.x, []int{c.x[3], c.attr.KH, c.attr.KW, 1}
	one, wide := []int{x[0], 1, 1, x[3]}, []int{x[0], c.attr.H, c.attr.W, x[3]}
	list := func(s ...[]int) [][]int { return s }
	switch c.code {
	case op.Conv:
		if c.attr.Bias {
			return list(x, w, []int{x[3]}), list(c.windowed())
		}
		return list(x, w), list(c.windowed())
	case op.ConvInput:
		return list(c.windowed(), w), list(x)
	case op.ConvWeight:
		return list(x, c.windowed()), list(w)
	case op.PoolMax:
		return list(x), list(c.windowed(), c.windowed())
	case op.PoolMaxGrad:
		return list(c.windowed(), c.windowed()), list(x)
	case op.PoolMean:
		return list(x), list(c.windowed())
	case op.PoolMeanGrad:
		return list(c.windowed()), list(x)
	case op.Mean:
		return list(x), list(one)
	case op.MeanGrad:
		return list(one), list(x)
	case op.Resize:
		return list(x), list(wide)
	case op.ResizeGrad:
		return list(wide), list(x)
	}
	return list(x), list(x)
}

// fencedTensor is a tensor of b whose elements are f(i) (indices: 0).
func fencedTensor(t testing.TB, b *Backend, dtype op.Dtype, atEnd bool, shape []int, f func(i int) float64) device.Tensor {
	at := device.Tensor{Shape: shape, Dtype: dtype}
	n := int(at.Bytes())
	at.Buffer = &Buffer{owner: b, mem: fenced(t, n, atEnd), size: int64(n)}
	mem := at.Buffer.(*Buffer).mem
	for i, m := 0, typed[float32](mem); i < len(m) && dtype == op.F32; i++ {
		m[i] = float32(f(i))
	}
	for i, m := 0, typed[float64](mem); i < len(m) && dtype == op.F64; i++ {
		m[i] = float64(float32(f(i)))
	}
	return at
}

// call is the case on tensors of b.
func (c mapCase) call(t testing.TB, b *Backend, dtype op.Dtype, atEnd bool, f func(i int) float64) *device.Call {
	a := c.attr
	if c.code != op.Resize {
		a.H, a.W = c.x[1], c.x[2]
	}
	call := &device.Call{Code: c.code, Attr: a}
	in, out := c.shapes()
	for i, s := range in {
		d := dtype
		if op.Rows[c.code].In[i].Name == "index" {
			d = op.I32
		}
		call.In = append(call.In, fencedTensor(t, b, d, atEnd, s, func(e int) float64 { return f(e + 7*i) }))
	}
	for i, s := range out {
		d := dtype
		if op.Rows[c.code].Out[i].Name == "index" {
			d = op.I32
		}
		call.Out = append(call.Out, fencedTensor(t, b, d, atEnd, s, wave))
	}
	return call
}

// winners fills in the indices of a pool's gradient: those of a pool.
func (c mapCase) winners(t testing.TB, b *Backend, call *device.Call) {
	if c.code != op.PoolMaxGrad {
		return
	}
	pool := c
	pool.code = op.PoolMax
	p := pool.call(t, b, op.F64, false, wave)
	if err := b.Run(p); err != nil {
		t.Fatal(err)
	}
	copy(call.In[1].Buffer.(*Buffer).mem, p.Out[1].Buffer.(*Buffer).mem)
}

// differs compares the float32 results of a call with float64 ones.
func differs(got, want *device.Call) error {
	for i := range got.Out {
		g, w := got.Out[i].Buffer.(*Buffer).mem, want.Out[i].Buffer.(*Buffer).mem
		if got.Out[i].Dtype == op.I32 {
			if string(g) != string(w) {
				return fmt.Errorf("indices differ")
			}
			continue
		}
		most := 0.0
		for _, v := range typed[float64](w) {
			if !math.IsNaN(v) {
				most = max(most, math.Abs(v))
			}
		}
		for e, v := range typed[float64](w) {
			have := float64(typed[float32](g)[e])
			if d := math.Abs(have - v); !(d <= 1e-6+5e-6*most) && !(math.IsNaN(have) && math.IsNaN(v)) {
				return fmt.Errorf("element %d is %g, not %g", e, have, v)
			}
		}
	}
	return nil
}

// check runs the case on operands between fences and compares it with plain Go
// in float64.
func (c mapCase) check(t *testing.T, b *Backend) {
	t.Helper()
	want := c.call(t, b, op.F64, false, wave)
	c.winners(t, b, want)
	must(t, b, want)
	for _, atEnd := range []bool{false, true} {
		got := c.call(t, b, op.F32, atEnd, wave)
		c.winners(t, b, got)
		before := b.Counted()
		if err := b.Run(got); err != nil {
			t.Fatalf("%v: %v", c, err)
		}
		if f := op.Rows[c.code].MultiplyAdds; f != nil {
			if n := 2 * f(got.Attr, shapesOf(got.In), shapesOf(got.Out)); b.Counted()-before != n {
				t.Errorf("%v: counts %d, not %d", c, b.Counted()-before, n)
			}
		}
		if err := differs(got, want); err != nil {
			t.Errorf("%v: %v", c, err)
		}
	}
}

// vectorTiers runs a test on every tier with one worker, whose faults are errors.
func vectorTiers(t *testing.T, do func(t *testing.T, b *Backend)) {
	for _, tier := range Tiers() {
		t.Run(tier.name, func(t *testing.T) {
			b := New(Options{Workers: 1, Tier: tier})
			t.Cleanup(func() { b.Close() })
			defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
			do(t, b)
		})
	}
}

// mapWindows are windows with and without overlap, gaps and padding.
var mapWindows = []op.Attr{
	{KH: 1, KW: 1, Stride: 1}, {KH: 2, KW: 2, Stride: 2}, {KH: 3, KW: 3, Stride: 1, Pad: 1}, {KH: 3, KW: 3, Stride: 2, Pad: 1},
	{KH: 3, KW: 2, Stride: 1}, {KH: 5, KW: 5, Stride: 1, Pad: 2}, {KH: 5, KW: 5, Stride: 3, Pad: 2}, {KH: 7, KW: 7, Stride: 1, Pad: 3},
	{KH: 7, KW: 7, Stride: 2, Pad: 3}, {KH: 1, KW: 9, Stride: 1, Pad: 0}, {KH: 2, KW: 3, Stride: 4}, {KH: 9, KW: 8, Stride: 1, Pad: 4},
	{KH: 3, KW: 3, Stride: 1, Pad: 3}, {KH: 1, KW: 1, Stride: 3, Pad: 2},
}

var (
	depthwiseOps = []op.Code{op.Conv, op.ConvInput, op.ConvWeight}
	poolOps      = []op.Code{op.PoolMax, op.PoolMaxGrad, op.PoolMean, op.PoolMeanGrad}
)

// checkWindow checks the ops of a window on maps x, where they are legal.
func checkWindow(t *testing.T, b *Backend, a op.Attr, x []int) {
	t.Helper()
	if x[1]+2*a.Pad < a.KH || x[2]+2*a.Pad < a.KW {
		return
	}
	for _, code := range depthwiseOps {
		if a.Groups = x[3]; x[3] > 1 {
			a.Bias = code == op.Conv && x[3]%2 == 1
			mapCase{code, a, x}.check(t, b)
		}
	}
	a.Groups, a.Bias = 0, false
	for _, code := range poolOps {
		if a.Pad < min(a.KH, a.KW) || code == op.PoolMean || code == op.PoolMeanGrad {
			mapCase{code, a, x}.check(t, b)
		}
	}
}

func TestWindowsOfAnyShape(t *testing.T) {
	vectorTiers(t, func(t *testing.T, b *Backend) {
		for i, a := range mapWindows {
			for j, hw := range [][2]int{{9, 11}, {1, 9}, {5, 4}, {2, 3}, {17, 23}} {
				checkWindow(t, b, a, []int{1 + (i+j)%3, hw[0], hw[1], 1 + (7*i+13*j)%40})
			}
		}
	})
}

func TestChannelsOfAnyNumber(t *testing.T) {
	vectorTiers(t, func(t *testing.T, b *Backend) {
		for c := 1; c <= 70; c++ {
			x := []int{1, 4, 5, c}
			checkWindow(t, b, op.Attr{KH: 3, KW: 3, Stride: 1 + c%2, Pad: 1}, x)
			for _, code := range []op.Code{op.Mean, op.MeanGrad, op.Resize, op.ResizeGrad} {
				mapCase{code, op.Attr{H: 3 + c%5, W: 7 - c%4}, x}.check(t, b)
			}
			for groups := 1; groups <= c; groups++ {
				if c%groups == 0 {
					mapCase{op.Shuffle, op.Attr{Groups: groups}, x}.check(t, b)
				}
			}
		}
	})
}

func TestMapsOfManyTiles(t *testing.T) {
	vectorTiers(t, func(t *testing.T, b *Backend) {
		checkWindow(t, b, op.Attr{KH: 3, KW: 3, Stride: 1, Pad: 1}, []int{40, 9, 9, 33})
		checkWindow(t, b, op.Attr{KH: 5, KW: 5, Stride: 2, Pad: 2}, []int{2, 61, 53, 48})
		for _, code := range []op.Code{op.Mean, op.MeanGrad, op.Resize, op.ResizeGrad} {
			mapCase{code, op.Attr{H: 40, W: 30}, []int{2, 71, 53, 100}}.check(t, b)
		}
	})
}

// TestWorkersChangeNoByteOfMaps runs the ops on one and on three workers.
func TestWorkersChangeNoByteOfMaps(t *testing.T) {
	for _, tier := range Tiers() {
		one, three := New(Options{Workers: 1, Tier: tier}), New(Options{Workers: 3, Tier: tier})
		defer one.Close()
		defer three.Close()
		a := op.Attr{KH: 3, KW: 3, Stride: 2, Pad: 1, Groups: 40}
		for _, code := range append(append([]op.Code{}, depthwiseOps...), poolOps...) {
			c := mapCase{code, a, []int{20, 15, 17, 40}}
			first, second := c.call(t, one, op.F32, false, wave), c.call(t, three, op.F32, false, wave)
			must(t, one, first)
			must(t, three, second)
			for i := range first.Out {
				if string(first.Out[i].Buffer.(*Buffer).mem) != string(second.Out[i].Buffer.(*Buffer).mem) {
					t.Errorf("%s: %v differs between workers", tier.name, c)
				}
			}
		}
	}
}

// TestNaNInMaps: a NaN is noticed wherever it lies, and found at its place.
func TestNaNInMaps(t *testing.T) {
	vectorTiers(t, func(t *testing.T, b *Backend) {
		for _, c := range []int{1, 8, 19, 33} {
			for at := 0; at < 5*6*c; at += 1 + c/2 {
				nan := func(i int) float64 {
					if i == at || i == at+c {
						return math.NaN()
					}
					return wave(i)
				}
				m := mapCase{op.PoolMax, op.Attr{KH: 3, KW: 3, Stride: 2, Pad: 1}, []int{1, 5, 6, c}}
				got, want := m.call(t, b, op.F32, true, nan), m.call(t, b, op.F64, true, nan)
				must(t, b, got)
				must(t, b, want)
				if err := differs(got, want); err != nil {
					t.Fatalf("%v with a NaN at %d: %v", m, at, err)
				}
			}
		}
	})
}

// TestWinnersOutsideTheirWindows: indices need not lie in their windows.
func TestWinnersOutsideTheirWindows(t *testing.T) {
	vectorTiers(t, func(t *testing.T, b *Backend) {
		c := mapCase{op.PoolMaxGrad, op.Attr{KH: 2, KW: 2, Stride: 2}, []int{3, 6, 8, 21}}
		got, want := c.call(t, b, op.F32, true, wave), c.call(t, b, op.F64, true, wave)
		for _, call := range []*device.Call{got, want} {
			index := typed[int32](call.In[1].Buffer.(*Buffer).mem)
			for i := range index {
				index[i] = int32(i * 31 % 48)
			}
			must(t, b, call)
		}
		if err := differs(got, want); err != nil {
			t.Error(err)
		}
	})
}
