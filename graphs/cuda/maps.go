package cuda

import (
	"fmt"
	"math"
	"slices"

	"github.com/locorun/locorun/graphs/cuda/driver"
)

// threadsFor is how a block's threads lie over maps of c channels: x along the
// channels, four each where c is a multiple of 4, and y along the rows. Both are
// powers of two, so that sums along y halve.
func threadsFor(c int) (x, y int) {
	per := 1
	if c%4 == 0 {
		per = 4
	}
	for x = 1; x < min(c/per, 32); x *= 2 {
	}
	return x, threads / x
}

// overRows launches a kernel on so many blocks along the rows of maps of c
// channels, and as many along the channels as these take, quad (4) or single (1)
// in a thread.
func (r *run) overRows(kernel string, blocks, c, quad int, args ...uint64) error {
	if blocks == 0 || c == 0 {
		return nil
	}
	x, y := threadsFor(c)
	if quad == 4 {
		kernel += "4"
	}
	grid := driver.Dim{X: uint32(blocks), Y: uint32(parts(c, x*quad)), Z: 1}
	return r.launch(kernel, grid, driver.Dim{X: uint32(x), Y: uint32(y), Z: 1}, 0, args...)
}

// wantRowBlocks is about how many blocks a kernel that goes through rows has: a
// few for each multiprocessor, so that what a block reads once is for many rows.
const wantRowBlocks = 8192

// eachRow launches a kernel that goes through rows of c channels by ROWS.
func (r *run) eachRow(kernel string, rows, c, quad int, args ...uint64) error {
	if rows > math.MaxInt32 {
		return fmt.Errorf("%d pixels are more than a kernel goes through", rows)
	}
	x, y := threadsFor(c)
	most := max(wantRowBlocks/parts(c, x*quad), 1)
	return r.overRows(kernel, min(parts(rows, y), most), c, quad, args...)
}

// vector is how many channels of c a thread takes where maps lie at these
// addresses, 0 being none.
func vector(c int, at ...uint64) int {
	for _, p := range at {
		if p%16 != 0 {
			return 1
		}
	}
	if c%4 != 0 {
		return 1
	}
	return 4
}

// fits is a requirement: an operand has exactly this shape, where it is there.
func fits(what string, got []int, want ...int) error {
	if got != nil && !slices.Equal(got, want) {
		return fmt.Errorf("%s has shape %v, not %v", what, got, want)
	}
	return nil
}

// isMap is a requirement: an operand is [n,h,w,c].
func isMap(what string, got []int) error {
	if got != nil && len(got) != 4 {
		return fmt.Errorf("%s has %d dimensions, not 4", what, len(got))
	}
	return nil
}

// rowsOf is the number of pixels of a map, and of its channels.
func rowsOf(shape []int) (rows, c int) { return elements(shape[:3]), shape[3] }

func shuffle(r *run) error {
	if err := isMap("x", r.in[0]); err != nil {
		return err
	}
	rows, c := rowsOf(r.in[0])
	groups := r.attr.Groups
	if groups < 1 || c%groups != 0 {
		return fmt.Errorf("%d channels do not split into %d groups", c, groups)
	}
	return r.eachRow("shuffle", rows, c, 1, r.x(0), r.y(0), i32(rows), i32(c), i32(groups))
}

// split copies a map's channels to several.
func split(r *run) error {
	c := 0
	for _, s := range r.out {
		if len(s) != 4 || len(r.in[0]) != 4 || !slices.Equal(s[:3], r.in[0][:3]) {
			return fmt.Errorf("result %v is no part of %v", s, r.in[0])
		}
		c += s[3]
	}
	if c != r.in[0][3] {
		return fmt.Errorf("results hold %d channels, not %d", c, r.in[0][3])
	}
	return r.eachPart(r.out, func(i, part, at int) (x, y place) {
		return place{r.x(0), c, at}, place{r.y(i), part, 0}
	})
}

// concat copies several maps' channels to one.
func concat(r *run) error {
	c := r.out[0][3]
	return r.eachPart(r.in, func(i, part, at int) (x, y place) {
		return place{r.x(i), part, 0}, place{r.y(0), c, at}
	})
}

// place is where some channels lie: in a map of c, from one on.
type place struct {
	at      uint64
	c, from int
}

// eachPart copies parts of a map, of which some channels lie before; of says
// from where to where.
func (r *run) eachPart(parts [][]int, of func(i, part, at int) (x, y place)) error {
	at := 0
	for i, s := range parts {
		rows, c := rowsOf(s)
		x, y := of(i, c, at)
		quad := vector(c|x.c|x.from|y.c|y.from, x.at, y.at)
		err := r.eachRow("channels", rows, c, quad, x.at, y.at, i32(rows), i32(c), i32(x.c), i32(x.from), i32(y.c), i32(y.from))
		if err != nil {
			return err
		}
		at += c
	}
	return nil
}

func resize(r *run) error {
	if err := isMap("x", r.in[0]); err != nil {
		return err
	}
	return r.resized("resize", r.in[0], r.out[0], r.out[0])
}

func resizeGrad(r *run) error {
	if err := isMap("dy", r.in[0]); err != nil {
		return err
	}
	return r.resized("resize_grad", r.out[0], r.in[0], r.out[0])
}

// mostSide: the places of a resize are reckoned in 32 bits.
const mostSide = 1 << 15

// resized launches a kernel of a resize from map x to y that goes through the
// rows of one of them.
func (r *run) resized(kernel string, x, y, over []int) error {
	if side := slices.Max(slices.Concat(x[1:3], y[1:3])); elements(x) == 0 || side >= mostSide {
		return fmt.Errorf("resize from %v to %v: sides are from 1 to %d", x, y, mostSide-1)
	}
	rows, c := rowsOf(over)
	return r.eachRow(kernel, rows, c, vector(c, r.x(0), r.y(0)), r.x(0), r.y(0), i32(rows), i32(c), i32(x[1]), i32(x[2]), i32(y[1]), i32(y[2]))
}

func mean(r *run) error {
	if err := isMap("x", r.in[0]); err != nil {
		return err
	}
	s := r.in[0]
	return r.overRows("mean", s[0], s[3], 1, r.x(0), r.y(0), i32(s[3]), i32(s[1]*s[2]))
}

func meanGrad(r *run) error {
	s := r.out[0]
	if err := fits("dy", r.in[0], s[0], 1, 1, s[3]); err != nil {
		return err
	}
	rows, c := rowsOf(s)
	return r.eachRow("mean_grad", rows, c, vector(c, r.x(0), r.y(0)), r.x(0), r.y(0), i32(rows), i32(c), i32(s[1]*s[2]))
}
