package cpu

import "fmt"

// slab is one picture's channels [c0,c1): the tile of ops whose pictures and
// channels do not touch.
type slab struct{ img, c0, c1 int }

// slabs calls do for the slabs of n pictures of c channels.
func slabs(r *run, n, c int, do func(s slab, ws *workspace)) error {
	blocks := min(parts(16, n), parts(c, 16))
	return r.each(n*blocks, func(tile int, ws *workspace) {
		c0, c1 := span(tile%blocks, blocks, c)
		do(slab{tile / blocks, c0, c1}, ws)
	})
}

// clearSlab zeroes s in a map of pixels pixels and c channels.
func clearSlab[T float](s slab, m []T, pixels, c int) {
	for p := s.img * pixels; p < (s.img+1)*pixels; p++ {
		clear(m[p*c+s.c0 : p*c+s.c1])
	}
}

// poolMax is the kernel of PoolMax. A NaN wins its windows, so that it is
// noticed.
func poolMax[T float](r *run) error {
	g := newPool2(r, r.in[0], r.out[0])
	x, y, index := input[T](r, 0), output[T](r, 0), typed[int32](r.outMem[1])
	pixels := g.oh * g.ow
	return slabs(r, g.n, g.c, func(s slab, _ *workspace) {
		for p := s.img * pixels; p < (s.img+1)*pixels; p++ {
			best, at := y[p*g.c+s.c0:p*g.c+s.c1], index[p*g.c+s.c0:p*g.c+s.c1]
			first := true
			g.eachTap(p, func(_, q int) {
				place := int32(q - s.img*g.h*g.w)
				row := x[q*g.c+s.c0:][:len(best)]
				for c, v := range row {
					if first || v > best[c] || v != v {
						best[c], at[c] = v, place
					}
				}
				first = false
			})
		}
	})
}

// newPool2 is the geometry of a pool: a convolution of every channel alone.
func newPool2(r *run, x, y []int) geometry {
	a := r.attr
	a.Groups = x[3]
	return newGeometry(a, x, []int{x[3], a.KH, a.KW, 1}, y)
}

// poolMaxGrad is the kernel of PoolMaxGrad.
func poolMaxGrad[T float](r *run) error {
	dy, index, dx := input[T](r, 0), typed[int32](r.inMem[1]), output[T](r, 0)
	out, in := r.in[0], r.out[0]
	c, pixels, size := in[3], out[1]*out[2], in[1]*in[2]
	return slabs(r, in[0], c, func(s slab, _ *workspace) {
		clearSlab(s, dx, size, c)
		base := s.img * size
		for p := s.img * pixels; p < (s.img+1)*pixels; p++ {
			for k := p*c + s.c0; k < p*c+s.c1; k++ {
				at := int(index[k])
				if at < 0 || at >= size {
					panic(fmt.Sprintf("index %d lies outside a map of %d pixels", at, size))
				}
				dx[(base+at)*c+k-p*c] += dy[k]
			}
		}
	})
}

// poolMean is the kernel of PoolMean.
func poolMean[T float](r *run) error {
	g := newPool2(r, r.in[0], r.out[0])
	x, y := input[T](r, 0), output[T](r, 0)
	pixels, f := g.oh*g.ow, 1/T(g.kh*g.kw)
	return slabs(r, g.n, g.c, func(s slab, _ *workspace) {
		for p := s.img * pixels; p < (s.img+1)*pixels; p++ {
			sum := y[p*g.c+s.c0 : p*g.c+s.c1]
			clear(sum)
			g.eachTap(p, func(_, q int) { addTo(sum, x[q*g.c+s.c0:][:len(sum)]) })
			for c := range sum {
				sum[c] *= f
			}
		}
	})
}

// poolMeanGrad is the kernel of PoolMeanGrad.
func poolMeanGrad[T float](r *run) error {
	g := newPool2(r, r.out[0], r.in[0])
	dy, dx := input[T](r, 0), output[T](r, 0)
	pixels, f := g.oh*g.ow, 1/T(g.kh*g.kw)
	return slabs(r, g.n, g.c, func(s slab, ws *workspace) {
		clearSlab(s, dx, g.h*g.w, g.c)
		part := scratch[T](ws, slotA, s.c1-s.c0)
		for p := s.img * pixels; p < (s.img+1)*pixels; p++ {
			for c, v := range dy[p*g.c+s.c0:][:len(part)] {
				part[c] = v * f
			}
			g.eachTap(p, func(_, q int) { addTo(dx[q*g.c+s.c0:], part) })
		}
	})
}

// mean is the kernel of Mean.
func mean[T float](r *run) error {
	x, y := input[T](r, 0), output[T](r, 0)
	s := r.in[0]
	c, pixels := s[3], s[1]*s[2]
	return slabs(r, s[0], c, func(s slab, ws *workspace) {
		sum := zeroed[float64](ws, slotA, s.c1-s.c0)
		for p := s.img * pixels; p < (s.img+1)*pixels; p++ {
			addWide(sum, x[p*c+s.c0:p*c+s.c1])
		}
		for i, v := range sum {
			y[s.img*c+s.c0+i] = T(v / float64(pixels))
		}
	})
}

// meanGrad is the kernel of MeanGrad.
func meanGrad[T float](r *run) error {
	dy, dx := input[T](r, 0), output[T](r, 0)
	s := r.out[0]
	c, pixels := s[3], s[1]*s[2]
	f := 1 / T(pixels)
	return rowwise(r, s[0]*pixels, c, func(p int) {
		to := dx[p*c:][:c]
		for i, v := range dy[p/pixels*c:][:c] {
			to[i] = v * f
		}
	})
}
