package lower

import (
	"slices"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/op"
)

// onReadPass drops the normalised map of a conv_norm that nothing but
// convolutions and their gradients read: they apply the norm on read, to the
// map before it, which is kept for the norm's own gradient anyway.
//
//	z, y, m, i = conv_norm(x)                z, -, m, i = conv_norm(x)
//	z2, ...    = conv_norm(y)           -->  z2, ...    = conv_norm(z; in_ = scale, shift, m, i)
//	... = conv_norm_grad(dy, z, mask y)      ... = conv_norm_grad(dy, z, mask by shift)
//
// Where kernels apply a norm by the same arithmetic wherever they do, as those
// of the portable tier, the program's results stay the same to the bit.
func (b *builder) onReadPass() error {
	norms, reads := b.users()
	mentions := b.mentions()
	for _, p := range norms {
		y := *result(p.op, "y")
		// One mention is the norm's own; what is left over is no op's.
		whole := mentions[y] == 1+len(reads[y]) && b.val(y).Kind == ir.Activation
		if whole && p.appliesOnRead() && !slices.ContainsFunc(reads[y], func(r user) bool { return !r.canApply(p) }) {
			for _, r := range reads[y] {
				r.apply(p.op)
			}
			*result(p.op, "y") = ir.None
		}
	}
	return nil
}

// user is an op with its segment's site and, as a reader, its argument.
type user struct {
	op   *ir.Op
	site string
	arg  string
}

// users lists the conv_norms that write their normalised map, in order, and
// for each value the arguments that it is.
func (b *builder) users() (norms []user, reads [][]user) {
	reads = make([][]user, len(b.prog.Values))
	for i := range b.prog.Segments {
		s := &b.prog.Segments[i]
		for j := range s.Ops {
			o := &s.Ops[j]
			if o.Code == op.ConvNorm && *result(o, "y") != ir.None {
				norms = append(norms, user{o, s.Site, ""})
			}
			row := op.Rows[o.Code].In
			for k, v := range o.In {
				if v != ir.None {
					reads[v] = append(reads[v], user{o, s.Site, row[min(k, len(row)-1)].Name})
				}
			}
		}
	}
	return norms, reads
}

// mentions counts how often each value is mentioned in the whole program, by
// ops or otherwise.
func (b *builder) mentions() []int {
	n := make([]int, len(b.prog.Values))
	count := func(v *ir.ValueID) {
		if *v != ir.None {
			n[*v]++
		}
	}
	eachID(b.prog, count)
	for i := range b.prog.Values {
		count(&b.prog.Values[i].Of)
	}
	return n
}

// appliesOnRead reports whether all that the norm takes is there for others to
// apply it: its statistics, and no residual.
func (p user) appliesOnRead() bool {
	return !p.op.Attr.Residual && p.op.Attr.Mode != op.NormRunning &&
		*result(p.op, "saved_mean") != ir.None && *result(p.op, "saved_invstd") != ir.None
}

// canApply reports whether a reader of p's normalised map can do with the map
// before it.
func (r user) canApply(p user) bool {
	switch {
	case r.site != p.site:
		return false
	case r.op.Code == op.ConvNorm:
		return r.arg == "x"
	case r.op.Code == op.ConvNormGrad:
		return r.arg == "x" || r.arg == "y" && *argument(r.op, "z") == *result(p.op, "z")
	}
	return false
}

// apply makes the reader apply p's norm.
func (r user) apply(p *ir.Op) {
	if r.arg == "y" {
		*argument(r.op, "y"), *argument(r.op, "shift") = ir.None, *argument(p, "shift")
		return
	}
	*argument(r.op, "x") = *result(p, "z")
	*argument(r.op, "in_scale"), *argument(r.op, "in_shift") = *argument(p, "scale"), *argument(p, "shift")
	*argument(r.op, "in_mean"), *argument(r.op, "in_invstd") = *result(p, "saved_mean"), *result(p, "saved_invstd")
	r.op.Attr.InReLU, r.op.Attr.InGroups = p.Attr.ReLU, p.Attr.NormGroups
}

// argument and result are an op's by their names in its row.
func argument(o *ir.Op, name string) *ir.ValueID { return &o.In[op.Place(op.Rows[o.Code].In, name)] }
func result(o *ir.Op, name string) *ir.ValueID   { return &o.Out[op.Place(op.Rows[o.Code].Out, name)] }
