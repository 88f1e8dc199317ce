package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Words of PoolTile, after those of the Walk.
const (
	poolTapRows = walkWords + iota
	poolTapCols
	poolTapRow
	poolTapCol
	poolIndex
	poolPlaceRow
	poolVectors
	poolTail
	poolCount = poolTail + 6 // behind the mask
)

// Predicates of comparisons.
const (
	unordered = 0x03
	greater   = 0x1e // ordered, quiet
)

func poolFamily() {
	for _, s := range isas {
		poolMax(s)
		poolMaxGrad(s)
		mapSum(s)
		resize(s, "resize", "blends rows of inputs.", resizeVector)
		resize(s, "resizeGrad", "adds a row of gradients to the inputs that it came from.", resizeGradVector)
	}
	shuffle()
}

// ones is a vector of integers 1.
func (s isa) ones() reg.VecVirtual {
	v, one := s.vec(), GP32()
	MOVL(U32(1), one)
	s.spread(one, v)
	return v
}

// spread fills v with an integer.
func (s isa) spread(r reg.Register, v reg.VecVirtual) {
	if s.lanes == 16 {
		VPBROADCASTD(r, v)
		return
	}
	x := XMM()
	VMOVD(r, x)
	VPBROADCASTD(x, v)
}

// poolKernel is the state of a generator of one kernel.
type poolKernel struct {
	s        isa
	p        reg.Register
	in, out  reg.Register
	index    reg.Register // from the values to their indices, in bytes
	ones     reg.VecVirtual
	rowStep  reg.VecVirtual // of places, less those of a row's taps
	count    reg.VecVirtual
	walk     walk
	firstRow reg.Register
}

// poolMax writes the kernel that finds the largest input of each window, and
// where it lies. A NaN takes over from what was there, and nothing but a later
// NaN takes over from it.
func poolMax(s isa) {
	p := s.function("poolMax", "PoolTile", "finds the maxima of windows and their places.")
	k := &poolKernel{s: s, p: p, walk: newWalk(p, 3, 3), ones: s.ones(), rowStep: s.vec()}
	VPBROADCASTD(field(p, poolPlaceRow), k.rowStep)
	k.index = word(p, poolIndex)
	SUBQ(field(p, walkOut), k.index)
	k.walk.run(func() {
		k.in, k.out = load(k.walk.in()), load(k.walk.out())
		channels{s, p, poolVectors, poolTail}.each(k.max)
	})
	end()
}

// max finds the maximum of one vector of channels.
func (k *poolKernel) max(t *tail, suffix string) {
	s := k.s
	best, at, here, rowHere := s.vec(), s.vec(), s.vec(), s.vec()
	s.loadPart(t, Mem{Base: k.in}, best)
	VPBROADCASTD(k.walk.place(), at)
	VMOVUPS(at, rowHere)
	k.window(suffix, func() { VMOVUPS(rowHere, here) }, func(in reg.Register) {
		v := s.vec()
		s.loadPart(t, Mem{Base: in}, v)
		k.takeOver(v, here, best, at)
		VPADDD(k.ones, here, here)
	}, func() { VPADDD(k.rowStep, rowHere, rowHere) })
	s.storePart(t, best, Mem{Base: k.out})
	s.storePart(t, at, Mem{Base: k.out, Index: k.index, Scale: 1})
	k.next(t)
}

// takeOver replaces best by v, and at by here, where v is larger or no number.
func (k *poolKernel) takeOver(v, here, best, at reg.VecVirtual) {
	if k.s.lanes == 16 {
		larger, none := K(), K()
		VCMPPS(Imm(greater), best, v, larger)
		VCMPPS(Imm(unordered), v, v, none)
		KORW(none, larger, larger)
		VMOVAPS(v, larger, best)
		VMOVDQA32(here, larger, at)
		return
	}
	larger, none := YMM(), YMM()
	VCMPPS(Imm(greater), best, v, larger)
	VCMPPS(Imm(unordered), v, v, none)
	VORPS(none, larger, larger)
	VBLENDVPS(larger, v, best, best)
	VBLENDVPS(larger, here, at, at)
}

// window writes the loops over a window's rows and taps, if it has any. row is
// written at the start of a row, tap for each, down behind a row.
func (k *poolKernel) window(suffix string, row func(), tap func(in reg.Register), down func()) {
	rows, rowIn := word(k.p, poolTapRows), GP64()
	MOVQ(k.in, rowIn)
	TESTQ(rows, rows)
	JZ(LabelRef("store" + suffix))
	Label("row" + suffix)
	in, cols := GP64(), word(k.p, poolTapCols)
	MOVQ(rowIn, in)
	row()
	Label("tap" + suffix)
	tap(in)
	ADDQ(field(k.p, poolTapCol), in)
	DECQ(cols)
	JNZ(LabelRef("tap" + suffix))
	ADDQ(field(k.p, poolTapRow), rowIn)
	down()
	DECQ(rows)
	JNZ(LabelRef("row" + suffix))
	Label("store" + suffix)
}

// next moves to the next vector of channels.
func (k *poolKernel) next(t *tail) {
	if t == nil {
		ADDQ(Imm(uint64(k.s.width())), k.in)
		ADDQ(Imm(uint64(k.s.width())), k.out)
	}
}

// poolMaxGrad writes the kernel that sums, for each input, the gradients of the
// windows that name it, and counts them.
func poolMaxGrad(s isa) {
	p := s.function("poolMaxGrad", "PoolTile", "sums the gradients of the windows whose maximum an input is.")
	k := &poolKernel{s: s, p: p, walk: newWalk(p, 3, 3), ones: s.ones(), count: s.vec()}
	VMOVUPS(field(p, poolCount), k.count)
	k.index = word(p, poolIndex)
	SUBQ(field(p, walkIn), k.index)
	k.walk.run(func() {
		k.in, k.out = load(k.walk.in()), load(k.walk.out())
		channels{s, p, poolVectors, poolTail}.each(k.named)
	})
	VMOVUPS(k.count, field(p, poolCount))
	end()
}

// named sums one vector of channels.
func (k *poolKernel) named(t *tail, suffix string) {
	s := k.s
	sum, place := s.vec(), s.vec()
	s.zero(sum)
	VPBROADCASTD(k.walk.place(), place)
	k.window(suffix, func() {}, func(in reg.Register) {
		k.addNamed(t, Mem{Base: in, Index: k.index, Scale: 1}, Mem{Base: in}, place, sum)
	}, func() {})
	s.storePart(t, sum, Mem{Base: k.out})
	k.next(t)
}

// addNamed adds gradients where index is place.
func (k *poolKernel) addNamed(t *tail, index, gradient Mem, place, sum reg.VecVirtual) {
	if k.s.lanes == 16 {
		same := K()
		if t == nil {
			VPCMPEQD(index, place, same)
		} else {
			VPCMPEQD(index, place, t.k, same)
		}
		VADDPS(gradient, sum, same, sum)
		VPADDD(k.ones, k.count, same, k.count)
		return
	}
	same, g := YMM(), YMM()
	if t == nil {
		VPCMPEQD(index, place, same)
		VANDPS(gradient, same, g)
	} else {
		t.load(index, g)
		VPCMPEQD(g, place, same)
		VANDPS(t.v, same, same)
		t.load(gradient, g)
		VANDPS(g, same, g)
	}
	VADDPS(g, sum, sum)
	VPSUBD(same, k.count, k.count)
}

// Words of SumTile.
const (
	sumIn = iota
	sumOut
	sumRows
	sumRow
	sumCols
	sumCol
	sumScale
	sumFours
	sumVectors
	sumTail
)

// mapSum writes the kernel that sums the pixels of a map: each row apart, then
// the rows.
func mapSum(s isa) {
	p := s.function("mapSum", "SumTile", "sums the pixels of a map.")
	in, out := word(p, sumIn), word(p, sumOut)
	vectors := func(n int, t *tail, suffix string) {
		sumVectorsOf(s, p, in, out, n, t, suffix)
		if t == nil {
			ADDQ(U32(n*s.width()), in)
			ADDQ(U32(n*s.width()), out)
		}
	}
	fours := word(p, sumFours)
	TESTQ(fours, fours)
	JZ(LabelRef("ones"))
	Label("four")
	vectors(4, nil, "Four")
	DECQ(fours)
	JNZ(LabelRef("four"))
	Label("ones")
	channels{s, p, sumVectors, sumTail}.each(func(t *tail, suffix string) { vectors(1, t, suffix) })
	end()
}

// sumVectorsOf sums n vectors of channels at a time.
func sumVectorsOf(s isa, p, in, out reg.Register, n int, t *tail, suffix string) {
	total, part, scale := s.vecs(n), s.vecs(n), s.vec()
	for _, v := range total {
		s.zero(v)
	}
	rows, rowIn := word(p, sumRows), GP64()
	MOVQ(in, rowIn)
	Label("row" + suffix)
	at, cols := GP64(), word(p, sumCols)
	MOVQ(rowIn, at)
	for _, v := range part {
		s.zero(v)
	}
	Label("pixel" + suffix)
	for i, v := range part {
		m := Mem{Base: at, Disp: i * s.width()}
		if t == nil {
			VADDPS(m, v, v)
			continue
		}
		x := s.vec()
		t.load(m, x)
		VADDPS(x, v, v)
	}
	ADDQ(field(p, sumCol), at)
	DECQ(cols)
	JNZ(LabelRef("pixel" + suffix))
	for i, v := range part {
		VADDPS(v, total[i], total[i])
	}
	ADDQ(field(p, sumRow), rowIn)
	DECQ(rows)
	JNZ(LabelRef("row" + suffix))
	VBROADCASTSS(field(p, sumScale), scale)
	for i, v := range total {
		VMULPS(scale, v, v)
		s.storePart(t, v, Mem{Base: out, Disp: i * s.width()})
	}
}
