package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// slideShape is a Stencil kernel for stencilWidth outputs of one row whose
// windows overlap: an input is read once for all the outputs that see it.
type slideShape struct{ taps, step int } // columns of the window, from output to output

// slideShapes are those whose sums and weights fit the registers beside an
// input, and with AVX2 a mask.
func slideShapes(s isa) []slideShape {
	var shapes []slideShape
	for _, c := range []slideShape{{3, 1}, {5, 1}, {7, 1}, {3, 2}, {5, 2}} {
		if stencilWidth+c.taps+2 <= s.registers {
			shapes = append(shapes, c)
		}
	}
	return shapes
}

// slideTile writes one kernel.
func slideTile(s isa, c slideShape) {
	p := s.function(fmt.Sprintf("slide%dx%d", c.taps, c.step), "StencilTile",
		fmt.Sprintf("is stencil%d for windows of %d columns, %d apart.", stencilWidth, c.taps, c.step))
	k := &slideKernel{stencilKernel{s: s, p: p, width: stencilWidth}, c}
	k.run(k.row)
}

type slideKernel struct {
	stencilKernel
	shape slideShape
}

// row adds a row of the window to the sums: its weights stay in registers
// while the inputs pass.
func (k *slideKernel) row(t *tail, _ string, sums []reg.VecVirtual, rowIn, rowWeights reg.Register) {
	weights, input := k.s.vecs(k.shape.taps), k.s.vec()
	at := GP64()
	MOVQ(rowWeights, at)
	for b, w := range weights {
		VMOVUPS(Mem{Base: at}, w)
		if b < len(weights)-1 {
			ADDQ(field(k.p, stencilWeightCol), at)
		}
	}
	in, col := GP64(), word(k.p, stencilTapCol)
	MOVQ(rowIn, in)
	last := (len(sums)-1)*k.shape.step + k.shape.taps - 1
	for q := 0; q <= last; q++ {
		k.s.loadPart(t, Mem{Base: in}, input)
		for i, v := range sums {
			if b := q - i*k.shape.step; b >= 0 && b < len(weights) {
				VFMADD231PS(weights[b], input, v)
			}
		}
		if q < last {
			ADDQ(col, in)
		}
	}
}

// glidePixels is how many neighbouring pixels a Taps kernel takes at a time
// where their windows overlap: so many gradients fit the registers beside the
// sums, an input, and with AVX2 a mask. 0: too few to gain anything.
func (k *tapsKernel) glidePixels() int {
	spare := k.s.registers - len(k.sums) - 1
	if k.s.lanes == 8 {
		spare--
	}
	if k.cols < 3 || k.cols%2 == 0 || spare < 2 {
		return 0
	}
	return min(4, spare)
}

// glide writes the loop that takes several pixels at a time, if they lie as far
// apart as taps do: an input is read once for all the pixels that see it. What
// is left goes on behind it, or to the end.
func (k *tapsKernel) glide(t *tail, suffix string, in []reg.GPVirtual, gradient, n reg.Register) {
	pixels := k.glidePixels()
	if pixels == 0 {
		return
	}
	const loop = 2
	CMPQ(k.col, field(k.p, 4*loop+loopIn))
	JNE(LabelRef("pixel" + suffix))
	SUBQ(Imm(uint64(pixels)), n)
	JLT(LabelRef("glided" + suffix))
	gradients := k.s.vecs(pixels)
	Label("glide" + suffix)
	for _, g := range gradients {
		k.s.loadPart(t, Mem{Base: gradient}, g)
		ADDQ(field(k.p, 4*loop+loopOut), gradient)
	}
	k.glideInputs(t, in, gradients)
	SUBQ(Imm(uint64(pixels)), n)
	JGE(LabelRef("glide" + suffix))
	Label("glided" + suffix)
	ADDQ(Imm(uint64(pixels)), n)
	JZ(LabelRef("end" + suffix))
}

// glideInputs adds to the sums of all rows in turn, for many chains of sums to
// be under way, and moves in beyond the pixels.
func (k *tapsKernel) glideInputs(t *tail, in []reg.GPVirtual, gradients []reg.VecVirtual) {
	last := len(gradients) + k.cols - 2
	for q := 0; q <= last; q++ {
		for a, row := range in {
			k.s.loadPart(t, Mem{Base: row}, k.inputs)
			for i, g := range gradients {
				if b := q - i; b >= 0 && b < k.cols {
					VFMADD231PS(k.inputs, g, k.sums[a*k.cols+b])
				}
			}
			if q < last {
				ADDQ(k.col, row)
			}
		}
	}
	back := map[int]reg.Register{3: k.col, 5: k.col3, 7: k.col5}[k.cols]
	for _, row := range in {
		SUBQ(back, row)
	}
}
