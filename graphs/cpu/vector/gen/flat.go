package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Words of FlatTile.
const (
	_ = iota // N
	flatA
	flatB
	flatC
	flatD
	flatPairs
	flatWholes
	flatTail
	flatMask
	flatFactor = flatMask + 5
	flatSum    = flatFactor + 5
)

func elementwiseFamily() {
	for _, s := range isas {
		flatKernel(s, "rectify", "cuts off what is negative.", []int{flatA, flatB}, 0, func(t step, _ []reg.VecVirtual) {
			v := t.load(flatA)
			rectify(v, t.zero)
			t.store(v, flatB)
		})
		flatKernel(s, "keepPositive", "cuts off gradients.", []int{flatA, flatB, flatC}, 0, func(t step, _ []reg.VecVirtual) {
			v := t.load(flatA)
			s.keepPositive(v, t.load(flatB), t.zero)
			t.store(v, flatC)
		})
		flatKernel(s, "add", "adds.", []int{flatA, flatB, flatC}, 0, func(t step, _ []reg.VecVirtual) {
			v := t.load(flatA)
			VADDPS(t.load(flatB), v, v)
			t.store(v, flatC)
		})
		flatKernel(s, "addScaledDifference", "adds a scaled difference.", []int{flatA, flatB, flatC}, 1, func(t step, f []reg.VecVirtual) {
			v, sum := t.load(flatA), t.load(flatC)
			VSUBPS(t.load(flatB), v, v)
			VFMADD231PS(f[0], v, sum)
			t.store(sum, flatC)
		})
		addWide(s)
		sumSquares(s)
	}
}

func updateFamily() {
	for _, s := range isas {
		flatKernel(s, "step", "moves weights.", []int{flatA, flatB}, 3, func(t step, f []reg.VecVirtual) {
			w, d := decayed(t, f)
			VFNMADD231PS(f[0], d, w)
			t.store(w, flatA)
			t.store(t.zero, flatB)
		})
		momentumStep(s, "stepMomentum", false)
		momentumStep(s, "stepNesterov", true)
		adamStep(s)
	}
}

// decayed is the weights, and their gradient with its decay, times trust.
func decayed(t step, f []reg.VecVirtual) (w, d reg.VecVirtual) {
	w, d = t.load(flatA), t.load(flatB)
	VFMADD231PS(f[1], w, d)
	VMULPS(f[2], d, d)
	return w, d
}

func momentumStep(s isa, name string, nesterov bool) {
	flatKernel(s, name, "moves weights by a moving sum.", []int{flatA, flatB, flatC}, 4, func(t step, f []reg.VecVirtual) {
		w, d := decayed(t, f)
		m := t.load(flatC)
		VFMADD213PS(d, f[3], m)
		move := m
		if nesterov {
			VFMADD231PS(f[3], m, d)
			move = d
		}
		VFNMADD231PS(f[0], move, w)
		t.store(w, flatA)
		t.store(t.zero, flatB)
		t.store(m, flatC)
	})
}

// adamStep writes the update with moving averages of the gradient and of its
// square (Loshchilov and Hutter 2019).
func adamStep(s isa) {
	const (
		rate = iota
		keep
		beta1
		beta1Rest
		beta2
		beta2Rest
		first
		second
		eps
		count
	)
	operands := []int{flatA, flatB, flatC, flatD}
	flatKernel(s, "stepAdam", "moves weights by moving averages.", operands, count, func(t step, f []reg.VecVirtual) {
		g, m, v := t.load(flatB), t.load(flatC), t.load(flatD)
		VMULPS(f[beta1], m, m)
		VFMADD231PS(f[beta1Rest], g, m)
		VMULPS(f[beta2], v, v)
		VMULPS(g, g, g)
		VFMADD231PS(f[beta2Rest], g, v)
		t.store(m, flatC)
		t.store(v, flatD)
		VDIVPS(f[second], v, v)
		VSQRTPS(v, v)
		VADDPS(f[eps], v, v)
		VDIVPS(f[first], m, m)
		VDIVPS(v, m, m)
		w := t.load(flatA)
		VMULPS(f[keep], w, w)
		VFNMADD231PS(f[rate], m, w)
		t.store(w, flatA)
		t.store(t.zero, flatB)
	})
}

// flatKernel writes a kernel that does the same with each element of some
// vectors, with the first of the tile's factors.
func flatKernel(s isa, name, doc string, operands []int, factors int, body func(step, []reg.VecVirtual)) {
	k := newFlatKernel(s, name, doc, operands)
	k.zero = s.vec()
	s.zero(k.zero)
	f := s.vecs(factors)
	for i := range f {
		VBROADCASTSS(field(k.p, flatFactor).Offset(4*i), f[i])
	}
	k.vectors(func(t step) { body(t, f) })
	end()
}

func newFlatKernel(s isa, name, doc string, operands []int) *normKernel {
	k := &normKernel{s: s, p: s.function(name, "FlatTile", doc), at: map[int]reg.GPVirtual{}}
	for _, w := range operands {
		k.at[w] = word(k.p, w)
	}
	return k
}

// vectors runs body on all vectors: two at a time, then one, then the partial
// one.
func (k *normKernel) vectors(body func(step)) {
	i := GP64()
	XORQ(i, i)
	k.channels(i, "pair", flatPairs, 2, body)
	k.channels(i, "whole", flatWholes, 1, body)
	CMPQ(field(k.p, flatTail), Imm(0))
	JE(LabelRef("done"))
	k.mask = k.s.tailAt(field(k.p, flatMask))
	body(step{normKernel: k, index: i, tail: true})
	Label("done")
}

// halves is the elements of v as float64, in two vectors.
func (s isa) halves(v reg.VecVirtual) (low, high reg.VecVirtual) {
	low, high = s.vec(), s.vec()
	if s.lanes == 16 {
		half := YMM()
		VEXTRACTF64X4(Imm(1), v, half)
		VCVTPS2PD(half, high)
		VCVTPS2PD(v.(reg.Vec).AsY(), low)
		return low, high
	}
	half := XMM()
	VEXTRACTF128(Imm(1), v, half)
	VCVTPS2PD(half, high)
	VCVTPS2PD(v.(reg.Vec).AsX(), low)
	return low, high
}

// sumSquares writes the sum of squares in float64: two sums for each of two
// vectors, joined in one order.
func sumSquares(s isa) {
	k := newFlatKernel(s, "sumSquares", "sums squares.", []int{flatA})
	sums := s.vecs(4)
	for i := range sums {
		s.zero(sums[i])
	}
	k.vectors(func(t step) {
		low, high := s.halves(t.load(flatA))
		at := 0
		if t.disp > 0 {
			at = 2
		}
		VFMADD231PD(low, low, sums[at])
		VFMADD231PD(high, high, sums[at+1])
	})
	VADDPD(sums[1], sums[0], sums[0])
	VADDPD(sums[3], sums[2], sums[2])
	VADDPD(sums[2], sums[0], sums[0])
	if s.lanes == 16 {
		high := YMM()
		VEXTRACTF64X4(Imm(1), sums[0], high)
		VADDPD(high, sums[0].(reg.Vec).AsY(), sums[0].(reg.Vec).AsY())
	}
	sum, high := sums[0].(reg.Vec).AsX(), XMM()
	VEXTRACTF128(Imm(1), sums[0].(reg.Vec).AsY(), high)
	VADDPD(high, sum, sum)
	VUNPCKHPD(sum, sum, high)
	VADDSD(high, sum, sum)
	VMOVSD(sum, field(k.p, flatSum))
	end()
}

// addWide writes the sum of float32 elements to float64 ones.
func addWide(s isa) {
	p := s.function("addWide", "FlatTile", "adds to float64 elements.")
	a, b, i, n := word(p, flatA), word(p, flatB), GP64(), word(p, flatWholes)
	XORQ(i, i)
	JMP(LabelRef("test"))
	Label("whole")
	v := s.vec()
	VMOVUPS(Mem{Base: a, Index: i, Scale: 1}, v)
	low, high := s.halves(v)
	to := Mem{Base: b, Index: i, Scale: 2}
	VADDPD(to, low, low)
	VADDPD(to.Offset(s.width()), high, high)
	VMOVUPD(low, to)
	VMOVUPD(high, to.Offset(s.width()))
	ADDQ(U32(s.width()), i)
	Label("test")
	CMPQ(i, n)
	JLT(LabelRef("whole"))
	MOVQ(field(p, 0), n)
	SHLQ(Imm(2), n)
	JMP(LabelRef("testOne"))
	Label("one")
	x := XMM()
	VXORPS(x, x, x)
	VCVTSS2SD(Mem{Base: a, Index: i, Scale: 1}, x, x)
	VADDSD(to, x, x)
	VMOVSD(x, to)
	ADDQ(Imm(4), i)
	Label("testOne")
	CMPQ(i, n)
	JLT(LabelRef("one"))
	end()
}
