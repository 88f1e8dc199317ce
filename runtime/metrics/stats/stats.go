// Package stats has the figures by which a run's health is judged: how far the
// embeddings spread, over how many directions, and how the gradients of two
// losses stand to each other.
//
// In: float32 tensors as the units hold them, row-major. Out: one float64.
//
//	embeddings [rows, dims] --normalise rows--> sphere --> EmbeddingStd, EffectiveRank
//	gradients  [n]                                     --> Norm, Cosine, MeanCosine
//
// What always holds: the inputs are read only; sums run in float64 in the order
// of the elements; nothing here depends on the number of workers; and a value
// that is not finite in the input gives NaN, never a panic.
package stats

import (
	"math"

	"gonum.org/v1/gonum/mat"
)

// The bounds on the work of EffectiveRank, which grows with rows*dims^2 and
// dims^3. What is larger is thinned out evenly (see thin).
const (
	RankRows = 1024
	RankDims = 512
)

// EmbeddingStd tells whether embeddings collapse. Rows are L2-normalised; then
// the standard deviation (over rows, divided by their number) of each dimension
// is taken, averaged over the dimensions and multiplied by sqrt(dims):
//
//	sqrt(d) * 1/d * sum_j sqrt( 1/n * sum_i (z_ij - mean_j)^2 ),  z_i = e_i / |e_i|
//
// It is 0 where all rows point the same way and close to 1 where they lie evenly
// on the sphere, whatever dims is; it never exceeds 1. Without the factor it is
// the figure of Chen and He, "Exploring Simple Siamese Representation Learning",
// 2021, section 4.1, which is near 1/sqrt(d) in health. A row of zeros stays
// zeros. NaN for no rows or dims.
func EmbeddingStd(e []float32, rows, dims int) float64 {
	if !whole(e, rows, dims) {
		return math.NaN()
	}
	z := normalised(e, span(rows, rows), dims, span(dims, dims))
	centre(z, rows, dims)
	sum := 0.0
	for j := range dims {
		v := 0.0
		for i := range rows {
			v += z[i*dims+j] * z[i*dims+j]
		}
		sum += math.Sqrt(v / float64(rows))
	}
	return sum / math.Sqrt(float64(dims))
}

// EffectiveRank is the number of directions the embeddings spread over: exp of
// the entropy of the eigenvalues, scaled to sum 1, of the covariance of the
// L2-normalised rows:
//
//	exp( -sum_k p_k ln p_k ),  p_k = l_k / sum l
//
// It is 1 where the rows lie on a line, dims where they fill all directions
// alike, and 0 where all rows are the same. The form is that of Roy and Vetterli,
// "The effective rank", 2007, on the covariance's eigenvalues (the squares of
// the singular values of the centred rows).
//
// Of more than RankRows rows or RankDims dims, that many are taken, evenly
// spaced from the first on: the same ones every time. The result is then a
// lower estimate, at most RankDims. NaN for no rows or dims.
func EffectiveRank(e []float32, rows, dims int) float64 {
	if !whole(e, rows, dims) {
		return math.NaN()
	}
	ri, di := span(rows, RankRows), span(dims, RankDims)
	z := normalised(e, ri, dims, di)
	centre(z, len(ri), len(di))
	values, ok := eigenvalues(z, len(ri), len(di))
	if !ok {
		return math.NaN()
	}
	return entropyRank(values)
}

func whole(e []float32, rows, dims int) bool {
	return rows > 0 && dims > 0 && len(e) >= rows*dims
}

// span gives at most `most` of the numbers below n, evenly spaced from 0 on.
func span(n, most int) []int {
	m := min(n, most)
	at := make([]int, m)
	for i := range at {
		at[i] = int(int64(i) * int64(n) / int64(m))
	}
	return at
}

// normalised takes the chosen rows and dims of e; a row's length is that of all
// its dims.
func normalised(e []float32, rows []int, dims int, chosen []int) []float64 {
	z := make([]float64, 0, len(rows)*len(chosen))
	for _, i := range rows {
		row := e[i*dims : (i+1)*dims]
		scale := Norm(row)
		if scale == 0 {
			scale = 1
		}
		for _, j := range chosen {
			z = append(z, float64(row[j])/scale)
		}
	}
	return z
}

// centre takes each column's mean away.
func centre(z []float64, rows, dims int) {
	for j := range dims {
		mean := 0.0
		for i := range rows {
			mean += z[i*dims+j]
		}
		mean /= float64(rows)
		for i := range rows {
			z[i*dims+j] -= mean
		}
	}
}

// eigenvalues are those of zT z, or, where that is smaller, of z zT: the two
// share all that are not zero.
func eigenvalues(z []float64, rows, dims int) ([]float64, bool) {
	for _, v := range z {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, false
		}
	}
	if dims > rows {
		z, rows, dims = transposed(z, rows, dims), dims, rows
	}
	sym := mat.NewSymDense(dims, outer(z, rows, dims))
	var eig mat.EigenSym
	if !eig.Factorize(sym, false) {
		return nil, false
	}
	return eig.Values(nil), true
}

func transposed(z []float64, rows, dims int) []float64 {
	t := make([]float64, len(z))
	for i := range rows {
		for j := range dims {
			t[j*rows+i] = z[i*dims+j]
		}
	}
	return t
}

// outer is zT z, of which only the upper triangle is filled.
func outer(z []float64, rows, dims int) []float64 {
	c := make([]float64, dims*dims)
	for i := range rows {
		row := z[i*dims : (i+1)*dims]
		for j, a := range row {
			into := c[j*dims+j : (j+1)*dims]
			for k, b := range row[j:] {
				into[k] += a * b
			}
		}
	}
	return c
}

// entropyRank is exp of the entropy of the values scaled to sum 1. Values that
// rounding pushed to or below zero, relative to the largest, count as zero.
func entropyRank(values []float64) float64 {
	const tiny = 1e-12
	most, sum := 0.0, 0.0
	for _, v := range values {
		most = max(most, v)
	}
	if most < tiny { // of unit rows: all of them are the same
		return 0
	}
	for _, v := range values {
		if v > tiny*most {
			sum += v
		}
	}
	entropy := 0.0
	for _, v := range values {
		if v > tiny*most {
			p := v / sum
			entropy -= p * math.Log(p)
		}
	}
	return math.Exp(entropy)
}

// Norm is the Euclidean norm.
func Norm(v []float32) float64 {
	sum := 0.0
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	return math.Sqrt(sum)
}

// Cosine is the cosine of the angle between a and b, of the same length. NaN
// where one of them is zero or the lengths differ.
func Cosine(a, b []float32) float64 {
	if len(a) != len(b) {
		return math.NaN()
	}
	dot := 0.0
	for i := range a {
		dot += float64(a[i]) * float64(b[i])
	}
	c := dot / (Norm(a) * Norm(b))
	return max(-1, min(1, c)) // NaN passes through
}

// MeanCosine is the mean of Cosine over all pairs. NaN for fewer than two.
func MeanCosine(vs ...[]float32) float64 {
	sum, n := 0.0, 0
	for i, a := range vs {
		for _, b := range vs[i+1:] {
			sum += Cosine(a, b)
			n++
		}
	}
	return sum / float64(n)
}
