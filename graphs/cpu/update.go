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
	if err := u.adapt(r, squares[T]); err != nil {
		return err
	}
	return blockwise(r, len(u.w), u.step)
}

// adapt sets the trust from the norms of the weights and of their gradient.
func (u *momentum[T]) adapt(r *run, squares func(*run, []T) (float64, error)) error {
	if !(r.attr.Trust > 0) {
		return nil
	}
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
	return nil
}

// adam is an update by moving averages: first and second are what these lack
// to be unbiased.
type adam[T float] struct {
	rate, keep, beta1, rest1, beta2, rest2, first, second, eps T
}

func newAdam[T float](r *run) adam[T] {
	a, rate := r.attr, r.call.LR*r.attr.LRFactor
	t := float64(r.call.Step)
	return adam[T]{
		rate: T(rate), keep: T(1 - rate*a.Decay), eps: T(a.Eps),
		beta1: T(a.Beta1), rest1: T(1 - a.Beta1), first: T(1 - math.Pow(a.Beta1, t)),
		beta2: T(a.Beta2), rest2: T(1 - a.Beta2), second: T(1 - math.Pow(a.Beta2, t)),
	}
}

// adamw is the kernel of AdamW.
func adamw[T float](r *run) error {
	w, g, m, v := input[T](r, 0), input[T](r, 1), input[T](r, 2), input[T](r, 3)
	a := newAdam[T](r)
	return blockwise(r, len(w), func(from, to int) {
		for i := from; i < to; i++ {
			m[i] = a.beta1*m[i] + a.rest1*g[i]
			v[i] = a.beta2*v[i] + a.rest2*g[i]*g[i]
			root := T(math.Sqrt(float64(v[i] / a.second)))
			w[i] = w[i]*a.keep - a.rate*(m[i]/a.first)/(root+a.eps)
		}
		clear(g[from:to])
	})
}
