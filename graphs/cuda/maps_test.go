package cuda

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cpu"
	"github.com/locorun/locorun/graphs/device"
)

// rig makes tensors in a backend's memory.
type rig struct {
	t *testing.T
	device.Backend
	shift int64 // of all tensors, in bytes
}

// numbers is a tensor of numbers between -1 and 1, the same for a seed.
func (r *rig) numbers(seed uint32, shape ...int) device.Tensor {
	t := device.Tensor{Shape: shape, Dtype: op.F32}
	v := make([]float32, t.Elements())
	for i := range v {
		seed = seed*1664525 + 1013904223
		v[i] = float32(int32(seed)>>8) / (1 << 23)
	}
	return r.tensor(op.F32, v, shape)
}

// positive is numbers between 0.5 and 1.5.
func (r *rig) positive(seed uint32, shape ...int) device.Tensor {
	t := r.numbers(seed, shape...)
	var v = make([]float32, t.Elements())
	r.read(t, v)
	for i := range v {
		v[i] = 1 + v[i]/2
	}
	return r.tensor(op.F32, v, shape)
}

func (r *rig) index(shape ...int) device.Tensor {
	return r.tensor(op.I32, make([]int32, device.Tensor{Shape: shape}.Elements()), shape)
}

func (r *rig) tensor(dtype op.Dtype, v any, shape []int) device.Tensor {
	r.t.Helper()
	mem, err := binary.Append(nil, binary.LittleEndian, v)
	if err != nil {
		r.t.Fatal(err)
	}
	t := device.Tensor{Offset: r.shift, Shape: shape, Dtype: dtype}
	if t.Buffer, err = r.Alloc(int64(len(mem)) + r.shift); err != nil {
		r.t.Fatal(err)
	}
	if err := r.Write(t, mem); err != nil {
		r.t.Fatal(err)
	}
	return t
}

func (r *rig) read(t device.Tensor, to any) []byte {
	r.t.Helper()
	mem := make([]byte, t.Bytes())
	err := r.Read(mem, t)
	if err == nil && to != nil {
		_, err = binary.Decode(mem, binary.LittleEndian, to)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return mem
}

// wide are Calls on maps of more channels than a block has, and of more pixels
// than a segment or a thread.
var wide = []struct {
	name string
	call func(r *rig) *device.Call
}{
	{"norm", func(r *rig) *device.Call {
		return r.norm(op.Attr{Mode: op.NormUpdate, Residual: true, ReLU: true}, 2, 9, 9, 264)
	}},
	{"norm of odd channels", func(r *rig) *device.Call { return r.norm(op.Attr{ReLU: true}, 2, 5, 5, 131) }},
	{"norm of long columns", func(r *rig) *device.Call { return r.norm(op.Attr{Mode: op.NormUpdate}, 3, 40, 40, 4) }},
	{"group norm", func(r *rig) *device.Call { return r.norm(op.Attr{Groups: 33, ReLU: true}, 2, 9, 9, 264) }},
	{"group norm of large pictures", func(r *rig) *device.Call { return r.norm(op.Attr{Groups: 2}, 2, 40, 40, 6) }},
	{"norm_grad", func(r *rig) *device.Call { return r.normGrad(op.Attr{ReLU: true, Weights: true}, 2, 9, 9, 264) }},
	{"norm_grad of long columns", func(r *rig) *device.Call { return r.normGrad(op.Attr{Weights: true}, 3, 40, 40, 4) }},
	{"norm_grad of groups", func(r *rig) *device.Call {
		return r.normGrad(op.Attr{Groups: 3, ReLU: true, Weights: true}, 3, 24, 24, 132)
	}},
	{"mean", func(r *rig) *device.Call {
		return &device.Call{Code: op.Mean, In: r.maps(1, 2, 30, 30, 132), Out: r.maps(0, 2, 1, 1, 132)}
	}},
	{"resize", func(r *rig) *device.Call {
		return &device.Call{Code: op.Resize, Attr: op.Attr{H: 20, W: 31}, In: r.maps(1, 2, 9, 12, 132), Out: r.maps(0, 2, 20, 31, 132)}
	}},
	{"resize_grad", func(r *rig) *device.Call {
		return &device.Call{Code: op.ResizeGrad, Attr: op.Attr{H: 5, W: 31}, In: r.maps(1, 2, 20, 6, 132), Out: r.maps(0, 2, 5, 31, 132)}
	}},
	{"pool_max", func(r *rig) *device.Call {
		return &device.Call{Code: op.PoolMax, Attr: op.Attr{KH: 3, KW: 3, Stride: 2, Pad: 1}, In: r.maps(1, 2, 14, 14, 132),
			Out: []device.Tensor{r.numbers(0, 2, 7, 7, 132), r.index(2, 7, 7, 132)}}
	}},
	{"lars", func(r *rig) *device.Call {
		in := []device.Tensor{r.numbers(1, 300000), r.numbers(2, 300000), r.numbers(3, 300000)}
		return &device.Call{Code: op.LARS, Attr: op.Attr{Trust: 0.01, Momentum: 0.9, Decay: 1e-4, LRFactor: 1}, LR: 0.1, In: in, Out: in}
	}},
}

func (r *rig) maps(seed uint32, shape ...int) []device.Tensor {
	return []device.Tensor{r.numbers(seed, shape...)}
}

func (r *rig) norm(a op.Attr, shape ...int) *device.Call {
	a.Eps, a.StatMomentum = 1e-5, 0.1
	c := shape[3]
	s := saved(a.Groups, shape)
	in := []device.Tensor{r.numbers(1, shape...), r.numbers(2, c), r.numbers(3, c), r.numbers(4, c), r.positive(5, c), {}}
	if a.Residual {
		in[5] = r.numbers(6, shape...)
	}
	return &device.Call{Code: op.Norm, Attr: a, In: in, Out: []device.Tensor{r.numbers(0, shape...), r.numbers(0, s...), r.numbers(0, s...)}}
}

func (r *rig) normGrad(a op.Attr, shape ...int) *device.Call {
	c, s := shape[3], saved(a.Groups, shape)
	in := []device.Tensor{r.numbers(1, shape...), r.numbers(2, shape...), {}, r.numbers(3, c), r.numbers(4, s...), r.positive(5, s...)}
	if a.ReLU {
		in[2] = r.numbers(6, shape...)
	}
	return &device.Call{Code: op.NormGrad, Attr: a, In: in,
		Out: []device.Tensor{r.numbers(0, shape...), r.numbers(0, shape...), r.numbers(7, c), r.numbers(8, c)}}
}

// results runs a Call and gives all that it left in its operands.
func (r *rig) results(c *device.Call) (all [][]byte) {
	r.t.Helper()
	if err := r.Run(c); err != nil {
		r.t.Fatal(err)
	}
	tensors := append([]device.Tensor{}, c.In...)
	if c.Out[0].Buffer != c.In[0].Buffer {
		tensors = append(tensors, c.Out...)
	}
	for _, t := range tensors {
		if t.Buffer != nil {
			all = append(all, r.read(t, nil))
			r.Free(t.Buffer)
		}
	}
	return all
}

// near compares floats, to 1e-4 of the largest; integers are equal as floats
// that small are.
func near(a, b []byte) bool {
	var x, y = make([]float32, len(a)/4), make([]float32, len(b)/4)
	_, errX := binary.Decode(a, binary.LittleEndian, x)
	_, errY := binary.Decode(b, binary.LittleEndian, y)
	most := 0.0
	for _, v := range y {
		most = max(most, math.Abs(float64(v)))
	}
	for i := range x {
		if d := math.Abs(float64(x[i]) - float64(y[i])); !(d <= 1e-6+1e-4*most) {
			return false
		}
	}
	return errX == nil && errY == nil && len(x) == len(y)
}

// testWideMaps compares with the CPU's kernels, and Calls whose tensors no vector
// can read with those that vectors can, to the byte.
func testWideMaps(t *testing.T, open opener) {
	b := open(t)
	host := cpu.New(cpu.Options{Workers: 1})
	defer host.Close()
	for _, c := range wide {
		t.Run(c.name, func(t *testing.T) {
			own, shifted, other := &rig{t, b, 0}, &rig{t, b, 4}, &rig{t, host, 0}
			got, want := own.results(c.call(own)), other.results(c.call(other))
			for i := range want {
				if !near(got[i], want[i]) {
					t.Errorf("operand %d of those that are there differs from the CPU's", i)
				}
			}
			for i, mem := range shifted.results(c.call(shifted)) {
				if !bytes.Equal(mem, got[i]) {
					t.Errorf("operand %d of those that are there depends on its address", i)
				}
			}
		})
	}
}

func testNaNsStay(t *testing.T, open opener) {
	b := open(t)
	r := &rig{t, b, 0}
	x := r.tensor(op.F32, []float32{1, float32(math.NaN()), -1, 2}, []int{1, 2, 2, 1})
	for name, c := range map[string]*device.Call{
		"pool_max": {Code: op.PoolMax, Attr: op.Attr{KH: 2, KW: 2, Stride: 1}, In: []device.Tensor{x}, Out: []device.Tensor{r.numbers(0, 1, 1, 1, 1), r.index(1, 1, 1, 1)}},
		"relu":     {Code: op.ReLU, In: []device.Tensor{x}, Out: r.maps(0, 1, 2, 2, 1)},
		"norm":     r.norm(op.Attr{ReLU: true}, 1, 2, 2, 1),
	} {
		c.In[0] = x
		if err := b.Run(c); err != nil {
			t.Fatal(err)
		}
		v := make([]float32, c.Out[0].Elements())
		if r.read(c.Out[0], v); v[len(v)/2] == v[len(v)/2] && v[min(1, len(v)-1)] == v[min(1, len(v)-1)] {
			t.Errorf("%s makes %v of %v", name, v, "a NaN")
		}
	}
}

func testRefusals(t *testing.T, open opener) {
	b := open(t)
	r := &rig{t, b, 0}
	m := func() device.Tensor { return r.numbers(1, 2, 3, 3, 4) }
	small := func() device.Tensor { return r.numbers(1, 2, 1, 1, 4) }
	one := func(t ...device.Tensor) []device.Tensor { return t }
	four := r.numbers(1, 4)
	for _, c := range []struct {
		name string
		call device.Call
		want string
	}{
		{"shuffle", device.Call{Code: op.Shuffle, Attr: op.Attr{Groups: 3}, In: one(m()), Out: one(m())}, "cuda: shuffle: 4 channels do not split into 3 groups"},
		{"split shape", device.Call{Code: op.Split, In: one(m()), Out: one(small())}, "cuda: split: result [2 1 1 4] is no part of [2 3 3 4]"},
		{"split sum", device.Call{Code: op.Split, In: one(m()), Out: one(m(), m())}, "cuda: split: results hold 8 channels, not 4"},
		{"resize", device.Call{Code: op.Resize, Attr: op.Attr{H: 1 << 15, W: 1}, In: one(r.numbers(1, 1, 1, 1, 1)), Out: one(r.numbers(1, 1, 1<<15, 1, 1))}, "sides are from 1 to 32767"},
		{"mean_grad", device.Call{Code: op.MeanGrad, Attr: op.Attr{H: 3, W: 3}, In: one(m()), Out: one(m())}, "cuda: mean_grad: dy has shape [2 3 3 4], not [2 1 1 4]"},
		{"pool padding", device.Call{Code: op.PoolMax, Attr: op.Attr{KH: 1, KW: 1, Stride: 2, Pad: 1}, In: one(m()), Out: one(r.numbers(1, 2, 3, 3, 4), r.index(2, 3, 3, 4))}, "cuda: pool_max: padding 1 leaves windows 1x1 without a pixel"},
		{"pool window", device.Call{Code: op.PoolMeanGrad, Attr: op.Attr{KH: 0, KW: 1, Stride: 1, H: 3, W: 3}, In: one(m()), Out: one(m())}, "cuda: pool_mean_grad: window 0x1 with stride 1 and padding 0"},
		{"pool dy", device.Call{Code: op.PoolMeanGrad, Attr: op.Attr{KH: 3, KW: 3, Stride: 1, H: 3, W: 3}, In: one(m()), Out: one(m())}, "cuda: pool_mean_grad: dy has shape [2 3 3 4], not [2 1 1 4]"},
		{"pool index", device.Call{Code: op.PoolMaxGrad, Attr: op.Attr{KH: 3, KW: 3, Stride: 1, H: 3, W: 3}, In: one(small(), r.index(2, 1, 1, 3)), Out: one(m())}, "cuda: pool_max_grad: index has shape [2 1 1 3], not [2 1 1 4]"},
		{"norm running", device.Call{Code: op.Norm, Attr: op.Attr{Mode: op.NormRunning}, In: one(m(), four, four), Out: one(m())}, "cuda: norm: running mean or var is missing"},
		{"norm residual", device.Call{Code: op.Norm, Attr: op.Attr{Residual: true}, In: one(m(), four, four), Out: one(m())}, "cuda: norm: residual is missing"},
		{"norm no residual", device.Call{Code: op.Norm, In: one(m(), four, four, device.Tensor{}, device.Tensor{}, m()), Out: one(m())}, "cuda: norm: residual is there although the settings say it is not"},
		{"norm scale", device.Call{Code: op.Norm, In: one(m(), r.numbers(1, 3), four), Out: one(m())}, "cuda: norm: scale has shape [3], not [4]"},
		{"norm groups", device.Call{Code: op.NormGrad, Attr: op.Attr{Groups: 3}, In: one(m(), m(), device.Tensor{}, four, four, four), Out: one(m())}, "cuda: norm_grad: 4 channels do not split into 3 groups"},
		{"norm_grad running", device.Call{Code: op.NormGrad, Attr: op.Attr{Mode: op.NormRunning}, In: one(m(), m(), device.Tensor{}, four, four, four), Out: one(m())}, "cuda: norm_grad: running statistics have no gradient here"},
		{"norm_grad relu", device.Call{Code: op.NormGrad, Attr: op.Attr{ReLU: true}, In: one(m(), m(), device.Tensor{}, four, four, four), Out: one(m())}, "cuda: norm_grad: argument y is missing where a relu is fused"},
		{"norm_grad weights", device.Call{Code: op.NormGrad, Attr: op.Attr{Weights: true}, In: one(m(), m(), device.Tensor{}, four, four, four), Out: one(m())}, "cuda: norm_grad: result dscale or dshift is missing"},
		{"norm_grad saved", device.Call{Code: op.NormGrad, Attr: op.Attr{Groups: 2}, In: one(m(), m(), device.Tensor{}, four, four, four), Out: one(m())}, "cuda: norm_grad: saved_mean has shape [4], not [2 2]"},
		{"sgd apart", device.Call{Code: op.SGD, In: one(m(), m()), Out: one(m(), m())}, "cuda: sgd: result w is not in place"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := b.Run(&c.call)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, not %s", err, c.want)
			}
		})
	}
}

// testUpdateRefusals: what optimisers ask, which work in place.
func testUpdateRefusals(t *testing.T, open opener) {
	b := open(t)
	r := &rig{t, b, 0}
	m, small := r.numbers(1, 2, 3, 3, 4), r.numbers(1, 2, 1, 1, 4)
	one := func(t ...device.Tensor) []device.Tensor { return t }
	inPlace := func(name string, c device.Call, want string) {
		c.Out = c.In
		if err := b.Run(&c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, not %s", name, err, want)
		}
	}
	inPlace("momentum", device.Call{Code: op.SGD, Attr: op.Attr{Momentum: 0.9}, In: one(m, m)}, "cuda: sgd: momentum without an argument m")
	inPlace("step", device.Call{Code: op.AdamW, In: one(m, m, m, m)}, "cuda: adamw: step 0 is not at least 1")
	inPlace("moment's shape", device.Call{Code: op.LARS, In: one(m, m, small)}, "cuda: lars: m has shape [2 1 1 4], not [2 3 3 4]")
}

// testConvNormGradRefusals: what conv_norm_grad asks beyond norm_grad.
func testConvNormGradRefusals(t *testing.T, open opener) {
	b := open(t)
	r := &rig{t, b, 0}
	call := func(weights bool) *device.Call {
		m, c := r.numbers(1, 2, 3, 3, 4), r.numbers(1, 4)
		return &device.Call{Code: op.ConvNormGrad, Attr: op.Attr{KH: 1, KW: 1, Stride: 1, H: 3, W: 3, Weights: weights},
			In:  []device.Tensor{m, m, {}, c, c, r.positive(1, 4), m, r.numbers(1, 4, 1, 1, 4)},
			Out: []device.Tensor{r.numbers(1, 2, 3, 3, 4)}}
	}
	more := call(false)
	more.In, more.Out = append(more.In, r.numbers(1, 2, 3, 3, 4)), nil
	there := call(false)
	there.Out = append(there.Out, device.Tensor{}, r.numbers(1, 4))
	shift := call(false)
	shift.In = append(shift.In, device.Tensor{}, r.numbers(1, 3))
	for want, c := range map[string]*device.Call{
		"cuda: conv_norm_grad: argument more is there although there is no result dx to add it to": more,
		"cuda: conv_norm_grad: dscale is missing":                                                  call(true),
		"cuda: conv_norm_grad: dscale is there although the settings say it is not":                there,
		"cuda: conv_norm_grad: shift has shape [3], not [4]":                                       shift,
	} {
		if err := b.Run(c); err == nil || err.Error() != want {
			t.Errorf("got %v, not %s", err, want)
		}
	}
	if err := b.Run(call(false)); err != nil {
		t.Error(err)
	}
}
