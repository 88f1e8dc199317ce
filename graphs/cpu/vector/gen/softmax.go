package main

import (
	"fmt"
	"math"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Words of SoftmaxTile.
const (
	softmaxRows = iota
	softmaxCols
	softmaxS
	softmaxStep
	softmaxScale
	softmaxTop
	softmaxSum
	softmaxColTop
	softmaxColShare
)

// The exponential is 2^y = 2^n * 2^f with n the integer nearest to y, so that
// |f| <= 1/2, and
//
//	2^f = sum over k <= 7 of (f ln 2)^k / k!
//
// By Taylor's theorem what is left out is below (ln(2)/2)^8 / 8! * sqrt(2) =
// 7.3e-9 of at least 1/sqrt(2): less than 1.1e-8 relative. Eight roundings of a
// Horner scheme whose terms fall fast, the last two of weight 1, make it 1.5e-7
// in all. 2^n comes from adding n to the exponent. Where y < expLeast the
// result is 0. NaN stays NaN: it passes the comparison and the polynomial.
const (
	expDegree = 7
	expLeast  = -125
)

// expConstants lie in memory as whole vectors of the widest set: the
// coefficients from 1/0! on, then expLeast.
func expConstants() Mem {
	m := GLOBL("expConstants", attr.RODATA|attr.NOPTR)
	factor := 1.0
	for k := range expDegree + 2 {
		v := float32(factor)
		if k > expDegree {
			v = expLeast
		}
		for i := range avx512.lanes {
			DATA(expAt*k+4*i, U32(math.Float32bits(v)))
		}
		factor *= math.Ln2 / float64(k+1)
	}
	return m
}

// expAt is the distance between constants.
const expAt = 64

// softmaxFamily writes the kernels of rows of similarities.
func softmaxFamily() {
	constants := expConstants()
	for _, s := range isas {
		e := &expKernel{s: s, memory: constants}
		e.sums()
		e.weights()
	}
}

// expKernel is a kernel with exponentials under way.
type expKernel struct {
	s      isa
	memory Mem
	held   [expDegree + 2]Op // the constants: registers where there are enough
	scale  reg.VecVirtual
}

// open begins a kernel and holds the constants.
func (e *expKernel) open(name, doc string) (p reg.Register) {
	p = e.s.function(name, "SoftmaxTile", doc)
	for k := range e.held {
		e.held[k] = e.memory.Offset(expAt * k)
		if e.s.registers > 16 {
			v := e.s.vec()
			VMOVUPS(e.memory.Offset(expAt*k), v)
			e.held[k] = v
		}
	}
	e.scale = e.broadcast(field(p, softmaxScale))
	return p
}

// broadcast is a vector of the element at m.
func (e *expKernel) broadcast(m Mem) reg.VecVirtual {
	v := e.s.vec()
	VBROADCASTSS(m, v)
	return v
}

// exp2 replaces y by nothing of use, and is 2^y in a new register.
func (e *expKernel) exp2(y reg.VecVirtual) reg.VecVirtual {
	n, v := e.s.vec(), e.s.vec()
	keep := e.atLeast(y)
	VCVTPS2DQ(y, n)
	VCVTDQ2PS(n, v)
	VSUBPS(v, y, y)
	VMOVUPS(e.held[expDegree], v)
	for k := expDegree - 1; k >= 0; k-- {
		VFMADD213PS(e.held[k], y, v)
	}
	VPSLLD(Imm(23), n, n)
	if e.s.lanes == 16 {
		VPADDD_Z(n, v, keep, v)
		return v
	}
	VPADDD(n, v, v)
	VANDPS(keep, v, v)
	return v
}

// atLeast says where y < expLeast does not hold.
func (e *expKernel) atLeast(y reg.VecVirtual) reg.Register {
	const notLess = 5
	if e.s.lanes == 16 {
		k := K()
		VCMPPS(Imm(notLess), e.held[expDegree+1], y, k)
		return k
	}
	v := e.s.vec()
	VCMPPS(Imm(notLess), e.held[expDegree+1], y, v)
	return v
}

// sums writes the kernel of a row's maximum and its sum of exponentials.
func (e *expKernel) sums() {
	p := e.open("softmaxSums", "takes the maximum of each row, and the sum of its exponentials relative to that.")
	rows, row, step := word(p, softmaxRows), word(p, softmaxS), word(p, softmaxStep)
	tops, sums := word(p, softmaxTop), word(p, softmaxSum)
	at, left := GP64(), GP64()
	lowest := GP32()
	MOVL(U32(math.Float32bits(float32(math.Inf(-1)))), lowest)
	bottom := XMM()
	VMOVD(lowest, bottom)
	top, v, sum := e.s.vec(), e.s.vec(), e.s.vec()
	Label("row")
	VBROADCASTSS(bottom, top)
	e.columns("max", p, row, at, left, func() {
		VMOVUPS(Mem{Base: at}, v)
		VMAXPS(top, v, top) // a NaN in v leaves top
	})
	e.across(top, VMAXPS)
	VBROADCASTSS(top.AsX(), top)
	VMOVSS(top.AsX(), Mem{Base: tops})
	e.s.zero(sum)
	e.columns("sum", p, row, at, left, func() {
		y := e.s.vec()
		VMOVUPS(Mem{Base: at}, y)
		VSUBPS(top, y, y)
		VMULPS(e.scale, y, y)
		VADDPS(e.exp2(y), sum, sum)
	})
	e.across(sum, VADDPS)
	VMOVSS(sum.AsX(), Mem{Base: sums})
	ADDQ(Imm(4), tops)
	ADDQ(Imm(4), sums)
	ADDQ(step, row)
	DECQ(rows)
	JNZ(LabelRef("row"))
	end()
}

// columns runs do on each vector of a row.
func (e *expKernel) columns(name string, p reg.Register, row, at, left reg.GPVirtual, do func()) {
	MOVQ(row, at)
	MOVQ(field(p, softmaxCols), left)
	Label(name)
	do()
	ADDQ(Imm(uint64(e.s.width())), at)
	SUBQ(Imm(uint64(e.s.lanes)), left)
	JNZ(LabelRef(name))
}

// across joins the elements of v into its first one: halves, their halves, and
// so on.
func (e *expKernel) across(v reg.VecVirtual, join func(...Op)) {
	if e.s.lanes == 16 {
		half := YMM()
		VEXTRACTF64X4(Imm(1), v, half)
		join(half, v.AsY(), v.AsY())
	}
	half := XMM()
	VEXTRACTF128(Imm(1), v.AsY(), half)
	join(half, v.AsX(), v.AsX())
	VPERMILPS(Imm(0b1110), v.AsX(), half)
	join(half, v.AsX(), v.AsX())
	VPERMILPS(Imm(0b01), v.AsX(), half)
	join(half, v.AsX(), v.AsX())
}

// weights writes the kernel that turns similarities into weights.
func (e *expKernel) weights() {
	p := e.open("softmaxWeights", fmt.Sprintf("replaces similarities by weights, %d at a time.", e.s.lanes))
	rows, row, step := word(p, softmaxRows), word(p, softmaxS), word(p, softmaxStep)
	tops, shares := word(p, softmaxTop), word(p, softmaxSum)
	at, left, colTop, colShare := GP64(), GP64(), GP64(), GP64()
	top, share := e.s.vec(), e.s.vec()
	Label("row")
	VBROADCASTSS(Mem{Base: tops}, top)
	VBROADCASTSS(Mem{Base: shares}, share)
	MOVQ(field(p, softmaxColTop), colTop)
	MOVQ(field(p, softmaxColShare), colShare)
	e.columns("column", p, row, at, left, func() {
		s, y := e.s.vec(), e.s.vec()
		VMOVUPS(Mem{Base: at}, s)
		VSUBPS(top, s, y)
		VMULPS(e.scale, y, y)
		w := e.exp2(y)
		VMULPS(share, w, w)
		VSUBPS(Mem{Base: colTop}, s, s)
		VMULPS(e.scale, s, s)
		VFMADD231PS(Mem{Base: colShare}, e.exp2(s), w)
		VMOVUPS(w, Mem{Base: at})
		ADDQ(Imm(uint64(e.s.width())), colTop)
		ADDQ(Imm(uint64(e.s.width())), colShare)
	})
	ADDQ(Imm(4), tops)
	ADDQ(Imm(4), shares)
	ADDQ(step, row)
	DECQ(rows)
	JNZ(LabelRef("row"))
	end()
}
