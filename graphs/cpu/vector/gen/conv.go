package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// convShape is a tile of a direct convolution: segments of width neighbouring
// output pixels, times vecs vectors of output channels.
type convShape struct{ segments, width, vecs int }

// convShapes are the tiles of an instruction set. Sums must fit its registers
// beside the weights and a broadcast input.
func convShapes(s isa) []convShape {
	var shapes []convShape
	for _, vecs := range []int{2, 1} {
		for _, segments := range []int{1, 2, 3, 4} {
			for width := 1; width <= convWidth(s); width++ {
				if segments*width*vecs+vecs < s.registers && useful(segments, vecs) {
					shapes = append(shapes, convShape{segments, width, vecs})
				}
			}
		}
	}
	return shapes
}

// convWidth is the widest segment.
func convWidth(s isa) int {
	if s.lanes == 16 {
		return 7
	}
	return 6
}

// useful leaves out tiles that no driver asks for.
func useful(segments, vecs int) bool { return segments < 4 || vecs == 1 }

// Words of ConvTile.
const (
	convTiles = iota
	convList
	convA
	convB
	convC
	convRows
	convDepth
	convRowStep
	convPixelStep
	convOutStep
	convAdd
	convFrom
	convAhead
	convAheadStep
	convStart
	convMask
)

func convFamily() {
	for _, s := range isas {
		for _, c := range convShapes(s) {
			convTile(s, c)
		}
	}
}

// convTile writes one kernel. For each tile of the list, for each row of the
// window, for each element of the row: one vector of weights per channel
// vector, one broadcast input per pixel, a multiply-add for each pair.
func convTile(s isa, c convShape) {
	name := fmt.Sprintf("conv%dx%dx%d", c.segments, c.width, c.vecs)
	p := s.function(name, "ConvTile", fmt.Sprintf("convolves %d x %d pixels and %d channels at a time.", c.segments, c.width, c.vecs*s.lanes))
	k := &convKernel{s: s, shape: c, p: p}
	k.list, k.tiles, k.ahead = word(p, convList), word(p, convTiles), word(p, convAhead)
	k.step = word(p, convPixelStep)
	if c.width > 3 {
		k.step3 = GP64()
		LEAQ(Mem{Base: k.step, Index: k.step, Scale: 2}, k.step3)
	}
	if c.width > 5 {
		k.step5 = GP64()
		LEAQ(Mem{Base: k.step, Index: k.step, Scale: 4}, k.step5)
	}
	Label("tile")
	k.begin()
	k.sum()
	k.store()
	ADDQ(U32(16*c.segments), k.list)
	DECQ(k.tiles)
	JNZ(LabelRef("tile"))
	MOVQ(k.ahead, field(p, convAhead))
	end()
}

type convKernel struct {
	s                  isa
	shape              convShape
	p                  reg.Register
	list, tiles        reg.Register
	step, step3, step5 reg.Register
	ahead              reg.Register
	sums               []reg.VecVirtual
}

// begin sets the sums to the start vectors.
func (k *convKernel) begin() {
	k.sums = k.s.vecs(k.shape.segments * k.shape.width * k.shape.vecs)
	start := word(k.p, convStart)
	for i := range k.sums {
		VMOVUPS(Mem{Base: start, Disp: k.s.width() * (i % k.shape.vecs)}, k.sums[i])
	}
}

// sum runs over the window.
func (k *convKernel) sum() {
	nv := k.shape.vecs
	weights := k.s.vecs(nv)
	spare := max(1, min(3, k.s.registers-len(k.sums)-nv))
	inputs := k.s.vecs(spare)
	b, rows, rowAt := word(k.p, convB), word(k.p, convRows), word(k.p, convA)
	a := make([]reg.GPVirtual, k.shape.segments)
	for i := range a {
		a[i] = GP64()
	}
	depth := GP64()
	element := func(u int) {
		for j := range weights {
			VMOVUPS(Mem{Base: b, Disp: k.s.width() * (j + nv*u)}, weights[j])
		}
		for i := range k.shape.segments * k.shape.width {
			t := inputs[i%spare]
			VBROADCASTSS(k.pixel(a, i, 4*u), t)
			for j := range weights {
				VFMADD231PS(weights[j], t, k.sums[i*nv+j])
			}
		}
	}
	advance := func(n int) {
		for i := range a {
			ADDQ(Imm(uint64(4*n)), a[i])
		}
		ADDQ(U32(k.s.width()*nv*n), b)
	}
	Label("row")
	for i := range a {
		MOVQ(rowAt, a[i])
		ADDQ(Mem{Base: k.list, Disp: 16 * i}, a[i])
	}
	ADDQ(field(k.p, convRowStep), rowAt)
	MOVQ(field(k.p, convDepth), depth)
	SUBQ(Imm(4), depth)
	JLT(LabelRef("few"))
	Label("four")
	for u := range 4 {
		if u%2 == 0 { // what is needed next comes while the sums keep the core busy
			PREFETCHT1(Mem{Base: k.ahead})
			ADDQ(field(k.p, convAheadStep), k.ahead)
		}
		element(u)
	}
	advance(4)
	SUBQ(Imm(4), depth)
	JGE(LabelRef("four"))
	Label("few")
	ADDQ(Imm(4), depth)
	JZ(LabelRef("next"))
	Label("one")
	element(0)
	advance(1)
	DECQ(depth)
	JNZ(LabelRef("one"))
	Label("next")
	DECQ(rows)
	JNZ(LabelRef("row"))
}

// pixel is the input of pixel i of the tile: neighbours lie step bytes apart.
func (k *convKernel) pixel(a []reg.GPVirtual, i, disp int) Mem {
	m := Mem{Base: a[i/k.shape.width], Disp: disp}
	switch i % k.shape.width {
	case 1:
		m.Index, m.Scale = k.step, 1
	case 2:
		m.Index, m.Scale = k.step, 2
	case 3:
		m.Index, m.Scale = k.step3, 1
	case 4:
		m.Index, m.Scale = k.step, 4
	case 5:
		m.Index, m.Scale = k.step5, 1
	case 6:
		m.Index, m.Scale = k.step3, 2
	}
	return m
}

// store writes the sums, with what is to be added to them.
func (k *convKernel) store() {
	nv := k.shape.vecs
	mask := k.s.tailAt(field(k.p, convMask))
	add, out, outStep, base := word(k.p, convAdd), GP64(), word(k.p, convOutStep), word(k.p, convC)
	each := func(do func(sum reg.VecVirtual, m Mem, last bool)) {
		for i := range k.shape.segments * k.shape.width {
			if i%k.shape.width == 0 {
				MOVQ(base, out)
				ADDQ(Mem{Base: k.list, Disp: 16*(i/k.shape.width) + 8}, out)
			}
			for j := range nv {
				do(k.sums[i*nv+j], Mem{Base: out, Disp: k.s.width() * j}, j == nv-1)
			}
			ADDQ(outStep, out)
		}
	}
	TESTQ(add, add)
	JZ(LabelRef("store"))
	have, from := k.s.vec(), word(k.p, convFrom)
	each(func(sum reg.VecVirtual, m Mem, last bool) {
		m.Index, m.Scale = from, 1
		if last {
			mask.load(m, have)
			VADDPS(have, sum, sum)
			return
		}
		VADDPS(m, sum, sum)
	})
	Label("store")
	each(func(sum reg.VecVirtual, m Mem, last bool) {
		if last {
			mask.store(sum, m)
			return
		}
		VMOVUPS(sum, m)
	})
}
