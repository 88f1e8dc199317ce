package lower

import (
	"fmt"
	"slices"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/op"
)

// sweep is one pass of input gradients down through a site.
type sweep struct {
	b       *builder
	site    *site
	seg     int
	suffix  string
	weights bool // make weight gradients
	input   bool // make the gradient of the site's input
	needs   map[ir.ValueID]bool
	grads   map[ir.ValueID]ir.ValueID
}

// newSweep opens the sweep of losses r through a site.
func (b *builder) newSweep(s *site, unit int, r ir.LossRange, weights, input bool) *sweep {
	w := &sweep{b: b, site: s, weights: weights, input: input, grads: map[ir.ValueID]ir.ValueID{}}
	w.seg = b.segment(ir.Segment{Unit: unit, Site: s.name, Phase: ir.PhaseSweep, Range: r})
	w.suffix = "@" + rangeName(r)
	w.findNeeds()
	return w
}

// rangeName prints a range of losses, counted from 1: "2" or "1..3".
func rangeName(r ir.LossRange) string {
	if r.First == r.Last {
		return fmt.Sprint(r.First + 1)
	}
	return fmt.Sprintf("%d..%d", r.First+1, r.Last+1)
}

// findNeeds marks the values whose gradient the sweep must make: those that
// weights or the wanted input stand before.
func (w *sweep) findNeeds() {
	w.needs = map[ir.ValueID]bool{}
	if w.input {
		w.needs[w.site.in] = true
	}
	for _, o := range w.forward() {
		need := w.weights && hasWeights(o)
		for _, v := range o.In {
			need = need || v != ir.None && w.needs[v]
		}
		if need {
			for _, v := range o.Out {
				if v != ir.None {
					w.needs[v] = true
				}
			}
		}
	}
}

func (w *sweep) forward() []ir.Op { return w.b.prog.Segments[w.site.fwd].Ops }

func hasWeights(o ir.Op) bool {
	return slices.Contains([]op.Code{op.Conv, op.Norm, op.ConvNorm, op.Dense}, o.Code)
}

// run walks the site's forward ops backwards from the gradient dy of its
// output and returns the gradient of its input, or None.
func (w *sweep) run(dy ir.ValueID) ir.ValueID {
	w.grads[w.site.out] = dy
	ops := w.forward()
	for i := len(ops) - 1; i >= 0; i-- {
		w.back(ops[i])
	}
	if !w.input {
		return ir.None
	}
	dx, ok := w.grads[w.site.in]
	if !ok {
		panic("lower: no gradient reached the input of " + w.site.name)
	}
	return dx
}

// back emits the gradient ops of one forward op.
func (w *sweep) back(o ir.Op) {
	if o.Code == op.Split {
		w.backSplit(o)
		return
	}
	dy, ok := w.grads[o.Out[mapPort(o)]]
	if !ok || !w.needs[o.Out[mapPort(o)]] {
		return
	}
	switch o.Code {
	case op.Conv, op.Dense:
		w.product(o, o.In[0], dy)
	case op.Norm, op.ConvNorm:
		w.norm(o, dy)
	case op.ReLU:
		w.give(o, o.In[0], op.ReLUGrad, op.Attr{}, ids(dy, o.Out[0]))
	case op.Add:
		w.add(o, o.In[0], dy)
		w.add(o, o.In[1], dy)
	case op.PoolMax:
		w.give(o, o.In[0], op.PoolMaxGrad, w.mapAttr(o), ids(dy, o.Out[1]))
	case op.PoolMean:
		w.give(o, o.In[0], op.PoolMeanGrad, w.mapAttr(o), ids(dy))
	case op.Mean:
		w.give(o, o.In[0], op.MeanGrad, w.mapAttr(o), ids(dy))
	case op.Resize:
		w.give(o, o.In[0], op.ResizeGrad, w.mapAttr(o), ids(dy))
	case op.Shuffle:
		a := op.Attr{Groups: w.b.val(o.In[0]).Shape[3] / o.Attr.Groups}
		w.give(o, o.In[0], op.Shuffle, a, ids(dy))
	case op.Concat:
		w.backConcat(o, dy)
	default:
		panic("lower: no gradient for " + o.Code.String())
	}
}

// mapAttr is the op's settings with its input's height and width.
func (w *sweep) mapAttr(o ir.Op) op.Attr {
	a, x := o.Attr, w.b.val(o.In[0]).Shape
	a.H, a.W = x[1], x[2]
	return a
}

// product emits the gradients of a conv or dense whose output gradient is dy.
func (w *sweep) product(o ir.Op, x, dy ir.ValueID) {
	dense := o.Code == op.Dense
	if w.weights {
		code := op.ConvWeight
		if dense {
			code = op.DenseWeight
		}
		a := o.Attr
		var bias ir.ValueID = ir.None
		if a.Bias {
			bias = w.gradOf(o.In[2])
		}
		w.emit(o, code, a, ids(x, dy), ids(w.gradOf(o.In[1]), bias))
	}
	if dense {
		w.give(o, x, op.DenseInput, op.Attr{}, ids(dy, o.In[1]))
		return
	}
	a := w.mapAttr(o)
	a.Bias = false
	w.give(o, x, op.ConvInput, a, ids(dy, o.In[1]))
}

// norm emits the gradient of a norm, and of the convolution fused before it.
func (w *sweep) norm(o ir.Op, dy ir.ValueID) {
	fused := o.Code == op.ConvNorm
	x, first, a := o.In[0], 1, o.Attr
	if fused {
		x, first = o.Out[0], 2
		a.Groups = a.NormGroups
	}
	a = op.Attr{Groups: a.Groups, Mode: a.Mode, ReLU: a.ReLU, Residual: a.Residual, Eps: a.Eps, Weights: w.weights}
	y := o.Out[mapPort(o)]
	mask := ir.None
	if a.ReLU {
		mask = y
	}
	port := mapPort(o)
	in := ids(dy, x, mask, o.In[first], o.Out[port+1], o.Out[port+2])
	residual := o.In[len(o.In)-1]
	dx, dres := w.fresh(o, x, "dx"), ir.None
	if a.Residual && w.needs[residual] && a.ReLU {
		dres = w.fresh(o, residual, "dres")
	}
	out := ids(dx, dres, ir.None, ir.None)
	if w.weights {
		out[2], out[3] = w.gradOf(o.In[first]), w.gradOf(o.In[first+1])
	}
	w.emit(o, op.NormGrad, a, in, out)
	if a.Residual && w.needs[residual] {
		if dres == ir.None {
			dres = dy // without a relu the addition passes the gradient on as it is
		}
		w.add(o, residual, dres)
	}
	if fused {
		conv := o
		conv.Attr.Groups, conv.Attr.Bias = o.Attr.Groups, false
		w.product(conv, o.In[0], dx)
		return
	}
	w.add(o, x, dx)
}

// give emits an op that makes the gradient of x, where it is needed, and adds
// it to what is there.
func (w *sweep) give(o ir.Op, x ir.ValueID, code op.Code, a op.Attr, in []ir.ValueID) {
	if !w.needs[x] {
		return
	}
	dx := w.fresh(o, x, "dx")
	w.emit(o, code, a, in, ids(dx))
	w.add(o, x, dx)
}

// add joins a gradient of x with the one that is there, in the order in which
// they are made.
func (w *sweep) add(o ir.Op, x, dx ir.ValueID) {
	if !w.needs[x] {
		return
	}
	if have, ok := w.grads[x]; ok {
		sum := w.fresh(o, x, "dsum")
		w.emit(o, op.Add, op.Attr{}, ids(have, dx), ids(sum))
		dx = sum
	}
	w.grads[x] = dx
}

// backSplit joins the gradients of the parts.
func (w *sweep) backSplit(o ir.Op) {
	parts := make([]ir.ValueID, len(o.Out))
	for i, v := range o.Out {
		g, ok := w.grads[v]
		if !ok {
			return // nothing below needs it
		}
		parts[i] = g
	}
	w.give(o, o.In[0], op.Concat, op.Attr{}, parts)
}

// backConcat cuts the gradient into the branches' parts.
func (w *sweep) backConcat(o ir.Op, dy ir.ValueID) {
	parts := make([]ir.ValueID, len(o.In))
	for i, v := range o.In {
		parts[i] = w.fresh(o, v, "dpart")
	}
	w.emit(o, op.Split, op.Attr{}, ids(dy), parts)
	for i, v := range o.In {
		w.add(o, v, parts[i])
	}
}

// fresh makes a value shaped like x for a gradient of it.
func (w *sweep) fresh(o ir.Op, x ir.ValueID, port string) ir.ValueID {
	like := w.b.val(x)
	return w.b.value(ir.Value{
		Name: o.Layer + ":" + port + w.suffix, Kind: ir.Activation,
		Shape: slices.Clone(like.Shape), Unit: w.b.prog.Segments[w.seg].Unit,
	})
}

// gradOf is the gradient of a weight, made on first use.
func (w *sweep) gradOf(weight ir.ValueID) ir.ValueID {
	b := w.b
	i, ok := b.paramOf[weight]
	if !ok {
		panic("lower: gradient of a value that is no parameter: " + b.val(weight).Name)
	}
	p := &b.prog.Params[i]
	if p.Grad == ir.None {
		v := b.val(weight)
		p.Grad = b.value(ir.Value{Name: p.Name + ":grad", Kind: ir.WeightGrad, Shape: v.Shape, Unit: v.Unit})
	}
	return p.Grad
}

func (w *sweep) emit(o ir.Op, code op.Code, a op.Attr, in, out []ir.ValueID) {
	seg := &w.b.prog.Segments[w.seg]
	seg.Ops = append(seg.Ops, ir.Op{Code: code, Attr: a, In: in, Out: out, Layer: o.Layer, Range: o.Range})
}
