package cpu

// The gradient of a convolution with respect to its input is made of stencils
// over the output's gradient. With stride s, input row i sees the windows' rows
// a with (i+pad-a) divisible by s: s kinds of rows, and as many of columns, each
// pair a stencil with a part of the weights, turned around.

// residue is what one kind of input rows (or columns) sees of the output's.
type residue struct {
	first, count int // input rows first, first+stride, ...
	tap, taps    int // window rows tap, tap+stride, ...
	at           int // output row seen first by the first of the input rows
}

// residueOf is kind i of n input rows.
func residueOf(i, n, window, stride, pad int) residue {
	r := residue{first: i, count: (n - i + stride - 1) / stride, tap: (i + pad) % stride}
	r.taps = max(0, (window-r.tap+stride-1)/stride)
	r.at = (i+pad-r.tap)/stride - r.taps + 1
	return r
}

// gradSet is the stencils of an input gradient for one shape of pictures.
type gradSet struct {
	rows, cols []residue
	plane      plane
	whole      bool // every input pixel is seen by some window
}

// gradSet finds the stencils, and the border that the output's gradient needs.
func (g geometry) gradSet() gradSet {
	s := gradSet{whole: true}
	for i := range min(g.stride, g.h) {
		s.rows = append(s.rows, residueOf(i, g.h, g.kh, g.stride, g.pad))
	}
	for j := range min(g.stride, g.w) {
		s.cols = append(s.cols, residueOf(j, g.w, g.kw, g.stride, g.pad))
	}
	p := plane{h: g.oh, w: g.ow, c: g.k, groups: g.groups}
	p.top, p.hp = border(s.rows, g.oh)
	p.left, p.wp = border(s.cols, g.ow)
	p.copied = p.hp > g.oh || p.wp > g.ow || g.groups > 1 && g.kw > 1
	for _, r := range append(s.rows, s.cols...) {
		s.whole = s.whole && r.taps > 0
	}
	s.plane = p
	return s
}

// border is how many rows of zeros must stand before n rows, and how many rows
// there are with those before and behind.
func border(rs []residue, n int) (before, all int) {
	after := n
	for _, r := range rs {
		if r.taps > 0 {
			before = max(before, -r.at)
			after = max(after, r.at+r.taps+r.count-1)
		}
	}
	return before, before + after
}

// stencil is the part of the gradient of input rows of kind i and columns of
// kind j of a group. weights is the place of its packed weights.
func (s gradSet) stencil(g geometry, i, j, group, weights, lanes int) stencil {
	row, col, p := s.rows[i], s.cols[j], s.plane
	return stencil{
		rows: row.taps, depth: col.taps * g.kg, oh: row.count, ow: col.count, channels: g.cg,
		in:    p.group(group) + (p.top+row.at)*p.row() + (p.left+col.at)*p.pixel(),
		inRow: p.row(), inPixel: p.pixel(), rowStep: p.row(),
		out:    (row.first*g.w+col.first)*g.c + group*g.cg,
		outRow: g.stride * g.w * g.c, outPixel: g.stride * g.c,
		weights: weights,
		first:   p.top + row.at, step: 1, top: p.top, bottom: p.top + p.h,
	}
}

// each calls do for every stencil of a group: the kinds of rows and columns
// that see anything, with the place of the packed weights.
func (s gradSet) each(g geometry, lanes, group int, do func(i, j, weights int)) {
	padded := paddedChannels(lanes, g.cg)
	at := group * g.kh * g.kw * g.kg * padded
	for i, row := range s.rows {
		for j, col := range s.cols {
			if n := row.taps * col.taps; n > 0 {
				do(i, j, at)
				at += n * g.kg * padded
			}
		}
	}
}

// inputGrad is an input gradient under way.
type inputGrad struct {
	geometry
	gradSet
	r        *run
	dx, more []float32 // more is added to the gradient; nil where there is none
	packed   []float32
	start    []float32
}

// convInputDirect is the kernel of ConvInput and DenseInput.
func convInputDirect(r *run) error {
	g := newGeometry(r.attr, r.out[0], r.in[1], r.in[0])
	dy, dx := input[float32](r, 0), output[float32](r, 0)
	if g.depthwise() {
		return depthwiseInput32(r, g, dy, input[float32](r, 1), dx)
	}
	c, err := newInputGrad(r, g, 1, nil, dx)
	if err != nil {
		return err
	}
	units := g.units()
	columns := g.groups * channelBlocks(r.lanes(), g.cg)
	splits := columnSplits(units, columns)
	return r.eachCounted(units*splits, func(tile int, ws *workspace) int {
		u := g.unit(tile/splits, units)
		from, to := span(tile%splits, splits, columns)
		n := g.of(u)
		p := n.gradSet().plane
		c.ahead(ws.ahead.none(), tile/splits+r.workers(), units, dy)
		return c.unit(ws, u, p.pictures(ws, slotPadGrad, dy[g.output(u):], n.n), from, to)
	})
}

// ahead asks for the unit that this worker is likely to take next.
func (c *inputGrad) ahead(a *ahead, next, units int, dy []float32) {
	if next < units {
		u := c.geometry.unit(next, units)
		g := c.geometry.of(u)
		a.add(dy[c.geometry.output(u):][:g.outputSize()])
		a.add(c.dx[c.geometry.input(u):][:g.inputSize()])
	}
}

// newInputGrad is an input gradient with the weights of argument i.
func newInputGrad(r *run, g geometry, i int, more, dx []float32) (*inputGrad, error) {
	c := &inputGrad{geometry: g, gradSet: g.gradSet(), r: r, dx: dx, more: more}
	c.start = zeroed[float32](&r.shared, slotStart, paddedChannels(r.lanes(), g.cg))
	var err error
	c.packed, err = r.packed(i, g, true, g.packedGrad(r.lanes()), func(packed []float32) error {
		return c.pack(packed, input[float32](r, i))
	})
	return c, err
}

// pack writes the weights in the order of the stencils.
func (c *inputGrad) pack(packed, w []float32) error {
	g, lanes := c.geometry, c.r.lanes()
	blocks := channelBlocks(lanes, g.cg)
	return c.r.each(g.groups*blocks, func(tile int, _ *workspace) {
		group, b := tile/blocks, channelBlock(lanes, g.cg, tile%blocks)
		c.each(g, lanes, group, func(i, j, at int) {
			row, col := c.rows[i], c.cols[j]
			dst := packed[at+row.taps*col.taps*g.kg*b.from:]
			for m := row.taps - 1; m >= 0; m-- {
				for n := col.taps - 1; n >= 0; n-- {
					tap := (row.tap+m*g.stride)*g.kw + col.tap + n*g.stride
					src := w[group*g.kg*g.patch()+tap*g.cg+b.from:]
					pickRows(dst, src, g.kg, b.n, g.patch(), b.vecs*lanes)
					dst = dst[g.kg*b.vecs*lanes:]
				}
			}
		})
	})
}

// pickRows copies rows of n elements that lie stride apart to rows of width
// elements, filled up with zeros.
func pickRows(dst, src []float32, rows, n, stride, width int) {
	for i := range rows {
		row := dst[i*width:][:width]
		copy(row, src[i*stride:][:n])
		clear(row[n:])
	}
}

// unit computes columns [from,to), blocks of input channels of all groups, of a
// unit whose output gradients lie in the plane's way, and returns the
// multiply-adds.
func (c *inputGrad) unit(ws *workspace, u unit, dy []float32, from, to int) int {
	g := c.geometry.of(u)
	set := g.gradSet()
	dx := c.dx[c.input(u):]
	lanes := c.r.lanes()
	k0, k1 := firstChannel(lanes, g.cg, from), firstChannel(lanes, g.cg, to)
	call := stencilCall{set: c.r.b.tier.set, packed: c.packed, start: c.start, in: dy, out: dx, ahead: &ws.ahead}
	call.add, call.from = c.added(g, u, dx, k0, k1)
	call.pictures, call.inStep, call.outStep = g.n, set.plane.size(), g.h*g.w*g.c
	perGroup := g.packedGrad(lanes) / g.groups
	set.each(g, lanes, 0, func(i, j, weights int) {
		call.columns(ws, from, to, func(group int) stencil {
			return set.stencil(g, i, j, group, weights+group*perGroup, lanes)
		})
	})
	return g.n * g.oh * g.ow * (k1 - k0) * g.kh * g.kw * g.kg
}

// added says whether the stencils add to something, and how many bytes behind
// the unit's gradient that lies. Where no window sees some of the pixels, it is
// put into channels [k0,k1) of the gradient first.
func (c *inputGrad) added(g geometry, u unit, dx []float32, k0, k1 int) (add bool, from int) {
	if c.whole {
		if c.more == nil {
			return false, 0
		}
		more := c.more[c.geometry.input(u):]
		return true, int(uintptr(first(more)) - uintptr(first(dx)))
	}
	n := g.n * g.h * g.w * g.c
	for at := k0; at < n; at += g.c {
		if c.more == nil {
			clear(dx[at:][:k1-k0])
		} else {
			copy(dx[at:][:k1-k0], c.more[c.geometry.input(u)+at:])
		}
	}
	return true, 0
}
