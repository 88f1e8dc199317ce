package readout

import (
	"sync"
	"sync/atomic"
)

// The products are cut by shape alone. Rows and classes are padded with zeros
// to whole tiles, so that one kernel makes every number.
const (
	rowTile   = 4  // rows a kernel takes at once
	classTile = 2  // weight rows, or neighbours, a kernel takes at once
	spanTile  = 64 // features of one task of the gradient
)

func roundUp(n, to int) int { return (n + to - 1) / to * to }

// parallel calls do(0) ... do(n-1) on up to workers goroutines and returns when
// all are done. Calls must write to places of their own; then the order does
// not matter.
func parallel(workers, n int, do func(task int)) {
	workers = min(workers, n)
	if workers <= 1 {
		for i := range n {
			do(i)
		}
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				do(int(i))
			}
		})
	}
	wg.Wait()
}

// dots makes the eight products of four rows of x with two rows of w, each of d
// numbers; product (r, c) is out[2*r+c]. Every sum runs over the features in
// order.
func dots(out *[rowTile * classTile]float32, x, w []float32, d int) {
	x0, x1, x2, x3 := x[:d], x[d:2*d], x[2*d:3*d], x[3*d:4*d]
	w0, w1 := w[:d], w[d:2*d]
	var a0, a1, b0, b1, c0, c1, e0, e1 float32
	for i, u := range w0 {
		v := w1[i]
		p := x0[i]
		a0 += p * u
		a1 += p * v
		p = x1[i]
		b0 += p * u
		b1 += p * v
		p = x2[i]
		c0 += p * u
		c1 += p * v
		p = x3[i]
		e0 += p * u
		e1 += p * v
	}
	*out = [rowTile * classTile]float32{a0, a1, b0, b1, c0, c1, e0, e1}
}

// outer adds to two rows of a gradient, g0 and g1, the product of four rows of
// x with their factors, delta(r, c) = k[2*r+c]; row r of x begins at r*d.
func outer(g0, g1, x []float32, d int, k *[rowTile * classTile]float32) {
	n := len(g0)
	g1 = g1[:n]
	x0, x1, x2, x3 := x[:n], x[d:d+n], x[2*d:2*d+n], x[3*d:3*d+n]
	for i, g := range g0 {
		p, q, r, s := x0[i], x1[i], x2[i], x3[i]
		g0[i] = g + p*k[0] + q*k[2] + r*k[4] + s*k[6]
		g1[i] = g1[i] + p*k[1] + q*k[3] + r*k[5] + s*k[7]
	}
}
