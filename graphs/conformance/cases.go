package conformance

import (
	"fmt"

	"github.com/locorun/locorun/compiler/op"
)

// makers make the i-th case of an op: settings and arguments. Results are made
// from the op's shape rule, except where a maker makes them.
var makers = [len(op.Rows)]func(r *random, i int) *problem{
	op.Conv:         makeConv,
	op.Norm:         makeNorm,
	op.ConvNorm:     makeConvNorm,
	op.ReLU:         func(r *random, i int) *problem { return &problem{in: list(r.coarse(r.mapShape(i)...))} },
	op.Add:          makePair,
	op.PoolMax:      makePool,
	op.PoolMean:     makePool,
	op.Mean:         func(r *random, i int) *problem { return &problem{in: list(r.array(r.mapShape(i)...))} },
	op.Dense:        makeDense,
	op.Resize:       makeResize,
	op.Shuffle:      makeShuffle,
	op.Split:        makeSplit,
	op.Concat:       makeConcat,
	op.NTXent:       makeNTXent,
	op.ConvInput:    makeConvInput,
	op.ConvWeight:   makeConvWeight,
	op.NormGrad:     makeNormGrad,
	op.ConvNormGrad: makeConvNormGrad,
	op.ReLUGrad:     makePair,
	op.PoolMaxGrad:  makePoolMaxGrad,
	op.PoolMeanGrad: makePoolGrad,
	op.MeanGrad:     makeMeanGrad,
	op.DenseInput:   makeDenseInput,
	op.DenseWeight:  makeDenseWeight,
	op.ResizeGrad:   makeResizeGrad,
	op.Copy:         func(r *random, i int) *problem { return &problem{in: list(r.array(r.mapShape(i)...))} },
	op.Pull:         makePair,
	op.SGD:          makeSGD,
	op.LARS:         makeUpdate,
	op.AdamW:        makeAdamW,
}

func list(as ...*array) []*array { return as }

// newProblem makes case i of an op. Results hold random numbers, to be
// replaced or added to. BF16 is the type of what can be of it.
func newProblem(c op.Code, i int, dtype op.Dtype) (*problem, error) {
	if makers[c] == nil || references[c] == nil {
		return nil, fmt.Errorf("op %v has no case or no reference", c)
	}
	wide := dtype
	if dtype == op.BF16 {
		wide = op.F32
	}
	r := newRandom(c, i, wide)
	p := makers[c](r, i)
	p.code = c
	err := p.results(r)
	if dtype == op.BF16 {
		p.narrow()
	}
	return p, err
}

// results makes the results from the shape rule: optional ones but for the odd
// case.
func (p *problem) results(r *random) error {
	if p.out != nil || p.inPlace() {
		return nil
	}
	row := op.Rows[p.code]
	var shapes [][]int
	for _, a := range p.in {
		if a == nil {
			shapes = append(shapes, nil)
			continue
		}
		shapes = append(shapes, a.shape)
	}
	want, err := row.Shape(p.attr, shapes)
	if err != nil {
		return fmt.Errorf("%v: a case is wrong: %w", p, err)
	}
	for i, arg := range row.Out {
		a := r.maybe(p.has(arg, r), want[i]...)
		if arg.Name == "index" {
			a.dtype = op.I32
			clear(a.v)
		}
		p.out = append(p.out, a)
	}
	return nil
}

// has says whether a result is there.
func (p *problem) has(arg op.Arg, r *random) bool {
	switch arg.Name {
	case "dbias":
		return p.attr.Bias
	case "dscale", "dshift":
		return p.attr.Weights
	case "dw":
		return !arg.Optional || p.attr.Weights
	case "dx":
		return !arg.Optional || !p.attr.Weights || p.in[8] != nil || r.yes()
	}
	return !arg.Optional || r.between(0, 4) > 0
}

// mapShape is the shape of a map: the first cases are corners, some are large
// enough to be cut into several tiles.
func (r *random) mapShape(i int) []int {
	switch {
	case i == 0:
		return []int{1, 1, 1, 1}
	case i == 1:
		return []int{1, 7, 3, 1}
	case i%8 == 7:
		return []int{r.between(1, 3), r.between(15, 23), r.between(15, 23), r.between(17, 40)}
	}
	return []int{r.between(1, 5), r.between(1, 9), r.between(1, 9), r.between(1, 9)}
}

// window fills in a window that fits a map of h x w.
func (r *random) window(a *op.Attr, h, w, most int) {
	a.Stride, a.Pad = r.between(1, 3), r.between(0, 3)
	a.KH, a.KW = r.between(1, min(most, h+2*a.Pad)), r.between(1, min(most, w+2*a.Pad))
	if r.between(0, 3) == 0 {
		a.KH, a.KW, a.Stride, a.Pad = 1, 1, 1, 0
	}
}

// convCase is a convolution: settings and the shapes of its input and weights.
func (r *random) convCase(i int) (a op.Attr, x, w []int) {
	x = r.mapShape(i)
	r.window(&a, x[1], x[2], 5)
	a.Groups = r.between(0, 1)
	cg, kg := x[3], r.between(1, 9)
	switch {
	case i%8 == 7:
		kg = r.between(17, 70)
	case i%4 == 2: // grouped
		a.Groups = r.between(2, 4)
		cg, kg = r.between(1, 4), r.between(1, 4)
	case i%4 == 1 && i > 1: // depthwise
		a.Groups, cg, kg = x[3], 1, 1
	}
	x[3] = cg * max(a.Groups, 1)
	return a, x, []int{kg * max(a.Groups, 1), a.KH, a.KW, cg}
}

func (r *random) convOut(a op.Attr, x, w []int) []int {
	return []int{x[0], op.ConvOut(x[1], a.KH, a.Stride, a.Pad), op.ConvOut(x[2], a.KW, a.Stride, a.Pad), w[0]}
}

func makeConv(r *random, i int) *problem {
	a, x, w := r.convCase(i)
	a.Bias = r.yes()
	return &problem{attr: a, in: list(r.array(x...), r.array(w...), r.maybe(a.Bias, w[0]))}
}

func makeConvInput(r *random, i int) *problem {
	a, x, w := r.convCase(i)
	a.H, a.W = x[1], x[2]
	return &problem{attr: a, in: list(r.array(r.convOut(a, x, w)...), r.array(w...))}
}

func makeConvWeight(r *random, i int) *problem {
	a, x, w := r.convCase(i)
	a.Bias = r.yes()
	return &problem{attr: a, in: list(r.array(x...), r.array(r.convOut(a, x, w)...))}
}

// normAttr fills in the settings of a norm over c channels, with groups.
func (r *random) normAttr(a *op.Attr, i, c int) (groups int) {
	a.Mode = op.NormMode(i % 3)
	a.ReLU, a.Residual = r.yes(), r.yes()
	a.Eps, a.StatMomentum = 1e-5, 0.1
	if i%4 == 3 {
		groups = r.divisor(c)
	}
	return groups
}

// divisor is a number that divides n.
func (r *random) divisor(n int) int {
	d := r.between(1, n)
	for n%d != 0 {
		d--
	}
	return d
}

// onRead makes the norm that a convolution reads x through, its scale, shift,
// mean and invstd, in half the cases.
func (r *random) onRead(a *op.Attr, x []int) []*array {
	if r.yes() {
		return list(nil, nil, nil, nil)
	}
	saved := []int{x[3]}
	a.InReLU = r.yes()
	if r.between(0, 2) == 0 {
		a.InGroups = r.divisor(x[3])
		saved = []int{x[0], a.InGroups}
	}
	return list(r.array(x[3]), r.array(x[3]), r.array(saved...), r.positive(saved...))
}

// normArgs are scale, shift, mean, var and residual of a norm of shape x.
func (r *random) normArgs(a op.Attr, groups int, x []int) []*array {
	c := x[3]
	running := groups == 0 && (a.Mode != op.NormBatch || r.yes())
	as := list(r.array(c), r.array(c), nil, nil, r.maybe(a.Residual, x...))
	if running {
		as[2], as[3] = r.array(c), r.positive(c)
	}
	return as
}

func makeNorm(r *random, i int) *problem {
	x := r.mapShape(i)
	p := &problem{}
	p.attr.Groups = r.normAttr(&p.attr, i, x[3])
	p.in = append(list(r.array(x...)), r.normArgs(p.attr, p.attr.Groups, x)...)
	if i%5 == 4 { // a mean far from zero
		for k := range p.in[0].v {
			p.in[0].v[k] = r.round(p.in[0].v[k] + 100)
		}
	}
	return p
}

func makeConvNorm(r *random, i int) *problem {
	a, x, w := r.convCase(i)
	p := &problem{attr: a}
	p.attr.NormGroups = r.normAttr(&p.attr, i, w[0])
	p.in = append(list(r.array(x...), r.array(w...)), r.normArgs(p.attr, p.attr.NormGroups, r.convOut(a, x, w))...)
	p.in = append(p.in, r.onRead(&p.attr, x)...)
	return p
}

func makeNormGrad(r *random, i int) *problem {
	x := r.mapShape(i)
	p := &problem{}
	p.attr.Groups = r.normAttr(&p.attr, i, x[3])
	p.attr.Mode = op.NormMode(i % 2)
	p.attr.Weights = r.yes()
	saved := []int{x[3]}
	if p.attr.Groups > 0 {
		saved = []int{x[0], p.attr.Groups}
	}
	p.in = list(r.array(x...), r.array(x...), r.maybe(p.attr.ReLU, x...), r.array(x[3]), r.array(saved...), r.positive(saved...))
	return p
}

// makeConvNormGrad: every third case is one of convNormKinds.
func makeConvNormGrad(r *random, i int) *problem {
	a, x, w := r.convCase(i)
	if i%3 == 2 {
		a, x, w = r.convNormKind(i / 3)
	}
	p := &problem{attr: a}
	p.attr.NormGroups = r.normAttr(&p.attr, i, w[0])
	if i%3 == 2 && i%2 == 0 {
		p.attr.NormGroups = 0
	}
	p.attr.Mode, p.attr.StatMomentum = op.NormMode(i%2), 0
	p.attr.H, p.attr.W, p.attr.Weights = x[1], x[2], r.yes()
	y := r.convOut(a, x, w)
	saved := []int{y[3]}
	if p.attr.NormGroups > 0 {
		saved = []int{y[0], p.attr.NormGroups}
	}
	p.in = list(r.array(y...), r.array(y...), r.maybe(p.attr.ReLU, y...), r.array(y[3]), r.array(saved...), r.positive(saved...),
		r.array(x...), r.array(w...), r.maybe(r.yes(), x...), nil)
	if p.attr.ReLU && !p.attr.Residual && r.yes() { // the mask is made of z
		p.in[2], p.in[9] = nil, r.array(y[3])
	}
	p.in = append(p.in, r.onRead(&p.attr, x)...)
	return p
}

// convNormKinds are convolutions as residual networks have them.
var convNormKinds = []op.Attr{
	{KH: 3, KW: 3, Stride: 1, Pad: 1, Groups: 1},
	{KH: 1, KW: 1, Stride: 1, Groups: 1},
	{KH: 7, KW: 7, Stride: 2, Pad: 3, Groups: 1},
	{KH: 3, KW: 3, Stride: 2, Pad: 1, Groups: 1},
	{KH: 1, KW: 1, Stride: 2, Groups: 1},
	{KH: 3, KW: 3, Stride: 1, Pad: 1, Groups: 4},
}

// convNormKind is a convolution of some kind with channels that fill more than
// a vector and leave some over.
func (r *random) convNormKind(kind int) (a op.Attr, x, w []int) {
	a = convNormKinds[kind%len(convNormKinds)]
	cg, kg := r.between(3, 40)/a.Groups+1, r.between(17, 40)/a.Groups+1
	x = []int{r.between(1, 3), r.between(7, 13), r.between(7, 13), cg * a.Groups}
	return a, x, []int{kg * a.Groups, a.KH, a.KW, cg}
}

func makePair(r *random, i int) *problem {
	s := r.mapShape(i)
	return &problem{attr: op.Attr{Scale: 0.3}, in: list(r.array(s...), r.coarse(s...))}
}

func makePool(r *random, i int) *problem {
	x := r.mapShape(i)
	p := &problem{attr: r.poolAttr(x), in: list(r.array(x...))}
	if i%2 == 0 {
		p.in[0] = r.coarse(x...)
	}
	return p
}

// poolAttr is a window whose every place holds a pixel.
func (r *random) poolAttr(x []int) (a op.Attr) {
	r.window(&a, x[1], x[2], 4)
	a.Pad = min(a.Pad, a.KH-1, a.KW-1)
	a.KH, a.KW = min(a.KH, x[1]+2*a.Pad), min(a.KW, x[2]+2*a.Pad)
	a.Pad = min(a.Pad, a.KH-1, a.KW-1)
	a.KH, a.KW = min(a.KH, x[1]), min(a.KW, x[2])
	a.Pad = min(a.Pad, a.KH-1, a.KW-1)
	return a
}

func makePoolGrad(r *random, i int) *problem {
	x := r.mapShape(i)
	a := r.poolAttr(x)
	a.H, a.W = x[1], x[2]
	return &problem{attr: a, in: list(r.array(r.convOut(a, x, []int{x[3]})...))}
}

// makePoolMaxGrad: any place of the map may be a window's winner, and of
// several windows.
func makePoolMaxGrad(r *random, i int) *problem {
	p := makePoolGrad(r, i)
	index := newArray(op.I32, p.in[0].shape...)
	for k := range index.v {
		index.v[k] = float64(r.between(0, p.attr.H*p.attr.W-1))
	}
	p.in = append(p.in, index)
	return p
}

func makeMeanGrad(r *random, i int) *problem {
	x := r.mapShape(i)
	return &problem{attr: op.Attr{H: x[1], W: x[2]}, in: list(r.array(x[0], 1, 1, x[3]))}
}

// denseCase is the number of rows, of inputs and of outputs.
func (r *random) denseCase(i int) (n, c, k int) {
	switch {
	case i == 0:
		return 1, 1, 1
	case i%8 == 7:
		return r.between(100, 600), r.between(60, 150), r.between(60, 150)
	}
	return r.between(1, 9), r.between(1, 40), r.between(1, 40)
}

func makeDense(r *random, i int) *problem {
	n, c, k := r.denseCase(i)
	bias := r.yes()
	return &problem{attr: op.Attr{Bias: bias}, in: list(r.array(n, 1, 1, c), r.array(k, c), r.maybe(bias, k))}
}

func makeDenseInput(r *random, i int) *problem {
	n, c, k := r.denseCase(i)
	return &problem{in: list(r.array(n, 1, 1, k), r.array(k, c))}
}

func makeDenseWeight(r *random, i int) *problem {
	n, c, k := r.denseCase(i)
	return &problem{attr: op.Attr{Bias: r.yes()}, in: list(r.array(n, 1, 1, c), r.array(n, 1, 1, k))}
}

func makeResize(r *random, i int) *problem {
	return &problem{attr: op.Attr{H: r.between(1, 12), W: r.between(1, 12)}, in: list(r.array(r.mapShape(i)...))}
}

func makeResizeGrad(r *random, i int) *problem {
	return makeResize(r, i)
}

func makeShuffle(r *random, i int) *problem {
	x := r.mapShape(i)
	groups := r.between(1, 4)
	x[3] *= groups
	return &problem{attr: op.Attr{Groups: groups}, in: list(r.array(x...))}
}

func makeSplit(r *random, i int) *problem {
	x := r.mapShape(i)
	p := &problem{}
	c := 0
	for range r.between(1, 4) {
		x[3] = r.between(1, 9)
		c += x[3]
		p.out = append(p.out, r.array(x...))
	}
	x[3] = c
	p.in = list(r.array(x...))
	return p
}

func makeConcat(r *random, i int) *problem {
	x := r.mapShape(i)
	p := &problem{}
	for range r.between(1, 4) {
		p.in = append(p.in, r.array(x...))
		x[3] = r.between(1, 9)
	}
	return p
}

// makeNTXent: random rows, identical rows, zero rows, and temperatures down to
// where logits reach 1e4.
func makeNTXent(r *random, i int) *problem {
	rows, dim := 2*r.between(1, 12), r.between(1, 20)
	if i%8 == 7 {
		rows, dim = 2*r.between(60, 90), r.between(30, 130)
	}
	p := &problem{attr: op.Attr{Temperature: []float64{0.5, 0.1, 1e-3, 1e-4}[i%4], Scale: 0.5 + r.uniform()}}
	e := r.array(rows, 1, 1, dim)
	for k := range e.v {
		switch {
		case i%6 == 4: // identical
			e.v[k] = e.v[k%dim]
		case i%6 == 5 && k/dim == 1: // a zero row
			e.v[k] = 0
		}
	}
	p.in = list(e)
	return p
}

func makeUpdate(r *random, i int) *problem {
	s := r.mapShape(i)
	return &problem{lr: 0.1, step: r.between(1, 20), in: list(r.array(s...), r.array(s...), r.array(s...)), attr: op.Attr{
		Momentum: 0.9, Decay: 0.01, LRFactor: 0.5,
		Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Trust: []float64{0, 0.001}[i%2],
	}}
}

func makeSGD(r *random, i int) *problem {
	p := makeUpdate(r, i)
	p.attr.Nesterov = r.yes()
	if i%3 == 2 {
		p.attr.Momentum, p.in[2] = 0, nil
	}
	return p
}

func makeAdamW(r *random, i int) *problem {
	p := makeUpdate(r, i)
	p.in = append(p.in, r.positive(p.in[0].shape...))
	return p
}
