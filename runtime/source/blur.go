package source

import (
	"math"

	"github.com/locorun/locorun/runtime/rng"
	"github.com/locorun/locorun/runtime/source/vector"
)

// drawBlur convolves with a Gaussian of a deviation drawn from Sigma, in pixels,
// with probability P. The kernel ends at three deviations, or at the picture's
// longer side; beyond the edge the picture is mirrored at its last pixel.
func drawBlur(r *Recipe, s *step, draws *rng.Stream) error {
	if draws.Coin(s.P) {
		r.blur(draws.Uniform(s.Sigma[0], s.Sigma[1]))
	}
	return nil
}

// blur convolves every plane, along rows and then along columns.
func (b *bench) blur(kernel []float32) {
	for c := range b.c {
		plane := b.planes.pix[c*b.planes.size:][:b.planes.size]
		b.blurRows(plane, kernel)
		b.blurColumns(plane, kernel)
	}
}

// blurRows blurs along the rows of a plane, out of middle, where each row has
// its mirrored ends, into other, whose rows begin below as many as the kernel
// reaches.
func (b *bench) blurRows(plane, kernel []float32) {
	reach := len(kernel) - 1
	stride := b.stride + 2*reach
	b.middle.fit(1, b.h, stride)
	for y := range b.h {
		row := b.middle.row(0, y)[:stride]
		copy(row[reach:], plane[y*b.stride:][:b.stride])
		for i := range reach {
			row[i] = row[reach+mirror(i-reach, b.w)]
		}
		for i := range reach {
			row[reach+b.w+i] = row[reach+mirror(b.w+i, b.w)]
		}
	}
	b.other.fit(1, b.h+2*reach, b.stride)
	b.tier.Blur(&vector.Blur{
		Src: b.middle.pix, Start: reach, SrcRow: stride, Step: 1,
		Dst: b.other.row(0, reach), DstRow: b.stride,
		Rows: b.h, Blocks: b.stride / vector.Block, Kernel: kernel,
	})
}

// blurColumns blurs along the columns, out of other, back into the plane.
func (b *bench) blurColumns(plane, kernel []float32) {
	reach := len(kernel) - 1
	for i := range reach {
		copy(b.other.row(0, i)[:b.stride], b.other.row(0, reach+mirror(i-reach, b.h)))
		copy(b.other.row(0, reach+b.h+i)[:b.stride], b.other.row(0, reach+mirror(b.h+i, b.h)))
	}
	b.tier.Blur(&vector.Blur{
		Src: b.other.pix, Start: reach * b.stride, SrcRow: b.stride, Step: b.stride,
		Dst: plane, DstRow: b.stride,
		Rows: b.h, Blocks: b.stride / vector.Block, Kernel: kernel,
	})
}

// gaussian is half of a kernel, in buf's memory where it does: the weights at
// 0, 1, 2, ... pixels from its middle. All weights, both halves, add up to 1.
func gaussian(buf []float32, sigma float64, longest int) []float32 {
	radius := min(int(math.Ceil(3*sigma)), longest)
	kernel, sum := resized(buf, radius+1), 0.0
	weight := func(i int) float64 { return math.Exp(-float64(i*i) / (2 * sigma * sigma)) }
	for i := range kernel {
		w := weight(i)
		if sum += w; i > 0 {
			sum += w
		}
	}
	for i := range kernel {
		kernel[i] = float32(weight(i) / sum)
	}
	return kernel
}

// mirror brings an index into [0, n) by reflection at the first and last pixel.
func mirror(i, n int) int {
	if n == 1 {
		return 0
	}
	period := 2 * (n - 1)
	i %= period
	if i < 0 {
		i += period
	}
	return min(i, period-i)
}
