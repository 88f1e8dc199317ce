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

// norm emits the gradient of a norm, with that of the convolution fused before
// it.
func (w *sweep) norm(o ir.Op, dy ir.ValueID) {
	residual, dres := *argument(&o, "residual"), ir.None
	wanted := o.Attr.Residual && w.needs[residual]
	switch {
	case wanted && o.Attr.ReLU:
		dres = w.fresh(o, residual, "dres")
	case wanted:
		w.add(o, residual, dy) // without a relu the addition passes the gradient on as it is
	}
	if o.Code == op.ConvNorm {
		w.convNormGrad(o, dy, dres)
	} else {
		w.normGrad(o, dy, dres)
	}
	if dres != ir.None {
		w.add(o, residual, dres)
	}
}

// normGrad emits the gradient of a norm that stands alone.
func (w *sweep) normGrad(o ir.Op, dy, dres ir.ValueID) {
	a := op.Attr{
		Groups: o.Attr.Groups, Mode: o.Attr.Mode, ReLU: o.Attr.ReLU, Residual: o.Attr.Residual,
		Eps: o.Attr.Eps, Weights: w.weights,
	}
	x, dx := o.In[0], w.fresh(o, o.In[0], "dx")
	out := append(ids(dx, dres), w.normWeights(o, 1)...)
	w.emit(o, op.NormGrad, a, w.normArgs(o, dy, x, 1), out)
	w.add(o, x, dx)
}

// convNormGrad emits the gradient of a convolution with its norm. A gradient
// of its input that is there already goes in and comes out in the sum.
func (w *sweep) convNormGrad(o ir.Op, dy, dres ir.ValueID) {
	a := w.mapAttr(o)
	a.StatMomentum, a.Weights = 0, w.weights
	x, dx, more, dw := o.In[0], ir.None, ir.None, ir.None
	if w.needs[x] {
		dx = w.fresh(o, x, "dx")
		if have, ok := w.grads[x]; ok {
			more = have
		}
		w.grads[x] = dx
	}
	out := append(ids(dx, dres), w.normWeights(o, 2)...)
	if w.weights {
		dw = w.gradOf(o.In[1])
	}
	in := append(w.normArgs(o, dy, o.Out[0], 2), x, o.In[1], more)
	in = append(in, ir.None, ir.None, ir.None, ir.None, ir.None) // y is there, x is read as it lies
	w.emit(o, op.ConvNormGrad, a, in, append(out, dw))
}

// normArgs are the arguments that a norm of x gives its gradient op: what made
// y is there where a relu masks the gradient; scale is the norm's argument
// number first.
func (w *sweep) normArgs(o ir.Op, dy, x ir.ValueID, first int) []ir.ValueID {
	port, y := mapPort(o), ir.None
	if o.Attr.ReLU {
		y = o.Out[port]
	}
	return ids(dy, x, y, o.In[first], o.Out[port+1], o.Out[port+2])
}

// normWeights are the gradients of scale and shift, where the sweep makes
// them.
func (w *sweep) normWeights(o ir.Op, first int) []ir.ValueID {
	if !w.weights {
		return ids(ir.None, ir.None)
	}
	return ids(w.gradOf(o.In[first]), w.gradOf(o.In[first+1]))
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
