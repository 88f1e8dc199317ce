package cpu

// Depthwise convolutions work on rows of all channels at once: a tap is an
// elementwise product.

// turnDepthwise writes the weights [k][tap] as [tap][k] to shared scratch.
func turnDepthwise[T float](r *run, g geometry, w []T) []T {
	taps := g.kh * g.kw
	wt := scratch[T](&r.shared, slotA, len(w))
	for t := range taps {
		pick(wt[t*g.k:][:g.k], w[t:], taps)
	}
	return wt
}

// eachTap calls do for the taps of output pixel p that lie in the map, with
// the tap's number and the input pixel's place in the batch.
func (g geometry) eachTap(p int, do func(tap, pixel int)) {
	img, i, j := g.place(p)
	top, left := i*g.stride-g.pad, j*g.stride-g.pad
	a0, a1 := clip(top, g.kh, g.h)
	b0, b1 := clip(left, g.kw, g.w)
	for a := a0; a < a1; a++ {
		for b := b0; b < b1; b++ {
			do(a*g.kw+b, (img*g.h+top+a)*g.w+left+b)
		}
	}
}

func convolveDepthwise[T float](r *run, g geometry, x, w, bias, y []T) error {
	wt := turnDepthwise(r, g, w)
	blocks := parts(len(y), tileElements)
	return r.eachCounted(blocks, func(tile int, _ *workspace) int {
		p0, p1 := span(tile, blocks, g.pixels())
		for p := p0; p < p1; p++ {
			out := y[p*g.k:][:g.k]
			if bias != nil {
				copy(out, bias)
			} else {
				clear(out)
			}
			g.eachTap(p, func(tap, q int) {
				addProduct(out, x[q*g.c:][:g.c], wt[tap*g.k:])
			})
		}
		return (p1 - p0) * g.k * g.kh * g.kw
	})
}

// convInputDepthwise: a tile is one picture and a block of channels.
func convInputDepthwise[T float](r *run, g geometry, dy, w, dx []T) error {
	wt := turnDepthwise(r, g, w)
	split := min(parts(wantTiles, g.n), parts(g.c, 16))
	pixels := g.oh * g.ow
	return r.eachCounted(g.n*split, func(tile int, _ *workspace) int {
		img := tile / split
		c0, c1 := span(tile%split, split, g.c)
		for q := img * g.h * g.w; q < (img+1)*g.h*g.w; q++ {
			clear(dx[q*g.c+c0 : q*g.c+c1])
		}
		for p := img * pixels; p < (img+1)*pixels; p++ {
			from := dy[p*g.k+c0 : p*g.k+c1]
			g.eachTap(p, func(tap, q int) {
				addProduct(dx[q*g.c+c0:q*g.c+c1], from, wt[tap*g.k+c0:])
			})
		}
		return pixels * (c1 - c0) * g.kh * g.kw
	})
}

// convWeightDepthwise sums segments of pixels apart and adds them in order.
func convWeightDepthwise[T float](r *run, g geometry, x, dy, dw []T) error {
	taps := g.kh * g.kw
	segments := min(parts(len(dy), tileElements), weightTiles)
	partial := scratch[T](&r.shared, slotA, segments*len(dw))
	err := r.eachCounted(segments, func(tile int, _ *workspace) int {
		p0, p1 := span(tile, segments, g.pixels())
		sum := partial[tile*len(dw):][:len(dw)]
		clear(sum)
		for p := p0; p < p1; p++ {
			from := dy[p*g.k:][:g.k]
			g.eachTap(p, func(tap, q int) {
				addProduct(sum[tap*g.k:][:g.k], from, x[q*g.c:])
			})
		}
		return (p1 - p0) * g.k * taps
	})
	for i := 1; i < segments; i++ {
		addTo(partial[:len(dw)], partial[i*len(dw):][:len(dw)])
	}
	for t := range taps {
		for k := range g.k {
			dw[k*taps+t] += partial[t*g.k+k]
		}
	}
	return err
}
