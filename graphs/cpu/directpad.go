package cpu

// plane is how a picture lies in memory for a stencil: as it is, or copied
// into [groups][h][w][c/groups] with a border of zeros.
type plane struct {
	h, w, c   int // the picture
	groups    int
	top, left int // border before the picture
	hp, wp    int // with the border
	copied    bool
}

// size is the number of elements of a picture as it lies.
func (p plane) size() int { return p.hp * p.wp * p.c }

// group is where a group's part starts.
func (p plane) group(i int) int {
	if p.copied {
		return i * p.hp * p.wp * (p.c / p.groups)
	}
	return i * p.c / p.groups
}

// pixel is the distance of neighbours, row that of rows.
func (p plane) pixel() int {
	if p.copied {
		return p.c / p.groups
	}
	return p.c
}

func (p plane) row() int { return p.wp * p.pixel() }

// fill copies a picture to dst, border included.
func (p plane) fill(dst, src []float32) {
	cg := p.c / p.groups
	for g := range p.groups {
		for i := range p.hp {
			row := dst[(g*p.hp+i)*p.wp*cg:][:p.wp*cg]
			at := i - p.top
			if at < 0 || at >= p.h {
				clear(row)
				continue
			}
			n := min(p.w, p.wp-p.left)
			clear(row[:p.left*cg])
			clear(row[(p.left+n)*cg:])
			row = row[p.left*cg:][:n*cg]
			if p.groups == 1 {
				copy(row, src[at*p.w*p.c:])
			} else {
				gatherRow(row, src[at*p.w*p.c+g*cg:], cg, p.c)
			}
		}
	}
}

// clearBorder clears what fill would not copy to, where there is one group.
func (p plane) clearBorder(dst []float32) {
	row := p.row()
	clear(dst[:p.top*row])
	if p.top+p.h < p.hp {
		clear(dst[(p.top+p.h)*row : p.hp*row])
	}
	for i := p.top; i < min(p.top+p.h, p.hp); i++ {
		clear(dst[i*row : i*row+p.left*p.c])
		if p.left+p.w < p.wp {
			clear(dst[i*row+(p.left+p.w)*p.c : (i+1)*row])
		}
	}
}

// pictures are n pictures of src as the plane wants them: src itself, or copies
// in ws.
func (p plane) pictures(ws *workspace, s slot, src []float32, n int) []float32 {
	if !p.copied {
		return src
	}
	dst := scratch[float32](ws, s, n*p.size())
	for i := range n {
		p.fill(dst[i*p.size():], src[i*p.h*p.w*p.c:])
	}
	return dst
}

// unit is a part of a batch that is worked on at once: pictures [from,to), or
// pixels where the convolution is pointwise.
type unit struct{ from, to int }

// unitElements is about how many elements of its widest map a unit has: they
// stay in the second cache level. unitPixels bounds its pixels where pictures
// are small; fewPixels are too few to pay for reading the weights, so that a
// unit may rather be up to largeUnit elements.
const (
	unitElements = 64 << 10
	largeUnit    = 4 * unitElements
	unitPixels   = 1 << 10
	fewPixels    = 256
)

// flat: a pointwise convolution does not see where pictures end, and the whole
// batch is one row of pixels.
func (g geometry) flat() bool {
	return g.kh == 1 && g.kw == 1 && g.stride == 1 && g.pad == 0 && !g.apart
}

// units is how many units the batch is cut into.
func (g geometry) units() int {
	if g.flat() {
		return parts(g.pixels(), perUnit(max(g.c, g.k), 1))
	}
	return parts(g.n, perUnit(max(g.h*g.w*g.c, g.oh*g.ow*g.k), g.oh*g.ow))
}

// perUnit is how many pictures of size elements and some pixels a unit has.
func perUnit(size, pixels int) int {
	fit := min(unitElements/size, unitPixels/pixels)
	few := min(largeUnit/size, parts(fewPixels, pixels))
	return max(fit, few, 1)
}

// unit is number i of n. In a flat geometry it counts pixels.
func (g geometry) unit(i, n int) unit {
	total := g.n
	if g.flat() {
		total = g.pixels()
	}
	from, to := span(i, n, total)
	return unit{from, to}
}

// mostPictures is the number of pictures, or pixels, of the largest unit.
func (g geometry) mostPictures(units int) int {
	if g.flat() {
		return parts(g.pixels(), units)
	}
	return parts(g.n, units)
}

// of narrows a geometry to a unit: n pictures, or in a flat one n pixels in a
// row of one picture.
func (g geometry) of(u unit) geometry {
	if g.flat() {
		g.n, g.h, g.w, g.oh, g.ow = 1, 1, u.to-u.from, 1, u.to-u.from
		return g
	}
	g.n = u.to - u.from
	return g
}

// input and output are where a unit starts in the input and output maps.
func (g geometry) input(u unit) int {
	if g.flat() {
		return u.from * g.c
	}
	return u.from * g.h * g.w * g.c
}

func (g geometry) output(u unit) int {
	if g.flat() {
		return u.from * g.k
	}
	return u.from * g.oh * g.ow * g.k
}

// inputSize and outputSize are the numbers of elements of the maps.
func (g geometry) inputSize() int  { return g.n * g.h * g.w * g.c }
func (g geometry) outputSize() int { return g.n * g.oh * g.ow * g.k }

// inputPlane is how the convolution reads its input.
func (g geometry) inputPlane() plane {
	p := plane{h: g.h, w: g.w, c: g.c, groups: g.groups, top: g.pad, left: g.pad,
		hp: (g.oh-1)*g.stride + g.kh, wp: (g.ow-1)*g.stride + g.kw}
	p.copied = g.pad > 0 || g.groups > 1 && g.kw > 1
	if !p.copied {
		p.top, p.left, p.hp, p.wp = 0, 0, g.h, g.w
	}
	return p
}

// forward is the stencil of a group.
func (g geometry) forward(p plane, lanes, group int) stencil {
	s := stencil{
		rows: g.kh, depth: g.kw * g.cg, oh: g.oh, ow: g.ow, channels: g.kg,
		in: p.group(group), inRow: g.stride * p.row(), inPixel: g.stride * p.pixel(), rowStep: p.row(),
		out: group * g.kg, outRow: g.ow * g.k, outPixel: g.k,
		step: g.stride, top: p.top, bottom: p.top + p.h,
	}
	s.weights = group * s.packedSize(lanes)
	s.start = group * paddedChannels(lanes, g.kg)
	return s
}
