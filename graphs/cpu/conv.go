package cpu

// tileElements is about how many elements of patches a tile gathers: they stay
// in the second cache level.
const tileElements = 32 << 10

// wantTiles is how many tiles a driver makes where the pixels alone give
// fewer, so that a batch of one still occupies several workers.
const wantTiles = 8

// grid cuts a convolution's outputs into tiles: blocks of pixels times blocks
// of output channels, the latter whole groups where there are several.
type grid struct {
	pixelBlocks, channelBlocks int
}

func (g geometry) grid() grid {
	per := min(max(tileElements/(g.patch()*g.groups), 8), 128)
	t := grid{pixelBlocks: parts(g.pixels(), per), channelBlocks: 1}
	if t.pixelBlocks < wantTiles {
		most := parts(g.k, 16)
		if g.groups > 1 {
			most = g.groups
		}
		t.channelBlocks = min(parts(wantTiles, t.pixelBlocks), most)
	}
	return t
}

// conv is the kernel of Conv and Dense.
func conv[T float](r *run) error {
	g := newGeometry(r.attr, r.in[0], r.in[1], r.out[0])
	return convolve(r, g, input[T](r, 0), input[T](r, 1), input[T](r, 2), output[T](r, 0))
}

func convolve[T float](r *run, g geometry, x, w, bias, y []T) error {
	if g.depthwise() {
		return convolveDepthwise(r, g, x, w, bias, y)
	}
	t := g.grid()
	return r.eachCounted(t.pixelBlocks*t.channelBlocks, func(tile int, ws *workspace) int {
		p0, p1 := span(tile/t.channelBlocks, t.pixelBlocks, g.pixels())
		if g.groups == 1 {
			k0, k1 := span(tile%t.channelBlocks, t.channelBlocks, g.k)
			return convolveTile(g, ws, x, w, bias, y, p0, p1, 0, k0, k1)
		}
		g0, g1 := span(tile%t.channelBlocks, t.channelBlocks, g.groups)
		done := 0
		for i := g0; i < g1; i++ {
			done += convolveTile(g, ws, x, w, bias, y, p0, p1, i*g.cg, i*g.kg, (i+1)*g.kg)
		}
		return done
	})
}

// convolveTile computes output pixels [p0,p1) and channels [k0,k1), which are
// of one group; its input channels start at c0. It returns the multiply-adds.
func convolveTile[T float](g geometry, ws *workspace, x, w, bias, y []T, p0, p1, c0, k0, k1 int) int {
	n, patch := p1-p0, g.patch()
	a := matrix[T]{stride: patch}
	if g.pointwise() {
		a.mem = x[p0*patch : p1*patch]
	} else {
		a.mem = scratch[T](ws, slotA, n*patch)
		gather(g, x, p0, p1, c0, a.mem)
	}
	b := matrix[T]{mem: w[k0*patch : k1*patch], stride: patch}
	out := matrix[T]{mem: y[p0*g.k+k0:], stride: g.k}
	if bias != nil {
		for i := range n {
			copy(out.row(i, k1-k0), bias[k0:k1])
		}
	}
	multiply(a, b, out, n, k1-k0, patch, bias != nil)
	return n * (k1 - k0) * patch
}

// convInput is the kernel of ConvInput and DenseInput.
func convInput[T float](r *run) error {
	g := newGeometry(r.attr, r.out[0], r.in[1], r.in[0])
	return inputGradient(r, g, input[T](r, 0), input[T](r, 1), output[T](r, 0))
}

// inputGradient writes the gradient dx of a convolution's input.
func inputGradient[T float](r *run, g geometry, dy, w, dx []T) error {
	if g.depthwise() {
		return convInputDepthwise(r, g, dy, w, dx)
	}
	wt, err := turnWeights(r, g, w)
	if err != nil {
		return err
	}
	if g.pointwise() {
		return convInputPointwise(r, g, dy, wt, dx)
	}
	return convInputScatter(r, g, dy, wt, dx)
}

// turnWeights writes the weights of each group as [patch][kg] to shared
// scratch: the order in which input gradients read them.
func turnWeights[T float](r *run, g geometry, w []T) ([]T, error) {
	wt := scratch[T](&r.shared, slotA, len(w))
	patch := g.patch()
	blocks := parts(len(w), tileElements)
	err := r.each(blocks, func(tile int, _ *workspace) {
		from, to := span(tile, blocks, g.groups*patch)
		for q := from; q < to; q++ {
			i, e := q/patch, q%patch
			pick(wt[q*g.kg:][:g.kg], w[i*g.kg*patch+e:], patch)
		}
	})
	return wt, err
}

// convInputPointwise: the gradient's pixels are the output's.
func convInputPointwise[T float](r *run, g geometry, dy, wt, dx []T) error {
	blocks := parts(g.pixels(), min(max(tileElements/g.k, 8), 128))
	split := min(parts(wantTiles, blocks), parts(g.c, 16))
	return r.eachCounted(blocks*split, func(tile int, _ *workspace) int {
		p0, p1 := span(tile/split, blocks, g.pixels())
		c0, c1 := span(tile%split, split, g.c)
		a := matrix[T]{mem: dy[p0*g.k:], stride: g.k}
		b := matrix[T]{mem: wt[c0*g.k:], stride: g.k}
		multiply(a, b, matrix[T]{mem: dx[p0*g.c+c0:], stride: g.c}, p1-p0, c1-c0, g.k, false)
		return (p1 - p0) * (c1 - c0) * g.k
	})
}

// convInputScatter: every output pixel's gradient becomes a patch of input
// gradients, added in the order of pixels. A tile is one picture and a block
// of channels, so that no two tiles add to the same place.
func convInputScatter[T float](r *run, g geometry, dy, wt, dx []T) error {
	split := min(parts(wantTiles, g.n), parts(g.cg, 8))
	if g.groups > 1 {
		split = min(parts(wantTiles, g.n), g.groups)
	}
	return r.eachCounted(g.n*split, func(tile int, ws *workspace) int {
		img, part := tile/split, tile%split
		if g.groups == 1 {
			c0, c1 := span(part, split, g.c)
			return convInputTile(g, ws, dy, wt, dx, img, 0, c0, c1)
		}
		g0, g1 := span(part, split, g.groups)
		done := 0
		for i := g0; i < g1; i++ {
			done += convInputTile(g, ws, dy, wt, dx, img, i, 0, g.cg)
		}
		return done
	})
}

// convInputTile makes the gradient of channels [c0,c1) of a group of one
// picture, a chunk of output pixels at a time.
func convInputTile[T float](g geometry, ws *workspace, dy, wt, dx []T, img, group, c0, c1 int) int {
	cn, at := c1-c0, group*g.cg+c0
	for p := range g.h * g.w {
		clear(dx[(img*g.h*g.w+p)*g.c+at:][:cn])
	}
	taps := g.kh * g.kw
	pixels := g.oh * g.ow
	chunk := min(pixels, max(tileElements/(taps*cn), 8))
	patches := scratch[T](ws, slotA, chunk*taps*cn)
	wt = wt[group*g.patch()*g.kg:]
	for p := 0; p < pixels; p += chunk {
		n := min(chunk, pixels-p)
		first := img*pixels + p
		a := matrix[T]{mem: dy[first*g.k+group*g.kg:], stride: g.k}
		b := matrix[T]{mem: wt, stride: g.kg}
		y := matrix[T]{mem: patches, stride: taps * cn}
		if cn == g.cg {
			multiply(a, b, y, n, taps*cn, g.kg, false)
		} else {
			for t := range taps {
				bt := matrix[T]{mem: wt[(t*g.cg+c0)*g.kg:], stride: g.kg}
				yt := matrix[T]{mem: patches[t*cn:], stride: y.stride}
				multiply(a, bt, yt, n, cn, g.kg, false)
			}
		}
		scatter(g, dx, first, first+n, at, cn, patches)
	}
	return pixels * taps * cn * g.kg
}
