package cpu

import (
	"math"

	"github.com/locorun/locorun/compiler/op"
)

// maxSegments bounds the partial sums of a reduction over pixels, and so the
// scratch they take.
const maxSegments = 64

// segmentElements is about how many elements a segment has at least.
const segmentElements = 8 << 10

// segments is how many partial sums a reduction over rows of c elements has.
func segments(rows, c int) int {
	return min(parts(rows*c, segmentElements), maxSegments, rows)
}

// normTask is a normalisation: batch (groups 0) or group.
type normTask[T float] struct {
	r                      *run
	n, pixels, c, groups   int // pixels of one picture
	relu                   bool
	eps                    float64
	x, scale, shift        []T
	mean, vari             []T // running statistics
	residual, y            []T // y may be absent
	savedMean, savedInvstd []T
}

// norm is the kernel of Norm.
func norm[T float](r *run) error { return newNorm[T](r).run() }

func newNorm[T float](r *run) normTask[T] {
	t := normTask[T]{groups: r.attr.Groups, savedMean: output[T](r, 1), savedInvstd: output[T](r, 2)}
	return t.of(r, r.in[0], input[T](r, 0), 1, output[T](r, 0))
}

// convNorm is the kernel of ConvNorm: the two ops, one after the other.
func convNorm[T float](r *run) error {
	z := output[T](r, 0)
	if err := convolveOnRead(r, newOnRead[T](r, 0, 7), z); err != nil {
		return err
	}
	t := normTask[T]{groups: r.attr.NormGroups, savedMean: output[T](r, 2), savedInvstd: output[T](r, 3)}
	return t.of(r, r.out[0], z, 2, output[T](r, 1)).run()
}

// convolveOnRead writes the convolution to z, by parts of the batch where x is
// read through a norm.
func convolveOnRead[T float](r *run, x onRead[T], z []T) error {
	g := newGeometry(r.attr, r.in[0], r.in[1], r.out[0])
	all, n := g.n, 1
	if x.mean != nil {
		n = mapParts(all, x.size())
	}
	for i := range n {
		from, to := span(i, n, all)
		seen, err := x.pictures(r, from, to)
		if err != nil {
			return err
		}
		g.n = to - from
		if err := convolve(r, g, seen, input[T](r, 1), nil, rowsOf(z, from, to, g.oh*g.ow*g.k)); err != nil {
			return err
		}
	}
	return nil
}

// of is the task for x of the given shape and y; the arguments from number
// first on are scale, shift, mean, var and residual.
func (t normTask[T]) of(r *run, shape []int, x []T, first int, y []T) normTask[T] {
	t.r, t.relu, t.eps = r, r.attr.ReLU, r.attr.Eps
	t.n, t.pixels, t.c = shape[0], shape[1]*shape[2], shape[3]
	t.x, t.y = x, y
	t.scale, t.shift = input[T](r, first), input[T](r, first+1)
	t.mean, t.vari, t.residual = input[T](r, first+2), input[T](r, first+3), input[T](r, first+4)
	return t
}

// run normalises x into y.
func (t normTask[T]) run() error {
	switch {
	case t.groups > 0:
		return t.group()
	case t.r.attr.Mode == op.NormRunning:
		return t.running()
	}
	return t.batch()
}

// batch normalises by the statistics of the whole batch and moves the running
// ones where the mode says so.
func (t normTask[T]) batch() error {
	mean, m2, err := t.moments(func(_ *workspace, x []T, sums []float64) { shiftedSums(x, sums, t.c) })
	if err != nil {
		return err
	}
	factor := scratch[T](&t.r.shared, slotC, 2*t.c)
	centre, gain := factor[:t.c], factor[t.c:]
	t.settle(mean, m2, centre, gain)
	return t.apply(centre, gain)
}

// settle makes what pixels are normalised with, from the batch's means and
// sums of squared deviations; saves the statistics, and moves the running ones
// where the mode says so.
func (t normTask[T]) settle(mean, m2 []float64, centre, gain []T) {
	rows := float64(t.n * t.pixels)
	for c := range t.c {
		invstd := 1 / math.Sqrt(m2[c]/rows+t.eps)
		centre[c], gain[c] = T(mean[c]), T(invstd)
	}
	copy(t.savedMean, centre)
	copy(t.savedInvstd, gain)
	if t.r.attr.Mode == op.NormUpdate {
		t.move(mean, m2)
	}
	for c := range t.c {
		gain[c] *= t.scale[c]
	}
}

// move moves the running statistics: the variance is the unbiased one.
func (t normTask[T]) move(mean, m2 []float64) {
	m, rows := t.r.attr.StatMomentum, float64(t.n*t.pixels)
	for c := range t.c {
		t.mean[c] = T((1-m)*float64(t.mean[c]) + m*mean[c])
		t.vari[c] = T((1-m)*float64(t.vari[c]) + m*m2[c]/max(rows-1, 1))
	}
}

// running normalises by the running statistics, which are also what is saved.
func (t normTask[T]) running() error {
	gain := scratch[T](&t.r.shared, slotC, t.c)
	t.settleRunning(gain)
	return t.apply(t.mean, gain)
}

// settleRunning is settle with the running statistics.
func (t normTask[T]) settleRunning(gain []T) {
	for c := range gain {
		gain[c] = T(1 / math.Sqrt(float64(t.vari[c])+t.eps))
	}
	copy(t.savedMean, t.mean)
	copy(t.savedInvstd, gain)
	for c := range gain {
		gain[c] *= t.scale[c]
	}
}

// moments is each channel's mean and sum of squared deviations, in slotB.
// Segments of pixels are summed by the function given, as differences from the
// segment's first pixel so that a large mean costs no digits, and joined in
// order. A segment's sums are base, sum and square, a channel each.
func (t normTask[T]) moments(sum func(ws *workspace, x []T, sums []float64)) (mean, m2 []float64, err error) {
	rows, c := t.n*t.pixels, t.c
	stats := zeroed[float64](&t.r.shared, slotB, 2*c)
	mean, m2 = stats[:c], stats[c:]
	n := segments(rows, c)
	sums := scratch[float64](&t.r.shared, slotA, 3*n*c)
	err = t.r.each(n, func(tile int, ws *workspace) {
		from, to := span(tile, n, rows)
		sum(ws, t.x[from*c:to*c], sums[tile*3*c:][:3*c])
	})
	for i := range n {
		from, to := span(i, n, rows)
		s := sums[i*3*c:][:3*c]
		join(float64(from), float64(to-from), mean, m2, s[:c], s[c:2*c], s[2*c:])
	}
	return mean, m2, err
}

// shiftedSums sums the rows of x, c wide, in float64: base is the first row,
// sum and square the sums of the differences from it and of their squares.
func shiftedSums[T float](x []T, sums []float64, c int) {
	base, sum, square := sums[:c], sums[c:2*c], sums[2*c:]
	for i, v := range x[:c] {
		base[i] = float64(v)
	}
	clear(sum)
	clear(square)
	sum, square = sum[:len(base)], square[:len(base)]
	for ; len(x) >= c; x = x[c:] {
		row := x[:c]
		for i := range base {
			d := float64(row[i]) - base[i]
			sum[i] += d
			square[i] += d * d
		}
	}
}

// join adds the moments of n more rows to those of the rows before (Chan,
// Golub and LeVeque 1983).
func join(before, n float64, mean, m2, base, sum, square []float64) {
	each, share := 1/n, n/(before+n)
	between := before * share
	m2, base, sum, square = m2[:len(mean)], base[:len(mean)], sum[:len(mean)], square[:len(mean)]
	for c, m := range mean {
		own := sum[c] * each
		d := base[c] + own - m
		mean[c] = m + d*share
		within := square[c] - sum[c]*own
		if within < 0 {
			within = 0
		}
		m2[c] += within + d*d*between
	}
}

// apply writes act((x-centre)*gain + shift (+ residual)).
func (t normTask[T]) apply(centre, gain []T) error {
	if t.y == nil {
		return nil
	}
	rows := t.n * t.pixels
	blocks := min(parts(len(t.x), segmentElements), rows)
	return t.r.each(blocks, func(tile int, _ *workspace) {
		from, to := span(tile, blocks, rows)
		for p := from; p < to; p++ {
			t.row(p*t.c, centre, gain, t.shift)
		}
	})
}

// row normalises the len(centre) elements from at on.
func (t normTask[T]) row(at int, centre, gain, shift []T) {
	y := t.y[at:][:len(centre)]
	normalise(y, t.x[at:], centre, gain, shift)
	switch {
	case t.residual != nil && t.relu:
		addRectify(y, t.residual[at:])
	case t.residual != nil:
		addTo(y, t.residual[at:][:len(y)])
	case t.relu:
		rectify(y, y)
	}
}

func normalise[T float](y, x, centre, gain, shift []T) {
	n := len(y)
	x, centre, gain, shift = x[:n], centre[:n], gain[:n], shift[:n]
	for i, v := range x {
		y[i] = (v-centre[i])*gain[i] + shift[i]
	}
}

// rectify writes max(x, 0) to y; a NaN stays one, so that it is noticed.
func rectify[T float](y, x []T) {
	y = y[:len(x)]
	for i, v := range x {
		if v <= 0 {
			v = 0
		}
		y[i] = v
	}
}

// addRectify writes max(y+x, 0) to y.
func addRectify[T float](y, x []T) {
	x = x[:len(y)]
	for i, v := range y {
		v += x[i]
		if v <= 0 {
			v = 0
		}
		y[i] = v
	}
}

// groupBlocks is how many blocks of groups a picture's groups are cut into.
func groupBlocks(n, groups int) int { return min(parts(16, n), groups) }

// group normalises each picture's groups of channels.
func (t normTask[T]) group() error {
	blocks := groupBlocks(t.n, t.groups)
	return t.r.each(t.n*blocks, func(tile int, ws *workspace) {
		g0, g1 := span(tile%blocks, blocks, t.groups)
		for g := g0; g < g1; g++ {
			t.oneGroup(ws, tile/blocks, g)
		}
	})
}

func (t normTask[T]) oneGroup(ws *workspace, img, g int) {
	cg := t.c / t.groups
	first := img*t.pixels*t.c + g*cg
	base, sum, square := float64(t.x[first]), 0.0, 0.0
	for p := range t.pixels {
		for _, v := range t.x[first+p*t.c:][:cg] {
			d := float64(v) - base
			sum += d
			square += d * d
		}
	}
	n := float64(t.pixels * cg)
	mean := base + sum/n
	invstd := 1 / math.Sqrt(max(0, square-sum*sum/n)/n+t.eps)
	if t.savedMean != nil {
		t.savedMean[img*t.groups+g] = T(mean)
	}
	if t.savedInvstd != nil {
		t.savedInvstd[img*t.groups+g] = T(invstd)
	}
	if t.y == nil {
		return
	}
	factor := scratch[T](ws, slotA, 2*cg)
	for c := range cg {
		factor[c], factor[cg+c] = T(mean), T(invstd)*t.scale[g*cg+c]
	}
	for p := range t.pixels {
		t.row(first+p*t.c, factor[:cg], factor[cg:], t.shift[g*cg:])
	}
}
