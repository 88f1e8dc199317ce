package cpu

// convNormGradArgs are the operands of a ConvNormGrad, absent ones nil, with
// the geometry of its convolution. more is nil, or of dx's length.
type convNormGradArgs[T float] struct {
	conv                geometry
	normGroups          int // 0 is batch normalisation
	dy, z, y            []T // y is nil where no relu is fused
	scale, mean, invstd []T
	x, w, more          []T
	dx, dresidual       []T
	dscale, dshift, dw  []T // all there or all nil
}

func newConvNormGradArgs[T float](r *run) convNormGradArgs[T] {
	a := convNormGradArgs[T]{
		conv: newGeometry(r.attr, r.in[6], r.in[7], r.in[1]), normGroups: r.attr.NormGroups,
		dy: input[T](r, 0), z: input[T](r, 1), scale: input[T](r, 3),
		mean: input[T](r, 4), invstd: input[T](r, 5),
		x: input[T](r, 6), w: input[T](r, 7), more: input[T](r, 8),
		dx: output[T](r, 0), dresidual: output[T](r, 1),
		dscale: output[T](r, 2), dshift: output[T](r, 3), dw: output[T](r, 4),
	}
	if r.attr.ReLU {
		a.y = input[T](r, 2)
	}
	return a
}

// norm is the normalisation's part, which writes dz.
func (a *convNormGradArgs[T]) norm(r *run, dz []T) normGradTask[T] {
	return normGradTask[T]{
		r: r, n: a.conv.n, pixels: a.conv.oh * a.conv.ow, c: a.conv.k, groups: a.normGroups,
		dy: a.dy, x: a.z, y: a.y, scale: a.scale, mean: a.mean, invstd: a.invstd,
		dx: dz, dresidual: a.dresidual, dscale: a.dscale, dshift: a.dshift,
	}
}

// convNormGrad is the kernel of ConvNormGrad: its three parts, one after the
// other, with dz in the run's scratch. The parts use the slots before slotD.
func convNormGrad[T float](r *run) error {
	a := newConvNormGradArgs[T](r)
	dz := scratch[T](&r.shared, slotD, len(a.z))
	if err := a.norm(r, dz).run(); err != nil {
		return err
	}
	if a.dw != nil {
		if err := weightGradient(r, a.conv, a.x, dz, a.dw); err != nil {
			return err
		}
	}
	if a.dx == nil {
		return nil
	}
	if err := inputGradient(r, a.conv, dz, a.w, a.dx); err != nil || a.more == nil {
		return err
	}
	return addAll(r, a.dx, a.more)
}

// addAll adds x to y, of one length.
func addAll[T float](r *run, y, x []T) error {
	blocks := parts(len(y), tileElements)
	return r.each(blocks, func(tile int, _ *workspace) {
		from, to := span(tile, blocks, len(y))
		addTo(y[from:to], x[from:to])
	})
}
