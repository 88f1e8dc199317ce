package cuda

import (
	"fmt"

	"github.com/locorun/locorun/graphs/cuda/driver"
)

// tile is the shape of the part of a product that a block makes.
type tile struct{ rows, cols int }

var (
	largeTile  = tile{128, 128}
	mediumTile = tile{64, 64}
	tallTile   = tile{256, 16}
	flatTile   = tile{16, 256}
)

// wantBlocks is about how many blocks a product should have, twice the
// processors of a large card: with fewer, some of it is idle.
const wantBlocks = 264

// name is the kernel of that tile.
func (t tile) name(kernel string) string { return fmt.Sprintf("%s_%dx%d", kernel, t.rows, t.cols) }

// blocks is how many tiles cover a matrix.
func (t tile) blocks(rows, cols int) int { return parts(rows, t.rows) * parts(cols, t.cols) }

// tileFor is the tile of the given number of products. The largest does most
// for what it reads, but only where there are enough, and little falls beside.
func tileFor(rows, cols, products int) tile {
	switch {
	case cols <= tallTile.cols:
		return tallTile
	case cols > mediumTile.cols && rows > mediumTile.rows && largeTile.blocks(rows, cols)*products >= wantBlocks/2:
		return largeTile
	}
	return mediumTile
}

func (r *run) convTiles(g geometry, x, w, bias, y driver.Pointer) error {
	g = g.flat()
	return r.convBy(tileFor(g.pixels(), g.kg, g.groups), g, x, w, bias, y)
}

func (r *run) convBy(t tile, g geometry, x, w, bias, y driver.Pointer) error {
	read, err := r.readWords(g)
	if err != nil {
		return err
	}
	args := []uint64{uint64(x), uint64(w), uint64(bias), uint64(y)}
	args = append(args, read...)
	args = append(args, bits(quads(g.cg, x), quads(g.patch(), w), quads(g.kg, y)))
	return r.line(t.name("conv"), t.blocks(g.pixels(), g.kg)*g.groups, append(args, g.words()...)...)
}

// convInputTiles: the pixels of x fall into phases, by their place modulo the
// stride, each a product of its own.
func (r *run) convInputTiles(g geometry, dy, w, dx, more driver.Pointer) error {
	g = g.flat()
	phases, pixels := g.phases()
	return r.convInputBy(tileFor(pixels, g.cg, phases*g.groups), g, dy, w, dx, more)
}

// phases is how many there are, and the pixels of the largest.
func (g geometry) phases() (count, pixels int) {
	return min(g.stride, g.h) * min(g.stride, g.w), g.n * parts(g.h, g.stride) * parts(g.w, g.stride)
}

func (r *run) convInputBy(t tile, g geometry, dy, w, dx, more driver.Pointer) error {
	phases, pixels := g.phases()
	args := []uint64{
		uint64(dy), uint64(w), uint64(more), uint64(dx),
		bits(quads(g.kg, dy), quads(g.cg, w), quads(g.cg, dx, more)),
	}
	return r.line(t.name("conv_input"), t.blocks(pixels, g.cg)*phases*g.groups, append(args, g.words()...)...)
}

// segments is how a sum over pixels is cut: into count parts of length pixels,
// the last one shorter.
type segments struct{ count, length int }

// cut cuts a sum of so many pixels, each part of which takes blocks, into parts
// of least pixels or more, a multiple of 16, and as many as the card has room
// for.
func cut(pixels, blocks, least int) segments {
	count := max(min(wantBlocks/blocks, parts(pixels, least)), 1)
	length := 16 * parts(parts(pixels, count), 16)
	return segments{parts(pixels, length), length}
}

// weightTile is the tile of a weight gradient.
func (g geometry) weightTile() tile {
	t := tileFor(g.kg, g.patch(), g.groups*parts(g.pixels(), leastSegment))
	switch {
	case g.kg <= flatTile.rows:
		return flatTile
	case t == tallTile:
		return mediumTile
	}
	return t
}

// leastSegment is how many pixels a weight gradient's segment has at least.
const leastSegment = 256

func (r *run) convWeightTiles(g geometry, x, dy, dw driver.Pointer) error {
	g = g.flat()
	return r.convWeightBy(g.weightTile(), g, x, dy, dw)
}

func (r *run) convWeightBy(t tile, g geometry, x, dy, dw driver.Pointer) error {
	read, err := r.readWords(g)
	if err != nil {
		return err
	}
	blocks := t.blocks(g.kg, g.patch()) * g.groups
	s := cut(g.pixels(), blocks, leastSegment)
	to := dw
	if s.count > 1 {
		if to, err = r.scratch(slotPartials, 4*s.count*g.weights()); err != nil {
			return err
		}
	}
	args := []uint64{uint64(x), uint64(dy), uint64(to)}
	args = append(args, read...)
	args = append(args, i32(s.count), i64(s.length), bits(quads(g.kg, dy), quads(g.cg, x), quads(g.patch(), to)))
	if err := r.line(t.name("conv_weight"), blocks*s.count, append(args, g.words()...)...); err != nil || s.count == 1 {
		return err
	}
	return r.join(dw, to, s.count, g.weights())
}

// join adds the sum of partial sums of n elements to them.
func (r *run) join(to, partials driver.Pointer, count, n int) error {
	return r.each("conv_join", n, uint64(to), uint64(partials), i32(count), i64(n))
}
