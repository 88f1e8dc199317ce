package cpu

import (
	"unsafe"

	"github.com/locorun/locorun/graphs/cpu/vector"
)

// The gradient of a convolution's weights is a sum of outer products over all
// pixels: of the output's gradient with the row of the window that the pixel
// saw. A kernel keeps a block of the gradient in registers while the pixels of
// a unit pass.
//
//	dw[k][a][b,c] = sum over pixels p of dy[p][k] * x[p*stride + (a, b)][c]
//
// The batch is cut into segments with a sum each, joined in order; where
// weights are many the output channels are cut instead.
const (
	weightParts     = 16      // segments times parts of channels
	partialElements = 2 << 20 // of all segments' sums
)

// weightGrad is a weight gradient under way.
type weightGrad struct {
	geometry
	r        *run
	dw       []float32
	segments int // of units
	parts    int // of output channels
	units    int
	partial  []float32
}

// newWeightGrad cuts a weight gradient.
func newWeightGrad(r *run, g geometry, dw []float32) *weightGrad {
	c := &weightGrad{geometry: g, r: r, dw: dw, units: g.units()}
	c.segments, c.parts = g.weightSegments(), g.weightCut()
	if c.segments > 1 {
		c.partial = scratch[float32](&r.shared, slotPartial, c.segments*len(dw))
	}
	return c
}

// weightSegments is how many segments of the batch have a sum of their own.
func (g geometry) weightSegments() int {
	return min(max(partialElements/(g.k*g.patch()), 1), weightParts, g.units())
}

// weightCut is into how many parts the output channels are cut, where segments
// alone are too few for many workers.
func (g geometry) weightCut() int {
	segments := g.weightSegments()
	if segments >= weightParts/2 {
		return 1
	}
	return min(weightParts/segments, parts(g.k, 16))
}

// segment is the units of segment i. The first are the longest, where there are
// units enough: workers that end with short ones end at about the same time.
func (c *weightGrad) segment(i int) (from, to int) {
	n := c.segments
	if n*n > c.units {
		return span(i, n, c.units)
	}
	cut := func(i int) int { return c.units - c.units*(n-i)*(n-i)/(n*n) }
	return cut(i), cut(i + 1)
}

// convWeightDirect is the kernel of ConvWeight and DenseWeight.
func convWeightDirect(r *run) error {
	g := newGeometry(r.attr, r.in[0], r.out[0], r.in[1])
	x, dy := reader{x: input[float32](r, 0)}, input[float32](r, 1)
	dw := output[float32](r, 0)
	if g.depthwise() {
		if err := depthwiseWeight32(r, g, x.x, dy, dw); err != nil {
			return err
		}
	} else if err := newWeightGrad(r, g, dw).run(x, dy); err != nil {
		return err
	}
	return biasGrad(r, g, dy, output[float32](r, 1))
}

// run adds the gradient for outputs' gradients dy.
func (c *weightGrad) run(x reader, dy []float32) error {
	per := c.units
	if c.parts > 1 {
		per = c.together(x)
	}
	for first := 0; first < c.units; first += per {
		last := min(first+per, c.units)
		inputs, err := c.share(x, first, last)
		if err != nil {
			return err
		}
		err = c.r.eachCounted(c.segments*c.parts, func(tile int, ws *workspace) int {
			k0, k1 := span(tile%c.parts, c.parts, c.k)
			begin, end := c.segment(tile / c.parts)
			done, to := 0, min(end, last)
			for i := max(begin, first); i < to; i++ {
				u := c.geometry.unit(i, c.units)
				g := c.geometry.of(u)
				grad := plane{h: g.oh, w: g.ow, c: g.k, groups: g.groups, hp: g.oh, wp: g.ow}
				c.ahead(ws.ahead.none(), i+1, to, x, dy)
				done += c.unit(ws, u, inputs(ws, i), dy[c.output(u):], grad, tile/c.parts, i > begin, k0, k1)
			}
			return done
		})
		if err != nil {
			return err
		}
	}
	return c.join()
}

// together is how many units' inputs are shared at a time.
func (c *weightGrad) together(x reader) int {
	g := c.geometry.of(unit{0, c.geometry.mostPictures(c.units)})
	return max(1, partElements/max(g.n*g.inputPlane().size(), g.outputSize()))
}

// share returns the inputs of units [first,last) as kernels want them. Where
// the workers share the weights and inputs must be copied, that is done once.
func (c *weightGrad) share(x reader, first, last int) (func(ws *workspace, number int) []float32, error) {
	g := c.geometry
	if c.parts == 1 || x.asItLies(g.inputPlane()) {
		return func(ws *workspace, number int) []float32 {
			u := g.unit(number, c.units)
			return x.unit(ws, g, u, g.of(u).inputPlane())
		}, nil
	}
	n := g.of(unit{0, g.mostPictures(c.units)})
	size := n.n * n.inputPlane().size()
	mem := scratch[float32](&c.r.shared, slotPad, (last-first)*size)
	at := func(_ *workspace, number int) []float32 { return mem[(number-first)*size:] }
	return at, c.r.each(last-first, func(i int, ws *workspace) {
		u := g.unit(first+i, c.units)
		x.copy(ws, g, u, g.of(u).inputPlane(), at(ws, first+i))
	})
}

// ahead asks for the unit that comes next.
func (c *weightGrad) ahead(a *ahead, next, last int, x reader, dy []float32) {
	if next < last {
		u := c.geometry.unit(next, c.units)
		g := c.geometry.of(u)
		a.add(x.x[c.input(u):][:g.inputSize()])
		if c.parts == 1 { // else most of it is for others
			a.add(dy[c.output(u):][:g.outputSize()])
		}
	}
}

// unit adds a unit's part of output channels [k0,k1) to a segment's sum, or
// starts the sum with it. The unit's inputs lie as its plane says, its gradients
// dy as grad says.
func (c *weightGrad) unit(ws *workspace, u unit, x, dy []float32, grad plane, segment int, add bool, k0, k1 int) int {
	g := c.geometry.of(u)
	p := g.inputPlane()
	dst := c.dw
	if c.partial != nil {
		dst = c.partial[segment*len(c.dw):][:len(c.dw)]
	} else {
		add = true
	}
	o := outerCall{set: c.r.b.tier.set, geometry: g, x: x, in: p, dy: dy, grad: grad, dst: dst, add: add, ahead: &ws.ahead}
	for group := k0 / g.kg; group*g.kg < k1; group++ {
		o.group(&ws.outer, group, max(k0, group*g.kg), min(k1, (group+1)*g.kg))
	}
	ws.outer = vector.OuterTile{}
	return g.n * g.oh * g.ow * (k1 - k0) * g.patch()
}

// join adds the segments' sums to the gradient, in order.
func (c *weightGrad) join() error {
	if c.partial == nil {
		return nil
	}
	n, size, set := parts(len(c.dw), segmentElements), len(c.dw), c.r.b.tier.set
	return c.r.each(n, func(tile int, ws *workspace) {
		from := tile * segmentElements
		to := min(from+segmentElements, size)
		t, sum := &ws.flat, c.partial[from:to]
		for i := 1; i <= c.segments; i++ {
			*t = vector.FlatTile{N: to - from, A: first(sum), B: first(c.partial[(i%c.segments)*size+from:]), C: first(sum)}
			if i == c.segments { // the sum is whole
				t.B, t.C = first(c.dw[from:]), first(c.dw[from:])
			}
			t.Run(set.Add, set.Lanes)
		}
	})
}

// outerCall is a weight gradient of one unit.
type outerCall struct {
	geometry
	set   *vector.Set
	x     []float32
	in    plane
	dy    []float32
	grad  plane
	dst   []float32
	add   bool
	ahead *ahead
}

// outerPixels is about how many pixels are summed before the next block of the
// gradient: what they saw stays in the first cache level meanwhile.
const outerPixels = 256

// group sums output channels [k0,k1), all of one group.
func (o *outerCall) group(t *vector.OuterTile, group, k0, k1 int) {
	t.AStep, t.ARow, t.APict = 4*o.grad.pixel(), 4*o.grad.row(), 4*o.grad.size()
	t.BStep, t.BRow, t.BPict = 4*o.stride*o.in.pixel(), 4*o.stride*o.in.row(), 4*o.in.size()
	t.Cols, t.CStep, t.Add = o.ow, 4*o.patch(), 0
	if o.add {
		t.Add = 1
	}
	dy := o.grad.group(group) + o.grad.top*o.grad.row() + o.grad.left*o.grad.pixel() - group*o.kg
	o.eachPart(func(picture, row, pictures, rows, cols, col int) {
		t.Pictures, t.Cols = pictures, cols
		a := dy + picture*o.grad.size() + col*o.grad.pixel()
		b := o.in.group(group) + picture*o.in.size() + o.stride*col*o.in.pixel()
		o.part(t, a, b, k0, k1, row, rows)
		t.Add = 1
	})
}

// eachPart cuts the unit's pixels into parts of whole pictures, of rows of one,
// or of pixels of one row.
func (o *outerCall) eachPart(do func(picture, row, pictures, rows, cols, col int)) {
	if size := o.oh * o.ow; size < outerPixels {
		n := parts(o.n, outerPixels/size)
		for i := range n {
			from, to := span(i, n, o.n)
			do(from, 0, to-from, o.oh, o.ow, 0)
		}
		return
	}
	rows, cols := parts(o.oh, max(1, outerPixels/o.ow)), 1
	if rows == o.oh {
		cols = parts(o.ow, outerPixels)
	}
	for p := range o.n {
		for i := range rows {
			from, to := span(i, rows, o.oh)
			for j := range cols {
				left, right := span(j, cols, o.ow)
				do(p, from, 1, to-from, right-left, left)
			}
		}
	}
}

// part sums over rows [first,first+rows) of a part, whose pictures begin at
// element a of the gradients and b of the inputs. For each row of the window,
// output rows that see nothing but the border in it are left out.
func (o *outerCall) part(t *vector.OuterTile, a, b, k0, k1, first, rows int) {
	for row := range o.kh {
		from, to := valid(first, first+rows, o.stride, row-o.in.top, o.in.h)
		if from == to {
			if t.Add == 1 {
				continue
			}
			from, to = first, first+1 // the sum starts with zeros
		}
		t.Rows = to - from
		o.blocks(t, row*o.kw*o.cg, a+from*o.grad.row(), b+(o.stride*from+row)*o.in.row(), k0, k1)
	}
}

// blocks sums the blocks of a row of the window, which begins at element at of
// the gradient.
func (o *outerCall) blocks(t *vector.OuterTile, at, a, b, k0, k1 int) {
	depth := o.kw * o.cg
	for i := range channelBlocks(o.set.Lanes, depth) {
		c := channelBlock(o.set.Lanes, depth, i)
		t.B = unsafe.Pointer(&o.x[b+c.from])
		t.Mask = vector.MaskOf(c.n - (c.vecs-1)*o.set.Lanes)
		n := parts(k1-k0, o.set.OuterHeight[c.vecs])
		for j := range n {
			from, to := span(j, n, k1-k0)
			t.A = unsafe.Pointer(&o.dy[a+k0+from])
			t.C = unsafe.Pointer(&o.dst[(k0+from)*o.patch()+at+c.from])
			t.Ahead, t.AheadStep = o.ahead.before(unsafe.Pointer(t))
			t.Run(o.set.Outer[to-from][c.vecs])
			o.ahead.after(t.Ahead, t.AheadStep)
		}
	}
}
