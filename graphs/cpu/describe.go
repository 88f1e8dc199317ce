package cpu

import (
	"fmt"
	"time"

	"github.com/locorun/locorun/compiler/op"
)

// peakRounds is the length of a run of the peak loop of one worker, about ten
// milliseconds: as long as a large op takes, so that what else goes on in the
// machine disturbs both alike.
const peakRounds = 4_000_000

// Peak is the number of floating-point operations a second that the workers
// reach together in a loop of nothing but multiply-adds of this tier, the best
// of several short runs. It is 0 in the portable tier, which has no such loop.
func (b *Backend) Peak() float64 {
	if b.tier.set == nil {
		return 0
	}
	workers := len(b.pool.all)
	most := 0.0
	for range 3 {
		start := time.Now()
		if err := b.pool.each(8*workers, func(int, *workspace) { b.tier.set.Peak(peakRounds / 8) }); err != nil {
			return 0
		}
		rate := float64(workers*peakRounds*b.tier.set.PeakOps) / time.Since(start).Seconds()
		most = max(most, rate)
	}
	return most
}

// KernelName says which kernel an op of these shapes gets: the family, the
// tier, and for products the tile that one kernel computes.
func (b *Backend) KernelName(c op.Code, a op.Attr, in, out [][]int, dtype op.Dtype) string {
	_, fast := fast()[c]
	if b.tier.set == nil || dtype != op.F32 || !fast || c == op.NTXent && !ntxentFits(a) {
		return "portable"
	}
	g, ok := geometryOf(c, a, in, out)
	switch {
	case !ok:
		return b.tier.name
	case g.depthwise():
		return "depthwise " + b.tier.name
	}
	return fmt.Sprintf("direct %s, %d lanes of %d", b.tier.name, min(g.kg, 2*b.tier.set.Lanes), 2*b.tier.set.Lanes)
}

// geometryOf is the convolution in an op, if there is one.
func geometryOf(c op.Code, a op.Attr, in, out [][]int) (g geometry, ok bool) {
	switch c {
	case op.Conv, op.Dense, op.ConvNorm:
		return newGeometry(a, in[0], in[1], out[0]), true
	case op.ConvInput, op.DenseInput:
		return newGeometry(a, out[0], in[1], in[0]), true
	case op.ConvWeight, op.DenseWeight:
		return newGeometry(a, in[0], out[0], in[1]), true
	case op.ConvNormGrad:
		return newGeometry(a, in[6], in[7], in[1]), true
	}
	return geometry{}, false
}
