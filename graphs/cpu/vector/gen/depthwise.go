package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// stencilWidth is the most outputs that a Stencil kernel computes at a time:
// a weight is read once for all of them.
const stencilWidth = 8

// Words of StencilTile, after those of the Walk.
const (
	stencilStep = walkWords + iota
	stencilOutStep
	stencilTapRows
	stencilTapCols
	stencilTapRow
	stencilTapCol
	stencilWeights
	stencilWeightRow
	stencilWeightCol
	stencilWeightVector
	stencilStart
	stencilStartVector
	stencilVectors
	stencilTail
)

// Words of TapsTile, after those of the Walk.
const (
	tapsRow = walkWords + iota
	tapsCol
	tapsSum
	tapsSumRow
	tapsSumCol
	tapsVectors
	tapsTail
)

func depthwiseFamily() {
	for _, s := range isas {
		for width := 1; width <= stencilWidth; width++ {
			stencilTile(s, width)
		}
		for _, c := range slideShapes(s) {
			slideTile(s, c)
		}
		for _, t := range tapsShapes(s) {
			tapsTile(s, t.rows, t.cols)
		}
	}
}

// stencilKernel is the state of a generator of one kernel.
type stencilKernel struct {
	s           isa
	p           reg.Register
	width       int
	step, step3 reg.Register
	in, weights reg.Register // of the vector of channels
	out, start  Mem
}

// stencilTile writes one kernel: for each segment of outputs, for each vector
// of channels, the sum over the taps of input times weight.
func stencilTile(s isa, width int) {
	p := s.function(fmt.Sprintf("stencil%d", width), "StencilTile",
		fmt.Sprintf("convolves every channel alone, %d outputs at a time.", width))
	k := &stencilKernel{s: s, p: p, width: width}
	k.step = word(p, stencilStep)
	if width > 3 {
		k.step3 = GP64()
		LEAQ(Mem{Base: k.step, Index: k.step, Scale: 2}, k.step3)
	}
	k.run(k.row)
}

// run writes the loops over segments, vectors of channels and rows of the
// window, around what adds a row to the sums.
func (k *stencilKernel) run(row stencilRow) {
	p := k.p
	w := newWalk(p, 3, 2)
	k.out, k.start = AllocLocal(8), AllocLocal(8)
	w.run(func() {
		k.in, k.weights = load(w.in()), word(p, stencilWeights)
		copyWord(w.out(), k.out)
		copyWord(field(p, stencilStart), k.start)
		channels{k.s, p, stencilVectors, stencilTail}.each(func(t *tail, suffix string) { k.vector(t, suffix, row) })
	})
	end()
}

// stencilRow adds a row of the window, which starts at in, to the sums.
type stencilRow func(t *tail, suffix string, sums []reg.VecVirtual, in, weights reg.Register)

// vector computes one vector of channels and moves to the next.
func (k *stencilKernel) vector(t *tail, suffix string, row stencilRow) {
	sums := k.s.vecs(k.width)
	start := load(k.start)
	for _, v := range sums {
		VMOVUPS(Mem{Base: start}, v)
	}
	k.window(t, suffix, sums, row)
	out, step := load(k.out), word(k.p, stencilOutStep)
	for i, v := range sums {
		k.s.storePart(t, v, Mem{Base: out})
		if i < len(sums)-1 {
			ADDQ(step, out)
		}
	}
	if t == nil {
		ADDQ(Imm(uint64(k.s.width())), k.in)
		ADDQ(field(k.p, stencilWeightVector), k.weights)
		ADDQ(Imm(uint64(k.s.width())), k.out)
		next := word(k.p, stencilStartVector)
		ADDQ(next, k.start)
	}
}

// window runs over the rows of the window.
func (k *stencilKernel) window(t *tail, suffix string, sums []reg.VecVirtual, row stencilRow) {
	rows := word(k.p, stencilTapRows)
	rowIn, rowWeights := GP64(), GP64()
	MOVQ(k.in, rowIn)
	MOVQ(k.weights, rowWeights)
	TESTQ(rows, rows)
	JZ(LabelRef("store" + suffix))
	Label("row" + suffix)
	row(t, suffix, sums, rowIn, rowWeights)
	ADDQ(field(k.p, stencilTapRow), rowIn)
	ADDQ(field(k.p, stencilWeightRow), rowWeights)
	DECQ(rows)
	JNZ(LabelRef("row" + suffix))
	Label("store" + suffix)
}

// row adds a row of any length and distances: a weight is read for each tap,
// and an input for each output.
func (k *stencilKernel) row(t *tail, suffix string, sums []reg.VecVirtual, rowIn, rowWeights reg.Register) {
	weight, spare := k.s.vec(), k.s.vec()
	in, far, weights, cols := GP64(), GP64(), GP64(), word(k.p, stencilTapCols)
	MOVQ(rowIn, in)
	if k.width > 4 {
		LEAQ(Mem{Base: rowIn, Index: k.step, Scale: 4}, far)
	}
	MOVQ(rowWeights, weights)
	Label("tap" + suffix)
	VMOVUPS(Mem{Base: weights}, weight)
	for i, v := range sums {
		k.s.multiplyAdd(t, k.pixel(in, far, i), weight, v, spare)
	}
	ADDQ(field(k.p, stencilTapCol), in)
	if k.width > 4 {
		ADDQ(field(k.p, stencilTapCol), far)
	}
	ADDQ(field(k.p, stencilWeightCol), weights)
	DECQ(cols)
	JNZ(LabelRef("tap" + suffix))
}

// pixel is the input of output i: far is four steps beyond in.
func (k *stencilKernel) pixel(in, far reg.Register, i int) Mem {
	m := Mem{Base: in}
	if i > 3 {
		m.Base = far
	}
	switch i % 4 {
	case 1:
		m.Index, m.Scale = k.step, 1
	case 2:
		m.Index, m.Scale = k.step, 2
	case 3:
		m.Index, m.Scale = k.step3, 1
	}
	return m
}

// Sides of the largest part of a window that a Taps kernel sums.
const (
	tapsRows = 5
	tapsCols = 7
)

// tapsShape is a part of a window.
type tapsShape struct{ rows, cols int }

// tapsShapes are the parts whose sums fit the registers beside a gradient, and
// with AVX2 a mask and an input.
func tapsShapes(s isa) []tapsShape {
	var shapes []tapsShape
	for cols := 1; cols <= tapsCols; cols++ {
		for rows := 1; rows <= tapsRows && rows*cols <= s.registers-3; rows++ {
			shapes = append(shapes, tapsShape{rows, cols})
		}
	}
	return shapes
}

// tapsKernel is the state of a generator of one kernel.
type tapsKernel struct {
	s                isa
	p                reg.Register
	rows, cols       int
	col, col3, col5  reg.Register
	sums             []reg.VecVirtual
	gradient, inputs reg.VecVirtual
}

// tapsTile writes one kernel: for each vector of channels, a sum for each tap
// over all pixels of gradient times input.
func tapsTile(s isa, rows, cols int) {
	p := s.function(fmt.Sprintf("taps%dx%d", rows, cols), "TapsTile",
		fmt.Sprintf("sums the products of gradients and inputs of every channel alone, for %d by %d taps. It moves the Walk's start.", rows, cols))
	k := &tapsKernel{s: s, p: p, rows: rows, cols: cols, sums: s.vecs(rows * cols), gradient: s.vec(), inputs: s.vec()}
	w := newWalk(p, 2, 2)
	sum := AllocLocal(8)
	copyWord(field(p, tapsSum), sum)
	k.steps()
	n := AllocLocal(8)
	copyWord(field(p, tapsVectors), n)
	CMPQ(n, Imm(0))
	JE(LabelRef("tail"))
	Label("vector")
	k.vector(w, nil, "", sum)
	ADDQ(Imm(uint64(s.width())), field(p, walkIn))
	ADDQ(Imm(uint64(s.width())), field(p, walkOut))
	ADDQ(Imm(uint64(s.width())), sum)
	DECQ(n)
	JNZ(LabelRef("vector"))
	Label("tail")
	CMPQ(field(p, tapsTail), Imm(0))
	JE(LabelRef("done"))
	t := s.tailAt(field(p, tapsTail+1))
	k.vector(w, &t, "Tail", sum)
	Label("done")
	end()
}

// steps makes the multiples of the step between taps of a row.
func (k *tapsKernel) steps() {
	if k.cols > 1 {
		k.col = word(k.p, tapsCol)
	}
	if k.cols > 3 {
		k.col3 = GP64()
		LEAQ(Mem{Base: k.col, Index: k.col, Scale: 2}, k.col3)
	}
	if k.cols > 5 {
		k.col5 = GP64()
		LEAQ(Mem{Base: k.col, Index: k.col, Scale: 4}, k.col5)
	}
}

// vector sums one vector of channels over the pixels.
func (k *tapsKernel) vector(w walk, t *tail, suffix string, sum Mem) {
	for _, v := range k.sums {
		k.s.zero(v)
	}
	w.suffix = suffix
	w.run(func() { k.pixels(w, t, suffix) })
	at := load(sum)
	for a := range k.rows {
		q := GP64()
		MOVQ(at, q)
		for b := range k.cols {
			v := k.sums[a*k.cols+b]
			VADDPS(Mem{Base: q}, v, v)
			VMOVUPS(v, Mem{Base: q})
			if b < k.cols-1 {
				ADDQ(field(k.p, tapsSumCol), q)
			}
		}
		if a < k.rows-1 {
			ADDQ(field(k.p, tapsSumRow), at)
		}
	}
}

// pixels runs over the innermost loop.
func (k *tapsKernel) pixels(w walk, t *tail, suffix string) {
	const loop = 2
	in := make([]reg.GPVirtual, k.rows)
	for a := range in {
		in[a] = GP64()
		if a == 0 {
			MOVQ(w.in(), in[a])
			continue
		}
		MOVQ(in[a-1], in[a])
		ADDQ(field(k.p, tapsRow), in[a])
	}
	gradient, n := load(w.out()), word(k.p, 4*loop+loopCount)
	k.glide(t, suffix, in, gradient, n)
	Label("pixel" + suffix)
	k.s.loadPart(t, Mem{Base: gradient}, k.gradient)
	for a := range k.rows {
		for b := range k.cols {
			k.s.multiplyAdd(t, k.tap(in[a], b), k.gradient, k.sums[a*k.cols+b], k.inputs)
		}
	}
	for _, r := range in {
		ADDQ(field(k.p, 4*loop+loopIn), r)
	}
	ADDQ(field(k.p, 4*loop+loopOut), gradient)
	DECQ(n)
	JNZ(LabelRef("pixel" + suffix))
	Label("end" + suffix)
}

// tap is the input of tap b of a row.
func (k *tapsKernel) tap(row reg.Register, b int) Mem {
	m := Mem{Base: row}
	switch b {
	case 1:
		m.Index, m.Scale = k.col, 1
	case 2:
		m.Index, m.Scale = k.col, 2
	case 3:
		m.Index, m.Scale = k.col3, 1
	case 4:
		m.Index, m.Scale = k.col, 4
	case 5:
		m.Index, m.Scale = k.col5, 1
	case 6:
		m.Index, m.Scale = k.col3, 2
	}
	return m
}
