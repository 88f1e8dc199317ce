package cpu

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// check refuses a Call whose operands do not fit its row, and fills in r. It
// returns the type to compute in.
func (r *run) check() (op.Dtype, error) {
	row := &op.Rows[r.call.Code]
	var err error
	if r.in, r.inMem, err = r.operands("argument", row.In, r.call.In, r.in, r.inMem); err != nil {
		return 0, err
	}
	if r.out, r.outMem, err = r.operands("result", row.Out, r.call.Out, r.out, r.outMem); err != nil {
		return 0, err
	}
	dtype, err := r.dtype(row)
	if err != nil {
		return 0, err
	}
	if err := checkAttr(r.call.Code, r.attr); err != nil {
		return 0, err
	}
	return dtype, cmp.Or(r.checkShapes(row), r.checkPlaces(row))
}

// checkPlaces: results lie apart from arguments, but for those that the row
// lets lie exactly over one.
func (r *run) checkPlaces(row *op.Row) error {
	if r.updates() {
		return nil // results are the arguments
	}
	for i, y := range r.outMem {
		for j, x := range r.inMem {
			if !meet(x, y) {
				continue
			}
			result, arg := row.Out[min(i, len(row.Out)-1)].Name, row.In[min(j, len(row.In)-1)].Name
			switch may := row.MayLieOver(i, j); {
			case !may:
				return fmt.Errorf("result %s may not lie over argument %s", result, arg)
			case len(x) != len(y) || &x[0] != &y[0]:
				return fmt.Errorf("result %s lies on part of argument %s", result, arg)
			}
		}
	}
	return nil
}

// updates reports whether the op changes its arguments.
func (r *run) updates() bool {
	c := r.call.Code
	return c == op.SGD || c == op.LARS || c == op.AdamW
}

// meet reports whether pieces of memory have a byte in common.
func meet(x, y []byte) bool {
	if len(x) == 0 || len(y) == 0 {
		return false
	}
	a, b := uintptr(first(x)), uintptr(first(y))
	return a < b+uintptr(len(y)) && b < a+uintptr(len(x))
}

// operands resolves tensors to memory. Trailing absent ones may be left out.
func (r *run) operands(what string, args []op.Arg, ts []device.Tensor, shapes [][]int, mem [][]byte) ([][]int, [][]byte, error) {
	n := len(args)
	many := args[n-1].Many
	if many {
		n = max(n, len(ts))
	}
	if len(ts) > n {
		return shapes, mem, fmt.Errorf("%d %ss, not %d", len(ts), what, n)
	}
	for i := range n {
		arg := args[min(i, len(args)-1)]
		if i >= len(ts) || ts[i].Buffer == nil {
			if !arg.Optional {
				return shapes, mem, fmt.Errorf("%s %s is missing", what, arg.Name)
			}
			shapes, mem = append(shapes, nil), append(mem, nil)
			continue
		}
		m, err := r.b.window(ts[i])
		if err != nil {
			return shapes, mem, fmt.Errorf("%s %s: %w", what, arg.Name, err)
		}
		shapes, mem = append(shapes, ts[i].Shape), append(mem, m)
	}
	return shapes, mem, nil
}

// dtype is the one floating type of all operands but indices.
func (r *run) dtype(row *op.Row) (op.Dtype, error) {
	want := r.call.In[0].Dtype
	if want != op.F32 && want != op.F64 {
		return 0, fmt.Errorf("argument %s is %v, not f32 or f64", row.In[0].Name, want)
	}
	check := func(args []op.Arg, ts []device.Tensor) error {
		for i, t := range ts {
			arg, w := args[min(i, len(args)-1)], want
			if arg.Name == "index" {
				w = op.I32
			}
			if t.Buffer != nil && t.Dtype != w {
				return fmt.Errorf("%s is %v, not %v", arg.Name, t.Dtype, w)
			}
		}
		return nil
	}
	return want, cmp.Or(check(row.In, r.call.In), check(row.Out, r.call.Out))
}

// checkAttr refuses settings no kernel can take.
func checkAttr(c op.Code, a op.Attr) error {
	switch c {
	case op.Conv, op.ConvNorm, op.ConvInput, op.ConvWeight, op.ConvNormGrad, op.PoolMax, op.PoolMean, op.PoolMaxGrad, op.PoolMeanGrad:
		if a.KH < 1 || a.KW < 1 || a.Stride < 1 || a.Pad < 0 {
			return fmt.Errorf("window %dx%d with stride %d and padding %d", a.KH, a.KW, a.Stride, a.Pad)
		}
	}
	switch {
	case (c == op.PoolMax || c == op.PoolMaxGrad) && (a.Pad >= a.KH || a.Pad >= a.KW):
		return fmt.Errorf("padding %d leaves windows %dx%d without a pixel", a.Pad, a.KH, a.KW)
	case a.Groups < 0 || a.NormGroups < 0 || a.InGroups < 0:
		return fmt.Errorf("%d groups", min(a.Groups, a.NormGroups, a.InGroups))
	case a.Mode == op.NormRunning && (c == op.NormGrad && a.Groups == 0 || c == op.ConvNormGrad && a.NormGroups == 0):
		return errors.New("running statistics have no gradient here")
	case c == op.NTXent && !(a.Temperature > 0):
		return fmt.Errorf("temperature %g is not above 0", a.Temperature)
	}
	return nil
}

// checkShapes compares the results with the row's shape rule, then the
// operands the rule says nothing about.
func (r *run) checkShapes(row *op.Row) error {
	if err := r.ranks(row); err != nil {
		return err
	}
	if row.Shape != nil {
		want, err := row.Shape(r.attr, r.in)
		if err != nil {
			return err
		}
		for i, s := range r.out {
			if s != nil && !slices.Equal(s, want[i]) {
				return unfit("result "+row.Out[i].Name, s, want[i])
			}
		}
	}
	return r.checkRest(row)
}

// ranks: the shape rules index maps as NHWC and weights as their layout says.
func (r *run) ranks(row *op.Row) error {
	for i, s := range r.in {
		arg := row.In[min(i, len(row.In)-1)]
		want := 0
		switch r.call.Code {
		case op.ReLU, op.ReLUGrad, op.Add, op.Copy, op.Pull, op.SGD, op.LARS, op.AdamW, op.NTXent:
			continue
		case op.Dense, op.DenseInput:
			want = 2
		case op.Conv, op.ConvNorm, op.ConvInput:
			want = 4
		}
		switch arg.Name {
		case "x", "dy", "y", "index", "residual":
			want = 4
		case "w":
		default:
			want = 0
		}
		if s != nil && want > 0 && len(s) != want {
			return fmt.Errorf("argument %s has %d dimensions, not %d", arg.Name, len(s), want)
		}
	}
	return nil
}

// fits is a requirement: operand has exactly this shape, where present.
func fits(what string, got []int, want ...int) error {
	if got != nil && !slices.Equal(got, want) {
		return unfit(what, got, want)
	}
	return nil
}

// agrees is a requirement: an optional operand is there where a setting says.
func agrees(what string, got []int, want bool) error {
	switch {
	case want && got == nil:
		return fmt.Errorf("%s is missing", what)
	case !want && got != nil:
		return fmt.Errorf("%s is there although the settings say it is not", what)
	}
	return nil
}

// checkRest checks what the row's rule leaves open.
func (r *run) checkRest(row *op.Row) error {
	a, in, out := r.attr, r.in, r.out
	switch r.call.Code {
	case op.Conv, op.Dense:
		return cmp.Or(agrees("bias", in[2], a.Bias), fits("bias", in[2], in[1][0]))
	case op.Norm:
		return r.checkNorm(a.Groups, in[0][3], in[1:])
	case op.ConvNorm:
		return r.checkNorm(a.NormGroups, in[1][0], in[2:])
	case op.NormGrad:
		return r.checkNormGrad(a.Groups)
	case op.ConvNormGrad:
		return r.checkConvNormGrad()
	case op.ConvInput:
		return checkConv(a, out[0], in[1], in[0])
	case op.ConvWeight:
		return cmp.Or(agrees("dbias", out[1], a.Bias), checkConv(a, in[0], out[0], in[1]))
	case op.DenseInput:
		return fits("dy", in[0], in[0][0], 1, 1, in[1][0])
	case op.DenseWeight:
		return cmp.Or(agrees("dbias", out[1], a.Bias), fits("x", in[0], in[1][0], 1, 1, in[0][3]), fits("dy", in[1], in[1][0], 1, 1, in[1][3]))
	case op.PoolMaxGrad:
		return cmp.Or(fits("index", in[1], in[0]...), checkPool(a, out[0], in[0]))
	case op.PoolMeanGrad:
		return checkPool(a, out[0], in[0])
	case op.MeanGrad:
		return fits("dy", in[0], in[0][0], 1, 1, in[0][3])
	case op.Shuffle:
		if a.Groups < 1 || in[0][3]%a.Groups != 0 {
			return fmt.Errorf("%d channels do not split into %d groups", in[0][3], a.Groups)
		}
	case op.Split:
		return r.checkSplit()
	case op.SGD, op.LARS, op.AdamW:
		return r.checkUpdate(row)
	}
	return nil
}

func (r *run) checkNorm(groups, c int, rest [][]int) error {
	a := r.attr
	if groups == 0 && a.Mode != op.NormBatch && (rest[2] == nil || rest[3] == nil) {
		return errors.New("running mean or var is missing")
	}
	return cmp.Or(
		fits("scale", rest[0], c), fits("shift", rest[1], c),
		fits("mean", rest[2], c), fits("var", rest[3], c),
		agrees("residual", rest[4], a.Residual))
}

// checkNormGrad checks what norm_grad and conv_norm_grad have in common.
func (r *run) checkNormGrad(groups int) error {
	a, in := r.attr, r.in
	x := in[1]
	saved := []int{x[3]}
	if groups > 0 {
		if x[3]%groups != 0 {
			return fmt.Errorf("%d channels do not split into %d groups", x[3], groups)
		}
		saved = []int{x[0], groups}
	}
	if a.ReLU && in[2] == nil && !r.masksByShift() {
		return errors.New("argument y is missing where a relu is fused")
	}
	if a.Weights && (r.out[2] == nil || r.out[3] == nil) {
		return errors.New("result dscale or dshift is missing")
	}
	return cmp.Or(fits("y", in[2], x...), fits("scale", in[3], x[3]),
		fits("saved_mean", in[4], saved...), fits("saved_invstd", in[5], saved...))
}

// masksByShift reports whether the relu's mask can be made without y: by shift,
// which conv_norm_grad may have, where no residual was added.
func (r *run) masksByShift() bool {
	return r.call.Code == op.ConvNormGrad && r.in[9] != nil && !r.attr.Residual
}

func (r *run) checkConvNormGrad() error {
	weights := r.attr.Weights
	if r.in[8] != nil && r.out[0] == nil {
		return errors.New("argument more is there although there is no result dx to add it to")
	}
	return cmp.Or(
		agrees("dscale", r.out[2], weights), agrees("dshift", r.out[3], weights), agrees("dw", r.out[4], weights),
		fits("shift", r.in[9], r.in[1][3]),
		r.checkNormGrad(r.attr.NormGroups))
}

// checkConv: a convolution of x with w gives y.
func checkConv(a op.Attr, x, w, y []int) error {
	want, err := op.Rows[op.Conv].Shape(a, [][]int{x, w, nil})
	if err != nil {
		return err
	}
	return fits("dy", y, want[0]...)
}

// checkPool: a pool of x gives y.
func checkPool(a op.Attr, x, y []int) error {
	want, err := op.Rows[op.PoolMean].Shape(a, [][]int{x})
	if err != nil {
		return err
	}
	return fits("dy", y, want[0]...)
}

func (r *run) checkSplit() error {
	c := 0
	for _, s := range r.out {
		if len(s) != 4 || !slices.Equal(s[:3], r.in[0][:3]) {
			return fmt.Errorf("result %v is no part of %v", s, r.in[0])
		}
		c += s[3]
	}
	if c != r.in[0][3] {
		return fmt.Errorf("results hold %d channels, not %d", c, r.in[0][3])
	}
	return nil
}

// checkUpdate: results are the arguments, in place and of one shape.
func (r *run) checkUpdate(row *op.Row) error {
	for i, s := range r.in {
		switch {
		case s == nil && r.out[i] == nil:
			continue
		case s == nil || r.out[i] == nil:
			return fmt.Errorf("%s is only one of argument and result", row.In[i].Name)
		case r.call.In[i].Buffer != r.call.Out[i].Buffer || r.call.In[i].Offset != r.call.Out[i].Offset:
			return fmt.Errorf("result %s is not in place", row.In[i].Name)
		}
		if err := fits(row.In[i].Name, s, r.in[0]...); err != nil {
			return err
		}
	}
	switch {
	case r.call.Code == op.SGD && r.in[2] == nil && r.attr.Momentum != 0:
		return errors.New("momentum without an argument m")
	case r.call.Code == op.AdamW && r.call.Step < 1:
		return fmt.Errorf("step %d is not at least 1", r.call.Step)
	}
	return nil
}
