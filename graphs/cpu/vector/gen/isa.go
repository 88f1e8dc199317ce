package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// isa is an instruction set as the generators see it: the width of its vectors
// and how to write each step with them.
type isa struct {
	name      string // in function names
	lanes     int    // float32 elements of a vector
	registers int    // vectors
}

var (
	avx512 = isa{"AVX512", 16, 32}
	avx2   = isa{"AVX2", 8, 16}
	isas   = []isa{avx512, avx2}
)

// width is the number of bytes of a vector.
func (s isa) width() int { return 4 * s.lanes }

// vec is a new vector register.
func (s isa) vec() reg.VecVirtual {
	if s.lanes == 16 {
		return ZMM()
	}
	return YMM()
}

// vecs is n new vector registers.
func (s isa) vecs(n int) []reg.VecVirtual {
	v := make([]reg.VecVirtual, n)
	for i := range v {
		v[i] = s.vec()
	}
	return v
}

// zero clears v.
func (s isa) zero(v reg.VecVirtual) {
	if s.lanes == 16 {
		VPXORD(v, v, v)
		return
	}
	VXORPS(v, v, v)
}

// tail is the mask of a last vector that may be partial: a mask register with
// AVX-512, a vector of sign bits with AVX2.
type tail struct {
	s isa
	k reg.OpmaskVirtual
	v reg.VecVirtual
}

// tailAt reads a mask from memory, as written by MaskOf: first 64 bits, then
// eight times 32 bits.
func (s isa) tailAt(m Mem) tail {
	t := tail{s: s}
	if s.lanes == 16 {
		t.k = K()
		KMOVW(m, t.k)
		return t
	}
	t.v = YMM()
	VMOVUPS(m.Offset(8), t.v)
	return t
}

// load reads the tail's elements of a vector and zeros elsewhere. Memory beyond
// them is not touched.
func (t tail) load(m Mem, v reg.VecVirtual) {
	if t.s.lanes == 16 {
		VMOVUPS_Z(m, t.k, v)
		return
	}
	VMASKMOVPS(m, t.v, v)
}

// store writes the tail's elements of a vector.
func (t tail) store(v reg.VecVirtual, m Mem) {
	if t.s.lanes == 16 {
		VMOVUPS(v, t.k, m)
		return
	}
	VMASKMOVPS(v, t.v, m)
}

// field is word i of the arguments that p points to.
func field(p reg.Register, i int) Mem { return Mem{Base: p, Disp: 8 * i} }

// word loads argument word i into a new register.
func word(p reg.Register, i int) reg.GPVirtual {
	r := GP64()
	MOVQ(field(p, i), r)
	return r
}

// function opens a kernel that takes a pointer to its arguments, a struct of
// words of eight bytes in package vector, and returns the pointer.
func (s isa) function(name, args, doc string) reg.Register {
	TEXT(name+s.name, NOSPLIT, "func(p *byte)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s%s %s p is a *%s.", name, s.name, doc, args))
	return Load(Param("p"), GP64())
}

// end leaves a kernel.
func end() {
	VZEROUPPER()
	RET()
}
