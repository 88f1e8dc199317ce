package cpu

import (
	"math"

	"github.com/locorun/locorun/compiler/op"
)

// Norms of their own in the vector tiers: the sums are those of the portable
// tier, cut and joined alike, but for the innermost, which run in float32 over
// a few hundred pixels at most. With group normalisation a tile is a picture,
// which is near when it is read the second time.

// fastNorm is a normalisation by vector kernels.
type fastNorm struct{ normTask[float32] }

// normFast is the kernel of Norm.
func normFast(r *run) error {
	t := fastNorm{newNorm[float32](r)}
	switch {
	case t.groups > 0:
		return t.r.each(t.n, t.picture)
	case r.attr.Mode == op.NormRunning:
		f := newNormFactors(scratch[float32](&r.shared, slotC, 2*t.c), t.c)
		copy(f.centre, t.mean)
		t.settleRunning(f.gain)
		return t.apply(f)
	}
	return t.batch()
}

func (t fastNorm) batch() error {
	set := t.r.b.tier.set
	mean, m2, err := t.moments(func(ws *workspace, x []float32, sums []float64) { sumRows(ws, set, x, t.c, sums) })
	if err != nil {
		return err
	}
	f := newNormFactors(scratch[float32](&t.r.shared, slotC, 2*t.c), t.c)
	t.settle(mean, m2, f.centre, f.gain)
	return t.apply(f)
}

// apply normalises all pixels.
func (t fastNorm) apply(f normFactors) error {
	f.shift = t.shift
	rows := t.n * t.pixels
	blocks := min(parts(len(t.x), segmentElements), rows)
	return t.r.each(blocks, func(tile int, ws *workspace) {
		from, to := span(tile, blocks, rows)
		t.part(ws, from, to, f)
	})
}

// part normalises pixels [from,to).
func (t fastNorm) part(ws *workspace, from, to int, f normFactors) {
	m := mapRows{rows: 1, pixels: to - from, c: t.c, x: rowsOf(t.x, from, to, t.c), y: rowsOf(t.y, from, to, t.c)}
	m.apply(ws, t.r.b.tier.set, f, rowsOf(t.residual, from, to, t.c), t.relu)
}

// picture normalises the groups of channels of a picture.
func (t fastNorm) picture(number int, ws *workspace) {
	from, to := number*t.pixels, (number+1)*t.pixels
	sums := scratch[float64](ws, slotStats, 3*t.c)
	sumRows(ws, t.r.b.tier.set, t.x[from*t.c:to*t.c], t.c, sums)
	f := newNormFactors(scratch[float32](ws, slotFactors, 2*t.c), t.c)
	f.shift = t.shift
	t.settleGroups(number, sums, f)
	t.part(ws, from, to, f)
}

// settleGroups makes a picture's factors from the sums of its channels, and
// saves the statistics.
func (t fastNorm) settleGroups(picture int, sums []float64, f normFactors) {
	cg, pixels := t.c/t.groups, float64(t.pixels)
	base, sum, square := sums[:t.c], sums[t.c:2*t.c], sums[2*t.c:]
	for g := range t.groups {
		var mean, m2 [1]float64
		from, to := g*cg, (g+1)*cg
		for c := from; c < to; c++ {
			join(float64(c-from)*pixels, pixels, mean[:], m2[:], base[c:][:1], sum[c:][:1], square[c:][:1])
		}
		invstd := float32(1 / math.Sqrt(m2[0]/(pixels*float64(cg))+t.eps))
		at := picture*t.groups + g
		put(t.savedMean, at, float32(mean[0]))
		put(t.savedInvstd, at, invstd)
		for c := from; c < to; c++ {
			f.centre[c], f.gain[c] = float32(mean[0]), invstd*t.scale[c]
		}
	}
}

// put sets element i of what may be absent.
func put(m []float32, i int, v float32) {
	if m != nil {
		m[i] = v
	}
}

// fastNormGrad is a norm's gradient by vector kernels.
type fastNormGrad struct{ normGradTask[float32] }

// normGradFast is the kernel of NormGrad.
func normGradFast(r *run) error {
	t := fastNormGrad{newNormGrad[float32](r)}
	if t.groups > 0 {
		return t.group()
	}
	f, err := t.settle(t.sums)
	if err != nil {
		return err
	}
	rows := t.n * t.pixels
	blocks := min(parts(len(t.x), segmentElements), rows)
	return r.each(blocks, func(tile int, ws *workspace) {
		from, to := span(tile, blocks, rows)
		t.part(ws, from, to, gradFactors(f))
	})
}

// sums sums g and g*(x-mean) of pixels [from,to).
func (t fastNormGrad) sums(ws *workspace, from, to int, sums []float64) {
	t.sumsAround(ws, from, to, t.mean, sums)
}

func (t fastNormGrad) sumsAround(ws *workspace, from, to int, mean []float32, sums []float64) {
	part := func(m []float32) []float32 { return rowsOf(m, from, to, t.c) }
	gradSumRows(ws, t.r.b.tier.set, part(t.dy), part(t.x), part(t.y), mean, sums)
}

// part makes the gradients of pixels [from,to).
func (t fastNormGrad) part(ws *workspace, from, to int, f gradFactors) {
	part := func(m []float32) []float32 { return rowsOf(m, from, to, t.c) }
	m := gradRows{
		mapRows: mapRows{rows: 1, pixels: to - from, c: t.c, x: part(t.x), y: part(t.dx)},
		dy:      part(t.dy), mask: part(t.y), keep: part(t.dresidual),
	}
	m.apply(ws, t.r.b.tier.set, f)
}

// group makes the gradients of group normalisation. A tile is a segment of
// pictures, whose sums are joined in order.
func (t fastNormGrad) group() error {
	n := min(t.n, maxSegments)
	sums := zeroed[float64](&t.r.shared, slotA, 2*n*t.c)
	err := t.r.each(n, func(tile int, ws *workspace) {
		from, to := span(tile, n, t.n)
		for i := from; i < to; i++ {
			t.picture(ws, i, sums[tile*2*t.c:][:2*t.c])
		}
	})
	for i := 1; i < n; i++ {
		addTo(sums[:2*t.c], sums[i*2*t.c:][:2*t.c])
	}
	t.addWeights(sums[:t.c], sums[t.c:])
	return err
}

// picture makes the gradients of a picture and adds its channels' sums of g
// and of g*xhat to total.
func (t fastNormGrad) picture(ws *workspace, number int, total []float64) {
	from, to := number*t.pixels, (number+1)*t.pixels
	f := newGradFactors(scratch[float32](ws, slotFactors, 4*t.c), t.c)
	cg := t.c / t.groups
	for c := range f.mean {
		f.mean[c] = t.mean[number*t.groups+c/cg]
	}
	own := scratch[float64](ws, slotStats, 2*t.c)
	t.sumsAround(ws, from, to, f.mean, own)
	t.groupFactors(number, own, total, f)
	t.part(ws, from, to, f)
}

// groupFactors makes a picture's factors from the sums of its channels, and
// adds those to total.
func (t fastNormGrad) groupFactors(picture int, own, total []float64, f gradFactors) {
	cg := t.c / t.groups
	n := float64(t.pixels * cg)
	for g := range t.groups {
		invstd := float64(t.invstd[picture*t.groups+g])
		sum, product := 0.0, 0.0
		for c := g * cg; c < (g+1)*cg; c++ {
			sum += float64(t.scale[c]) * own[c]
			product += float64(t.scale[c]) * own[t.c+c]
			total[c] += own[c]
			total[t.c+c] += own[t.c+c] * invstd
		}
		for c := g * cg; c < (g+1)*cg; c++ {
			f.gain[c] = float32(float64(t.scale[c]) * invstd)
			f.centre[c] = float32(invstd * sum / n)
			f.slope[c] = float32(invstd * invstd * invstd * product / n)
		}
	}
}
