package cpu

import "math"

// ntxentTask is the loss of Chen et al. 2020 and its gradient. With z the
// L2-normalised rows, s_ij = z_i z_j / temperature and p_ij the softmax of row
// i over j != i, row i's loss is -log p_ij for j its partner, and
//
//	dz_i = sum over j != i of (p_ij + p_ji - 2*[j partner of i]) z_j / (rows*temperature)
//
// The similarities are made a tile at a time, twice: once for each row's
// logarithm of the sum of exponentials, once for the gradient. All of it is
// done in float64, whatever the type of the embeddings: at temperature 1e-3 a
// float32 similarity is off by 1e-4 in the exponent.
type ntxentTask[T float] struct {
	rows, dim   int
	temperature float64
	e, de       []T
	z           []float64 // rows, normalised
	norm        []float64 // max(length, floor)
	floored     []bool
	logSum      []float64 // of each row
	loss        []float64 // of each row
}

const (
	ntxentBlock = 64 // rows of a tile
	ntxentOther = 64 // rows they are compared with at a time
	// normFloor is the least length a row is divided by.
	normFloor = 1e-12
)

// ntxent is the kernel of NTXent.
func ntxent[T float](r *run) error {
	e, loss, de := input[T](r, 0), output[T](r, 0), output[T](r, 1)
	rows := r.in[0][0]
	dim := len(e) / rows
	stats := scratch[float64](&r.shared, slotB, 3*rows)
	t := &ntxentTask[T]{
		rows: rows, dim: dim, temperature: r.attr.Temperature, e: e, de: de,
		z:    scratch[float64](&r.shared, slotA, rows*dim),
		norm: stats[:rows], logSum: stats[rows : 2*rows], loss: stats[2*rows:],
		floored: scratch[bool](&r.shared, slotC, rows),
	}
	blocks := parts(rows, ntxentBlock)
	for _, phase := range []func(from, to int, ws *workspace){t.normalise, t.sums, t.gradient(r.attr.Scale)} {
		err := r.each(blocks, func(tile int, ws *workspace) {
			from, to := span(tile, blocks, rows)
			phase(from, to, ws)
		})
		if err != nil {
			return err
		}
	}
	total := 0.0
	for _, l := range t.loss {
		total += l
	}
	loss[0] = T(total / float64(rows) * r.attr.Scale)
	return nil
}

// normalise fills z and norm.
func (t *ntxentTask[T]) normalise(from, to int, _ *workspace) {
	for i := from; i < to; i++ {
		e, z := t.e[i*t.dim:][:t.dim], t.z[i*t.dim:][:t.dim]
		n := length(e)
		t.floored[i] = n < normFloor
		t.norm[i] = max(n, normFloor)
		for k, v := range e {
			z[k] = float64(v) / t.norm[i]
		}
	}
}

// length is the Euclidean length of e, without overflow.
func length[T float](e []T) float64 {
	top := 0.0
	for _, v := range e {
		top = max(top, math.Abs(float64(v)))
	}
	if top == 0 || math.IsInf(top, 0) || math.IsNaN(top) {
		return top
	}
	s := 0.0
	for _, v := range e {
		x := float64(v) / top
		s += x * x
	}
	return top * math.Sqrt(s)
}

// logits writes row i-from, column j-first: s_ij for [from,to) and the others
// [first,last). The diagonal is minus infinity.
func (t *ntxentTask[T]) logits(s []float64, from, to, first, last int) {
	n := last - first
	a := matrix[float64]{t.z[from*t.dim:], t.dim}
	b := matrix[float64]{t.z[first*t.dim:], t.dim}
	multiply(a, b, matrix[float64]{s, n}, to-from, n, t.dim, false)
	for i := range s[:(to-from)*n] {
		s[i] /= t.temperature
	}
	for i := max(from, first); i < min(to, last); i++ {
		s[(i-from)*n+i-first] = math.Inf(-1)
	}
}

// sums fills logSum and loss of rows [from,to): the running maximum is taken
// out before exponentials are added.
func (t *ntxentTask[T]) sums(from, to int, ws *workspace) {
	s := scratch[float64](ws, slotA, (to-from)*ntxentOther)
	stats := scratch[float64](ws, slotB, 2*(to-from))
	top, sum := stats[:to-from], stats[to-from:]
	for i := range top {
		top[i], sum[i] = math.Inf(-1), 0
	}
	for first := 0; first < t.rows; first += ntxentOther {
		last := min(first+ntxentOther, t.rows)
		t.logits(s, from, to, first, last)
		for i := range top {
			row := s[i*(last-first):][:last-first]
			top[i], sum[i] = addExp(top[i], sum[i], row)
			if p := (from + i) ^ 1; p >= first && p < last {
				t.loss[from+i] = -row[p-first]
			}
		}
	}
	for i := range top {
		t.logSum[from+i] = top[i] + math.Log(sum[i])
		t.loss[from+i] += t.logSum[from+i]
	}
}

// addExp adds the exponentials of row to sum, both relative to the maximum.
func addExp(top, sum float64, row []float64) (float64, float64) {
	peak := top
	for _, v := range row {
		if v > peak || v != v {
			peak = v
		}
	}
	if math.IsInf(peak, -1) {
		return top, sum
	}
	sum *= math.Exp(top - peak)
	for _, v := range row {
		sum += math.Exp(v - peak)
	}
	return peak, sum
}

// gradient returns the phase that fills de.
func (t *ntxentTask[T]) gradient(scale float64) func(from, to int, ws *workspace) {
	factor := scale / (float64(t.rows) * t.temperature)
	return func(from, to int, ws *workspace) {
		n := to - from
		dz := zeroed[float64](ws, slotC, n*t.dim)
		s := scratch[float64](ws, slotA, n*ntxentOther)
		zt := scratch[float64](ws, slotB, t.dim*ntxentOther)
		for first := 0; first < t.rows; first += ntxentOther {
			last := min(first+ntxentOther, t.rows)
			m := last - first
			t.logits(s, from, to, first, last)
			t.weigh(s, from, to, first, last)
			transpose(t.z[first*t.dim:], m, t.dim, 0, t.dim, zt)
			multiply(matrix[float64]{s, m}, matrix[float64]{zt, m}, matrix[float64]{dz, t.dim}, n, t.dim, m, true)
		}
		for i := from; i < to; i++ {
			t.through(i, dz[(i-from)*t.dim:][:t.dim], factor)
		}
	}
}

// weigh turns logits into the weights of z_j in dz_i.
func (t *ntxentTask[T]) weigh(s []float64, from, to, first, last int) {
	for i := from; i < to; i++ {
		row := s[(i-from)*(last-first):][:last-first]
		for j, v := range row {
			row[j] = math.Exp(v-t.logSum[i]) + math.Exp(v-t.logSum[first+j])
		}
		if p := i ^ 1; p >= first && p < last {
			row[p-first] -= 2
		}
	}
}

// through takes row i's gradient through the normalisation: what points along
// z falls away, except where the length was floored.
func (t *ntxentTask[T]) through(i int, dz []float64, factor float64) {
	z, de := t.z[i*t.dim:][:t.dim], t.de[i*t.dim:][:t.dim]
	along := dot(z, dz)
	if t.floored[i] {
		along = 0
	}
	for k, v := range dz {
		de[k] = T((v - along*z[k]) * factor / t.norm[i])
	}
}
