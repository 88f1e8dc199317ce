package cpu

import (
	"math"

	"github.com/locorun/locorun/compiler/op"
)

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
	residual   []float32
	scale      []float32
	shift      []float32
	mean, vari []float32 // running
	savedMean  []float32
	savedStd   []float32
	normGroups int
	relu       bool
	factors    normFactors
	partial    []float64 // by unit: base, sum, square of each channel
}

// convNormDirect is the kernel of ConvNorm.
func convNormDirect(r *run) error {
	g := newGeometry(r.attr, r.in[0], r.in[1], r.out[0])
	t := &convNormTask{
		geometry: g, r: r, z: output[float32](r, 0), y: output[float32](r, 1),
		scale: input[float32](r, 2), shift: input[float32](r, 3),
		mean: input[float32](r, 4), vari: input[float32](r, 5), residual: input[float32](r, 6),
		savedMean: output[float32](r, 2), savedStd: output[float32](r, 3),
		normGroups: r.attr.NormGroups, relu: r.attr.ReLU,
	}
	x := readerOf(r, 0, 7)
	t.apart = t.normGroups > 0 || x.groups > 0 || g.depthwise()
	convolve := func(then func(*workspace, int, unit)) error {
		return convolveDirect(r, t.geometry, x, nil, t.z, then)
	}
	t.factors = newNormFactors(scratch[float32](&r.shared, slotFactors, 2*g.k), g.k)
	t.factors.shift = t.shift
	switch {
	case t.normGroups > 0:
		return convolve(t.group)
	case r.attr.Mode == op.NormRunning:
		t.running()
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
	task := normTask[float32]{r: t.r, n: t.n, pixels: t.oh * t.ow, c: t.k, eps: t.r.attr.Eps,
		mean: t.mean, vari: t.vari, savedMean: t.savedMean, savedInvstd: t.savedStd}
	for c := range t.k {
		t.factors.centre[c] = float32(mean[c])
		t.factors.gain[c] = float32(1 / math.Sqrt(m2[c]/float64(before)+task.eps))
	}
	copy(t.savedMean, t.factors.centre)
	copy(t.savedStd, t.factors.gain)
	if t.r.attr.Mode == op.NormUpdate {
		task.move(mean, m2)
	}
	for c := range t.k {
		t.factors.gain[c] *= t.scale[c]
	}
}

// running makes the factors of the running statistics, which are also what is
// saved.
func (t *convNormTask) running() {
	for c := range t.k {
		t.factors.centre[c] = t.mean[c]
		t.factors.gain[c] = float32(1 / math.Sqrt(float64(t.vari[c])+t.r.attr.Eps))
	}
	copy(t.savedMean, t.mean)
	copy(t.savedStd, t.factors.gain)
	for c := range t.k {
		t.factors.gain[c] *= t.scale[c]
	}
}

// apply normalises a unit.
func (t *convNormTask) apply(ws *workspace, _ int, u unit) {
	if t.y == nil {
		return
	}
	m := mapRows{rows: 1, c: t.k, x: t.rows(t.z, u), y: t.rows(t.y, u)}
	m.pixels = len(m.x) / t.k
	m.apply(ws, t.r.b.tier.set, t.factors, t.residualOf(u), t.relu)
}

func (t *convNormTask) residualOf(u unit) []float32 {
	if t.residual == nil {
		return nil
	}
	return t.rows(t.residual, u)
}

// group normalises each picture's groups of channels.
func (t *convNormTask) group(ws *workspace, _ int, u unit) {
	size := t.oh * t.ow * t.k
	sums := scratch[float64](ws, slotStats, 3*t.k)
	f := newNormFactors(scratch[float32](ws, slotFactors, 2*t.k), t.k)
	f.shift = t.shift
	for i := u.from; i < u.to; i++ {
		z := t.z[i*size:][:size]
		sumRows(ws, t.r.b.tier.set, z, t.k, sums)
		t.groupFactors(i, sums, f)
		if t.y == nil {
			continue
		}
		m := mapRows{rows: 1, pixels: t.oh * t.ow, c: t.k, x: z, y: t.y[i*size:][:size]}
		var residual []float32
		if t.residual != nil {
			residual = t.residual[i*size:][:size]
		}
		m.apply(ws, t.r.b.tier.set, f, residual, t.relu)
	}
}

// groupFactors are those of a picture, from the sums of its channels; the
// statistics are saved.
func (t *convNormTask) groupFactors(picture int, sums []float64, f normFactors) {
	cg, pixels := t.k/t.normGroups, float64(t.oh*t.ow)
	var mean, m2 [1]float64
	for i := range t.normGroups {
		mean[0], m2[0] = 0, 0
		for c := i * cg; c < (i+1)*cg; c++ {
			join(float64(c-i*cg)*pixels, pixels, mean[:], m2[:], sums[c:c+1], sums[t.k+c:t.k+c+1], sums[2*t.k+c:2*t.k+c+1])
		}
		invstd := float32(1 / math.Sqrt(m2[0]/(pixels*float64(cg))+t.r.attr.Eps))
		if t.savedMean != nil {
			t.savedMean[picture*t.normGroups+i] = float32(mean[0])
		}
		if t.savedStd != nil {
			t.savedStd[picture*t.normGroups+i] = invstd
		}
		for c := i * cg; c < (i+1)*cg; c++ {
			f.centre[c], f.gain[c] = float32(mean[0]), invstd*t.scale[c]
		}
	}
}
