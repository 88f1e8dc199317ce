package conformance

import (
	"errors"
	"math"
	"slices"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// differentiable says how the gradients of an op are made.
type differentiable struct {
	// outs are the results that are differentiated.
	outs func(p *problem) []int
	// backward returns a gradient for each argument, nil where there is none,
	// from the forward problem as it was run and the results' gradients.
	backward func(c calls, p *problem, dy []*array) ([]*array, error)
}

func firstOut(*problem) []int  { return []int{0} }
func secondOut(*problem) []int { return []int{1} }

func allOuts(p *problem) (is []int) {
	for i := range p.out {
		is = append(is, i)
	}
	return is
}

var differentiables = [len(op.Rows)]*differentiable{
	op.Conv:     {firstOut, convBackward},
	op.Dense:    {firstOut, denseBackward},
	op.Norm:     {firstOut, normBackward},
	op.ConvNorm: {secondOut, convNormBackward},
	op.ReLU: {firstOut, func(c calls, p *problem, dy []*array) ([]*array, error) {
		return c.run(op.ReLUGrad, op.Attr{}, list(dy[0], p.out[0]), p.in[0])
	}},
	op.Add: {firstOut, func(_ calls, _ *problem, dy []*array) ([]*array, error) {
		return list(dy[0], dy[0]), nil
	}},
	op.PoolMax: {firstOut, func(c calls, p *problem, dy []*array) ([]*array, error) {
		return c.run(op.PoolMaxGrad, p.mapAttr(), list(dy[0], p.out[1]), p.in[0])
	}},
	op.PoolMean: {firstOut, backwardBy(op.PoolMeanGrad)},
	op.Mean:     {firstOut, backwardBy(op.MeanGrad)},
	op.Resize:   {firstOut, backwardBy(op.ResizeGrad)},
	op.Shuffle: {firstOut, func(c calls, p *problem, dy []*array) ([]*array, error) {
		a := op.Attr{Groups: p.in[0].shape[3] / p.attr.Groups}
		return c.run(op.Shuffle, a, list(dy[0]), p.in[0])
	}},
	op.Split: {allOuts, func(c calls, p *problem, dy []*array) ([]*array, error) {
		return c.run(op.Concat, op.Attr{}, dy, p.in[0])
	}},
	op.Concat: {firstOut, func(c calls, p *problem, dy []*array) ([]*array, error) {
		return c.run(op.Split, op.Attr{}, list(dy[0]), p.in...)
	}},
	op.NTXent: {firstOut, func(_ calls, p *problem, _ []*array) ([]*array, error) {
		return list(p.out[1]), nil
	}},
}

// calls runs gradient ops.
type calls struct{ b device.Backend }

// run runs one op; its results have the shapes of like, nil is absent, and
// start as zeros.
func (c calls) run(code op.Code, a op.Attr, in []*array, like ...*array) ([]*array, error) {
	p := &problem{code: code, attr: a, in: in}
	for _, l := range like {
		if l == nil {
			p.out = append(p.out, nil)
			continue
		}
		p.out = append(p.out, newArray(op.F64, l.shape...))
	}
	return p.out, p.run(c.b)
}

// mapAttr is the problem's settings with the size of its input map.
func (p *problem) mapAttr() op.Attr {
	a := p.attr
	a.H, a.W = p.in[0].shape[1], p.in[0].shape[2]
	return a
}

// backwardBy is a backward pass of one op that takes dy alone.
func backwardBy(code op.Code) func(calls, *problem, []*array) ([]*array, error) {
	return func(c calls, p *problem, dy []*array) ([]*array, error) {
		return c.run(code, p.mapAttr(), list(dy[0]), p.in[0])
	}
}

func convBackward(c calls, p *problem, dy []*array) ([]*array, error) {
	return c.product(p, op.ConvInput, op.ConvWeight, dy[0])
}

func denseBackward(c calls, p *problem, dy []*array) ([]*array, error) {
	return c.product(p, op.DenseInput, op.DenseWeight, dy[0])
}

// product is the backward pass of Conv and Dense: of x, w and bias.
func (c calls) product(p *problem, input, weight op.Code, dy *array) ([]*array, error) {
	dx, err := c.run(input, p.mapAttr(), list(dy, p.in[1]), p.in[0])
	if err != nil {
		return nil, err
	}
	dw, err := c.run(weight, p.attr, list(p.in[0], dy), p.in[1], p.in[2])
	return append(dx, dw...), err
}

// normGrads is the backward pass of a norm of x into y: of x, scale, shift,
// mean, var and residual.
func (c calls) normGrads(a op.Attr, dy, x, y, scale *array, saved []*array) ([]*array, error) {
	a.Weights = true
	out, err := c.run(op.NormGrad, a, append(list(dy, x, y, scale), saved...), x, residualLike(a, x), scale, scale)
	if err != nil {
		return nil, err
	}
	return list(out[0], out[2], out[3], nil, nil, out[1]), nil
}

func residualLike(a op.Attr, x *array) *array {
	if a.Residual {
		return x
	}
	return nil
}

func normBackward(c calls, p *problem, dy []*array) ([]*array, error) {
	return c.normGrads(p.attr, dy[0], p.in[0], p.out[0], p.in[1], p.out[1:])
}

// convNormBackward asks for all results at once, with a gradient of x that is
// there already: what is left when that is taken away is the gradient itself.
// Where x is read through a norm, and y may be left out, it is.
func convNormBackward(c calls, p *problem, dy []*array) ([]*array, error) {
	a, x, w, z, scale := p.mapAttr(), p.in[0], p.in[1], p.out[0], p.in[2]
	a.Weights, a.StatMomentum = true, 0
	more := x // any numbers will do
	in := append(append(list(dy[1], z, p.out[1], scale), p.out[2:]...), x, w, more, nil)
	if p.in[7] != nil && !a.Residual {
		in[2], in[9] = nil, p.in[3]
	}
	in = append(in, p.in[7:]...)
	out, err := c.run(op.ConvNormGrad, a, in, x, residualLike(a, z), scale, scale, w)
	if err != nil {
		return nil, err
	}
	for i, v := range more.v {
		out[0].v[i] -= v
	}
	throughRead(p, out[0])
	return list(out[0], out[4], out[2], out[3], nil, nil, out[1]), nil
}

// throughRead takes the gradient of what a convolution sees to that of x, where
// it reads x through a norm, whose statistics are but arguments here.
func throughRead(p *problem, dx *array) {
	if p.in[7] == nil {
		return
	}
	seen := refSeen(p.attr, p.in[0], p.in[7:])
	scale, invstd := p.in[7], p.in[10]
	refStats(dx.shape, p.attr.InGroups, func(set int, members []int) {
		for _, i := range members {
			dx.v[i] *= invstd.v[set] * scale.v[i%len(scale.v)]
			if p.attr.InReLU && seen.v[i] <= 0 {
				dx.v[i] = 0
			}
		}
	})
}

// smoothProblem is a small case of an op without a kink nearby.
func smoothProblem(b device.Backend, c op.Code, i int) (*problem, error) {
	for try := range 100 {
		p, err := newProblem(c, 8*(i/7)+i%7+8000*try, op.F64)
		if err != nil {
			return nil, err
		}
		p.smooth(newRandom(c, 2000+i, op.F64))
		if ok, err := p.clear(b); ok || err != nil {
			return p, err
		}
	}
	return nil, errors.New("no case without a kink found")
}

// smooth changes a case to one that can be differentiated.
func (p *problem) smooth(r *random) {
	switch p.code {
	case op.ReLU, op.PoolMax:
		p.in[0] = r.spaced(p.in[0].shape...)
	case op.NTXent:
		p.attr.Temperature = max(p.attr.Temperature, 0.05)
		p.in[0] = r.array(2*r.between(2, 9), 1, 1, r.between(2, 20))
		p.out[1] = r.array(p.in[0].shape...)
	case op.Norm, op.ConvNorm:
		if p.attr.Mode == op.NormRunning {
			p.attr.Mode = op.NormBatch
		}
		p.needSaved(r)
	}
}

// needSaved puts in the results that a case may leave out.
func (p *problem) needSaved(r *random) {
	n, y, groups := len(p.out), p.out[0], p.attr.Groups
	if p.code == op.ConvNorm {
		groups = p.attr.NormGroups
		p.out[1] = r.array(y.shape...)
	}
	shape := []int{y.shape[3]}
	if groups > 0 {
		shape = []int{y.shape[0], groups}
	}
	p.out[n-2], p.out[n-1] = r.array(shape...), r.array(shape...)
}

// clear reports whether nothing lies near the kink of a relu, one fused or one
// applied on read.
func (p *problem) clear(b device.Backend) (bool, error) {
	if p.attr.InReLU {
		a := p.attr
		a.InReLU = false
		if nearZero(refSeen(a, p.in[0], p.in[7:]), 1e-5) {
			return false, nil
		}
	}
	if !p.attr.ReLU {
		return true, nil
	}
	q := p.clone()
	q.attr.ReLU = false
	if err := q.run(b); err != nil {
		return false, err
	}
	return !nearZero(q.out[len(q.out)-3], 1e-3), nil
}

// nearZero reports whether an element lies nearer to zero than the limit.
func nearZero(a *array, limit float64) bool {
	return slices.ContainsFunc(a.v, func(v float64) bool { return math.Abs(v) < limit })
}
