package cuda

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/conformance"
	"github.com/locorun/locorun/graphs/cpu"
	"github.com/locorun/locorun/graphs/device"
)

// throughNarrow is how far results in bfloat16 may be off where a library may make
// gradients of weights in bfloat16: by 2^-9 of themselves.
var throughNarrow = conformance.Tolerances{Rel: 1.0 / 256, Abs: 1e-5}

// halves is a tensor of bfloat16.
func (r *rig) halves(v []float32, shape ...int) device.Tensor {
	raw := make([]uint16, len(v))
	for i, x := range v {
		raw[i] = op.Narrow(x)
	}
	return r.tensor(op.BF16, raw, shape)
}

// floats are a tensor's numbers.
func (r *rig) floats(t device.Tensor) []float32 {
	v := make([]float32, t.Elements())
	if t.Dtype != op.BF16 {
		r.read(t, v)
		return v
	}
	raw := make([]uint16, len(v))
	r.read(t, raw)
	for i, h := range raw {
		v[i] = op.Widen(h)
	}
	return v
}

// inHalves makes a Call's float32 maps bfloat16.
func (r *rig) inHalves(c *device.Call) *device.Call {
	row := &op.Rows[c.Code]
	for _, side := range []struct {
		args []op.Arg
		ts   []device.Tensor
	}{{row.In, c.In}, {row.Out, c.Out}} {
		for i, t := range side.ts {
			if t.Buffer != nil && side.args[min(i, len(side.args)-1)].Map {
				side.ts[i] = r.halves(r.floats(t), t.Shape...)
			}
		}
	}
	return c
}

// testRounding: what is written is the nearest, the even one where two are as near,
// and a NaN stays one; by single elements and by four at a time.
func testRounding(t *testing.T, open opener) {
	b := open(t)
	r := &rig{t, b, 0}
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	pairs := [][2]float32{
		{1, 1.0 / 256}, {1, -1.0 / 512}, {1 + 1.0/128, 1.0 / 256}, {1 + 1.0/128, -1.0 / 512}, {1, 1.0/256 + 1.0/32768},
		{-1, -1.0 / 256}, {-1 - 1.0/128, -1.0 / 256}, {0, 0}, {3e38, 3e38}, {-3e38, -3e38}, {inf, 1}, {inf, -inf}, {nan, 1},
		{3.389e38, 1e36}, {1e-40, 1e-40}, {1e-40, -1e-40},
	}
	var first, second, both []float32
	for _, p := range pairs {
		x, y := op.Widen(op.Narrow(p[0])), op.Widen(op.Narrow(p[1]))
		first, second, both = append(first, x), append(second, y), append(both, x, y)
	}
	for name, c := range map[string]struct {
		call device.Call
		by   float32
	}{
		"add": {device.Call{Code: op.Add, In: []device.Tensor{r.halves(first, len(pairs)), r.halves(second, len(pairs))},
			Out: []device.Tensor{r.halves(first, len(pairs))}}, 1},
		"one channel": {device.Call{Code: op.PoolMean, Attr: op.Attr{KH: 1, KW: 2, Stride: 2},
			In: []device.Tensor{r.halves(both, 1, 1, len(both), 1)}, Out: []device.Tensor{r.halves(first, 1, 1, len(pairs), 1)}}, .5},
		"four channels": {device.Call{Code: op.PoolMean, Attr: op.Attr{KH: 1, KW: 2, Stride: 1},
			In:  []device.Tensor{r.halves(append(append([]float32{}, first...), second...), 1, 1, 2, len(pairs))},
			Out: []device.Tensor{r.halves(first, 1, 1, 1, len(pairs))}}, .5},
	} {
		t.Run(name, func(t *testing.T) {
			if err := b.Run(&c.call); err != nil {
				t.Fatal(err)
			}
			for i, got := range r.floats(c.call.Out[0]) {
				sum := (first[i] + second[i]) * c.by
				want := op.Widen(op.Narrow(sum))
				if got != want && (got == got || want == want) {
					t.Errorf("%g and %g, %g: %g, not %g", first[i], second[i], sum, got, want)
				}
			}
		})
	}
}

// testWideNarrowMaps compares with the CPU's kernels on the same numbers, and Calls
// whose tensors no vector can read with those that vectors can, to the byte.
func testWideNarrowMaps(t *testing.T, open opener) {
	b := open(t)
	host := cpu.New(cpu.Options{Workers: 1})
	defer host.Close()
	for _, c := range wide {
		t.Run(c.name, func(t *testing.T) {
			own, shifted, other := &rig{t, b, 0}, &rig{t, b, 4}, &rig{t, host, 0}
			narrow, want := own.inHalves(c.call(own)), c.call(other)
			for i := range narrow.In {
				if narrow.In[i].Dtype == op.BF16 {
					want.In[i] = other.tensor(op.F32, own.floats(narrow.In[i]), narrow.In[i].Shape)
				}
			}
			all := own.results(narrow)
			for i, mem := range shifted.results(shifted.inHalves(c.call(shifted))) {
				if !bytes.Equal(mem, all[i]) {
					t.Errorf("operand %d of those that are there depends on its address", i)
				}
			}
			for i, mem := range other.results(want) {
				if !nearNarrow(all[i], mem) {
					t.Errorf("operand %d of those that are there differs from the CPU's", i)
				}
			}
		})
	}
}

// nearNarrow is near, where bfloat16 may be off by 2^-8 of the largest.
func nearNarrow(got, want []byte) bool {
	if len(got) == len(want) {
		return near(got, want)
	}
	y := make([]float32, len(want)/4)
	if _, err := binary.Decode(want, binary.LittleEndian, y); err != nil || 2*len(got) != len(want) {
		return false
	}
	most := 0.0
	for _, v := range y {
		most = max(most, math.Abs(float64(v)))
	}
	for i, v := range y {
		x := op.Widen(binary.LittleEndian.Uint16(got[2*i:]))
		if d := math.Abs(float64(x) - float64(v)); !(d <= 1e-6+most/256) {
			return false
		}
	}
	return true
}

// testNarrowRefusals: types that do not go together.
func testNarrowRefusals(t *testing.T, open opener) {
	b := open(t)
	r := &rig{t, b, 0}
	one := func(t ...device.Tensor) []device.Tensor { return t }
	map4 := func() device.Tensor { return r.numbers(1, 1, 2, 2, 4) }
	half := func() device.Tensor { return r.halves(make([]float32, 16), 1, 2, 2, 4) }
	weights := func() device.Tensor { return r.halves(make([]float32, 16), 4, 1, 1, 4) }
	unit := op.Attr{KH: 1, KW: 1, Stride: 1}
	for name, c := range map[string]struct {
		call device.Call
		want string
	}{
		"maps":    {device.Call{Code: op.Add, In: one(half(), map4()), Out: one(half())}, "cuda: add: y is bf16 and b is not"},
		"result":  {device.Call{Code: op.ReLU, In: one(half()), Out: one(map4())}, "cuda: relu: x is bf16 and y is not"},
		"weights": {device.Call{Code: op.Conv, Attr: unit, In: one(half(), weights()), Out: one(half())}, "cuda: conv: w is bf16, but no map"},
		"update":  {device.Call{Code: op.SGD, In: one(half(), half()), Out: one(half(), half())}, "cuda: sgd: w is bf16, but no map"},
		"copy":    {device.Call{Code: op.Copy, In: one(map4()), Out: one(half())}, "cuda: copy: b is bf16 and a is not"},
		"of many": {device.Call{Code: op.Concat, In: one(half(), half(), map4()), Out: one(r.halves(make([]float32, 48), 1, 2, 2, 12))},
			"cuda: concat: y is bf16 and x is not"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := b.Run(&c.call); err == nil || err.Error() != c.want {
				t.Errorf("got %v, not %s", err, c.want)
			}
		})
	}
}
