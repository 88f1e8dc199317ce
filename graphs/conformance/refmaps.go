package conformance

import "math"

// References of the ops that move elements of maps about.

func refPoolMax(p *problem) {
	x, y, index := p.in[0], p.out[0], p.out[1]
	for i := range y.v {
		y.v[i] = math.Inf(-1)
	}
	eachTap(p.attr, x.shape, y.shape, func(n, i, j, _, _, row, col int) {
		for c := range x.shape[3] {
			if v := *x.at(n, row, col, c); v > *y.at(n, i, j, c) {
				*y.at(n, i, j, c) = v
				*index.at(n, i, j, c) = float64(row*x.shape[2] + col)
			}
		}
	})
}

func refPoolMaxGrad(p *problem) {
	dy, index, dx := p.in[0], p.in[1], p.out[0]
	clear(dx.v)
	s := dy.shape
	for i, v := range dy.v {
		n, c := i/(s[1]*s[2]*s[3]), i%s[3]
		at := int(index.v[i])
		*dx.at(n, at/p.attr.W, at%p.attr.W, c) += v
	}
}

func refPoolMean(p *problem) {
	x, y := p.in[0], p.out[0]
	clear(y.v)
	eachTap(p.attr, x.shape, y.shape, func(n, i, j, _, _, row, col int) {
		for c := range x.shape[3] {
			*y.at(n, i, j, c) += *x.at(n, row, col, c) / float64(p.attr.KH*p.attr.KW)
		}
	})
}

func refPoolMeanGrad(p *problem) {
	dy, dx := p.in[0], p.out[0]
	clear(dx.v)
	eachTap(p.attr, dx.shape, dy.shape, func(n, i, j, _, _, row, col int) {
		for c := range dx.shape[3] {
			*dx.at(n, row, col, c) += *dy.at(n, i, j, c) / float64(p.attr.KH*p.attr.KW)
		}
	})
}

// eachPixel visits the elements of a map.
func eachPixel(s []int, do func(n, i, j, c int)) {
	for n := range s[0] {
		for i := range s[1] {
			for j := range s[2] {
				for c := range s[3] {
					do(n, i, j, c)
				}
			}
		}
	}
}

func refMean(p *problem) {
	x, y := p.in[0], p.out[0]
	clear(y.v)
	eachPixel(x.shape, func(n, i, j, c int) {
		*y.at(n, 0, 0, c) += *x.at(n, i, j, c) / float64(x.shape[1]*x.shape[2])
	})
}

func refMeanGrad(p *problem) {
	dy, dx := p.in[0], p.out[0]
	eachPixel(dx.shape, func(n, i, j, c int) {
		*dx.at(n, i, j, c) = *dy.at(n, 0, 0, c) / float64(p.attr.H*p.attr.W)
	})
}

// refSample is the weight of input a in output i of a side resized from in to
// out: a tent around the output's centre, what lies beyond an edge counted to
// the edge.
func refSample(a, i, in, out int) float64 {
	centre := (float64(i)+0.5)*float64(in)/float64(out) - 0.5
	weight := 0.0
	for _, k := range []float64{math.Floor(centre), math.Floor(centre) + 1} {
		if int(min(max(k, 0), float64(in-1))) == a {
			weight += 1 - math.Abs(centre-k)
		}
	}
	return weight
}

// eachSample visits every pair of a pixel of the map x and one of its resized
// map y, with the weight between them.
func eachSample(x, y *array, do func(x, y *float64, weight float64)) {
	eachPixel(y.shape, func(n, i, j, c int) {
		for a := range x.shape[1] {
			for b := range x.shape[2] {
				w := refSample(a, i, x.shape[1], y.shape[1]) * refSample(b, j, x.shape[2], y.shape[2])
				if w != 0 {
					do(x.at(n, a, b, c), y.at(n, i, j, c), w)
				}
			}
		}
	})
}

func refResize(p *problem) {
	clear(p.out[0].v)
	eachSample(p.in[0], p.out[0], func(x, y *float64, w float64) { *y += w * *x })
}

func refResizeGrad(p *problem) {
	clear(p.out[0].v)
	eachSample(p.out[0], p.in[0], func(dx, dy *float64, w float64) { *dx += w * *dy })
}

func refShuffle(p *problem) {
	x, y, groups := p.in[0], p.out[0], p.attr.Groups
	size := x.shape[3] / groups
	eachPixel(x.shape, func(n, i, j, c int) {
		*y.at(n, i, j, c%size*groups+c/size) = *x.at(n, i, j, c)
	})
}

// refParts pairs the channels of a whole map with those of its parts.
func refParts(whole *array, parts []*array, do func(whole, part *float64)) {
	first := 0
	for _, part := range parts {
		eachPixel(part.shape, func(n, i, j, c int) {
			do(whole.at(n, i, j, first+c), part.at(n, i, j, c))
		})
		first += part.shape[3]
	}
}
