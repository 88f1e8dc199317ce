package cpu

import (
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// TestRefusals: Calls that do not fit their row are errors that say why.
func TestRefusals(t *testing.T) {
	b := started(t, 1)
	m := func(shape ...int) device.Tensor { return filled(t, b, wave, shape...) }
	wide := func(shape ...int) device.Tensor {
		at := m(append(append([]int{}, shape...), 2)...)
		at.Shape, at.Dtype = shape, op.F64
		return at
	}
	ts := func(ts ...device.Tensor) []device.Tensor { return ts }
	none := device.Tensor{}
	conv := op.Attr{KH: 3, KW: 3, Stride: 1, Pad: 1, H: 5, W: 5}
	x, w, y, c4 := m(2, 5, 5, 3), m(4, 3, 3, 3), m(2, 5, 5, 4), m(4)
	index := m(2, 5, 5, 3)
	index.Dtype = op.I32
	fused := func(edit func(*device.Call)) device.Call {
		c := device.Call{
			Code: op.ConvNormGrad, Attr: conv,
			In:  ts(y, y, none, c4, c4, c4, x, w, m(2, 5, 5, 3)),
			Out: ts(m(2, 5, 5, 3), none, m(4), m(4), m(4, 3, 3, 3)),
		}
		c.Attr.Weights = true
		edit(&c)
		return c
	}
	read := func(edit func(*device.Call)) device.Call {
		c3 := m(3)
		c := device.Call{Code: op.ConvNorm, Attr: conv, In: ts(x, w, c4, c4, none, none, none, c3, c3, c3, c3), Out: ts(y)}
		edit(&c)
		return c
	}
	with := func(a op.Attr, f func(*op.Attr)) op.Attr { f(&a); return a }
	tests := []struct {
		name string
		call device.Call
		want string
	}{
		{"no op", device.Call{}, "cpu: no kernel for op(0)"},
		{"no such op", device.Call{Code: 200}, "cpu: no kernel for op(200)"},
		{"argument missing", device.Call{Code: op.Conv, Attr: conv, In: ts(x), Out: ts(y)}, "cpu: conv: argument w is missing"},
		{"result missing", device.Call{Code: op.Conv, Attr: conv, In: ts(x, w)}, "cpu: conv: result y is missing"},
		{"too many", device.Call{Code: op.ReLU, In: ts(x, x), Out: ts(x)}, "cpu: relu: 2 arguments, not 1"},
		{"wrong result", device.Call{Code: op.Conv, Attr: conv, In: ts(x, w), Out: ts(x)}, "cpu: conv: result y has shape [2 5 5 3], not [2 5 5 4]"},
		{"wrong weights", device.Call{Code: op.Conv, Attr: conv, In: ts(y, w), Out: ts(y)}, "cpu: conv: weights [4 3 3 3] do not fit input [2 5 5 4], window 3x3, 1 groups"},
		{"bias unasked", device.Call{Code: op.Conv, Attr: conv, In: ts(x, w, c4), Out: ts(y)}, "cpu: conv: bias is there although the settings say it is not"},
		{"bias missing", device.Call{Code: op.Conv, Attr: with(conv, func(a *op.Attr) { a.Bias = true }), In: ts(x, w), Out: ts(y)}, "cpu: conv: bias is missing"},
		{"stride 0", device.Call{Code: op.Conv, Attr: with(conv, func(a *op.Attr) { a.Stride = 0 }), In: ts(x, w), Out: ts(y)}, "cpu: conv: window 3x3 with stride 0 and padding 1"},
		{"negative groups", device.Call{Code: op.Conv, Attr: with(conv, func(a *op.Attr) { a.Groups = -1 }), In: ts(x, w), Out: ts(y)}, "cpu: conv: -1 groups"},
		{"dimensions", device.Call{Code: op.Mean, In: ts(c4), Out: ts(c4)}, "cpu: mean: argument x has 1 dimensions, not 4"},
		{"types", device.Call{Code: op.Add, In: ts(x, wide(2, 5, 5, 3)), Out: ts(x)}, "cpu: add: b is f64, not f32"},
		{"integers", device.Call{Code: op.ReLU, In: ts(device.Tensor{Buffer: x.Buffer, Shape: []int{4}, Dtype: op.I32}), Out: ts(x)}, "cpu: relu: argument x is i32, not f32 or f64"},
		{"input gradient", device.Call{Code: op.ConvInput, Attr: with(conv, func(a *op.Attr) { a.H = 6 }), In: ts(y, w), Out: ts(m(2, 6, 5, 3))}, "cpu: conv_input: dy has shape [2 5 5 4], not [2 6 5 4]"},
		{"weight gradient", device.Call{Code: op.ConvWeight, Attr: conv, In: ts(x, m(2, 4, 5, 4)), Out: ts(w)}, "cpu: conv_weight: dy has shape [2 4 5 4], not [2 5 5 4]"},
		{"dense gradient", device.Call{Code: op.DenseInput, In: ts(m(2, 1, 1, 3), m(4, 5)), Out: ts(m(2, 1, 1, 5))}, "cpu: dense_input: dy has shape [2 1 1 3], not [2 1 1 4]"},
		{"running norm", device.Call{Code: op.Norm, Attr: op.Attr{Mode: op.NormRunning}, In: ts(y, c4, c4), Out: ts(y)}, "cpu: norm: running mean or var is missing"},
		{"norm scale", device.Call{Code: op.Norm, In: ts(x, c4, c4), Out: ts(x)}, "cpu: norm: scale has shape [4], not [3]"},
		{"running gradient", device.Call{Code: op.NormGrad, Attr: op.Attr{Mode: op.NormRunning}, In: ts(y, y, none, c4, c4, c4), Out: ts(y)}, "cpu: norm_grad: running statistics have no gradient here"},
		{"mask missing", device.Call{Code: op.NormGrad, Attr: op.Attr{ReLU: true}, In: ts(y, y, none, c4, c4, c4), Out: ts(y)}, "cpu: norm_grad: argument y is missing where a relu is fused"},
		{"scale gradient missing", device.Call{Code: op.NormGrad, Attr: op.Attr{Weights: true}, In: ts(y, y, none, c4, c4, c4), Out: ts(y)}, "cpu: norm_grad: result dscale or dshift is missing"},
		{"norm groups", device.Call{Code: op.NormGrad, Attr: op.Attr{Groups: 3}, In: ts(y, y, none, c4, c4, c4), Out: ts(y)}, "cpu: norm_grad: 4 channels do not split into 3 groups"},
		{"fused gradient's map", fused(func(c *device.Call) { c.In[1] = m(2, 4, 5, 4) }), "cpu: conv_norm_grad: map [2 4 5 4] is not the convolution's [2 5 5 4]"},
		{"fused gradient's size", fused(func(c *device.Call) { c.Attr.H = 6 }), "cpu: conv_norm_grad: input [2 5 5 3] is not a map of 6x5"},
		{"fused gradient's weights", fused(func(c *device.Call) { c.In[7] = y }), "cpu: conv_norm_grad: weights [2 5 5 4] do not fit input [2 5 5 3], window 3x3, 1 groups"},
		{"fused gradient's gradient", fused(func(c *device.Call) { c.In[0] = x }), "cpu: conv_norm_grad: gradient [2 5 5 3] does not fit input [2 5 5 4]"},
		{"fused gradient's scale", fused(func(c *device.Call) { c.In[3] = m(3) }), "cpu: conv_norm_grad: scale has shape [3], not [4]"},
		{"fused gradient's groups", fused(func(c *device.Call) { c.Attr.NormGroups = 3 }), "cpu: conv_norm_grad: 4 channels do not split into 3 groups"},
		{"fused gradient, running", fused(func(c *device.Call) { c.Attr.Mode = op.NormRunning }), "cpu: conv_norm_grad: running statistics have no gradient here"},
		{"fused gradient, stride 0", fused(func(c *device.Call) { c.Attr.Stride = 0 }), "cpu: conv_norm_grad: window 3x3 with stride 0 and padding 1"},
		{"fused mask missing", fused(func(c *device.Call) { c.Attr.ReLU = true }), "cpu: conv_norm_grad: argument y is missing where a relu is fused"},
		{"fused weight gradient missing", fused(func(c *device.Call) { c.Out[4] = none }), "cpu: conv_norm_grad: dw is missing"},
		{"fused scale gradient missing", fused(func(c *device.Call) { c.Out[2] = none }), "cpu: conv_norm_grad: dscale is missing"},
		{"fused weight gradient unasked", fused(func(c *device.Call) { c.Attr.Weights, c.Out[2], c.Out[3] = false, none, none }), "cpu: conv_norm_grad: dw is there although the settings say it is not"},
		{"more than nothing", fused(func(c *device.Call) { c.Out[0] = none }), "cpu: conv_norm_grad: argument more is there although there is no result dx to add it to"},
		{"more of another shape", fused(func(c *device.Call) { c.In[8] = y }), "cpu: conv_norm_grad: gradient [2 5 5 4] does not fit input [2 5 5 3]"},
		{"gradient beside the beginning of more", fused(func(c *device.Call) {
			both := m(2*2*5*5*3 + 1)
			c.In[8] = device.Tensor{Buffer: both.Buffer, Shape: x.Shape, Dtype: op.F32}
			c.Out[0] = device.Tensor{Buffer: both.Buffer, Offset: 4, Shape: x.Shape, Dtype: op.F32}
		}), "cpu: conv_norm_grad: result dx lies on part of argument more"},
		{"gradient over what made it", fused(func(c *device.Call) { c.Out[0] = x }), "cpu: conv_norm_grad: result dx may not lie over argument x"},
		{"gradient over more that is dy", device.Call{Code: op.ConvNormGrad, Attr: conv, In: ts(x, m(2, 5, 5, 3), none, m(3), m(3), m(3), m(2, 5, 5, 3), m(3, 3, 3, 3), x), Out: ts(x)}, "cpu: conv_norm_grad: result dx may not lie over argument dy"},
		{"copy of itself", device.Call{Code: op.Copy, In: ts(x), Out: ts(x)}, "cpu: copy: result b may not lie over argument a"},
		{"fused mask behind a residual", fused(func(c *device.Call) { c.Attr.ReLU, c.Attr.Residual, c.In = true, true, append(c.In, c4) }), "cpu: conv_norm_grad: argument y is missing where a relu is fused"},
		{"fused mask's shift", fused(func(c *device.Call) { c.Attr.ReLU, c.In = true, append(c.In, m(3)) }), "cpu: conv_norm_grad: shift has shape [3], not [4]"},
		{"fused gradient's read", fused(func(c *device.Call) { c.In = append(c.In, none, c4, c4, c4, c4) }), "cpu: conv_norm_grad: in_scale has shape [4], not [3]"},
		{"read in part", read(func(c *device.Call) { c.In = c.In[:10] }), "cpu: conv_norm: in_invstd is missing where a norm is applied on read"},
		{"read without statistics", read(func(c *device.Call) { c.In[9], c.In[10] = none, none }), "cpu: conv_norm: in_mean is missing where a norm is applied on read"},
		{"read through another shift", read(func(c *device.Call) { c.In[8] = c4 }), "cpu: conv_norm: in_shift has shape [4], not [3]"},
		{"read by groups", read(func(c *device.Call) { c.Attr.InGroups = 3 }), "cpu: conv_norm: in_mean has shape [3], not [2 3]"},
		{"read by groups that do not split", read(func(c *device.Call) { c.Attr.InGroups = 2 }), "cpu: conv_norm: 3 channels read do not split into 2 groups"},
		{"read by negative groups", read(func(c *device.Call) { c.Attr.InGroups = -1 }), "cpu: conv_norm: -1 groups"},
		{"read through a relu alone", read(func(c *device.Call) { c.Attr.InReLU, c.In = true, c.In[:7] }), "cpu: conv_norm: settings of a norm applied on read, without its arguments"},
		{"pool padding", device.Call{Code: op.PoolMax, Attr: op.Attr{KH: 1, KW: 1, Stride: 1, Pad: 1}, In: ts(x), Out: ts(x, index)}, "cpu: pool_max: padding 1 leaves windows 1x1 without a pixel"},
		{"index type", device.Call{Code: op.PoolMax, Attr: conv, In: ts(x), Out: ts(x, x)}, "cpu: pool_max: index is f32, not i32"},
		{"shuffle", device.Call{Code: op.Shuffle, Attr: op.Attr{Groups: 2}, In: ts(x), Out: ts(x)}, "cpu: shuffle: 3 channels do not split into 2 groups"},
		{"split", device.Call{Code: op.Split, In: ts(x), Out: ts(m(2, 5, 5, 1), m(2, 5, 5, 1))}, "cpu: split: results hold 2 channels, not 3"},
		{"concat", device.Call{Code: op.Concat, In: ts(x, m(2, 4, 5, 3)), Out: ts(x)}, "cpu: concat: maps [2 5 5 3] and [2 4 5 3] differ in more than channels"},
		{"odd rows", device.Call{Code: op.NTXent, Attr: op.Attr{Temperature: 1}, In: ts(m(3, 2)), Out: ts(m(1), m(3, 2))}, "cpu: ntxent: 3 rows are not pairs of views"},
		{"temperature", device.Call{Code: op.NTXent, In: ts(m(2, 2)), Out: ts(m(1), m(2, 2))}, "cpu: ntxent: temperature 0 is not above 0"},
		{"not in place", device.Call{Code: op.SGD, In: ts(c4, m(4)), Out: ts(m(4), m(4))}, "cpu: sgd: result w is not in place"},
		{"no momentum", device.Call{Code: op.SGD, Attr: op.Attr{Momentum: 0.9}, In: ts(c4, c4), Out: ts(c4, c4)}, "cpu: sgd: momentum without an argument m"},
		{"update shapes", device.Call{Code: op.SGD, In: ts(c4, y), Out: ts(c4, y)}, "cpu: sgd: g has shape [2 5 5 4], not [4]"},
		{"step 0", device.Call{Code: op.AdamW, In: ts(c4, c4, c4, c4), Out: ts(c4, c4, c4, c4)}, "cpu: adamw: step 0 is not at least 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := b.Run(&tt.call)
			if err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}
