package cpu

// The backward of a fused convolution and norm is one op so that the gradient
// dz between the two, the largest thing that its parts exchange, is no value of
// the program: it exists for some pictures at a time.
//
//	sums over the batch (batch normalisation)
//	for each part of the batch:  dy, z, y -> dz -> dw += x * dz
//	                                            -> dx = dz * w (+ more)
//
// So does what the convolution saw of x where it read x through a norm. Parts
// follow from shapes alone: sums are the same whether it did or not.

// convNormGradArgs are the operands of a ConvNormGrad, absent ones nil, with
// the geometry of its convolution.
type convNormGradArgs[T float] struct {
	conv                geometry
	normGroups          int // 0 is batch normalisation
	dy, z, y            []T // y is nil where no relu is fused, or shift is there
	scale, mean, invstd []T
	shift               []T // with it the relu's mask is made of z; else nil
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
		if a.y = input[T](r, 2); a.y == nil {
			a.shift = input[T](r, 9)
		}
	}
	return a
}

// sizes are the numbers of elements of a picture of x and of z.
func (a *convNormGradArgs[T]) sizes() (x, z int) {
	g := &a.conv
	return g.h * g.w * g.c, g.oh * g.ow * g.k
}

// pictures is the convolution's part of the operands, x, w, more, dx and dw,
// for pictures [from,to).
func (a convNormGradArgs[T]) pictures(from, to int) convNormGradArgs[T] {
	size, _ := a.sizes()
	a.conv.n = to - from
	a.x, a.more, a.dx = rowsOf(a.x, from, to, size), rowsOf(a.more, from, to, size), rowsOf(a.dx, from, to, size)
	return a
}

// norm is the norm's part of the op, which writes dz.
func (a *convNormGradArgs[T]) norm(r *run, dz []T) normGradTask[T] {
	return normGradTask[T]{
		r: r, n: a.conv.n, pixels: a.conv.oh * a.conv.ow, c: a.conv.k, groups: a.normGroups,
		dy: a.dy, x: a.z, y: a.y, scale: a.scale, shift: a.shift, mean: a.mean, invstd: a.invstd,
		dx: dz, dresidual: a.dresidual, dscale: a.dscale, dshift: a.dshift,
	}
}

// convNormGrad is the kernel of ConvNormGrad.
func convNormGrad[T float](r *run) error {
	a, x := newConvNormGradArgs[T](r), newOnRead[T](r, 6, 10)
	read, size := a.sizes()
	n := mapParts(a.conv.n, max(read, size))
	dz := scratch[T](&r.shared, slotD, parts(a.conv.n, n)*size)
	return a.norm(r, dz).by(n, func(from, to int) error {
		part := a.pictures(from, to)
		if a.dw != nil {
			var err error
			if part.x, err = x.pictures(r, from, to); err != nil {
				return err
			}
		}
		return part.gradients(r, dz[:(to-from)*size])
	})
}

// gradients makes those of the convolution.
func (a *convNormGradArgs[T]) gradients(r *run, dz []T) error {
	if a.dw != nil {
		if err := weightGradient(r, a.conv, a.x, dz, a.dw); err != nil {
			return err
		}
	}
	if a.dx == nil {
		return nil
	}
	return addedTo(r, a.more, a.dx, func(dx []T) error { return inputGradient(r, a.conv, dz, a.w, dx) })
}

// addedTo lets do write a gradient, and adds more, if there, to it in dx.
// Where dx lies on more, the gradient is made in scratch: it would be written
// over what is to be added.
func addedTo[T float](r *run, more, dx []T, do func(dx []T) error) error {
	to := dx
	if more != nil && &more[0] == &dx[0] {
		to = scratch[T](&r.shared, slotAdded, len(dx))
		more = to
	}
	if err := do(to); err != nil || more == nil {
		return err
	}
	return addAll(r, dx, more)
}

// addAll adds x to y, of one length.
func addAll[T float](r *run, y, x []T) error {
	blocks := parts(len(y), tileElements)
	return r.each(blocks, func(tile int, _ *workspace) {
		from, to := span(tile, blocks, len(y))
		addTo(y[from:to], x[from:to])
	})
}
