package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Words of ResizeTile, and bytes of a Blend.
const (
	resizeUp = iota
	resizeDown
	resizeRow
	resizeCols
	resizeStep
	resizeList
	resizeWeights // of the upper row, of the lower
	resizeVectors
	resizeTail

	blendLow    = 0
	blendHigh   = 8
	blendFirst  = 16
	blendSecond = 20
	blendBytes  = 24
)

// resizeKernel is the state of a generator of one kernel.
type resizeKernel struct {
	s    isa
	in   [4]reg.Register // upper left, upper right, lower left, lower right
	row  reg.Register
	at   reg.Register      // from the first channel, in bytes
	up   [2]reg.VecVirtual // weights of rows
	left [2]reg.VecVirtual // weights of columns
	each [4]reg.VecVirtual // their products
}

// resize writes a kernel that goes along a row, whose pixels have four inputs
// each. do is written for a vector of channels.
func resize(s isa, name, doc string, do func(k *resizeKernel, t *tail)) {
	p := s.function(name, "ResizeTile", doc)
	k := &resizeKernel{s: s, row: word(p, resizeRow)}
	list, cols := word(p, resizeList), word(p, resizeCols)
	for i := range k.up {
		k.up[i], k.left[i] = s.vec(), s.vec()
		VBROADCASTSS(field(p, resizeWeights).Offset(4*i), k.up[i])
	}
	for i := range k.each {
		k.in[i], k.each[i] = GP64(), s.vec()
	}
	Label("pixel")
	for i, r := range k.in {
		MOVQ(field(p, resizeUp+i/2), r)
		ADDQ(Mem{Base: list, Disp: blendLow + 8*(i%2)}, r)
	}
	VBROADCASTSS(Mem{Base: list, Disp: blendFirst}, k.left[0])
	VBROADCASTSS(Mem{Base: list, Disp: blendSecond}, k.left[1])
	for i, v := range k.each {
		VMULPS(k.up[i/2], k.left[i%2], v)
	}
	k.at = GP64()
	XORQ(k.at, k.at)
	channels{s, p, resizeVectors, resizeTail}.each(func(t *tail, _ string) {
		do(k, t)
		if t == nil {
			ADDQ(Imm(uint64(s.width())), k.at)
		}
	})
	ADDQ(field(p, resizeStep), k.row)
	ADDQ(Imm(blendBytes), list)
	DECQ(cols)
	JNZ(LabelRef("pixel"))
	end()
}

// input is a vector of channels of one of the four inputs.
func (k *resizeKernel) input(i int) Mem { return Mem{Base: k.in[i], Index: k.at, Scale: 1} }

// output is a vector of channels of the row's pixel.
func (k *resizeKernel) output() Mem { return Mem{Base: k.row, Index: k.at, Scale: 1} }

// resizeVector blends columns, then rows.
func resizeVector(k *resizeKernel, t *tail) {
	var rows [2]reg.VecVirtual
	for i := range rows {
		v, x := k.s.vec(), k.s.vec()
		k.s.loadPart(t, k.input(2*i), v)
		k.s.loadPart(t, k.input(2*i+1), x)
		VMULPS(k.left[0], v, v)
		VFMADD231PS(k.left[1], x, v)
		rows[i] = v
	}
	VMULPS(k.up[0], rows[0], rows[0])
	VFMADD231PS(k.up[1], rows[1], rows[0])
	k.s.storePart(t, rows[0], k.output())
}

// resizeGradVector adds to the inputs one after another: they may be the same.
func resizeGradVector(k *resizeKernel, t *tail) {
	g := k.s.vec()
	k.s.loadPart(t, k.output(), g)
	for i, weight := range k.each {
		v := k.s.vec()
		k.s.loadPart(t, k.input(i), v)
		VFMADD231PS(weight, g, v)
		k.s.storePart(t, v, k.input(i))
	}
}

// Words of ShuffleTile.
const (
	shuffleIn = iota
	shuffleOut
	shufflePixels
	shuffleRows
	shuffleCols
	shuffleInRow
	shuffleOutRow
	shuffleStep
)

// shuffleKernel is the state of the generator: a pixel is a matrix of rows by
// columns that is transposed in blocks.
type shuffleKernel struct {
	p                            reg.Register
	inRow, inRow3, out, outRow   reg.Register
	rowIn, rowOut, in, at, count reg.Register
}

// shuffle writes the kernel that transposes matrices of any sides, in blocks
// of four by four, with instructions of 128 bits that every set has.
func shuffle() {
	TEXT("shuffleRows", NOSPLIT, "func(p *byte)")
	Pragma("noescape")
	Doc("shuffleRows transposes the channels of pixels. p is a *ShuffleTile. It moves the tile's start.")
	p := Load(Param("p"), GP64())
	k := &shuffleKernel{p: p, inRow: word(p, shuffleInRow), outRow: word(p, shuffleOutRow)}
	k.inRow3 = GP64()
	LEAQ(Mem{Base: k.inRow, Index: k.inRow, Scale: 2}, k.inRow3)
	k.rowIn, k.rowOut, k.in, k.at, k.count = GP64(), GP64(), GP64(), GP64(), GP64()
	Label("pixel")
	MOVQ(field(p, shuffleIn), k.rowIn)
	MOVQ(field(p, shuffleOut), k.rowOut)
	rows := word(p, shuffleRows)
	for _, n := range []int{4, 1} {
		label := []string{1: "single", 4: "four"}[n]
		Label(label)
		SUBQ(Imm(uint64(n)), rows)
		JLT(LabelRef(label + "End"))
		k.rows(n, label)
		for range n {
			ADDQ(k.inRow, k.rowIn)
		}
		ADDQ(Imm(uint64(4*n)), k.rowOut)
		JMP(LabelRef(label))
		Label(label + "End")
		ADDQ(Imm(uint64(n)), rows)
	}
	step := word(p, shuffleStep)
	ADDQ(step, field(p, shuffleIn))
	ADDQ(step, field(p, shuffleOut))
	DECQ(field(p, shufflePixels))
	JNZ(LabelRef("pixel"))
	end()
}

// rows transposes n rows: columns by four, by two where n is four, and singly.
func (k *shuffleKernel) rows(n int, label string) {
	MOVQ(k.rowIn, k.in)
	MOVQ(k.rowOut, k.at)
	MOVQ(field(k.p, shuffleCols), k.count)
	for _, cols := range []int{4, 2, 1} {
		block := label + []string{1: "One", 2: "Two", 4: "Four"}[cols]
		Label(block)
		SUBQ(Imm(uint64(cols)), k.count)
		JLT(LabelRef(block + "End"))
		switch {
		case n == 4 && cols == 4:
			k.fourByFour()
		case n == 4 && cols == 2:
			k.fourByTwo()
		default:
			k.singly(n, cols)
		}
		ADDQ(Imm(uint64(4*cols)), k.in)
		JMP(LabelRef(block))
		Label(block + "End")
		ADDQ(Imm(uint64(cols)), k.count)
	}
}

// row is row i of a block of the input.
func (k *shuffleKernel) row(i, disp int) Mem {
	m := Mem{Base: k.in, Disp: disp}
	switch i {
	case 1:
		m.Index, m.Scale = k.inRow, 1
	case 2:
		m.Index, m.Scale = k.inRow, 2
	case 3:
		m.Index, m.Scale = k.inRow3, 1
	}
	return m
}

// put stores columns of four and moves on.
func (k *shuffleKernel) put(cols ...reg.VecVirtual) {
	for _, c := range cols {
		VMOVUPS(c, Mem{Base: k.at})
		ADDQ(k.outRow, k.at)
	}
}

func (k *shuffleKernel) fourByFour() {
	var r, t [4]reg.VecVirtual
	for i := range r {
		r[i], t[i] = XMM(), XMM()
		VMOVUPS(k.row(i, 0), r[i])
	}
	VUNPCKLPS(r[1], r[0], t[0]) // 00 10 01 11
	VUNPCKHPS(r[1], r[0], t[1]) // 02 12 03 13
	VUNPCKLPS(r[3], r[2], t[2])
	VUNPCKHPS(r[3], r[2], t[3])
	VUNPCKLPD(t[2], t[0], r[0])
	VUNPCKHPD(t[2], t[0], r[1])
	VUNPCKLPD(t[3], t[1], r[2])
	VUNPCKHPD(t[3], t[1], r[3])
	k.put(r[:]...)
}

func (k *shuffleKernel) fourByTwo() {
	a, b, first, second := XMM(), XMM(), XMM(), XMM()
	VMOVSD(k.row(0, 0), a)
	VMOVHPS(k.row(1, 0), a, a)
	VMOVSD(k.row(2, 0), b)
	VMOVHPS(k.row(3, 0), b, b)
	VSHUFPS(Imm(0x88), b, a, first)
	VSHUFPS(Imm(0xdd), b, a, second)
	k.put(first, second)
}

// singly moves elements one by one.
func (k *shuffleKernel) singly(n, cols int) {
	for c := range cols {
		for i := range n {
			t := GP32()
			MOVL(k.row(i, 4*c), t)
			MOVL(t, Mem{Base: k.at, Disp: 4 * i})
		}
		ADDQ(k.outRow, k.at)
	}
}
