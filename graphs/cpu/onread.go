package cpu

// mapElements is about how many elements there are at a time of a map that is
// no value of the program: they stay in the second cache level.
const mapElements = 64 << 10

// mapParts is how many parts a batch of n pictures is cut into where a picture
// of such a map has size elements. A part has a picture at least.
func mapParts(n, size int) int { return parts(n, max(mapElements/size, 1)) }

// onRead is an input that a convolution may read through the norm before it:
// what it then sees exists for some pictures at a time.
type onRead[T float] struct {
	x                          []T // that norm's input
	scale, shift, mean, invstd []T // nil where x is read as it lies
	groups                     int // of the norm; 0 is batch normalisation
	relu                       bool
	pixels, c                  int
}

// newOnRead is argument x of a run, read through the norm that the arguments
// from number first on make, if they are there.
func newOnRead[T float](r *run, x, first int) onRead[T] {
	s := r.in[x]
	return onRead[T]{
		x: input[T](r, x), scale: input[T](r, first), shift: input[T](r, first+1),
		mean: input[T](r, first+2), invstd: input[T](r, first+3),
		groups: r.attr.InGroups, relu: r.attr.InReLU, pixels: s[1] * s[2], c: s[3],
	}
}

// size is the number of elements of a picture.
func (x *onRead[T]) size() int { return x.pixels * x.c }

// pictures is what a convolution sees of pictures [from,to). Where there is a
// norm it lies in slotRead of the shared scratch.
func (x *onRead[T]) pictures(r *run, from, to int) ([]T, error) {
	t := normTask[T]{x: rowsOf(x.x, from, to, x.size()), relu: x.relu}
	if x.mean == nil {
		return t.x, nil
	}
	t.y = scratch[T](&r.shared, slotRead, len(t.x))
	blocks := min(parts(x.size(), segmentElements), x.pixels)
	err := r.each((to-from)*blocks, func(tile int, ws *workspace) {
		picture := tile / blocks
		f := x.factors(scratch[T](ws, slotFactors, 2*x.c), from+picture)
		p0, p1 := span(tile%blocks, blocks, x.pixels)
		for p := p0; p < p1; p++ {
			t.row((picture*x.pixels+p)*x.c, f.centre, f.gain, x.shift)
		}
	})
	return t.y, err
}

// factors are the norm's for a picture, made in mem.
func (x *onRead[T]) factors(mem []T, picture int) factors[T] {
	at, per := 0, 1
	if x.groups > 0 {
		at, per = picture*x.groups, x.c/x.groups
	}
	return makeFactors(mem, x.mean[at:], x.invstd[at:], x.scale, per)
}

// factors are what a norm makes of its statistics and scale: its result is
// (x-centre)*gain + shift.
type factors[T float] struct{ centre, gain []T }

// makeFactors makes the factors of len(mem)/2 channels, per of which share
// statistics, as the forward norms do.
func makeFactors[T float](mem, mean, invstd, scale []T, per int) factors[T] {
	c := len(mem) / 2
	f := factors[T]{mem[:c], mem[c:]}
	for i := range c {
		f.centre[i], f.gain[i] = mean[i/per], invstd[i/per]*scale[i]
	}
	return f
}
