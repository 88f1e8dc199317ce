package cpu

// blockwise calls do for blocks of [0,n) of bounded length.
func blockwise(r *run, n int, do func(from, to int)) error {
	blocks := parts(n, segmentElements)
	return r.each(blocks, func(tile int, _ *workspace) {
		from, to := span(tile, blocks, n)
		do(from, to)
	})
}

// relu is the kernel of ReLU.
func relu[T float](r *run) error {
	x, y := input[T](r, 0), output[T](r, 0)
	return blockwise(r, len(x), func(from, to int) { rectify(y[from:to], x[from:to]) })
}

// reluGrad is the kernel of ReLUGrad.
func reluGrad[T float](r *run) error {
	dy, y, dx := input[T](r, 0), input[T](r, 1), output[T](r, 0)
	return blockwise(r, len(dy), func(from, to int) { mask(dx[from:to], dy[from:to], y[from:to]) })
}

// add is the kernel of Add.
func add[T float](r *run) error {
	a, b, y := input[T](r, 0), input[T](r, 1), output[T](r, 0)
	return blockwise(r, len(a), func(from, to int) {
		a, b, y := a[from:to], b[from:to], y[from:to]
		for i, v := range a {
			y[i] = v + b[i]
		}
	})
}

// duplicate is the kernel of Copy.
func duplicate[T float](r *run) error {
	a, b := input[T](r, 0), output[T](r, 0)
	return blockwise(r, len(a), func(from, to int) { copy(b[from:to], a[from:to]) })
}

// pull is the kernel of Pull.
func pull[T float](r *run) error {
	a, b, g := input[T](r, 0), input[T](r, 1), output[T](r, 0)
	f := T(2 * r.attr.Scale)
	return blockwise(r, len(a), func(from, to int) {
		a, b, g := a[from:to], b[from:to], g[from:to]
		for i, v := range a {
			g[i] += f * (v - b[i])
		}
	})
}

// shuffle is the kernel of Shuffle.
func shuffle[T float](r *run) error {
	x, y := input[T](r, 0), output[T](r, 0)
	c, groups := r.in[0][3], r.attr.Groups
	return rowwise(r, len(x)/c, c, func(p int) {
		from, to := x[p*c:][:c], y[p*c:][:c]
		for g := range groups {
			part := from[g*(c/groups):][:c/groups]
			for i, v := range part {
				to[i*groups+g] = v
			}
		}
	})
}

// rowwise calls do for the numbers of n rows of c elements, several to a tile.
func rowwise(r *run, n, c int, do func(row int)) error {
	blocks := min(n, parts(n*c, segmentElements))
	return r.each(blocks, func(tile int, _ *workspace) {
		from, to := span(tile, blocks, n)
		for p := from; p < to; p++ {
			do(p)
		}
	})
}

// split is the kernel of Split.
func split[T float](r *run) error {
	x, c := input[T](r, 0), r.in[0][3]
	at := 0
	for i, s := range r.out {
		y, first := output[T](r, i), at
		err := rowwise(r, len(x)/c, s[3], func(p int) {
			copy(y[p*s[3]:][:s[3]], x[p*c+first:])
		})
		if err != nil {
			return err
		}
		at += s[3]
	}
	return nil
}

// concat is the kernel of Concat.
func concat[T float](r *run) error {
	y, c := output[T](r, 0), r.out[0][3]
	at := 0
	for i, s := range r.in {
		x, first := input[T](r, i), at
		err := rowwise(r, len(y)/c, s[3], func(p int) {
			copy(y[p*c+first:], x[p*s[3]:][:s[3]])
		})
		if err != nil {
			return err
		}
		at += s[3]
	}
	return nil
}
