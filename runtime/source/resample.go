package source

import "github.com/locorun/locorun/runtime/source/vector"

// resample notes that the picture becomes the window win of it, brought to
// h x w pixels. settle does it, so that a flip that follows costs nothing.
// Pixels outside the window are not looked at.
func (b *bench) resample(win window, h, w int) {
	b.settleCut()
	b.cut, b.waiting, b.mirrored = win, true, false
	b.h, b.w = h, w
}

// settleCut does a resampling that waits.
func (b *bench) settleCut() {
	if b.waiting {
		b.settle()
	}
}

// settle makes the planes what the steps so far say, in the wanted channels.
func (b *bench) settle() {
	if !b.waiting {
		if b.picture.Pix == nil {
			return
		}
		b.cut, b.mirrored = window{0, 0, b.h, b.w}, false
	}
	b.rows = b.kept.rows.of(b.cut.h, b.h, false, &b.ownRows)
	b.columns = b.kept.columns.of(b.cut.w, b.w, b.mirrored, &b.ownColumns)
	b.stride = vector.Blocks(b.w) * vector.Block
	b.other.fit(b.c, b.h, b.stride)
	if b.narrow() {
		b.rowsFirst()
	} else {
		b.columnsFirst()
	}
	b.planes, b.other = b.other, b.planes
	b.waiting, b.mirrored, b.picture.Pix = false, false, nil
	b.convert() // after a linear filter, before anything that minds colours
}

// narrow says that rows come first: columns do otherwise, which is the faster
// way, but a strip would ask for a whole plane between the two.
func (b *bench) narrow() bool { return b.cut.h*b.w > 4*b.h*b.cut.w }

// bandSize is about how many elements of a picture are turned into numbers at a
// time: they stay in the first cache.
const bandSize = 4096

// columnsFirst filters along rows, a band of rows at a time, then across them.
func (b *bench) columnsFirst() {
	between := &b.middle
	if b.rows.whole {
		between = &b.other
	} else {
		between.fit(b.c, b.cut.h, b.stride)
	}
	switch {
	case b.picture.Pix == nil:
		for c := range b.c {
			from := c*b.planes.size + b.cut.y*b.planes.stride + b.cut.x
			b.filterColumns(b.planes.pix[from:], b.planes.stride, between.pix[c*between.size:], b.cut.h)
		}
	case b.columns.whole:
		b.expand(between, 0, 0, b.cut.h)
	default:
		b.bands(between)
	}
	if b.rows.whole {
		return
	}
	for c := range b.c {
		b.tier.Filter(&vector.Filter{
			Src: between.pix[c*between.size:], SrcRow: between.stride,
			Dst: b.other.pix[c*b.other.size:], DstRow: b.other.stride,
			Rows: b.h, Blocks: b.stride / vector.Block, Taps: b.rows.taps, First: b.rows.first, Weights: b.rows.weights,
		})
	}
}

// bands turns bytes into numbers and filters them along rows.
func (b *bench) bands(to *planes) {
	stride := vector.Blocks(b.cut.w) * vector.Block
	band := clampInt(bandSize/(stride*b.c), 1, b.cut.h)
	b.band.fit(b.c, band, stride)
	for y := 0; y < b.cut.h; y += band {
		n := min(band, b.cut.h-y)
		b.expand(&b.band, 0, y, n)
		for c := range b.c {
			b.filterColumns(b.band.pix[c*b.band.size:], stride, to.pix[c*to.size+y*to.stride:], n)
		}
	}
}

func (b *bench) filterColumns(src []float32, stride int, dst []float32, rows int) {
	a := vector.Columns{
		Src: src, SrcRow: stride, Dst: dst, DstRow: b.stride,
		Rows: rows, Blocks: b.stride / vector.Block, Taps: b.columns.taps,
		Bases: b.columns.columns.bases, Index: b.columns.columns.index, Weights: b.columns.columns.weights,
	}
	switch b.columns.columns.reach {
	case vector.Near:
		b.tier.ColumnsNear(&a)
	case vector.Wide:
		b.tier.ColumnsWide(&a)
	default:
		b.tier.ColumnsFar(&a)
	}
}

// rowsFirst filters across rows, then along them.
func (b *bench) rowsFirst() {
	stride := vector.Blocks(b.cut.w) * vector.Block
	b.middle.fit(b.c, b.h, stride)
	for y := range b.h {
		first, weights := int(b.rows.first[y]), b.rows.weights[y*b.rows.taps:][:b.rows.taps]
		if b.picture.Pix != nil {
			b.rowOfBytes(y, first, weights)
			continue
		}
		for c := range b.c {
			from := c*b.planes.size + (b.cut.y+first)*b.planes.stride + b.cut.x
			b.filterRow(b.planes.pix[from:], b.planes.stride, b.middle.row(c, y), weights)
		}
	}
	for c := range b.c {
		b.filterColumns(b.middle.pix[c*b.middle.size:], stride, b.other.pix[c*b.other.size:], b.h)
	}
}

// rowOfBytes adds up one row of middle a band at a time; row 0 of the band is
// the sum so far, with a weight of 1.
func (b *bench) rowOfBytes(y, first int, weights []float32) {
	most := clampInt(bandSize/(b.middle.stride*b.c)-1, 1, len(weights))
	b.band.fit(b.c, 1+most, b.middle.stride)
	b.shares = resized(b.shares, 1+most)
	for at := 0; at < len(weights); at += most {
		n := min(most, len(weights)-at)
		b.expand(&b.band, 1, first+at, n)
		b.shares[0] = 1
		copy(b.shares[1:], weights[at:at+n])
		for c := range b.c {
			skip := 1
			if at > 0 {
				skip = 0
				copy(b.band.row(c, 0), b.middle.row(c, y)[:b.middle.stride])
			}
			b.filterRow(b.band.row(c, skip), b.band.stride, b.middle.row(c, y), b.shares[skip:1+n])
		}
	}
}

// filterRow adds up as many rows as there are weights.
func (b *bench) filterRow(src []float32, stride int, dst, weights []float32) {
	b.tier.Filter(&vector.Filter{
		Src: src, SrcRow: stride, Dst: dst, Rows: 1, Blocks: b.middle.stride / vector.Block,
		Taps: len(weights), First: b.zero[:], Weights: weights,
	})
}

// expand turns n rows of the window's bytes, from row y of it on, into numbers,
// into rows at.. of planes.
func (b *bench) expand(to *planes, at, y, n int) {
	p := b.picture
	pix := p.Pix[:cap(p.Pix)] // what lies behind a picture may be read, and is not used
	row := p.W * p.C
	blocks := to.stride / vector.Block
	from := (b.cut.y+y)*row + b.cut.x*p.C
	read := blocks * vector.Block * p.C // a row, in whole blocks
	safe := min(n, max(0, (len(pix)-from-read+row)/row))
	if safe > 0 {
		b.expandRows(pix[from:], row, to, at, safe, blocks)
	}
	for i := safe; i < n; i++ { // at the picture's end
		b.last = resized(b.last, read)
		copy(b.last, pix[from+i*row:])
		b.expandRows(b.last, 0, to, at+i, 1, blocks)
	}
}

func (b *bench) expandRows(src []uint8, row int, to *planes, at, n, blocks int) {
	a := vector.Expand{
		Src: src, SrcRow: row, Dst: to.pix[at*to.stride:], DstRow: to.stride, DstPlane: to.size,
		Rows: n, Blocks: blocks,
	}
	if b.picture.C == 1 {
		b.tier.Expand1(&a)
		return
	}
	b.tier.Expand3(&a)
}

// convert changes the planes to the wanted number of channels.
func (b *bench) convert() {
	if b.c == b.channels {
		return
	}
	b.other.fit(b.channels, b.h, b.stride)
	from, to := &b.planes, &b.other
	if b.c == 3 {
		b.tier.Luma(b.colour(to.pix))
	} else {
		for c := range 3 {
			copy(to.pix[c*to.size:][:to.size], from.pix)
		}
	}
	b.planes, b.other, b.c = b.other, b.planes, b.channels
}
