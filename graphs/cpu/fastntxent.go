package cpu

import (
	"math"
	"slices"
	"unsafe"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cpu/vector"
)

// fastNTXent is ntxentTask in the vector tiers: the same loss and gradient, a
// tile of similarities at a time, with products in float32.
//
//	z, normalised, twice:   squares  [224 rows][runs of z][row][2 vectors]
//	                        panels   [2 vectors of rows][element of z][row]
//	a tile:                 up to 112 rows by a square of 224 others
//	sums      s = rows x panels --> each row's maximum and sum of exponentials
//	gradient  s = rows x panels --> weights w; dz += w x square
//
// Exponentials are added in float32 within a row of a tile; across tiles the
// sums, and the loss, are in float64. The similarity of i with j is the same
// number, to the bit, as that of j with i.
//
// Products in float32 leave an error of 1e-7 in a similarity and in dz. Where
// that would show, the portable kernel does the work in float64: at temperatures
// below leastTemperature, and where a row is so short that the error, divided by
// its length, could exceed shortNoise.
type fastNTXent struct {
	set          *vector.Set
	rows, dim    int
	temperature  float64
	factor       float64 // of the gradient
	e, de        []float32
	width        int // of a run of z: one vector or two
	runs         int // of a row
	pitch        int // rows of a square
	block        int // rows of a tile
	squares      []float32
	panels       []float32
	norm, loss   []float64
	tops, shares []float32 // 1/share is the sum relative to the top
	scale        float32   // takes a difference of similarities to a power of 2
}

const (
	squareRows = 224 // a multiple of the panels' and the blocks' rows
	// leastTemperature is where an error of 1e-7 is 3e-6 of an exponential.
	leastTemperature = 1. / 32
	// mostTemperature keeps its inverse a number of float32.
	mostTemperature = 1 << 20
	// productNoise is the error of an element of dz, shortNoise what it may
	// grow to in the gradient.
	productNoise = 0x1p-22
	shortNoise   = 1e-6
)

// ntxentFast is the kernel of NTXent.
func ntxentFast(r *run) error {
	if !ntxentFits(r.attr) {
		return ntxent[float32](r)
	}
	t := newFastNTXent(r)
	if err := t.each(r, 2*t.set.Lanes, t.normalise); err != nil {
		return err
	}
	if slices.ContainsFunc(t.norm, t.short) {
		return ntxent[float32](r)
	}
	if err := t.each(r, t.block, t.sums); err != nil {
		return err
	}
	total := 0.0
	for _, l := range t.loss {
		total += l
	}
	output[float32](r, 0)[0] = float32(total / float64(t.rows) * r.attr.Scale)
	return t.each(r, t.block, t.gradient)
}

// each computes blocks of size rows.
func (t *fastNTXent) each(r *run, size int, do func(from, to int, ws *workspace)) error {
	return r.each(parts(t.rows, size), func(tile int, ws *workspace) {
		from := tile * size
		do(from, min(from+size, t.rows), ws)
	})
}

// ntxentFits reports whether products in float32 are exact enough.
func ntxentFits(a op.Attr) bool {
	return a.Temperature >= leastTemperature && a.Temperature <= mostTemperature
}

// newFastNTXent cuts the work and finds the memory for it.
func newFastNTXent(r *run) *fastNTXent {
	t := &fastNTXent{set: r.b.tier.set, rows: r.in[0][0], e: input[float32](r, 0), de: output[float32](r, 1), temperature: r.attr.Temperature}
	t.dim = len(t.e) / t.rows
	t.factor = r.attr.Scale / (float64(t.rows) * t.temperature)
	t.scale = float32(math.Log2E / t.temperature)
	t.width = columnsOf(t.set, t.dim)
	t.runs = parts(t.dim, t.width)
	t.pitch = min(t.rows, squareRows)
	t.block = rowsOfBlock(t.rows, t.dim)
	t.squares = scratch[float32](&r.shared, slotA, parts(t.rows, squareRows)*t.pitch*t.padded())
	t.panels = scratch[float32](&r.shared, slotB, paddedChannels(t.set.Lanes, t.rows)*t.padded())
	stats := scratch[float64](&r.shared, slotC, 2*t.rows)
	t.norm, t.loss = stats[:t.rows], stats[t.rows:]
	whole := paddedChannels(t.set.Lanes, t.rows) // vectors are read whole
	ends := zeroed[float32](&r.shared, slotD, 2*whole)
	t.tops, t.shares = ends[:whole], ends[whole:]
	return t
}

// rowsOfBlock is the rows of a tile: few enough for eight tiles, and for the
// second cache level to hold them.
func rowsOfBlock(rows, dim int) int {
	n := squareRows / 2
	for n > squareRows/8 && (rows < 8*n || n*dim > 1<<17) {
		n /= 2
	}
	return n
}

// padded is the elements of a row of z, filled up to whole runs.
func (t *fastNTXent) padded() int { return t.runs * t.width }

// at is where row i starts in squares.
func (t *fastNTXent) at(i int) int {
	q := i / squareRows
	return q*t.pitch*t.padded() + (i-q*squareRows)*t.width
}

// runStep is the distance of a row's runs in squares.
func (t *fastNTXent) runStep() int { return t.pitch * t.width }

// normalise fills both forms of z for the rows of one panel.
func (t *fastNTXent) normalise(from, to int, _ *workspace) {
	for i := from; i < to; i++ {
		e := t.e[i*t.dim:][:t.dim]
		t.norm[i] = max(math.Sqrt(squared(e)), normFloor)
		for run := range t.runs {
			divide(t.z(i, run), t.part(e, run), t.norm[i])
		}
	}
	width := columnsOf(t.set, to-from)
	panel := t.panels[from*t.padded():]
	for run := range t.runs {
		packRows(panel[run*t.width*width:], t.squares[t.at(from)+run*t.runStep():], t.width, to-from, t.width, width)
	}
}

// squared is the sum of squares of e. Squares of float32 neither overflow nor
// vanish in float64.
func squared(e []float32) float64 { return dot64(e, e) }

// dot64 is the product of x and y in float64, in two sums: one of the elements
// at even places and one of the others.
func dot64(x, y []float32) float64 {
	y = y[:len(x)]
	var a, b float64
	k := 0
	for ; k+2 <= len(x); k += 2 {
		a += float64(x[k]) * float64(y[k])
		b += float64(x[k+1]) * float64(y[k+1])
	}
	if k < len(x) {
		a += float64(x[k]) * float64(y[k])
	}
	return a + b
}

// divide fills z with e over norm, and zeros behind.
func divide(z, e []float32, norm float64) {
	f := 1 / norm
	for k, v := range e {
		z[k] = float32(float64(v) * f)
	}
	clear(z[len(e):])
}

// similarities makes the tile of rows [from,to) with the square that starts at
// first, rows squareRows apart. It returns how many others there are. The
// diagonal, and what fills up the last vector, is minus infinity.
func (t *fastNTXent) similarities(ws *workspace, from, to, first int) (s []float32, n int) {
	n = min(squareRows, t.rows-first)
	s = scratch[float32](ws, slotA, (to-from)*squareRows)
	p := panelProduct{
		a: t.squares[t.at(from):], aStep: t.width, runs: t.runs, runStep: t.runStep(), depth: t.width,
		cStep: squareRows, rows: to - from,
	}
	for j := 0; j < n; j += 2 * t.set.Lanes {
		p.panel, p.c, p.cols = t.panels[(first+j)*t.padded():], s[j:], min(2*t.set.Lanes, n-j)
		p.run(t.set, ws)
	}
	low := float32(math.Inf(-1))
	if whole := paddedChannels(t.set.Lanes, n); whole > n {
		for i := range to - from {
			fill(s[i*squareRows:][n:whole], low)
		}
	}
	for i := max(from, first); i < min(to, first+n); i++ {
		s[(i-from)*squareRows+i-first] = low
	}
	return s, n
}

// fill sets all elements of m to v.
func fill(m []float32, v float32) {
	for i := range m {
		m[i] = v
	}
}

// tile is a kernel's arguments for a tile of similarities.
func (t *fastNTXent) tile(ws *workspace, s []float32, rows, n int, tops, sums []float32) *vector.SoftmaxTile {
	ws.soft = vector.SoftmaxTile{
		Rows: rows, Cols: paddedChannels(t.set.Lanes, n), S: unsafe.Pointer(&s[0]), Step: 4 * squareRows, Scale: t.scale,
		Top: unsafe.Pointer(&tops[0]), Sum: unsafe.Pointer(&sums[0]),
	}
	return &ws.soft
}

// sums fills what the gradient must know of rows [from,to), and their losses.
func (t *fastNTXent) sums(from, to int, ws *workspace) {
	n := to - from
	ends := scratch[float32](ws, slotC, 2*n)
	tops, sums := ends[:n], ends[n:]
	total := zeroed[float64](ws, slotD, n)
	fill(t.tops[from:to], float32(math.Inf(-1)))
	for first := 0; first < t.rows; first += squareRows {
		s, cols := t.similarities(ws, from, to, first)
		t.tile(ws, s, n, cols, tops, sums).Run(t.set.SoftmaxSums)
		for i := range n {
			t.join(&t.tops[from+i], &total[i], tops[i], sums[i])
			if p := (from + i) ^ 1; p >= first && p < first+cols {
				t.loss[from+i] = -float64(s[i*squareRows+p-first]) / t.temperature
			}
		}
	}
	for i, sum := range total {
		t.shares[from+i] = float32(1 / sum)
		t.loss[from+i] += math.Log(sum) + float64(t.tops[from+i])/t.temperature
	}
	ws.soft = vector.SoftmaxTile{}
}

// join adds a tile's sum, relative to its top, to the row's.
func (t *fastNTXent) join(top *float32, total *float64, tileTop, tileSum float32) {
	peak := max(*top, tileTop)
	if *top != peak {
		*total *= math.Exp2(float64(*top-peak) * float64(t.scale))
	}
	part := float64(tileSum)
	if tileTop != peak {
		part *= math.Exp2(float64(tileTop-peak) * float64(t.scale))
	}
	*top = peak
	*total += part
}

// gradient fills de of rows [from,to).
func (t *fastNTXent) gradient(from, to int, ws *workspace) {
	n, padded := to-from, t.padded()
	dz := scratch[float32](ws, slotB, n*padded)
	for first := 0; first < t.rows; first += squareRows {
		s, cols := t.similarities(ws, from, to, first)
		tile := t.tile(ws, s, n, cols, t.tops[from:], t.shares[from:])
		tile.ColTop, tile.ColShare = unsafe.Pointer(&t.tops[first]), unsafe.Pointer(&t.shares[first])
		tile.Run(t.set.SoftmaxWeights)
		for i := range n {
			if p := (from + i) ^ 1; p >= first && p < first+cols {
				s[i*squareRows+p-first] -= 2
			}
		}
		p := panelProduct{a: s, aStep: squareRows, runs: 1, depth: cols, cStep: padded, rows: n, cols: t.width, add: first > 0}
		for run := range t.runs {
			p.panel, p.c = t.squares[t.at(first)+run*t.runStep():], dz[run*t.width:]
			p.run(t.set, ws)
		}
	}
	ws.soft = vector.SoftmaxTile{}
	for i := from; i < to; i++ {
		t.through(i, dz[(i-from)*padded:][:t.dim])
	}
}

// through takes row i's gradient through the normalisation, as ntxentTask does.
func (t *fastNTXent) through(i int, dz []float32) {
	along := 0.0
	if t.norm[i] > normFloor {
		for run := range t.runs {
			along += dot64(t.part(dz, run), t.z(i, run))
		}
	}
	de, f := t.de[i*t.dim:][:t.dim], t.factor/t.norm[i]
	for run := range t.runs {
		z, out := t.z(i, run), t.part(de, run)
		for k, v := range t.part(dz, run) {
			out[k] = float32((float64(v) - along*float64(z[k])) * f)
		}
	}
}

// z is a run of row i.
func (t *fastNTXent) z(i, run int) []float32 {
	return t.squares[t.at(i)+run*t.runStep():][:t.width]
}

// part is what of a row of dim elements lies in a run.
func (t *fastNTXent) part(row []float32, run int) []float32 {
	from := run * t.width
	return row[from:min(from+t.width, t.dim)]
}

// short reports whether rounding of products would show in the gradient of a
// row of that length. Rows at the floor are as good as zero, and have gradients
// of 1e12.
func (t *fastNTXent) short(norm float64) bool {
	return norm > normFloor && productNoise*t.factor > shortNoise*norm
}
