package cpu

// normGradTask is the gradient of a normalisation. With g the gradient behind
// the relu's mask, xhat = (x-mean)*invstd, and averages over what shares the
// statistics:
//
//	dx = scale*invstd * (g - avg(g) - xhat*avg(g*xhat))        batch
//	dx = invstd * (h - avg(h) - xhat*avg(h*xhat)), h = g*scale  group
//
// (Ioffe and Szegedy 2015; Wu and He 2018.)
type normGradTask[T float] struct {
	r                    *run
	n, pixels, c, groups int
	dy, x, y, scale      []T // y is nil where no relu is fused, or shift is there
	shift                []T // with it the relu's mask is made of x; else nil
	mean, invstd         []T
	dx, dresidual        []T
	dscale, dshift       []T // nil where not wanted
}

// normGrad is the kernel of NormGrad.
func normGrad[T float](r *run) error { return newNormGrad[T](r).run() }

func newNormGrad[T float](r *run) normGradTask[T] {
	s := r.in[1]
	t := normGradTask[T]{
		r: r, n: s[0], pixels: s[1] * s[2], c: s[3], groups: r.attr.Groups,
		dy: input[T](r, 0), x: input[T](r, 1), scale: input[T](r, 3),
		mean: input[T](r, 4), invstd: input[T](r, 5),
		dx: output[T](r, 0), dresidual: output[T](r, 1),
	}
	if r.attr.ReLU {
		t.y = input[T](r, 2)
	}
	if r.attr.Weights {
		t.dscale, t.dshift = output[T](r, 2), output[T](r, 3)
	}
	return t
}

// run writes the gradients.
func (t normGradTask[T]) run() error {
	return t.by(1, func(int, int) error { return nil })
}

// by writes the gradients of n parts of the batch, one after another, and calls
// then for the pictures of each: dx holds the gradients of that part only. Of
// the shared scratch, slotB, slotC and slotMask are in use all the time and slotA
// until then is called.
func (t normGradTask[T]) by(n int, then func(from, to int) error) error {
	var f normGradFactors[T]
	var err error
	sums := zeroed[float64](&t.r.shared, slotC, 2*t.c) // of group normalisation
	if t.groups == 0 {
		f, err = t.batch()
	}
	for i := 0; i < n && err == nil; i++ {
		from, to := span(i, n, t.n)
		part := t.pictures(from, to)
		if t.groups > 0 {
			err = part.group(sums)
		} else {
			err = part.apply(f)
		}
		if err == nil {
			err = then(from, to)
		}
	}
	if t.groups > 0 {
		t.addWeights(sums[:t.c], sums[t.c:])
	}
	return err
}

// pictures is the task for pictures [from,to).
func (t normGradTask[T]) pictures(from, to int) normGradTask[T] {
	size := t.pixels * t.c
	t.n = to - from
	t.dy, t.x = rowsOf(t.dy, from, to, size), rowsOf(t.x, from, to, size)
	t.y, t.dresidual = rowsOf(t.y, from, to, size), rowsOf(t.dresidual, from, to, size)
	if t.groups > 0 {
		t.mean, t.invstd = rowsOf(t.mean, from, to, t.groups), rowsOf(t.invstd, from, to, t.groups)
	}
	return t
}

// rowsOf is rows [from,to) of size elements each, nil where there are none.
func rowsOf[T any](mem []T, from, to, size int) []T {
	if mem == nil {
		return nil
	}
	return mem[from*size : to*size]
}

// reluAgain makes the mask of a relu again, from the norm's input.
type reluAgain[T float] struct {
	factors[T]
	shift []T // nil: there is no relu, or its result is there
}

// masked is the n gradients from at on behind the relu's mask. It is written
// to buf where there is a mask.
func (t normGradTask[T]) masked(buf []T, at, n int, again reluAgain[T]) []T {
	dy, y := t.dy[at:][:n], t.y
	switch {
	case again.shift != nil:
		normalise(buf[:n], t.x[at:], again.centre, again.gain, again.shift)
		y = buf
	case y == nil:
		return dy
	default:
		y = y[at:]
	}
	mask(buf[:n], dy, y)
	return buf[:n]
}

// batchRelu is how the mask of batch normalisation is made again, if it is.
func (t normGradTask[T]) batchRelu() (again reluAgain[T]) {
	if t.shift == nil {
		return again
	}
	mem := scratch[T](&t.r.shared, slotMask, 2*t.c)
	return reluAgain[T]{makeFactors(mem, t.mean, t.invstd, t.scale, 1), t.shift}
}

// groupRelu is batchRelu for a picture's group of channels, made in mem.
func (t normGradTask[T]) groupRelu(mem []T, img, g int) (again reluAgain[T]) {
	if t.shift == nil {
		return again
	}
	at, c := img*t.groups+g, g*len(mem)/2
	return reluAgain[T]{makeFactors(mem, t.mean[at:], t.invstd[at:], t.scale[c:], len(mem)/2), t.shift[c:]}
}

// mask writes dy where y > 0, else 0.
func mask[T float](dx, dy, y []T) {
	dx, y = dx[:len(dy)], y[:len(dy)]
	for i, v := range dy {
		if !(y[i] > 0) {
			v = 0
		}
		dx[i] = v
	}
}

// addMoments adds g and g*(x-mean) of a row of channels to float64 sums.
func addMoments[T float](sum, product []float64, g, x, mean []T) {
	n := len(g)
	sum, product, x, mean = sum[:n], product[:n], x[:n], mean[:n]
	for i, v := range g {
		w := float64(v)
		sum[i] += w
		product[i] += w * float64(x[i]-mean[i])
	}
}

// normGradFactors are what a row of channels is made with: dx is gain*g - centre
// - (x-mean)*slope.
type normGradFactors[T float] struct{ gain, centre, slope, mean []T }

// batch sums over the batch, adds the scale and shift gradients and returns the
// factors, which lie in slotB.
func (t normGradTask[T]) batch() (f normGradFactors[T], err error) {
	c, again := t.c, t.batchRelu()
	return t.settle(func(ws *workspace, from, to int, sums []float64) {
		buf := scratch[T](ws, slotA, c)
		clear(sums)
		for p := from; p < to; p++ {
			addMoments(sums[:c], sums[c:], t.masked(buf, p*c, c, again), t.x[p*c:], t.mean)
		}
	})
}

// settle is batch with the function that sums g and g*(x-mean) over pixels
// [from,to).
func (t normGradTask[T]) settle(sum func(ws *workspace, from, to int, sums []float64)) (f normGradFactors[T], err error) {
	rows, c := t.n*t.pixels, t.c
	n := segments(rows, c)
	sums := scratch[float64](&t.r.shared, slotA, 2*n*c)
	err = t.r.each(n, func(tile int, ws *workspace) {
		from, to := span(tile, n, rows)
		sum(ws, from, to, sums[tile*2*c:][:2*c])
	})
	if err != nil {
		return f, err
	}
	for i := 1; i < n; i++ {
		addTo(sums[:2*c], sums[i*2*c:][:2*c])
	}
	product := sums[c : 2*c]
	f = t.factors(sums[:c], product)
	for i := range product {
		product[i] *= float64(t.invstd[i])
	}
	t.addWeights(sums[:c], product)
	return f, nil
}

// addWeights adds the shift and scale gradients.
func (t normGradTask[T]) addWeights(dshift, dscale []float64) {
	if t.dscale == nil {
		return
	}
	for c := range t.c {
		t.dscale[c] += T(dscale[c])
		t.dshift[c] += T(dshift[c])
	}
}

// factors are those of batch normalisation, from the batch's sums of g and of
// g*(x-mean).
func (t normGradTask[T]) factors(sum, product []float64) normGradFactors[T] {
	rows, c := t.n*t.pixels, t.c
	mem := scratch[T](&t.r.shared, slotB, 3*c)
	f := normGradFactors[T]{mem[:c], mem[c : 2*c], mem[2*c:], t.mean}
	for i := range c {
		s := float64(t.invstd[i])
		a := float64(t.scale[i]) * s
		f.gain[i] = T(a)
		f.centre[i] = T(a * sum[i] / float64(rows))
		f.slope[i] = T(a * s * s * product[i] / float64(rows))
	}
	return f
}

// apply writes the input gradients of batch normalisation.
func (t normGradTask[T]) apply(f normGradFactors[T]) error {
	rows, c, again := t.n*t.pixels, t.c, t.batchRelu()
	blocks := min(parts(rows*c, segmentElements), rows)
	return t.r.each(blocks, func(tile int, ws *workspace) {
		buf := scratch[T](ws, slotA, c)
		from, to := span(tile, blocks, rows)
		for p := from; p < to; p++ {
			t.row(buf, p*c, f, again)
		}
	})
}

// row writes dx from at on, and g to dresidual.
func (t normGradTask[T]) row(buf []T, at int, f normGradFactors[T], again reluAgain[T]) {
	n := len(f.gain)
	g := t.masked(buf, at, n, again)
	if t.dresidual != nil {
		copy(t.dresidual[at:][:n], g)
	}
	dx, x := t.dx[at:][:n], t.x[at:][:n]
	g, gain, centre, slope, mean := g[:n], f.gain, f.centre[:n], f.slope[:n], f.mean[:n]
	for i, v := range x {
		dx[i] = gain[i]*g[i] - centre[i] - (v-mean[i])*slope[i]
	}
}

// group writes the input gradients of group normalisation and adds the shift
// and scale gradients to total. A tile is a segment of pictures and a block of
// groups; the segments' sums are added in order.
func (t normGradTask[T]) group(total []float64) error {
	n := min(t.n, maxSegments)
	blocks := groupBlocks(n, t.groups)
	sums := zeroed[float64](&t.r.shared, slotA, 2*n*t.c)
	err := t.r.each(n*blocks, func(tile int, ws *workspace) {
		from, to := span(tile/blocks, n, t.n)
		g0, g1 := span(tile%blocks, blocks, t.groups)
		s := sums[tile/blocks*2*t.c:][:2*t.c]
		for img := from; img < to; img++ {
			for g := g0; g < g1; g++ {
				t.oneGroup(ws, img, g, s[:t.c], s[t.c:])
			}
		}
	})
	for i := range n {
		addTo(total, sums[i*2*t.c:][:2*t.c])
	}
	return err
}

// oneGroup writes the input gradients of one picture's group and adds its
// channels' sums of g and g*xhat to dshift and dscale.
func (t normGradTask[T]) oneGroup(ws *workspace, img, g int, dshift, dscale []float64) {
	cg := t.c / t.groups
	first := img*t.pixels*t.c + g*cg
	buf := scratch[T](ws, slotA, 7*cg)
	f := normGradFactors[T]{buf[cg : 2*cg], buf[2*cg : 3*cg], buf[3*cg : 4*cg], buf[4*cg : 5*cg]}
	again := t.groupRelu(buf[5*cg:], img, g)
	invstd := float64(t.invstd[img*t.groups+g])
	for c := range cg {
		f.mean[c] = t.mean[img*t.groups+g]
	}
	s := zeroed[float64](ws, slotB, 2*cg)
	for p := range t.pixels {
		at := first + p*t.c
		addMoments(s[:cg], s[cg:], t.masked(buf, at, cg, again), t.x[at:], f.mean)
	}
	sum, product := 0.0, 0.0
	for c := range cg {
		scale := float64(t.scale[g*cg+c])
		sum += scale * s[c]
		product += scale * s[cg+c]
		dshift[g*cg+c] += s[c]
		dscale[g*cg+c] += s[cg+c] * invstd
	}
	m := float64(t.pixels * cg)
	for c := range cg {
		f.gain[c] = T(float64(t.scale[g*cg+c]) * invstd)
		f.centre[c] = T(invstd * sum / m)
		f.slope[c] = T(invstd * invstd * invstd * product / m)
	}
	for p := range t.pixels {
		t.row(buf, first+p*t.c, f, again)
	}
}
