package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Words of NormTile. The word after an operand is its distance between rows.
const (
	normRows = iota
	normPixels
	normChannels
	normX
	normXRow
	normY
	normYRow
	normResidual
	normResidualRow
	normDY
	normDYRow
	normDX
	normDXRow
	normDResidual
	normDResidualRow
	normMean
	normGain
	normShift
	normSlope
	normSum
	normProduct
	normPixelBytes
	normRowBytes
	normQuads
	normWholes
	normTail
	normMask
)

func normFamily() {
	for _, s := range isas {
		for _, residual := range []bool{false, true} {
			for _, relu := range []bool{false, true} {
				normApply(s, residual, relu)
			}
		}
		normSums(s)
		normTotals(s)
		for _, relu := range []bool{false, true} {
			normGradSums(s, relu)
			normGradApply(s, relu, false)
			normGradApply(s, relu, true)
		}
	}
}

// suffix is text where on.
func suffix(on bool, text string) string {
	if on {
		return text
	}
	return ""
}

// normKernel is a kernel over a map under construction.
type normKernel struct {
	s    isa
	p    reg.Register
	at   map[int]reg.GPVirtual // where operands and vectors of channels are read, by word
	zero reg.VecVirtual        // where a kernel has a relu
	mask tail
}

// step is one vector of a kernel: how it is addressed, and whether it is the
// partial one.
type step struct {
	*normKernel
	index reg.GPVirtual
	disp  int
	tail  bool
}

func (t step) mem(word int) Mem {
	m := Mem{Base: t.at[word], Disp: t.disp}
	if t.index != nil {
		m.Index, m.Scale = t.index, 1
	}
	return m
}

func (t step) load(word int) reg.VecVirtual {
	v := t.s.vec()
	if t.tail {
		t.mask.load(t.mem(word), v)
	} else {
		VMOVUPS(t.mem(word), v)
	}
	return v
}

func (t step) store(v reg.VecVirtual, word int) {
	if t.tail {
		t.mask.store(v, t.mem(word))
		return
	}
	VMOVUPS(v, t.mem(word))
}

// gradient is dy, behind the mask of the relu's output if there is one.
func (t step) gradient(relu bool) reg.VecVirtual {
	g := t.load(normDY)
	if relu {
		t.s.keepPositive(g, t.load(normY), t.zero)
	}
	return g
}

// keepPositive clears the elements of g where y > 0 does not hold.
func (s isa) keepPositive(g, y, zero reg.VecVirtual) {
	const greater = 0x1e // ordered, so a NaN is not
	if s.lanes == 16 {
		k := K()
		VCMPPS(Imm(greater), zero, y, k)
		VMOVAPS_Z(g, k, g)
		return
	}
	VCMPPS(Imm(greater), zero, y, y)
	VANDPS(y, g, g)
}

// rectify replaces v by 0 where v < 0; a NaN, being the second operand of the
// maximum, stays.
func rectify(v, zero reg.VecVirtual) { VMAXPS(v, zero, v) }

func normApply(s isa, residual, relu bool) {
	operands := []int{normX, normY}
	if residual {
		operands = append(operands, normResidual)
	}
	name := "normApply" + suffix(residual, "Residual") + suffix(relu, "ReLU")
	mapKernel(s, name, "normalises a map.", operands, []int{normMean, normGain, normShift}, relu, func(t step) {
		x := t.load(normX)
		VSUBPS(t.load(normMean), x, x)
		VFMADD213PS(t.load(normShift), t.load(normGain), x)
		if residual {
			VADDPS(t.load(normResidual), x, x)
		}
		if relu {
			rectify(x, t.zero)
		}
		t.store(x, normY)
	})
}

func normGradApply(s isa, relu, keep bool) {
	operands := []int{normX, normDY, normDX}
	if relu {
		operands = append(operands, normY)
	}
	if keep {
		operands = append(operands, normDResidual)
	}
	name := "normGradApply" + suffix(relu, "ReLU") + suffix(keep, "Keep")
	factors := []int{normMean, normGain, normShift, normSlope}
	mapKernel(s, name, "makes the gradients of a map.", operands, factors, relu, func(t step) {
		g, x := t.gradient(relu), t.load(normX)
		VSUBPS(t.load(normMean), x, x)
		h, dx := t.load(normShift), t.load(normGain)
		VFMADD231PS(t.load(normSlope), x, h)
		VFMSUB213PS(h, g, dx)
		// Stores come last: a load after one at the same place of a page waits.
		if keep {
			t.store(g, normDResidual)
		}
		t.store(dx, normDX)
	})
}

// mapKernel writes a kernel that does the same with each element of a map,
// pixel by pixel: four vectors of channels at a time, then one, then a partial
// one.
func mapKernel(s isa, name, doc string, operands, factors []int, relu bool, body func(step)) {
	k := newNormKernel(s, name, doc, relu)
	for _, w := range append(operands, factors...) {
		k.at[w] = word(k.p, w)
	}
	k.mask = s.tailAt(field(k.p, normMask))
	rows, pixels, i := word(k.p, normRows), GP64(), GP64()
	Label("row")
	MOVQ(field(k.p, normPixels), pixels)
	Label("pixel")
	XORQ(i, i)
	k.channels(i, "quad", normQuads, 4, body)
	k.channels(i, "whole", normWholes, 1, body)
	CMPQ(field(k.p, normTail), Imm(0))
	JE(LabelRef("next"))
	body(step{normKernel: k, index: i, tail: true})
	Label("next")
	for _, w := range operands {
		ADDQ(field(k.p, normPixelBytes), k.at[w])
	}
	DECQ(pixels)
	JNZ(LabelRef("pixel"))
	k.nextRow(operands)
	DECQ(rows)
	JNZ(LabelRef("row"))
	end()
}

func newNormKernel(s isa, name, doc string, relu bool) *normKernel {
	k := &normKernel{s: s, p: s.function(name, "NormTile", doc), at: map[int]reg.GPVirtual{}}
	if relu {
		k.zero = s.vec()
		s.zero(k.zero)
	}
	return k
}

// channels runs body on n vectors at a time up to the byte that a word names.
func (k *normKernel) channels(i reg.GPVirtual, label string, limit, n int, body func(step)) {
	JMP(LabelRef(label + "Test"))
	Label(label)
	for u := range n {
		body(step{normKernel: k, index: i, disp: u * k.s.width()})
	}
	ADDQ(U32(n*k.s.width()), i)
	Label(label + "Test")
	CMPQ(i, field(k.p, limit))
	JLT(LabelRef(label))
}

// nextRow moves operands from behind a row to the next one.
func (k *normKernel) nextRow(operands []int) {
	for _, w := range operands {
		ADDQ(field(k.p, w+1), k.at[w])
		SUBQ(field(k.p, normRowBytes), k.at[w])
	}
}

func normSums(s isa) {
	sumKernel(s, "normSums", "sums differences and their squares.", []int{normX}, false, func(t step, mean, sum, product reg.VecVirtual) {
		d := t.load(normX)
		VSUBPS(mean, d, d)
		VADDPS(d, sum, sum)
		VFMADD231PS(d, d, product)
	})
}

func normGradSums(s isa, relu bool) {
	operands := []int{normX, normDY}
	if relu {
		operands = append(operands, normY)
	}
	sumKernel(s, "normGradSums"+suffix(relu, "ReLU"), "sums gradients and their products.", operands, relu, func(t step, mean, sum, product reg.VecVirtual) {
		g, x := t.gradient(relu), t.load(normX)
		VSUBPS(mean, x, x)
		VADDPS(g, sum, sum)
		VFMADD231PS(g, x, product)
	})
}

// sumKernel writes a kernel that makes two sums over all pixels for each
// channel. The sums of four vectors of channels stay in registers while the
// pixels pass by, then those of one vector, then of the partial one.
func sumKernel(s isa, name, doc string, operands []int, relu bool, body func(t step, mean, sum, product reg.VecVirtual)) {
	b := newSumBlocks(s, name, doc, operands, relu)
	b.kernel(func(label string, n int, tail bool) {
		means, sums, products := s.vecs(n), s.vecs(n), s.vecs(n)
		b.eachVector(normMean, n, tail, func(t step, i int) { means[i] = t.load(normMean) })
		for i := range n {
			s.zero(sums[i])
			s.zero(products[i])
		}
		b.block(label, n, tail, func(t step, i int) { body(t, means[i], sums[i], products[i]) })
		b.eachVector(normSum, n, tail, func(t step, i int) { t.store(sums[i], normSum) })
		b.eachVector(normProduct, n, tail, func(t step, i int) { t.store(products[i], normProduct) })
	})
}

// normTotals writes the kernel of sums in float64: two sums for each vector.
// They are stored as whole vectors.
func normTotals(s isa) {
	b := newSumBlocks(s, "normTotals", "sums channels in float64.", []int{normX}, false)
	b.kernel(func(label string, n int, tail bool) {
		sums := s.vecs(2 * n)
		for i := range sums {
			s.zero(sums[i])
		}
		b.block(label, n, tail, func(t step, i int) {
			low, high := s.halves(t.load(normX))
			VADDPD(low, sums[2*i], sums[2*i])
			VADDPD(high, sums[2*i+1], sums[2*i+1])
		})
		MOVQ(field(b.p, normSum), b.out)
		for i := range sums {
			VMOVUPD(sums[i], Mem{Base: b.out, Index: b.offset, Scale: 2, Disp: i * s.width()})
		}
	})
}

// sumBlocks writes a kernel that sums channels, block by block.
type sumBlocks struct {
	*normKernel
	operands                        []int
	offset, rows, pixels, out, step reg.GPVirtual
}

func newSumBlocks(s isa, name, doc string, operands []int, relu bool) *sumBlocks {
	k := newNormKernel(s, name, doc, relu)
	for _, w := range operands {
		k.at[w] = GP64()
	}
	return &sumBlocks{normKernel: k, operands: operands, offset: GP64(), rows: GP64(), pixels: GP64(), out: GP64(), step: word(k.p, normPixelBytes)}
}

// kernel writes all: block makes the sums of n vectors of channels.
func (b *sumBlocks) kernel(block func(label string, n int, tail bool)) {
	XORQ(b.offset, b.offset)
	b.loop("quad", normQuads, 4, block)
	b.loop("whole", normWholes, 1, block)
	CMPQ(field(b.p, normTail), Imm(0))
	JE(LabelRef("done"))
	b.mask = b.s.tailAt(field(b.p, normMask))
	block("tail", 1, true)
	Label("done")
	end()
}

// loop makes blocks of n vectors up to the byte that a word names.
func (b *sumBlocks) loop(label string, limit, n int, block func(label string, n int, tail bool)) {
	JMP(LabelRef(label + "Test"))
	Label(label)
	block(label, n, false)
	ADDQ(U32(n*b.s.width()), b.offset)
	Label(label + "Test")
	CMPQ(b.offset, field(b.p, limit))
	JLT(LabelRef(label))
}

// block runs body on n vectors of channels from offset on, of each pixel.
func (b *sumBlocks) block(label string, n int, tail bool, body func(t step, i int)) {
	for _, w := range b.operands {
		MOVQ(field(b.p, w), b.at[w])
		ADDQ(b.offset, b.at[w])
	}
	MOVQ(field(b.p, normRows), b.rows)
	Label(label + "Row")
	MOVQ(field(b.p, normPixels), b.pixels)
	Label(label + "Pixel")
	for i := range n {
		body(step{normKernel: b.normKernel, disp: i * b.s.width(), tail: tail}, i)
	}
	for _, w := range b.operands {
		ADDQ(b.step, b.at[w])
	}
	DECQ(b.pixels)
	JNZ(LabelRef(label + "Pixel"))
	b.nextRow(b.operands)
	DECQ(b.rows)
	JNZ(LabelRef(label + "Row"))
}

// eachVector visits the block's n vectors of a vector of channels.
func (b *sumBlocks) eachVector(word, n int, tail bool, do func(t step, i int)) {
	MOVQ(field(b.p, word), b.out)
	b.at[word] = b.out
	for i := range n {
		do(step{normKernel: b.normKernel, index: b.offset, disp: i * b.s.width(), tail: tail}, i)
	}
}
