package cpu

import (
	"unsafe"

	"github.com/locorun/locorun/graphs/cpu/vector"
)

// blends are where the columns of a resized row read, for c channels.
func blends(r *run, in, out, c int) []vector.Blend {
	list := scratch[vector.Blend](&r.shared, slotList, out)
	for j := range list {
		s := sampleAt(j, in, out)
		f := float32(s.weight)
		list[j] = vector.Blend{Low: 4 * s.lo * c, High: 4 * s.hi * c, First: 1 - f, Second: f}
	}
	return list
}

// resizing is a resize or its gradient under way: wide [n,oh,ow,c] is made of
// narrow [n,h,w,c], or flows back to it.
type resizing struct {
	narrow, wide []float32
	h, w, oh, ow int
	c            int
	list         []vector.Blend
}

func newResizing(r *run, narrow, wide []float32, in, out []int) *resizing {
	return &resizing{narrow, wide, in[1], in[2], out[1], out[2], in[3], blends(r, in[2], out[2], in[3])}
}

// row runs a kernel on row i of picture img, channels [c0,c1).
func (z *resizing) row(t *vector.ResizeTile, kernel func(*byte), img, i, c0 int) {
	s := sampleAt(i, z.h, z.oh)
	t.Lower = float32(s.weight)
	t.Upper = 1 - t.Lower
	t.Up = unsafe.Pointer(&z.narrow[(img*z.h+s.lo)*z.w*z.c+c0])
	t.Down = unsafe.Pointer(&z.narrow[(img*z.h+s.hi)*z.w*z.c+c0])
	t.Row = unsafe.Pointer(&z.wide[(img*z.oh+i)*z.ow*z.c+c0])
	t.Cols, t.Step, t.List = z.ow, 4*z.c, &z.list[0]
	t.Run(kernel)
}

// resize32 is resize with vectors.
func resize32(r *run) error {
	z := newResizing(r, input[float32](r, 0), output[float32](r, 0), r.in[0], r.out[0])
	tiles := cutMaps(r.out[0][0], z.oh, z.ow*z.c, tileElements, z.oh)
	channels := vector.ChannelsOf(z.c, r.lanes())
	return r.each(tiles.count(), func(tile int, ws *workspace) {
		t := &ws.maps.resize
		t.Channels = channels
		p0, p1, i0, i1 := tiles.tile(tile)
		for p := p0; p < p1; p++ {
			for i := i0; i < i1; i++ {
				z.row(t, r.b.tier.set.Resize, p, i, 0)
			}
		}
		*t = vector.ResizeTile{} // holds no pointer longer than needed
	})
}

// resizeGrad32 is resizeGrad with vectors, in the same order.
func resizeGrad32(r *run) error {
	z := newResizing(r, output[float32](r, 0), input[float32](r, 0), r.out[0], r.in[0])
	return slabs32(r, r.in[0][0], z.c, func(s slab, ws *workspace) {
		t := &ws.maps.resize
		t.Channels = vector.ChannelsOf(s.c1-s.c0, r.lanes())
		clearSlab(s, z.narrow, z.h*z.w, z.c)
		for i := range z.oh {
			z.row(t, r.b.tier.set.ResizeGrad, s.img, i, s.c0)
		}
		*t = vector.ResizeTile{} // holds no pointer longer than needed
	})
}

// shuffle32 is shuffle by transposing: a pixel's channels are a matrix
// [groups][c/groups].
func shuffle32(r *run) error {
	x, y := input[float32](r, 0), output[float32](r, 0)
	c, groups := r.in[0][3], r.attr.Groups
	pixels := len(x) / c
	blocks := min(pixels, parts(len(x), tileElements))
	return r.each(blocks, func(tile int, ws *workspace) {
		from, to := span(tile, blocks, pixels)
		t := &ws.maps.shuffle
		*t = vector.ShuffleTile{
			In: unsafe.Pointer(&x[from*c]), Out: unsafe.Pointer(&y[from*c]),
			Pixels: to - from, Rows: groups, Cols: c / groups,
			InRow: 4 * (c / groups), OutRow: 4 * groups, Step: 4 * c,
		}
		t.Run(r.b.tier.set.Shuffle)
		*t = vector.ShuffleTile{} // holds no pointer longer than needed
	})
}
