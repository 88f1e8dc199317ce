package conformance

import (
	"slices"

	"github.com/locorun/locorun/compiler/op"
)

// Problems in bfloat16. Maps, and what is copied, hold numbers of that type; the
// reference computes with them in float64. It rounds what every backend has to: the
// weights that maps are multiplied with, what a convolution reads through a norm,
// and maps between the parts of a fused op. Of these z of conv_norm is a result:
// where it lies next to the middle of two numbers a backend may have rounded it to
// the other one, and a norm makes much of little, so that the norm's reference is
// taken of z as the backend left it.

// takesNarrow reports whether an op has operands that can be BF16.
func takesNarrow(c op.Code) bool {
	isMap := func(a op.Arg) bool { return a.Map }
	row := &op.Rows[c]
	return c == op.Copy || slices.ContainsFunc(row.In, isMap) || slices.ContainsFunc(row.Out, isMap)
}

// narrow makes operands BF16 that can be.
func (p *problem) narrow() {
	row := &op.Rows[p.code]
	for _, side := range []struct {
		args []op.Arg
		as   []*array
	}{{row.In, p.in}, {row.Out, p.out}} {
		for i, a := range side.as {
			if a != nil && (p.code == op.Copy || side.args[min(i, len(side.args)-1)].Map) {
				a.dtype = op.BF16
				a.round()
			}
		}
	}
}

// round makes numbers those that are nearest in BF16.
func (a *array) round() {
	for i, v := range a.v {
		a.v[i] = float64(op.Widen(op.Narrow(float32(v))))
	}
}

// refer puts the reference's results in place of p's; got is p as it was run.
func (p *problem) refer(got *problem) {
	if p.in[0].dtype != op.BF16 || op.Rows[p.code].MultiplyAdds == nil {
		references[p.code](p)
		return
	}
	if p.code == op.ConvNorm {
		p.kept = got.out[0]
	}
	factors := slices.IndexFunc(op.Rows[p.code].In, func(a op.Arg) bool { return a.Name == "w" })
	if factors < 0 {
		references[p.code](p)
		return
	}
	w := p.in[factors]
	p.in[factors] = w.clone()
	p.in[factors].round()
	references[p.code](p)
	p.in[factors] = w
}
