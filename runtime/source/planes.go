package source

import (
	"github.com/locorun/locorun/runtime/source/vector"
)

// planes are the channels of a picture as numbers in [0, 1], one plane after
// the other. Rows are stride elements apart, whole blocks; what lies between a
// row's end and the next one is any numbers.
type planes struct {
	pix    []float32
	stride int
	size   int // of a plane
}

// fit makes room for c planes of h rows, of any content, and for what loops
// read beyond them.
func (p *planes) fit(c, h, stride int) {
	p.stride, p.size = stride, h*stride
	p.pix = resized(p.pix, c*p.size+vector.Room)
}

// row is plane c from row y on.
func (p *planes) row(c, y int) []float32 { return p.pix[c*p.size+y*p.stride:] }

// bench is where one picture is worked on: the picture as it came until
// something needs numbers, then planes. It is used again for the next one.
type bench struct {
	tier     vector.Tier
	kept     *kept
	recipe   Recipe
	picture  Picture // its Pix is nil once planes are made
	channels int     // wanted
	h, w, c  int

	waiting  bool   // a resampling is still to be done:
	cut      window // of the picture or the planes
	mirrored bool

	planes     planes
	other      planes // the next planes
	middle     planes // between the two passes of resampling and blurring
	band       planes // some rows as numbers
	last       []uint8
	stride     int // of planes
	rows       *axis
	columns    *axis
	ownRows    axis
	ownColumns axis
	shares     []float32
	zero       [1]int32
	sums       [vector.Block]float64
	args       vector.Colour
}

func (b *bench) load(p Picture, channels int, tier vector.Tier) {
	b.picture, b.channels, b.tier = p, channels, tier
	b.h, b.w, b.c = p.H, p.W, p.C
	b.waiting, b.mirrored = false, false
}

// normal is a Norm as it is applied: (x - mean) * scale.
type normal struct{ mean, scale [3]float32 }

func newNormal(n Norm) (a normal) {
	a.mean, a.scale = n.Affine()
	return a
}

// Affine is a Norm as it is applied to channel c: (x - mean[c]) * scale[c].
func (n Norm) Affine() (mean, scale [3]float32) {
	scale = [3]float32{1, 1, 1}
	for c := range n.Mean {
		mean[c], scale[c] = n.Mean[c], 1/n.Std[c]
	}
	return mean, scale
}

// write writes the planes, normalised, to dst, channels side by side.
func (b *bench) write(dst []float32, n normal) {
	a := vector.Write{
		Src: b.planes.pix, SrcRow: b.planes.stride, SrcPlane: b.planes.size,
		Dst: dst, DstRow: b.c * b.w, Rows: b.h, Blocks: b.planes.stride / vector.Block, Mask: vector.Mask(b.w),
		Mean: n.mean, Scale: n.scale,
	}
	if b.c == 1 {
		b.tier.Write1(&a)
		return
	}
	if a.Blocks = b.w / vector.Block; a.Blocks > 0 {
		b.tier.Write3(&a)
	}
	if b.w%vector.Block != 0 {
		b.writeRest(dst, &a)
	}
}

// writeRest writes what whole blocks leave of rows of three channels.
func (b *bench) writeRest(dst []float32, a *vector.Write) {
	for y := range b.h {
		for c := range 3 {
			row := b.planes.row(c, y)
			for x := a.Blocks * vector.Block; x < b.w; x++ {
				dst[(y*b.w+x)*3+c] = (row[x] - a.Mean[c]) * a.Scale[c]
			}
		}
	}
}
