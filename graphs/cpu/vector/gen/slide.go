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
