package cpu

import "math"

// sample is where an output row or column of a resize reads: two inputs and
// the weight of the second.
type sample struct {
	lo, hi int
	weight float64
}

// sampleAt is the i-th of out samples of a side of in pixels: bilinear,
// half-pixel centres, clamped at the edges.
func sampleAt(i, in, out int) sample {
	at := max(0, (float64(i)+0.5)*float64(in)/float64(out)-0.5)
	lo := min(int(math.Floor(at)), in-1)
	return sample{lo, min(lo+1, in-1), at - float64(lo)}
}

// resize is the kernel of Resize.
func resize[T float](r *run) error {
	x, y := input[T](r, 0), output[T](r, 0)
	in, out := r.in[0], r.out[0]
	c := in[3]
	return rowwise(r, out[0]*out[1], out[2]*c, func(row int) {
		img, i := row/out[1], row%out[1]
		v := sampleAt(i, in[1], out[1])
		up, down := x[(img*in[1]+v.lo)*in[2]*c:], x[(img*in[1]+v.hi)*in[2]*c:]
		for j := range out[2] {
			h := sampleAt(j, in[2], out[2])
			f, g := T(v.weight), T(h.weight)
			to := y[(row*out[2]+j)*c:][:c]
			a, b := up[h.lo*c:][:c], up[h.hi*c:][:c]
			d, e := down[h.lo*c:][:c], down[h.hi*c:][:c]
			for k := range to {
				to[k] = (1-f)*((1-g)*a[k]+g*b[k]) + f*((1-g)*d[k]+g*e[k])
			}
		}
	})
}

// resizeGrad is the kernel of ResizeGrad: each output's gradient goes to the
// four inputs it read, in the order of outputs.
func resizeGrad[T float](r *run) error {
	dy, dx := input[T](r, 0), output[T](r, 0)
	out, in := r.in[0], r.out[0]
	c := in[3]
	return slabs(r, in[0], c, func(s slab, _ *workspace) {
		clearSlab(s, dx, in[1]*in[2], c)
		to := func(i, j int, f T, g []T) {
			d := dx[((s.img*in[1]+i)*in[2]+j)*c+s.c0:][:len(g)]
			for k, v := range g {
				d[k] += f * v
			}
		}
		for i := range out[1] {
			v := sampleAt(i, in[1], out[1])
			for j := range out[2] {
				h := sampleAt(j, in[2], out[2])
				f, w := T(v.weight), T(h.weight)
				at := ((s.img*out[1]+i)*out[2] + j) * c
				g := dy[at+s.c0 : at+s.c1]
				to(v.lo, h.lo, (1-f)*(1-w), g)
				to(v.lo, h.hi, (1-f)*w, g)
				to(v.hi, h.lo, f*(1-w), g)
				to(v.hi, h.hi, f*w, g)
			}
		}
	})
}
