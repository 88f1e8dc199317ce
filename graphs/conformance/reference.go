package conformance

import (
	"math"

	"github.com/locorun/locorun/compiler/op"
)

// references compute an op in float64 by loops that follow its definition.
// They read a problem's arguments and write its results (and those arguments
// that the op changes).
var references = [len(op.Rows)]func(p *problem){
	op.Conv:         func(p *problem) { refConv(p.attr, p.in[0], p.in[1], p.in[2], p.out[0]) },
	op.Norm:         func(p *problem) { refNorm(p.attr, p.attr.Groups, p.in, p.out) },
	op.ConvNorm:     refConvNorm,
	op.ReLU:         func(p *problem) { p.each(func(i int) float64 { return max(p.in[0].v[i], 0) }) },
	op.Add:          func(p *problem) { p.each(func(i int) float64 { return p.in[0].v[i] + p.in[1].v[i] }) },
	op.PoolMax:      refPoolMax,
	op.PoolMean:     refPoolMean,
	op.Mean:         refMean,
	op.Dense:        func(p *problem) { refConv(unit, p.in[0], asKernel(p.in[1]), p.in[2], p.out[0]) },
	op.Resize:       refResize,
	op.Shuffle:      refShuffle,
	op.Split:        func(p *problem) { refParts(p.in[0], p.out, func(whole, part *float64) { *part = *whole }) },
	op.Concat:       func(p *problem) { refParts(p.out[0], p.in, func(whole, part *float64) { *whole = *part }) },
	op.NTXent:       refNTXent,
	op.ConvInput:    func(p *problem) { refConvInput(p.attr, p.in[0], p.in[1], p.out[0]) },
	op.ConvWeight:   func(p *problem) { refConvWeight(p.attr, p.in[0], p.in[1], p.out[0], p.out[1]) },
	op.NormGrad:     refNormGrad,
	op.ConvNormGrad: refConvNormGrad,
	op.ReLUGrad:     refReLUGrad,
	op.PoolMaxGrad:  refPoolMaxGrad,
	op.PoolMeanGrad: refPoolMeanGrad,
	op.MeanGrad:     refMeanGrad,
	op.DenseInput:   func(p *problem) { refConvInput(unit, p.in[0], asKernel(p.in[1]), p.out[0]) },
	op.DenseWeight:  func(p *problem) { refConvWeight(unit, p.in[0], p.in[1], asKernel(p.out[0]), p.out[1]) },
	op.ResizeGrad:   refResizeGrad,
	op.Copy:         func(p *problem) { p.each(func(i int) float64 { return p.in[0].v[i] }) },
	op.Pull:         refPull,
	op.SGD:          refSGD,
	op.LARS:         refLARS,
	op.AdamW:        refAdamW,
}

// unit is the convolution a dense product is.
var unit = op.Attr{KH: 1, KW: 1, Stride: 1}

// asKernel is dense weights as those of a 1x1 convolution, the same numbers.
func asKernel(w *array) *array {
	return &array{[]int{w.shape[0], 1, 1, w.shape[1]}, w.dtype, w.v}
}

// each sets every element of the first result.
func (p *problem) each(f func(i int) float64) {
	for i := range p.out[0].v {
		p.out[0].v[i] = f(i)
	}
}

// eachTap visits every pair of an output pixel and an input pixel it sees.
func eachTap(a op.Attr, x, y []int, do func(n, i, j, ka, kb, row, col int)) {
	for n := range y[0] {
		for i := range y[1] {
			for j := range y[2] {
				for ka := range a.KH {
					for kb := range a.KW {
						row, col := i*a.Stride-a.Pad+ka, j*a.Stride-a.Pad+kb
						if row >= 0 && row < x[1] && col >= 0 && col < x[2] {
							do(n, i, j, ka, kb, row, col)
						}
					}
				}
			}
		}
	}
}

// eachWeight visits every product of a convolution: the places of an input, a
// weight and an output.
func eachWeight(a op.Attr, x, w, y *array, do func(x, w, y *float64)) {
	kg, cg := w.shape[0]/max(a.Groups, 1), w.shape[3]
	eachTap(a, x.shape, y.shape, func(n, i, j, ka, kb, row, col int) {
		for k := range w.shape[0] {
			for c := range cg {
				do(x.at(n, row, col, k/kg*cg+c), w.at(k, ka, kb, c), y.at(n, i, j, k))
			}
		}
	})
}

func refConv(a op.Attr, x, w, bias, y *array) {
	for i := range y.v {
		y.v[i] = 0
		if bias != nil {
			y.v[i] = bias.v[i%len(bias.v)]
		}
	}
	eachWeight(a, x, w, y, func(x, w, y *float64) { *y += *x * *w })
}

func refConvInput(a op.Attr, dy, w, dx *array) {
	clear(dx.v)
	eachWeight(a, dx, w, dy, func(dx, w, dy *float64) { *dx += *dy * *w })
}

func refConvWeight(a op.Attr, x, dy, dw, dbias *array) {
	eachWeight(a, x, dw, dy, func(x, dw, dy *float64) { *dw += *dy * *x })
	if dbias != nil {
		for i, v := range dy.v {
			dbias.v[i%len(dbias.v)] += v
		}
	}
}

// refStats calls do for each set of elements that share statistics, with the
// index the set's statistics are saved at.
func refStats(shape []int, groups int, do func(set int, members []int)) {
	sets := map[int][]int{}
	n, pixels, c := shape[0], shape[1]*shape[2], shape[3]
	for img := range n {
		for p := range pixels {
			for k := range c {
				set := k
				if groups > 0 {
					set = img*groups + k/(c/groups)
				}
				sets[set] = append(sets[set], (img*pixels+p)*c+k)
			}
		}
	}
	for set := range len(sets) {
		do(set, sets[set])
	}
}

// refNorm: in is x, scale, shift, mean, var, residual; out is y and the saved
// statistics.
func refNorm(a op.Attr, groups int, in, out []*array) {
	x, scale, shift, running, variance, residual := in[0], in[1], in[2], in[3], in[4], in[5]
	c := x.shape[3]
	refStats(x.shape, groups, func(set int, members []int) {
		m, v := moments(x, members)
		if groups == 0 && a.Mode == op.NormRunning {
			m, v = running.v[set], variance.v[set]
		}
		invstd := 1 / math.Sqrt(v+a.Eps)
		for i, saved := range []float64{m, invstd} {
			if out[1+i] != nil {
				out[1+i].v[set] = saved
			}
		}
		if groups == 0 && a.Mode == op.NormUpdate {
			count := float64(len(members))
			running.v[set] += a.StatMomentum * (m - running.v[set])
			variance.v[set] += a.StatMomentum * (v*count/max(count-1, 1) - variance.v[set])
		}
		for _, i := range members {
			y := (x.v[i]-m)*invstd*scale.v[i%c] + shift.v[i%c]
			if residual != nil {
				y += residual.v[i]
			}
			if a.ReLU {
				y = max(y, 0)
			}
			if out[0] != nil {
				out[0].v[i] = y
			}
		}
	})
}

// moments are the mean and the biased variance of some elements.
func moments(x *array, members []int) (mean, variance float64) {
	for _, i := range members {
		mean += x.v[i] / float64(len(members))
	}
	for _, i := range members {
		variance += (x.v[i] - mean) * (x.v[i] - mean) / float64(len(members))
	}
	return mean, variance
}

func refConvNorm(p *problem) {
	z := p.out[0]
	refConv(p.attr, refSeen(p.attr, p.in[0], p.in[7:]), p.in[1], nil, z)
	if p.kept != nil {
		z = p.kept
	}
	refNorm(p.attr, p.attr.NormGroups, append(list(z), p.in[2:7]...), p.out[1:])
}

// refSeen is what a convolution sees of x, given the scale, shift, mean and
// invstd of the norm it reads x through, if there is one.
func refSeen(a op.Attr, x *array, norm []*array) *array {
	scale, shift, mean, invstd := norm[0], norm[1], norm[2], norm[3]
	if mean == nil {
		return x
	}
	seen, c := newArray(op.F64, x.shape...), x.shape[3]
	refStats(x.shape, a.InGroups, func(set int, members []int) {
		for _, i := range members {
			seen.v[i] = (x.v[i]-mean.v[set])*invstd.v[set]*scale.v[i%c] + shift.v[i%c]
			if a.InReLU {
				seen.v[i] = max(seen.v[i], 0)
			}
		}
	})
	if x.dtype == op.BF16 {
		seen.round()
	}
	return seen
}

func refNormGrad(p *problem) {
	a, dy, x, y, scale := p.attr, p.in[0], p.in[1], p.in[2], p.in[3]
	c := x.shape[3]
	refStats(x.shape, a.Groups, func(set int, members []int) {
		mean, invstd := p.in[4].v[set], p.in[5].v[set]
		avg, avgHat := 0.0, 0.0
		mask := func(i int) float64 {
			if a.ReLU && y.v[i] <= 0 {
				return 0
			}
			return dy.v[i]
		}
		hat := func(i int) float64 { return (x.v[i] - mean) * invstd }
		for _, i := range members {
			h := mask(i) * scale.v[i%c] / float64(len(members))
			avg += h
			avgHat += h * hat(i)
			if a.Weights {
				p.out[2].v[i%c] += mask(i) * hat(i)
				p.out[3].v[i%c] += mask(i)
			}
		}
		for _, i := range members {
			p.out[0].v[i] = invstd * (mask(i)*scale.v[i%c] - avg - hat(i)*avgHat)
			if p.out[1] != nil {
				p.out[1].v[i] = mask(i)
			}
		}
	})
}

// refConvNormGrad composes the references of the three ops, with dz in between.
func refConvNormGrad(p *problem) {
	dz := newArray(op.F64, p.in[1].shape...)
	norm := &problem{attr: p.attr, in: p.in[:6], out: append(list(dz), p.out[1:4]...)}
	norm.attr.Groups = p.attr.NormGroups
	if p.attr.ReLU && p.in[2] == nil {
		again := op.Attr{InReLU: true, InGroups: p.attr.NormGroups}
		norm.in = append(list(), norm.in...)
		norm.in[2] = refSeen(again, p.in[1], list(p.in[3], p.in[9], p.in[4], p.in[5]))
	}
	refNormGrad(norm)
	if p.in[1].dtype == op.BF16 {
		dz.round()
	}
	w, more, dx, dw := p.in[7], p.in[8], p.out[0], p.out[4]
	if dw != nil {
		refConvWeight(p.attr, refSeen(p.attr, p.in[6], p.in[10:]), dz, dw, nil)
	}
	if dx != nil {
		refConvInput(p.attr, dz, w, dx)
	}
	if more != nil {
		for i, v := range more.v {
			dx.v[i] += v
		}
	}
}

func refReLUGrad(p *problem) {
	p.each(func(i int) float64 {
		if p.in[1].v[i] > 0 {
			return p.in[0].v[i]
		}
		return 0
	})
}

func refPull(p *problem) {
	for i := range p.out[0].v {
		p.out[0].v[i] += 2 * p.attr.Scale * (p.in[0].v[i] - p.in[1].v[i])
	}
}

func refNTXent(p *problem) {
	e, loss, de := p.in[0], p.out[0], p.out[1]
	n, d := e.shape[0], len(e.v)/e.shape[0]
	z, length := make([]float64, len(e.v)), make([]float64, n)
	for i := range n {
		for k := range d {
			length[i] += e.v[i*d+k] * e.v[i*d+k]
		}
		length[i] = max(math.Sqrt(length[i]), 1e-12)
		for k := range d {
			z[i*d+k] = e.v[i*d+k] / length[i]
		}
	}
	dz := make([]float64, len(z))
	loss.v[0] = 0
	for i := range n {
		s, peak := make([]float64, n), math.Inf(-1)
		for j := range n {
			for k := range d {
				s[j] += z[i*d+k] * z[j*d+k] / p.attr.Temperature
			}
			if j != i {
				peak = max(peak, s[j])
			}
		}
		total := 0.0
		for j := range n {
			if j != i {
				total += math.Exp(s[j] - peak)
			}
		}
		partner := i ^ 1
		loss.v[0] += p.attr.Scale / float64(n) * (peak + math.Log(total) - s[partner])
		for j := range n {
			if j == i {
				continue
			}
			g := math.Exp(s[j]-peak) / total
			if j == partner {
				g--
			}
			g *= p.attr.Scale / float64(n) / p.attr.Temperature
			for k := range d {
				dz[i*d+k] += g * z[j*d+k]
				dz[j*d+k] += g * z[i*d+k]
			}
		}
	}
	refThrough(de, z, dz, length)
}

// refThrough takes dz through z = e/length; where the length is the floor it
// is a constant.
func refThrough(de *array, z, dz, length []float64) {
	d := len(z) / len(length)
	for i, l := range length {
		along := 0.0
		for k := range d {
			if l > 1e-12 {
				along += z[i*d+k] * dz[i*d+k]
			}
		}
		for k := range d {
			de.v[i*d+k] = (dz[i*d+k] - along*z[i*d+k]) / l
		}
	}
}

// refSGD updates in place, as do the two below.
func refSGD(p *problem) { refMomentum(p, 1, p.attr.Nesterov) }

func refLARS(p *problem) {
	w, g := 0.0, 0.0
	for i := range p.in[0].v {
		w += p.in[0].v[i] * p.in[0].v[i]
		g += p.in[1].v[i] * p.in[1].v[i]
	}
	w, g = math.Sqrt(w), math.Sqrt(g)
	trust := 1.0
	if p.attr.Trust > 0 && w > 0 && g > 0 {
		trust = p.attr.Trust * w / (g + p.attr.Decay*w + p.attr.Eps)
	}
	refMomentum(p, trust, false)
}

func refMomentum(p *problem, trust float64, nesterov bool) {
	w, g, m := p.in[0].v, p.in[1].v, p.in[2]
	for i := range w {
		d := trust * (g[i] + p.attr.Decay*w[i])
		move := d
		if m != nil {
			m.v[i] = p.attr.Momentum*m.v[i] + d
			move = m.v[i]
		}
		if m != nil && nesterov {
			move = d + p.attr.Momentum*m.v[i]
		}
		w[i] -= p.lr * p.attr.LRFactor * move
		g[i] = 0
	}
}

func refAdamW(p *problem) {
	w, g, m, v := p.in[0].v, p.in[1].v, p.in[2].v, p.in[3].v
	a, lr, t := p.attr, p.lr*p.attr.LRFactor, float64(p.step)
	for i := range w {
		w[i] -= lr * a.Decay * w[i]
		m[i] = a.Beta1*m[i] + (1-a.Beta1)*g[i]
		v[i] = a.Beta2*v[i] + (1-a.Beta2)*g[i]*g[i]
		w[i] -= lr * m[i] / (1 - math.Pow(a.Beta1, t)) / (math.Sqrt(v[i]/(1-math.Pow(a.Beta2, t))) + a.Eps)
		g[i] = 0
	}
}
