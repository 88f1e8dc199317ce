package cpu

import "github.com/locorun/locorun/graphs/cpu/vector"

// Weight gradients are sums over all pixels of the batch. The gradient is cut
// into blocks of output channels times blocks of patch elements; where that
// gives few blocks, the pixels are cut into segments, whose partial sums are
// added in order. All cuts follow from the shape.
//
//	           patch
//	         +---+---+
//	channels |   |   |   each block: sum over chunks of pixels of
//	         +---+---+   dy' (channels x pixels) times patches' (patch x pixels)
//	         |   |   |
//	         +---+---+
const (
	weightChannels = 64  // output channels of a block
	weightPatch    = 128 // patch elements of a block
	weightChunk    = 256 // pixels taken at a time
	weightTiles    = 16  // segments are made up to about so many tiles
)

// weightGrid is how a weight gradient is cut.
type weightGrid struct {
	channelBlocks, patchBlocks, segments int
}

func (g geometry) weightGrid() weightGrid {
	t := weightGrid{channelBlocks: parts(g.kg, weightChannels), patchBlocks: parts(g.patch(), weightPatch)}
	blocks := g.groups * t.channelBlocks * t.patchBlocks
	t.segments = min(parts(weightTiles, blocks), parts(g.pixels(), weightChunk))
	return t
}

// weightTask is a block of a weight gradient and the segment that is summed.
type weightTask[T float] struct {
	geometry
	x, dy          []T
	group          int
	k0, k1, r0, r1 int // of the group's channels, of the patch
	p0, p1         int // pixels
}

// convWeight is the kernel of ConvWeight and DenseWeight.
func convWeight[T float](r *run) error {
	g := newGeometry(r.attr, r.in[0], r.out[0], r.in[1])
	dy := input[T](r, 1)
	if err := weightGradient(r, g, input[T](r, 0), dy, output[T](r, 0)); err != nil {
		return err
	}
	return biasGrad(r, g, dy, output[T](r, 1))
}

// weightGradient adds the gradient of a convolution's weights to dw.
func weightGradient[T float](r *run, g geometry, x, dy, dw []T) error {
	if g.depthwise() {
		return convWeightDepthwise(r, g, x, dy, dw)
	}
	t := g.weightGrid()
	size := len(dw)
	var partial []T
	if t.segments > 1 {
		partial = scratch[T](&r.shared, slotA, t.segments*size)
	}
	err := r.eachCounted(g.groups*t.channelBlocks*t.patchBlocks*t.segments, func(tile int, ws *workspace) int {
		task, segment := newWeightTask(g, t, tile, x, dy)
		if partial == nil {
			return task.addTo(ws, dw)
		}
		return task.set(ws, partial[segment*size:][:size])
	})
	if err != nil || partial == nil {
		return err
	}
	return addPartials(r, dw, partial, t.segments)
}

func newWeightTask[T float](g geometry, t weightGrid, tile int, x, dy []T) (task weightTask[T], segment int) {
	task = weightTask[T]{geometry: g, x: x, dy: dy}
	segment, tile = tile%t.segments, tile/t.segments
	task.p0, task.p1 = span(segment, t.segments, g.pixels())
	task.r0, task.r1 = span(tile%t.patchBlocks, t.patchBlocks, g.patch())
	tile /= t.patchBlocks
	task.k0, task.k1 = span(tile%t.channelBlocks, t.channelBlocks, g.kg)
	task.group = tile / t.channelBlocks
	return task, segment
}

// sum makes the block's sum over its pixels in out, rows of stride elements.
func (t weightTask[T]) sum(ws *workspace, out []T, stride int) int {
	kn, rn := t.k1-t.k0, t.r1-t.r0
	y := matrix[T]{mem: out, stride: stride}
	for i := range kn {
		clear(y.row(i, rn))
	}
	kOff := t.group*t.kg + t.k0
	for p := t.p0; p < t.p1; p += weightChunk {
		n := min(weightChunk, t.p1-p)
		dyT := scratch[T](ws, slotA, kn*n)
		transpose(t.dy[p*t.k:], n, t.k, kOff, kOff+kn, dyT)
		xT := scratch[T](ws, slotB, rn*n)
		gatherTransposed(t.geometry, t.x, p, p+n, t.group*t.cg, t.r0, t.r1, xT)
		multiply(matrix[T]{dyT, n}, matrix[T]{xT, n}, y, kn, rn, n, true)
	}
	return (t.p1 - t.p0) * kn * rn
}

// at is where the block starts in the gradient.
func (t weightTask[T]) at() int { return (t.group*t.kg+t.k0)*t.patch() + t.r0 }

// set replaces the block of dw by its sum.
func (t weightTask[T]) set(ws *workspace, dw []T) int {
	return t.sum(ws, dw[t.at():], t.patch())
}

// addTo adds the block's sum to dw.
func (t weightTask[T]) addTo(ws *workspace, dw []T) int {
	kn, rn := t.k1-t.k0, t.r1-t.r0
	acc := scratch[T](ws, slotC, kn*rn)
	done := t.sum(ws, acc, rn)
	for i := range kn {
		addTo(dw[t.at()+i*t.patch():], acc[i*rn:][:rn])
	}
	return done
}

// addPartials adds n partial sums of dw's length to dw: their sum, made in
// order, at once.
func addPartials[T float](r *run, dw, partial []T, n int) error {
	blocks := parts(len(dw), tileElements)
	return r.each(blocks, func(tile int, _ *workspace) {
		from, to := span(tile, blocks, len(dw))
		sum := partial[from:to]
		for i := 1; i < n; i++ {
			addTo(sum, partial[i*len(dw)+from:i*len(dw)+to])
		}
		addTo(dw[from:to], sum)
	})
}

// biasGrad adds the sums of dy over all pixels to dbias, if there is one.
func biasGrad[T float](r *run, g geometry, dy, dbias []T) error {
	if dbias == nil {
		return nil
	}
	rows := len(dy) / g.k
	n := min(parts(len(dy), tileElements), maxSegments)
	partial := scratch[float64](&r.shared, slotB, n*g.k)
	err := r.each(n, func(tile int, ws *workspace) {
		from, to := span(tile, n, rows)
		sumChannels(ws, r.b.tier.set, dy[from*g.k:to*g.k], partial[tile*g.k:][:g.k])
	})
	for k := range dbias {
		s := 0.0
		for i := range n {
			s += partial[i*g.k+k]
		}
		dbias[k] += T(s)
	}
	return err
}

// sumChannels writes the sums of each channel of x, by a kernel where the
// tier has one.
func sumChannels[T float](ws *workspace, set *vector.Set, x []T, sum []float64) {
	if fast, ok := any(x).([]float32); ok && set != nil {
		channelSums(ws, set, fast, sum)
		return
	}
	clear(sum)
	for c := len(sum); len(x) >= c; x = x[c:] {
		addWide(sum, x[:c])
	}
}

// addWide adds x to float64 sums.
func addWide[T float](sum []float64, x []T) {
	sum = sum[:len(x)]
	for i, v := range x {
		sum[i] += float64(v)
	}
}
