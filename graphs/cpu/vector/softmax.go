package vector

import "unsafe"

// SoftmaxTile is the work of the kernels of softmax: a tile of similarities,
// Rows of Cols elements. The elements of a row that lie beyond its end, up to
// the next whole vector, must exist; so must those of ColTop and ColShare.
//
//	SoftmaxSums     Top[i] = max over j of s[i][j]
//	                Sum[i] = sum over j of e(s[i][j] - Top[i])
//	SoftmaxWeights  s[i][j] = e(s[i][j]-Top[i]) * Sum[i] + e(s[i][j]-ColTop[j]) * ColShare[j]
//
// with e(x) = 2^(Scale*x), to 1.5e-7 of its value for the exponent as rounded to
// float32; it is 0 for exponents below -125, and they must not be above 127. A
// NaN among the similarities leaves Top alone and makes Sum NaN. Sums run over
// each lane of the vectors in order, then over halves of them.
type SoftmaxTile struct {
	Rows, Cols       int // Cols in whole vectors; at least 1 each
	S                unsafe.Pointer
	Step             int // from a row of S to the next, in bytes
	Scale            float32
	_                float32
	Top, Sum         unsafe.Pointer // by row
	ColTop, ColShare unsafe.Pointer // by column
}

// Run runs a kernel of softmax.
func (t *SoftmaxTile) Run(kernel func(*byte)) { kernel((*byte)(unsafe.Pointer(t))) }
