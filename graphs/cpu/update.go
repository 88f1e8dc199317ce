package cpu

import "math"

// normBlock is how many elements one partial sum of a weight's norm covers.
const normBlock = 4 << 10

// squares is the sum of squares of x, in float64, by blocks added in order.
func squares[T float](r *run, x []T) (float64, error) {
	n := parts(len(x), normBlock)
	partial := scratch[float64](&r.shared, slotA, n)
	err := r.each(n, func(tile int, _ *workspace) {
		from, to := span(tile, n, len(x))
		s := 0.0
		for _, v := range x[from:to] {
			s += float64(v) * float64(v)
		}
		partial[tile] = s
	})
	sum := 0.0
	for _, s := range partial {
		sum += s
	}
	return sum, err
}

// momentum is an update by a moving sum of gradients.
type momentum[T float] struct {
	w, g, m               []T
	rate, momentum, decay T
	trust                 T
	nesterov              bool
}

func newMomentum[T float](r *run) momentum[T] {
	return momentum[T]{
		w: input[T](r, 0), g: input[T](r, 1), m: input[T](r, 2),
		rate: T(r.call.LR * r.attr.LRFactor), momentum: T(r.attr.Momentum), decay: T(r.attr.Decay),
		trust: 1, nesterov: r.attr.Nesterov,
	}
}

// step updates elements [from,to).
func (u momentum[T]) step(from, to int) {
	w, g := u.w[from:to], u.g[from:to]
	if u.m == nil {
		for i := range w {
			w[i] -= u.rate * u.trust * (g[i] + u.decay*w[i])
		}
		clear(g)
		return
	}
	m := u.m[from:to]
	for i := range w {
		d := u.trust * (g[i] + u.decay*w[i])
		m[i] = u.momentum*m[i] + d
		move := m[i]
		if u.nesterov {
			move = d + u.momentum*m[i]
		}
		w[i] -= u.rate * move
	}
	clear(g)
}

// sgd is the kernel of SGD.
func sgd[T float](r *run) error {
	u := newMomentum[T](r)
	return blockwise(r, len(u.w), u.step)
}

// lars is the kernel of LARS.
func lars[T float](r *run) error {
	u := newMomentum[T](r)
	u.nesterov = false
	if r.attr.Trust > 0 {
		ww, err := squares(r, u.w)
		if err != nil {
			return err
		}
		gg, err := squares(r, u.g)
		if err != nil {
			return err
		}
		w, g := math.Sqrt(ww), math.Sqrt(gg)
		if w > 0 && g > 0 {
			u.trust = T(r.attr.Trust * w / (g + r.attr.Decay*w + r.attr.Eps))
		}
	}
	return blockwise(r, len(u.w), u.step)
}

// adamw is the kernel of AdamW.
func adamw[T float](r *run) error {
	w, g, m, v := input[T](r, 0), input[T](r, 1), input[T](r, 2), input[T](r, 3)
	a, rate := r.attr, r.call.LR*r.attr.LRFactor
	t := float64(r.call.Step)
	first, second := T(1-math.Pow(a.Beta1, t)), T(1-math.Pow(a.Beta2, t))
	b1, b2, keep, lr, eps := T(a.Beta1), T(a.Beta2), T(1-rate*a.Decay), T(rate), T(a.Eps)
	c1, c2 := T(1-a.Beta1), T(1-a.Beta2)
	return blockwise(r, len(w), func(from, to int) {
		for i := from; i < to; i++ {
			m[i] = b1*m[i] + c1*g[i]
			v[i] = b2*v[i] + c2*g[i]*g[i]
			root := T(math.Sqrt(float64(v[i] / second)))
			w[i] = w[i]*keep - lr*(m[i]/first)/(root+eps)
		}
		clear(g[from:to])
	})
}
