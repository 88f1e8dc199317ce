package cpu

// Depthwise convolutions have kernels of their own, over whole batches: what a
// fused op has between its parts is made for some pictures at a time.

// depthwiseElements is about how many elements of a map are between the parts
// of a fused depthwise op at a time.
const depthwiseElements = 1 << 18

// depthwiseForward convolves with the weights of argument 1; then is called for
// each unit when all outputs are there.
func depthwiseForward(r *run, g geometry, x reader, bias, y []float32, then func(ws *workspace, number int, u unit)) error {
	w := input[float32](r, 1)
	if x.mean == nil {
		if err := depthwiseForward32(r, g, x.x, w, bias, y); err != nil {
			return err
		}
	} else if err := eachPictures(g, func(part geometry, from, to int) error {
		read, err := x.pictures(r, g, from, to)
		if err != nil {
			return err
		}
		return depthwiseForward32(r, part, read, w, bias, y[from*g.oh*g.ow*g.k:])
	}); err != nil {
		return err
	}
	if then == nil {
		return nil
	}
	units := g.units()
	return r.each(units, func(i int, ws *workspace) { then(ws, i, g.unit(i, units)) })
}

// eachPictures calls do for some pictures at a time, those of whole units.
func eachPictures(g geometry, do func(part geometry, from, to int) error) error {
	units := g.units()
	n := min(parts(g.n*max(g.h*g.w*g.c, g.oh*g.ow*g.k), depthwiseElements), units)
	for i := range n {
		u0, u1 := span(i, n, units)
		from, to := g.unit(u0, units).from, g.unit(u1-1, units).to
		part := g
		part.n = to - from
		if err := do(part, from, to); err != nil {
			return err
		}
	}
	return nil
}

// pictures are pictures [from,to) as they are read, in shared scratch where
// they lie behind a norm.
func (x reader) pictures(r *run, g geometry, from, to int) ([]float32, error) {
	size := g.h * g.w * g.c
	if x.mean == nil {
		return x.x[from*size : to*size], nil
	}
	p := plane{h: g.h, w: g.w, c: g.c, groups: 1, hp: g.h, wp: g.w}
	read := scratch[float32](&r.shared, slotRead, (to-from)*size)
	err := r.each(to-from, func(i int, ws *workspace) {
		x.normalise(ws, from+i, x.x[(from+i)*size:], read[i*size:], p)
	})
	return read, err
}

// depthwiseGradients makes dz of some pictures at a time, and of it dw and dx.
func (t *convNormGradTask) depthwiseGradients() error {
	in, out := t.h*t.geometry.w*t.c, t.oh*t.ow*t.k
	dense := plane{h: t.oh, w: t.ow, c: t.k, groups: 1, hp: t.oh, wp: t.ow}
	number := 0
	return eachPictures(t.geometry, func(part geometry, from, to int) error {
		dz := scratch[float32](&t.r.shared, slotGrad, (to-from)*out)
		first := number
		for ; number < t.units && t.unit(number, t.units).to <= to; number++ {
		}
		if err := t.r.each(number-first, func(i int, ws *workspace) {
			u := t.unit(first+i, t.units)
			t.gradient(ws, first+i, u, dz[(u.from-from)*out:], dense)
		}); err != nil {
			return err
		}
		if t.dw != nil {
			x, err := t.x.pictures(t.r, t.geometry, from, to)
			if err != nil {
				return err
			}
			if err := depthwiseWeight32(t.r, part, x, dz, t.dw); err != nil {
				return err
			}
		}
		if t.dx == nil {
			return nil
		}
		return addedTo(t.r, rowsOf(t.more, from, to, in), rowsOf(t.dx, from, to, in), func(dx []float32) error {
			return depthwiseInput32(t.r, part, dz, t.convNormGradArgs.w, dx)
		})
	})
}
