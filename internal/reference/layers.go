package reference

import (
	"math"

	"github.com/locorun/locorun/compiler/model"
)

// window lists the pairs of an output pixel and an input pixel under it, and
// the tap (a,b) of the window that joins them. Taps on the padding are left
// out.
func window(l *model.Layer, do func(i, j, a, b, row, col int)) {
	for i := range l.Out.H {
		for j := range l.Out.W {
			for a := range l.KH {
				for b := range l.KW {
					row, col := i*l.Stride-l.Pad+a, j*l.Stride-l.Pad+b
					if row >= 0 && row < l.In.H && col >= 0 && col < l.In.W {
						do(i, j, a, b, row, col)
					}
				}
			}
		}
	}
}

// conv is a convolution in groups, without bias.
func (t *tape) conv(l *model.Layer, x, w *node) *node {
	y := New(x.N, l.Out.H, l.Out.W, l.Out.C)
	groups := max(l.Groups, 1)
	outs, ins := l.Out.C/groups, l.In.C/groups
	return t.bilinear(x, w, y, func(product func(to, left, right int)) {
		window(l, func(i, j, a, b, row, col int) {
			for n := range x.N {
				for k := range l.Out.C {
					for c := range ins {
						product(y.at(n, i, j, k), x.at(n, row, col, k/outs*ins+c), w.at(k, a, b, c))
					}
				}
			}
		})
	})
}

// dense is y[n,k] = sum of x[n,c]*w[k,c]: all rows of x against all of w.
func (t *tape) dense(x, w *node) *node {
	y := New(x.N, 1, 1, w.N)
	return t.bilinear(x, w, y, func(product func(to, left, right int)) {
		for n := range x.N {
			for k := range w.N {
				for c := range w.C {
					product(n*w.N+k, n*w.C+c, k*w.C+c)
				}
			}
		}
	})
}

// spread repeats the values of v over a map like x, by the set of each element.
func (t *tape) spread(v, like *node, weight float64, set func(i int) int) *node {
	return t.linear(v, New(like.N, like.H, like.W, like.C), func(term func(to, from int, weight float64)) {
		for i := range like.V {
			term(i, set(i), weight)
		}
	})
}

// mean is the mean of x over each of n sets of equal size.
func (t *tape) mean(x *node, n int, set func(i int) int) *node {
	return t.linear(x, New(1, 1, 1, n), func(term func(to, from int, weight float64)) {
		for i := range x.V {
			term(set(i), i, float64(n)/float64(len(x.V)))
		}
	})
}

// moments are a norm's means and biased variances, by set.
type moments struct{ mean, variance *node }

// batchMoments takes them from x.
func (t *tape) batchMoments(x *node, n int, set func(i int) int) moments {
	mean := t.mean(x, n, set)
	d := t.sum(x, t.spread(mean, x, -1, set))
	return moments{mean, t.mean(t.times(d, d), n, set)}
}

// norm is (x-mean)/sqrt(variance+eps)*scale+shift.
func (t *tape) norm(x *node, m moments, set func(i int) int, scale, shift *node) *node {
	inverse := t.each(m.variance,
		func(v float64) float64 { return 1 / math.Sqrt(v+1e-5) },
		func(_, y float64) float64 { return -y * y * y / 2 })
	d := t.sum(x, t.spread(m.mean, x, -1, set))
	d = t.times(d, t.spread(inverse, x, 1, set))
	channel := func(i int) int { return i % x.C }
	d = t.times(d, t.spread(scale, x, 1, channel))
	return t.sum(d, t.spread(shift, x, 1, channel))
}

func (t *tape) relu(x *node) *node {
	return t.each(x,
		func(v float64) float64 { return max(v, 0) },
		func(v, _ float64) float64 {
			if v > 0 {
				return 1
			}
			return 0
		})
}

// pool is a mean or a maximum over windows; a window of 0 is the whole map.
func (t *tape) pool(l *model.Layer, x *node) *node {
	w := *l
	if w.KH == 0 {
		w.KH, w.KW, w.Stride, w.Pad = l.In.H, l.In.W, 1, 0
	}
	y := New(x.N, l.Out.H, l.Out.W, l.Out.C)
	if w.Max {
		return t.linear(x, y, maxima(&w, x, y))
	}
	return t.linear(x, y, func(term func(to, from int, weight float64)) {
		window(&w, func(i, j, _, _, row, col int) {
			for n := range x.N {
				for c := range x.C {
					term(y.at(n, i, j, c), x.at(n, row, col, c), 1/float64(w.KH*w.KW))
				}
			}
		})
	})
}

// maxima takes from each window its greatest element, the first of equals.
func maxima(l *model.Layer, x *node, y Map) terms {
	best := make([]int, len(y.V))
	for i := range best {
		best[i] = -1
	}
	window(l, func(i, j, _, _, row, col int) {
		for n := range x.N {
			for c := range x.C {
				to, from := y.at(n, i, j, c), x.at(n, row, col, c)
				if best[to] < 0 || x.V[from] > x.V[best[to]] {
					best[to] = from
				}
			}
		}
	})
	return func(term func(to, from int, weight float64)) {
		for to, from := range best {
			term(to, from, 1)
		}
	}
}

// resize is bilinear with half-pixel centres, the edges repeated.
func (t *tape) resize(l *model.Layer, x *node) *node {
	y := New(x.N, l.Out.H, l.Out.W, x.C)
	return t.linear(x, y, func(term func(to, from int, weight float64)) {
		for i := range y.H {
			top, bottom, down := between(i, y.H, x.H)
			for j := range y.W {
				left, right, across := between(j, y.W, x.W)
				for n := range x.N {
					for c := range x.C {
						to := y.at(n, i, j, c)
						term(to, x.at(n, top, left, c), (1-down)*(1-across))
						term(to, x.at(n, top, right, c), (1-down)*across)
						term(to, x.at(n, bottom, left, c), down*(1-across))
						term(to, x.at(n, bottom, right, c), down*across)
					}
				}
			}
		}
	})
}

// between is the pair of input pixels around the centre of output pixel i, and
// the share of the second.
func between(i, out, in int) (first, second int, share float64) {
	at := (float64(i)+0.5)*float64(in)/float64(out) - 0.5
	low := math.Floor(at)
	clamp := func(v float64) int { return int(min(max(v, 0), float64(in-1))) }
	return clamp(low), clamp(low + 1), at - low
}

// channels moves channel c of x to channel to(c) of a map of n channels; a
// negative one is dropped.
func (t *tape) channels(x *node, n int, to func(c int) int) *node {
	y := New(x.N, x.H, x.W, n)
	return t.linear(x, y, func(term func(to, from int, weight float64)) {
		for i := range x.V {
			if c := to(i % x.C); c >= 0 {
				term(i/x.C*n+c, i, 1)
			}
		}
	})
}

// stack puts the rows of maps under each other.
func (t *tape) stack(xs []*node) *node {
	all := t.leaf(New(len(xs)*xs[0].N, xs[0].H, xs[0].W, xs[0].C))
	for k, x := range xs {
		first := k * len(x.V)
		all = t.sum(all, t.linear(x, New(all.N, all.H, all.W, all.C), func(term func(to, from int, weight float64)) {
			for i := range x.V {
				term(first+i, i, 1)
			}
		}))
	}
	return all
}

// ntxent is the mean over the rows of e of
//
//	-log(exp(s(i,p)) / sum over j != i of exp(s(i,j)))
//
// where s is the cosine over the temperature and p = i^1 the other view of the
// row's image (Chen et al. 2020, equation 1), times weight.
func (t *tape) ntxent(e *node, temperature, weight float64) *node {
	row := func(i int) int { return i / e.C }
	square := t.linear(t.times(e, e), New(1, 1, 1, e.N), func(term func(to, from int, weight float64)) {
		for i := range e.V {
			term(row(i), i, 1)
		}
	})
	inverse := t.each(square,
		func(v float64) float64 { return 1 / math.Sqrt(v) },
		func(_, y float64) float64 { return -y * y * y / 2 })
	z := t.times(e, t.spread(inverse, e, 1, row))
	cosines := t.dense(z, z)
	others := t.each(cosines,
		func(v float64) float64 { return math.Exp(v / temperature) },
		func(_, y float64) float64 { return y / temperature })
	sums := t.linear(others, New(1, 1, 1, e.N), func(term func(to, from int, weight float64)) {
		for i := range others.V {
			if i/e.N != i%e.N {
				term(i/e.N, i, 1)
			}
		}
	})
	logs := t.each(sums, math.Log, func(v, _ float64) float64 { return 1 / v })
	share := weight / float64(e.N)
	partners := t.linear(cosines, New(1, 1, 1, 1), func(term func(to, from int, weight float64)) {
		for i := range e.N {
			term(0, i*e.N+(i^1), -share/temperature)
		}
	})
	return t.sum(partners, t.linear(logs, New(1, 1, 1, 1), func(term func(to, from int, weight float64)) {
		for i := range e.N {
			term(0, i, share)
		}
	}))
}
