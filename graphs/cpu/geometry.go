package cpu

import "github.com/locorun/locorun/compiler/op"

// geometry is the shape of a convolution: x [n,h,w,c] gives y [n,oh,ow,k] with
// weights [k,kh,kw,cg]. A dense product is a convolution of 1x1 maps.
//
// An output pixel sees a patch of kh*kw*cg inputs per group, in the order of
// the weights; taps outside the map are zeros.
type geometry struct {
	n, h, w, c          int
	oh, ow, k           int
	kh, kw, stride, pad int
	groups, cg, kg      int  // groups, and channels in and out of each
	apart               bool // units must not join pictures' pixels
}

func newGeometry(a op.Attr, x, w, y []int) geometry {
	g := geometry{
		n: x[0], h: x[1], w: x[2], c: x[3], oh: y[1], ow: y[2], k: y[3],
		kh: 1, kw: 1, stride: 1, groups: 1,
	}
	if len(w) == 4 {
		g.kh, g.kw, g.stride, g.pad, g.groups = a.KH, a.KW, a.Stride, a.Pad, max(a.Groups, 1)
	}
	g.cg, g.kg = g.c/g.groups, g.k/g.groups
	return g
}

// patch is the number of inputs an output pixel sees in one group.
func (g geometry) patch() int { return g.kh * g.kw * g.cg }

// pixels is the number of output pixels of the whole batch.
func (g geometry) pixels() int { return g.n * g.oh * g.ow }

// pointwise: the patches of all pixels, one after another, are x itself.
func (g geometry) pointwise() bool {
	return g.kh == 1 && g.kw == 1 && g.stride == 1 && g.pad == 0 && g.groups == 1
}

// depthwise: every channel is a group of its own.
func (g geometry) depthwise() bool { return g.cg == 1 && g.kg == 1 && g.groups > 1 }

// place is where output pixel p lies: its picture, row and column.
func (g geometry) place(p int) (img, i, j int) {
	return p / (g.oh * g.ow), p / g.ow % g.oh, p % g.ow
}

// clip is the range of taps [from,to) of n whose input, at origin+tap, lies in
// [0,size).
func clip(origin, n, size int) (from, to int) {
	from = min(max(0, -origin), n)
	return from, max(from, min(n, size-origin))
}

// valid is the range of output columns j of [from,to) whose input column
// j*stride+shift lies in [0,size).
func valid(from, to, stride, shift, size int) (lo, hi int) {
	lo = from
	if shift < 0 {
		lo = max(lo, (-shift+stride-1)/stride)
	}
	hi = to
	if last := size - 1 - shift; last < 0 {
		hi = lo
	} else {
		hi = min(hi, last/stride+1)
	}
	return min(lo, to), max(min(lo, to), hi)
}

// gather writes the patches of output pixels [p0,p1) and input channels
// [c0,c0+cg) to dst, one row each.
func gather[T float](g geometry, x []T, p0, p1, c0 int, dst []T) {
	run := g.kw * g.cg
	for p := p0; p < p1; p++ {
		img, i, j := g.place(p)
		top, left := i*g.stride-g.pad, j*g.stride-g.pad
		b0, b1 := clip(left, g.kw, g.w)
		for a := range g.kh {
			row := dst[:run]
			dst = dst[run:]
			if top+a < 0 || top+a >= g.h || b0 == b1 {
				clear(row)
				continue
			}
			clear(row[:b0*g.cg])
			clear(row[b1*g.cg:])
			src := x[((img*g.h+top+a)*g.w+left+b0)*g.c+c0:]
			gatherRow(row[b0*g.cg:b1*g.cg], src, g.cg, g.c)
		}
	}
}

// gatherRow copies pieces of n elements that lie stride apart.
func gatherRow[T float](dst, src []T, n, stride int) {
	if n == stride {
		copy(dst, src)
		return
	}
	for len(dst) > 0 {
		copy(dst[:n], src)
		dst = dst[n:]
		if len(dst) > 0 {
			src = src[stride:]
		}
	}
}

// scatter adds patches, one row of kh*kw*cn each, to the input pixels that
// output pixels [p0,p1) see, channels [c0,c0+cn).
func scatter[T float](g geometry, dx []T, p0, p1, c0, cn int, src []T) {
	run := g.kw * cn
	for p := p0; p < p1; p++ {
		img, i, j := g.place(p)
		top, left := i*g.stride-g.pad, j*g.stride-g.pad
		b0, b1 := clip(left, g.kw, g.w)
		for a := range g.kh {
			row := src[:run]
			src = src[run:]
			if top+a < 0 || top+a >= g.h || b0 == b1 {
				continue
			}
			dst := dx[((img*g.h+top+a)*g.w+left+b0)*g.c+c0:]
			scatterRow(dst, row[b0*cn:b1*cn], cn, g.c)
		}
	}
}

// scatterRow adds pieces of n elements to places that lie stride apart.
func scatterRow[T float](dst, src []T, n, stride int) {
	if n == stride {
		addTo(dst, src)
		return
	}
	for len(src) > 0 {
		addTo(dst, src[:n])
		src = src[n:]
		if len(src) > 0 {
			dst = dst[stride:]
		}
	}
}

// gatherTransposed writes element r0..r1 of the patches of output pixels
// [p0,p1), group's channels from c0 on, to dst: a row of p1-p0 pixels each.
func gatherTransposed[T float](g geometry, x []T, p0, p1, c0, r0, r1 int, dst []T) {
	n := p1 - p0
	for p := p0; p < p1; {
		img, i, j := g.place(p)
		cols := min(p1-p, g.ow-j)
		for r := r0; r < r1; r++ {
			out := dst[(r-r0)*n+p-p0:][:cols]
			a, b, c := r/(g.kw*g.cg), r/g.cg%g.kw, r%g.cg
			row := i*g.stride - g.pad + a
			if row < 0 || row >= g.h {
				clear(out)
				continue
			}
			lo, hi := valid(j, j+cols, g.stride, b-g.pad, g.w)
			clear(out[:lo-j])
			clear(out[hi-j:])
			if lo < hi {
				at := ((img*g.h+row)*g.w+lo*g.stride+b-g.pad)*g.c + c0 + c
				pick(out[lo-j:hi-j], x[at:], g.stride*g.c)
			}
		}
		p += cols
	}
}

// pick copies every stride-th element of src.
func pick[T float](dst, src []T, stride int) {
	at := 0
	for i := range dst {
		dst[i] = src[at]
		at += stride
	}
}

// transpose writes columns [c0,c1) of rows of width elements to dst, a row
// of n each.
func transpose[T float](src []T, n, width, c0, c1 int, dst []T) {
	for c := c0; c < c1; c++ {
		pick(dst[(c-c0)*n:][:n], src[c:], width)
	}
}
