package cpu

import "github.com/locorun/locorun/compiler/op"

// PackedBytes is what the backend keeps of the weights that an op of these
// shapes reads, in the order of its kernels; 0 where it reads them as they lie.
func (b *Backend) PackedBytes(c op.Code, a op.Attr, in, out [][]int) int64 {
	g, ok := geometryOf(c, a, in, out)
	if !ok || b.tier.set == nil || g.depthwise() {
		return 0
	}
	switch c {
	case op.Conv, op.Dense, op.ConvNorm:
		return 4 * int64(g.packedForward(b.tier.set.Lanes))
	case op.ConvInput, op.DenseInput:
		return 4 * int64(g.packedGrad(b.tier.set.Lanes))
	case op.ConvNormGrad:
		if out[0] != nil {
			return 4 * int64(g.packedGrad(b.tier.set.Lanes))
		}
	}
	return 0
}

// packedForward and packedGrad are the numbers of packed weights.
func (g geometry) packedForward(lanes int) int {
	return g.groups * g.patch() * paddedChannels(lanes, g.kg)
}

func (g geometry) packedGrad(lanes int) int {
	return g.groups * g.kh * g.kw * g.kg * paddedChannels(lanes, g.cg)
}

// ScratchBytes is about the most that a Call of these shapes takes beside its
// operands and packed weights, all workers together. Only convolutions and
// dense products are worth counting.
func (b *Backend) ScratchBytes(c op.Code, a op.Attr, in, out [][]int) int64 {
	g, ok := geometryOf(c, a, in, out)
	if !ok {
		return 0
	}
	workers := int64(len(b.pool.all))
	if b.tier.set == nil || g.depthwise() {
		return workers * 4 * tileElements
	}
	g.apart = a.NormGroups > 0 || a.InGroups > 0
	units := g.units()
	n := g.of(unit{0, g.mostPictures(units)})
	elements := workers * int64(n.n*(n.inputPlane().size()+n.oh*n.ow*(2+n.k)))
	switch c {
	case op.ConvNorm:
		elements += int64(units * 6 * g.k)
	case op.ConvInput, op.DenseInput:
		elements += workers * int64(n.n*n.gradSet().plane.size())
	case op.ConvWeight, op.DenseWeight:
		elements += g.weightScratch()
	case op.ConvNormGrad:
		elements += int64(units*4*g.k) + 2*workers*int64(n.n*n.gradSet().plane.size()) + g.weightScratch()
		if out[4] != nil && g.weightCut() > 1 {
			for _, unit := range []int{n.n * n.gradSet().plane.size(), n.n * n.inputPlane().size()} {
				elements += int64(min(partElements+unit, units*unit))
			}
		}
	}
	return 4 * elements
}

// weightScratch is the elements of the segments' sums of a weight gradient.
func (g geometry) weightScratch() int64 {
	segments, size := g.weightSegments(), g.k*g.patch()
	if segments == 1 {
		return 0
	}
	return int64(segments * size)
}
