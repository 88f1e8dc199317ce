package cpu

import "github.com/locorun/locorun/graphs/cpu/vector"

// squaresFast is the sum of squares of x in float64, by blocks added in order.
func squaresFast(r *run, x []float32) (float64, error) {
	n, set := parts(len(x), segmentElements), r.b.tier.set
	partial := scratch[float64](&r.shared, slotA, n)
	err := r.each(n, func(tile int, ws *workspace) {
		block := x[tile*segmentElements : min((tile+1)*segmentElements, len(x))]
		ws.flat = vector.FlatTile{N: len(block), A: first(block)}
		ws.flat.Run(set.SumSquares, set.Lanes)
		partial[tile] = ws.flat.Sum
	})
	sum := 0.0
	for _, s := range partial {
		sum += s
	}
	return sum, err
}

// momentumFast updates all weights in one pass.
func momentumFast(r *run, u momentum[float32]) error {
	set, f := r.b.tier.set, [9]float32{u.rate, u.decay, u.trust, u.momentum}
	switch {
	case u.m == nil:
		return flatFast(r, set.Step, f, u.w, u.g)
	case u.nesterov:
		return flatFast(r, set.StepNesterov, f, u.w, u.g, u.m)
	}
	return flatFast(r, set.StepMomentum, f, u.w, u.g, u.m)
}

// sgdFast is the kernel of SGD.
func sgdFast(r *run) error {
	return momentumFast(r, newMomentum[float32](r))
}

// larsFast is the kernel of LARS.
func larsFast(r *run) error {
	u := newMomentum[float32](r)
	u.nesterov = false
	if err := u.adapt(r, squaresFast); err != nil {
		return err
	}
	return momentumFast(r, u)
}

// adamwFast is the kernel of AdamW.
func adamwFast(r *run) error {
	a := newAdam[float32](r)
	f := [9]float32{a.rate, a.keep, a.beta1, a.rest1, a.beta2, a.rest2, a.first, a.second, a.eps}
	return flatFast(r, r.b.tier.set.StepAdam, f, input[float32](r, 0), input[float32](r, 1), input[float32](r, 2), input[float32](r, 3))
}
