package cpu

import "github.com/locorun/locorun/compiler/op"

// A convolution and its norm are one op so that what the convolution wrote is
// read again while it is near: the statistics are summed unit by unit, and a
// norm that needs no other picture is applied at once.
//
//	unit of pictures:  x -> z -> sums of z        batch: join, then z -> y
//	                          -> sums, z -> y     group, running
type convNormTask struct {
	geometry
	r          *run
	z, y       []float32 // y may be absent
	norm       fastNorm
	normGroups int
	factors    normFactors
	partial    []float64 // by unit: base, sum, square of each channel
}

// convNormDirect is the kernel of ConvNorm.
func convNormDirect(r *run) error {
	g := newGeometry(r.attr, r.in[0], r.in[1], r.out[0])
	t := &convNormTask{
		geometry: g, r: r, z: output[float32](r, 0), y: output[float32](r, 1), normGroups: r.attr.NormGroups,
	}
	t.norm = fastNorm{normTask[float32]{
		r: r, n: g.n, pixels: g.oh * g.ow, c: g.k, groups: t.normGroups, relu: r.attr.ReLU, eps: r.attr.Eps,
		scale: input[float32](r, 2), shift: input[float32](r, 3),
		mean: input[float32](r, 4), vari: input[float32](r, 5), residual: input[float32](r, 6),
		savedMean: output[float32](r, 2), savedInvstd: output[float32](r, 3),
	}}
	x := readerOf(r, 0, 7)
	t.apart = t.normGroups > 0 || x.groups > 0 || g.depthwise()
	convolve := func(then func(*workspace, int, unit)) error {
		return convolveDirect(r, t.geometry, x, nil, t.z, then)
	}
	t.factors = newNormFactors(scratch[float32](&r.shared, slotFactors, 2*g.k), g.k)
	t.factors.shift = t.norm.shift
	switch {
	case t.normGroups > 0:
		return convolve(t.group)
	case r.attr.Mode == op.NormRunning:
		copy(t.factors.centre, t.norm.mean)
		t.norm.settleRunning(t.factors.gain)
		return convolve(t.apply)
	}
	units := t.units()
	t.partial = scratch[float64](&r.shared, slotStats, units*3*g.k)
	if err := convolve(t.sums); err != nil {
		return err
	}
	t.batch(units)
	if t.y == nil {
		return nil
	}
	return r.each(units, func(tile int, ws *workspace) { t.apply(ws, tile, t.unit(tile, units)) })
}

// readerOf reads argument x, behind a norm where arguments from number first on
// say so.
func readerOf(r *run, x, first int) reader {
	v := reader{set: r.b.tier.set, x: input[float32](r, x)}
	if first+3 < len(r.in) && r.in[first+2] != nil {
		v.scale, v.shift = input[float32](r, first), input[float32](r, first+1)
		v.mean, v.invstd = input[float32](r, first+2), input[float32](r, first+3)
		v.groups, v.relu = r.attr.InGroups, r.attr.InReLU
	}
	return v
}

// rows are the outputs of a unit as one row of pixels.
func (t *convNormTask) rows(m []float32, u unit) []float32 {
	g := t.geometry.of(u)
	return m[t.output(u):][:g.n*g.oh*g.ow*g.k]
}

// sums sums a unit's channels for the batch's statistics.
func (t *convNormTask) sums(ws *workspace, number int, u unit) {
	sumRows(ws, t.r.b.tier.set, t.rows(t.z, u), t.k, t.partial[number*3*t.k:][:3*t.k])
}

// batch joins the units' sums, in order, to the batch's statistics and what
// follows from them.
func (t *convNormTask) batch(units int) {
	stats := scratch[float64](&t.r.shared, slotB, 2*t.k)
	mean, m2 := stats[:t.k], stats[t.k:]
	clear(stats)
	before := 0
	for i := range units {
		n := len(t.rows(t.z, t.unit(i, units))) / t.k
		s := t.partial[i*3*t.k:][:3*t.k]
		join(float64(before), float64(n), mean, m2, s[:t.k], s[t.k:2*t.k], s[2*t.k:])
		before += n
	}
	t.norm.settle(mean, m2, t.factors.centre, t.factors.gain)
}

// apply normalises a unit.
func (t *convNormTask) apply(ws *workspace, _ int, u unit) {
	if t.y == nil {
		return
	}
	m := mapRows{rows: 1, c: t.k, x: t.rows(t.z, u), y: t.rows(t.y, u)}
	m.pixels = len(m.x) / t.k
	m.apply(ws, t.r.b.tier.set, t.factors, t.residualOf(u), t.norm.relu)
}

func (t *convNormTask) residualOf(u unit) []float32 {
	if t.norm.residual == nil {
		return nil
	}
	return t.rows(t.norm.residual, u)
}

// group normalises each picture's groups of channels.
func (t *convNormTask) group(ws *workspace, _ int, u unit) {
	size := t.oh * t.ow * t.k
	sums := scratch[float64](ws, slotStats, 3*t.k)
	f := newNormFactors(scratch[float32](ws, slotFactors, 2*t.k), t.k)
	f.shift = t.norm.shift
	for i := u.from; i < u.to; i++ {
		z := t.z[i*size:][:size]
		sumRows(ws, t.r.b.tier.set, z, t.k, sums)
		t.norm.settleGroups(i, sums, f)
		if t.y == nil {
			continue
		}
		m := mapRows{rows: 1, pixels: t.oh * t.ow, c: t.k, x: z, y: t.y[i*size:][:size]}
		var residual []float32
		if t.norm.residual != nil {
			residual = t.norm.residual[i*size:][:size]
		}
		m.apply(ws, t.r.b.tier.set, f, residual, t.norm.relu)
	}
}
