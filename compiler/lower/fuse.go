package lower

import (
	"slices"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/op"
)

// fusePass makes coarse ops of forward segments: norm takes up the residual
// addition and the relu behind it, conv takes up the norm. A value that
// anything else reads is never fused away.
//
//	conv ; norm ; add r ; relu   -->   conv_norm(residual=r, relu)
func (b *builder) fusePass() error {
	uses := b.countUses()
	for i := range b.prog.Segments {
		s := &b.prog.Segments[i]
		s.Ops = fuse(s.Ops, uses)
	}
	return nil
}

// countUses counts the readers of each value in the whole program; what leaves
// the program's segments counts as read.
func (b *builder) countUses() []int {
	uses := make([]int, len(b.prog.Values))
	for _, s := range b.prog.Segments {
		for _, o := range s.Ops {
			for _, v := range o.In {
				if v != ir.None {
					uses[v]++
				}
			}
		}
	}
	for _, u := range b.prog.Units {
		if u.Out != ir.None {
			uses[u.Out]++
		}
	}
	for _, s := range slices.Concat(b.stages, b.decs, b.watch) {
		if s != nil {
			uses[s.out]++
		}
	}
	return uses
}

// fuse rewrites one segment's ops. The list stays in order: a fused op stands
// where the last of its parts stood, so that all its arguments are made.
func fuse(ops []ir.Op, uses []int) []ir.Op {
	out := slices.Clone(ops)
	fused := make([]bool, len(ops))
	made := map[ir.ValueID]int{} // index in out of the op that made a value
	for i, o := range ops {
		if f, part, ok := fuseOne(o, out, made, uses); ok {
			out[i], fused[part] = f, true
		}
		for _, v := range out[i].Out {
			if v != ir.None {
				made[v] = i
			}
		}
	}
	left := out[:0]
	for i, o := range out {
		if !fused[i] {
			left = append(left, o)
		}
	}
	return left
}

// fuseOne tries to fuse o with the op that made its first argument. It returns
// the fused op and the index of the op it replaces.
func fuseOne(o ir.Op, out []ir.Op, made map[ir.ValueID]int, uses []int) (ir.Op, int, bool) {
	if len(o.In) == 0 || o.In[0] == ir.None || uses[o.In[0]] != 1 {
		return o, 0, false
	}
	at, ok := made[o.In[0]]
	if !ok {
		return o, 0, false
	}
	prev := out[at]
	switch {
	case o.Code == op.Norm && prev.Code == op.Conv && !prev.Attr.Bias:
		return fuseConvNorm(prev, o), at, true
	case o.Code == op.Add && isNorm(prev) && !prev.Attr.Residual && !prev.Attr.ReLU && o.In[1] != o.In[0]:
		f := clone(prev)
		f.Attr.Residual = true
		*argument(&f, "residual") = o.In[1]
		return withOutput(f, o.Out[0]), at, true
	case o.Code == op.ReLU && isNorm(prev) && !prev.Attr.ReLU:
		f := clone(prev)
		f.Attr.ReLU = true
		return withOutput(f, o.Out[0]), at, true
	}
	return o, 0, false
}

func isNorm(o ir.Op) bool { return o.Code == op.Norm || o.Code == op.ConvNorm }

// fuseConvNorm joins a convolution and the norm of its output.
func fuseConvNorm(conv, norm ir.Op) ir.Op {
	f := clone(norm)
	f.Code = op.ConvNorm
	f.Attr = conv.Attr
	f.Attr.NormGroups, f.Attr.Mode = norm.Attr.Groups, norm.Attr.Mode
	f.Attr.Eps, f.Attr.StatMomentum = norm.Attr.Eps, norm.Attr.StatMomentum
	f.In = append([]ir.ValueID{conv.In[0], conv.In[1]}, norm.In[1:]...)
	f.In = append(f.In, ir.None, ir.None, ir.None, ir.None) // x is read as it lies
	f.Out = append([]ir.ValueID{conv.Out[0]}, norm.Out...)
	f.Layer, f.Range = conv.Layer, conv.Range
	return f
}

// withOutput replaces the normalised map of a norm.
func withOutput(f ir.Op, y ir.ValueID) ir.Op {
	f.Out[mapPort(f)] = y
	return f
}

// mapPort is the result of a norm that is the normalised map.
func mapPort(o ir.Op) int {
	if o.Code == op.ConvNorm {
		return 1
	}
	return 0
}

func clone(o ir.Op) ir.Op {
	o.In, o.Out = slices.Clone(o.In), slices.Clone(o.Out)
	return o
}
