package vector

import "unsafe"

// FlatTile is the work of a kernel that does the same with each element of
// some vectors of N float32 elements. A result may lie where an argument does.
//
//	Rectify               B = A, 0 where A < 0; a NaN stays
//	KeepPositive          C = A where B > 0, else 0
//	Add                   C = A + B
//	AddScaledDifference   C = C + Factor[0]*(A - B)
//	AddWide               B = B + A; B is float64
//	SumSquares            Sum = sum of A*A, in float64, in one order
//
// The updates of weights A with gradients B, which they leave as zeros:
//
//	d = trust*(B + decay*A), and Factor = rate, decay, trust, momentum
//
//	Step                  A = A - rate*d
//	StepMomentum          C = momentum*C + d, A = A - rate*C
//	StepNesterov          C = momentum*C + d, A = A - rate*(d + momentum*C)
//
//	StepAdam              C = beta1*C + rest1*B, D = beta2*D + rest2*B*B
//	                      A = keep*A - rate*(C/first)/(sqrt(D/second) + eps)
//
// with Factor = rate, keep, beta1, rest1, beta2, rest2, first, second, eps.
type FlatTile struct {
	N          int // at least 1
	A, B, C, D unsafe.Pointer

	// What follows from N, in bytes but for tail.
	pairs, wholes, tail int
	mask                Mask

	Factor [9]float32
	_      float32
	Sum    float64
}

// Run runs one of the kernels above, of a set with lanes.
func (t *FlatTile) Run(kernel func(*byte), lanes int) {
	whole := t.N / lanes
	t.pairs, t.wholes, t.tail = 4*(whole&^1)*lanes, 4*whole*lanes, 0
	if rest := t.N - whole*lanes; rest > 0 {
		t.tail, t.mask = 1, MaskOf(rest)
	}
	kernel((*byte)(unsafe.Pointer(t)))
}
