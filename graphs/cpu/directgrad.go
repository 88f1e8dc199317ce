package cpu

// convNormGradTask is the backward of a convolution and its norm in one op: the
// gradient dz between the two exists for a unit of pictures at a time, in a
// worker's scratch, where the weight and input gradients read it.
//
//	batch: sums over all of dy, z, (y)
//	unit:  dy, z, (y) -> dz -> dw of a segment of the batch
//	                        -> dx
//
// Where weights are many, segments of their gradient would be too: then dz is
// made for a part of the batch, and the workers share the weights instead.
type convNormGradTask struct {
	convNormGradArgs[float32]
	geometry
	r       *run
	x       reader
	shift   []float32 // with it the relu's mask is made from z
	relu    bool
	factors gradFactors
	weights *weightGrad
	input   *inputGrad
	sums    []float64 // by unit: sum of g, of g*(z-mean)
	units   int
}

// gradFactors are what a norm's gradient is made with: gain*g - centre -
// (z-mean)*slope.
type gradFactors struct{ gain, centre, slope, mean []float32 }

func newGradFactors(mem []float32, c int) gradFactors {
	return gradFactors{mem[:c], mem[c : 2*c], mem[2*c : 3*c], mem[3*c : 4*c]}
}

// partElements is about how many elements of dz there are at a time where the
// workers share the weights.
const partElements = 1 << 20

// convNormGradDirect is the kernel of ConvNormGrad.
func convNormGradDirect(r *run) error {
	t := &convNormGradTask{convNormGradArgs: newConvNormGradArgs[float32](r), r: r, relu: r.attr.ReLU}
	t.geometry = t.conv
	t.x = readerOf(r, 6, 10)
	if len(r.in) > 9 {
		t.shift = input[float32](r, 9)
	}
	t.apart = t.normGroups > 0 || t.x.groups > 0 || t.depthwise()
	t.units = t.geometry.units()
	t.sums = scratch[float64](&r.shared, slotStats, t.units*2*t.k)
	t.factors = newGradFactors(scratch[float32](&r.shared, slotFactors, 4*t.k), t.k)
	if t.normGroups == 0 {
		if err := t.batch(); err != nil {
			return err
		}
	}
	if err := t.gradients(); err != nil {
		return err
	}
	if t.normGroups > 0 {
		t.addWeights()
	}
	return nil
}

// batch sums over the batch and makes the factors.
func (t *convNormGradTask) batch() error {
	copy(t.factors.mean, t.mean)
	err := t.r.each(t.units, func(i int, ws *workspace) {
		u := t.unit(i, t.units)
		t.unitSums(ws, u, t.factors.mean, t.sums[i*2*t.k:][:2*t.k])
	})
	if err != nil {
		return err
	}
	t.addWeights()
	sum, product := t.sums[:t.k], t.sums[t.k:2*t.k]
	rows := float64(t.pixels())
	for c := range t.k {
		s := float64(t.invstd[c])
		a := float64(t.scale[c]) * s
		t.factors.gain[c] = float32(a)
		t.factors.centre[c] = float32(a * sum[c] / rows)
		t.factors.slope[c] = float32(a * s * s * product[c] / rows)
	}
	return nil
}

// unitSums sums g and g*(z-mean) over a unit's pixels.
func (t *convNormGradTask) unitSums(ws *workspace, u unit, mean []float32, sums []float64) {
	g := t.geometry.of(u)
	from, n := t.output(u), g.n*g.oh*g.ow*g.k
	gradSumRows(ws, t.r.b.tier.set, t.dy[from:][:n], t.z[from:][:n], t.mask(ws, u), mean, sums)
}

// mask is what the relu of a unit let through, nil where there is no relu.
func (t *convNormGradTask) mask(ws *workspace, u unit) []float32 {
	g := t.geometry.of(u)
	from, n := t.output(u), g.n*g.oh*g.ow*g.k
	switch {
	case !t.relu:
		return nil
	case t.y != nil:
		return t.y[from:][:n]
	}
	own := reader{scale: t.scale, shift: t.shift, mean: t.mean, invstd: t.invstd, groups: t.normGroups}
	y := scratch[float32](ws, slotMask, n)
	size := g.oh * g.ow * g.k
	for i := range g.n {
		m := mapRows{rows: 1, pixels: g.oh * g.ow, c: g.k, x: t.z[from+i*size:], y: y[i*size:]}
		m.apply(ws, t.r.b.tier.set, own.factors(ws, u.from+i, g.k), nil, true)
	}
	return y
}

// addWeights joins the units' sums in the first, and adds them to the scale and
// shift gradients.
func (t *convNormGradTask) addWeights() {
	total := t.sums[:2*t.k]
	for i := 1; i < t.units; i++ {
		addTo(total, t.sums[i*2*t.k:][:2*t.k])
	}
	if t.dscale == nil {
		return
	}
	for c := range t.k {
		product := total[t.k+c]
		if t.normGroups == 0 {
			product *= float64(t.invstd[c])
		}
		t.dshift[c] += float32(total[c])
		t.dscale[c] += float32(product)
	}
}

// gradients makes dz unit by unit, and of it dw and dx.
func (t *convNormGradTask) gradients() error {
	if t.depthwise() {
		return t.depthwiseGradients()
	}
	var err error
	if t.dx != nil {
		if t.input, err = newInputGrad(t.r, t.geometry, 7, t.more, t.dx); err != nil {
			return err
		}
	}
	if t.dw == nil {
		return t.r.eachCounted(t.units, func(i int, ws *workspace) int { return t.one(ws, i, nil) })
	}
	t.weights = newWeightGrad(t.r, t.geometry, t.dw)
	if t.weights.parts > 1 {
		return t.byParts()
	}
	n := t.weights.segments
	err = t.r.eachCounted(n, func(segment int, ws *workspace) int {
		from, to := t.weights.segment(segment)
		done := 0
		for i := from; i < to; i++ {
			done += t.one(ws, i, func(u unit, dz []float32, p plane) int {
				x := t.x.unit(ws, t.geometry, u, t.geometry.of(u).inputPlane())
				return t.weights.unit(ws, u, x, dz, p, segment, i > from, 0, t.k)
			})
		}
		return done
	})
	if err != nil {
		return err
	}
	return t.weights.join()
}

// one makes dz of a unit and with it the unit's input gradient; weights, if
// there, takes dz too.
func (t *convNormGradTask) one(ws *workspace, number int, weights func(unit, []float32, plane) int) int {
	u := t.unit(number, t.units)
	p := t.plane(u)
	dz := scratch[float32](ws, slotPadGrad, t.geometry.of(u).n*p.size())
	t.gradient(ws, number, u, dz, p)
	t.ahead(ws.ahead.none(), number)
	done := 0
	if weights != nil {
		done += weights(u, dz, p)
	}
	return done + t.inputs(ws, u, dz)
}

// ahead asks for the unit that comes next: the next of a segment, or where
// there are none, the next that this worker is likely to take.
func (t *convNormGradTask) ahead(a *ahead, number int) {
	next := number + 1
	if t.dw == nil {
		next = number + t.r.workers()
	}
	if next >= t.units {
		return
	}
	u := t.unit(next, t.units)
	g := t.geometry.of(u)
	for _, m := range [][]float32{t.dy, t.z, t.y, t.dresidual} {
		if m != nil {
			a.add(m[t.output(u):][:g.outputSize()])
		}
	}
	if t.dw != nil {
		a.add(t.x.x[t.geometry.input(u):][:g.inputSize()])
	}
	if t.dx != nil {
		a.add(t.dx[t.geometry.input(u):][:g.inputSize()])
	}
	if t.more != nil {
		a.add(t.more[t.geometry.input(u):][:g.inputSize()])
	}
}

// inputs makes a unit's input gradient, where it is wanted.
func (t *convNormGradTask) inputs(ws *workspace, u unit, dz []float32) int {
	if t.input == nil {
		return 0
	}
	return t.input.unit(ws, u, dz, 0, t.groups*channelBlocks(t.r.lanes(), t.cg))
}

// plane is how a unit's dz lies.
func (t *convNormGradTask) plane(u unit) plane {
	g := t.geometry.of(u)
	if t.dx != nil {
		return g.gradSet().plane
	}
	return plane{h: g.oh, w: g.ow, c: g.k, groups: g.groups, hp: g.oh, wp: g.ow}
}

// gradient writes a unit's dz to the plane, and what the residual gets.
func (t *convNormGradTask) gradient(ws *workspace, number int, u unit, dz []float32, p plane) {
	g := t.geometry.of(u)
	size, from := g.oh*g.ow*g.k, t.output(u)
	if t.normGroups > 0 {
		clear(t.sums[number*2*t.k:][:2*t.k])
	}
	mask := t.mask(ws, u)
	dense := dz
	if p.copied && p.groups > 1 {
		dense = scratch[float32](ws, slotGrad, size)
	}
	for i := range g.n {
		m := gradRows{mapRows: mapRows{rows: g.oh, pixels: g.ow, c: g.k, xRow: g.ow * g.k, yRow: g.ow * g.k}}
		at := from + i*size
		m.dy, m.x = t.dy[at:][:size], t.z[at:][:size]
		if mask != nil {
			m.mask = mask[i*size:][:size]
		}
		if t.dresidual != nil {
			m.keep = t.dresidual[at:][:size]
		}
		to := dz[i*p.size():]
		switch {
		case p.copied && p.groups > 1:
			m.y = dense
		case p.copied:
			p.clearBorder(to)
			m.y, m.yRow = to[p.top*p.row()+p.left*p.c:], p.row()
		default:
			m.y = to
		}
		m.apply(ws, t.r.b.tier.set, t.pictureFactors(ws, number, u.from+i, m))
		if p.copied && p.groups > 1 {
			p.fill(to, dense)
		}
	}
}

// pictureFactors are the factors of a picture: the batch's, or with group
// normalisation its own, whose sums are added to the unit's.
func (t *convNormGradTask) pictureFactors(ws *workspace, number, picture int, m gradRows) gradFactors {
	if t.normGroups == 0 {
		return t.factors
	}
	f := newGradFactors(scratch[float32](ws, slotFactors, 4*t.k), t.k)
	cg := t.k / t.normGroups
	for c := range t.k {
		f.mean[c] = t.mean[picture*t.normGroups+c/cg]
	}
	own := scratch[float64](ws, slotStats, 2*t.k)
	gradSumRows(ws, t.r.b.tier.set, m.dy, m.x, m.mask, f.mean, own)
	total := t.sums[number*2*t.k:][:2*t.k]
	pixels := float64(len(m.dy)/t.k) * float64(cg)
	for i := range t.normGroups {
		invstd := float64(t.invstd[picture*t.normGroups+i])
		sum, product := 0.0, 0.0
		for c := i * cg; c < (i+1)*cg; c++ {
			sum += float64(t.scale[c]) * own[c]
			product += float64(t.scale[c]) * own[t.k+c]
			total[c] += own[c]
			total[t.k+c] += own[t.k+c] * invstd
		}
		for c := i * cg; c < (i+1)*cg; c++ {
			f.gain[c] = float32(float64(t.scale[c]) * invstd)
			f.centre[c] = float32(invstd * sum / pixels)
			f.slope[c] = float32(invstd * invstd * invstd * product / pixels)
		}
	}
	return f
}

// byParts makes dz of a part of the batch, then its weight gradient cut by
// output channels, and its input gradient by units.
func (t *convNormGradTask) byParts() error {
	t.weights.segments, t.weights.partial = 1, nil
	t.weights.parts = min(weightParts, parts(t.k, 16))
	most := t.geometry.mostPictures(t.units)
	size := t.plane(unit{0, most}).size()
	if t.geometry.flat() {
		size = t.k
	}
	per := max(min(partElements/(most*size), t.weights.together(t.x)), 1) // units
	dz := scratch[float32](&t.r.shared, slotGrad, min(per, t.units)*most*size)
	for first := 0; first < t.units; first += per {
		last := min(first+per, t.units)
		at := func(i int) []float32 { return dz[(i-first)*most*size:] }
		err := t.r.each(last-first, func(i int, ws *workspace) {
			u := t.unit(first+i, t.units)
			t.gradient(ws, first+i, u, at(first+i), t.plane(u))
		})
		if err != nil {
			return err
		}
		if err := t.sharedGradients(first, last, at); err != nil {
			return err
		}
	}
	return nil
}

// sharedGradients makes the weight and input gradients of units [first,last),
// whose dz is there. Weight tiles come first, since they are the longest.
func (t *convNormGradTask) sharedGradients(first, last int, dz func(int) []float32) error {
	inputs, err := t.weights.share(t.x, first, last)
	if err != nil {
		return err
	}
	n := t.weights.parts
	tiles := n
	if t.input != nil {
		tiles += last - first
	}
	return t.r.eachCounted(tiles, func(tile int, ws *workspace) int {
		if tile >= n {
			i := first + tile - n
			ws.ahead.none()
			return t.inputs(ws, t.unit(i, t.units), dz(i))
		}
		k0, k1 := span(tile, n, t.k)
		done := 0
		for i := first; i < last; i++ {
			u := t.unit(i, t.units)
			t.weights.ahead(ws.ahead.none(), i+1, last, t.x, nil)
			done += t.weights.unit(ws, u, inputs(ws, i), dz(i), t.plane(u), 0, true, k0, k1)
		}
		return done
	})
}
