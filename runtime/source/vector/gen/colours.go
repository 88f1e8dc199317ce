package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// colours writes the loops over single pixels. They go one vector at a time.
func (s isa) colours() {
	s.affine()
	s.luma()
	s.saturate()
	s.hue()
}

// constants spreads numbers over vectors.
func (s isa) constants(name string, numbers ...float32) []vec {
	var w []uint32
	for _, v := range numbers {
		w = append(w, math.Float32bits(v))
	}
	m := words(name+s.name, w)
	var v []vec
	for i := range numbers {
		v = append(v, s.spread(m.Offset(4*i)))
	}
	return v
}

// vectors loads Blocks as a number of vectors.
func (s isa) vectors(a args) reg.GPVirtual {
	n := a.word("Blocks")
	if !s.wide() {
		SHLQ(Imm(1), n)
	}
	return n
}

// clamp brings v between zero and one.
func clamp(v, zero, one vec) {
	VMAXPS(v, zero, v)
	VMINPS(v, one, v)
}

func (s isa) affine() {
	a := s.function("affine", "Affine", "Data: Blocks F")
	data, n := a.word("Data"), s.vectors(a)
	f, rest := s.spread(a.mem("F")), s.spread(a.mem("F").Offset(4))
	c := s.constants("affine", 0, 1)
	loop("block", n, func() {
		v := s.vec()
		VMULPS(ptr(data), f, v)
		VADDPS(rest, v, v)
		clamp(v, c[0], c[1])
		VMOVUPS(v, ptr(data))
		ADDQ(Imm(uint64(s.width())), data)
	})
	end()
}

const colourFields = "Data: Plane Blocks Dst: F"

// each opens a loop over three planes.
func (s isa) each(a args, body func(at []Mem, v []vec)) {
	data, plane, n := a.word("Data"), a.bytes("Plane"), s.vectors(a)
	loop("block", n, func() {
		at := []Mem{ptr(data), ptr(data).Idx(plane, 1), ptr(data).Idx(plane, 2)}
		var v []vec
		for _, m := range at {
			x := s.vec()
			VMOVUPS(m, x)
			v = append(v, x)
		}
		body(at, v)
		ADDQ(Imm(uint64(s.width())), data)
	})
	end()
}

// grey is the grey of v by the weights w.
func (s isa) grey(v, w []vec) vec {
	x, y := s.vec(), s.vec()
	VMULPS(v[0], w[0], x)
	VMULPS(v[1], w[1], y)
	VADDPS(y, x, x)
	VMULPS(v[2], w[2], y)
	VADDPS(y, x, x)
	return x
}

func (s isa) luma() {
	a := s.function("luma", "Colour", colourFields)
	dst, w := a.word("Dst"), s.constants("luma", 0.299, 0.587, 0.114)
	s.each(a, func(_ []Mem, v []vec) {
		VMOVUPS(s.grey(v, w), ptr(dst))
		ADDQ(Imm(uint64(s.width())), dst)
	})
}

func (s isa) saturate() {
	a := s.function("saturate", "Colour", colourFields)
	f, rest := s.spread(a.mem("F")), s.spread(a.mem("F").Offset(4))
	c := s.constants("saturate", 0.299, 0.587, 0.114, 0, 1)
	s.each(a, func(at []Mem, v []vec) {
		grey := s.grey(v, c[:3])
		VMULPS(rest, grey, grey)
		for i, x := range v {
			VMULPS(f, x, x)
			VADDPS(grey, x, x)
			clamp(x, c[3], c[4])
			VMOVUPS(x, at[i])
		}
	})
}

// Predicates of VCMPPS.
const (
	equal   = 0
	less    = 1
	atLeast = 13
)

// choose is yes where a compares with b, no elsewhere: dst may be no.
func (s isa) choose(predicate uint64, b Op, a vec, yes Op, no, dst vec) {
	if s.wide() {
		k := K()
		VCMPPS(Imm(predicate), b, a, k)
		VBLENDMPS(yes, no, k, dst)
		return
	}
	m := YMM()
	VCMPPS(Imm(predicate), b, a, m)
	VBLENDVPS(m, yes, no, dst)
}

func (s isa) hue() {
	a := s.function("hue", "Colour", colourFields)
	turn := s.spread(a.mem("F"))
	numbers := []float32{0, 1, 2, 3, 4, 6, 1e-30, math.Float32frombits(0x7fffffff)}
	var wide []uint32
	for _, v := range numbers {
		for range s.lanes {
			wide = append(wide, math.Float32bits(v))
		}
	}
	table := words("hue"+s.name, wide)
	c := map[string]Mem{}
	for i, name := range []string{"0", "1", "2", "3", "4", "6", "least", "abs"} {
		c[name] = table.Offset(i * s.width())
	}
	zero, one := s.vec(), s.vec()
	VMOVUPS(c["0"], zero)
	VMOVUPS(c["1"], one)
	s.each(a, func(at []Mem, v []vec) {
		low, span, h := s.angle(v, zero, c)
		VADDPS(turn, h, h)
		s.wrap(h, zero, c)
		for i, middle := range []string{"3", "2", "4"} {
			x := s.vec()
			VSUBPS(c[middle], h, x)
			VANDPS(c["abs"], x, x)
			if i == 0 {
				VSUBPS(one, x, x)
			} else {
				two := s.vec()
				VMOVUPS(c["2"], two)
				VSUBPS(x, two, x)
			}
			clamp(x, zero, one)
			VMULPS(span, x, x)
			VADDPS(low, x, x)
			VMOVUPS(x, at[i])
		}
	})
}

// angle is the least of three channels, what the most has above it, and the
// hue in sixths of a turn.
func (s isa) angle(v []vec, zero vec, c map[string]Mem) (low, span, h vec) {
	r, g, b := v[0], v[1], v[2]
	top, part, offset, other := s.vec(), s.vec(), s.vec(), s.vec()
	low, span, h = s.vec(), s.vec(), s.vec()
	VMAXPS(g, r, top)
	VMAXPS(b, top, top)
	VMINPS(g, r, low)
	VMINPS(b, low, low)
	VSUBPS(low, top, span)

	VSUBPS(g, r, part) // blue is the most
	VMOVUPS(c["4"], offset)
	VSUBPS(r, b, other)
	s.choose(equal, g, top, other, part, part)
	VMOVUPS(c["2"], other)
	s.choose(equal, g, top, other, offset, offset)
	VSUBPS(b, g, other)
	s.choose(equal, r, top, other, part, part)
	s.choose(equal, r, top, zero, offset, offset)

	VMOVUPS(c["least"], h)
	VMAXPS(span, h, other)
	VDIVPS(other, part, h)
	VADDPS(offset, h, h)
	return low, span, h
}

// wrap brings h from -4 to 8 between 0 and 6.
func (s isa) wrap(h, zero vec, c map[string]Mem) {
	turned := s.vec()
	VADDPS(c["6"], h, turned)
	s.choose(less, zero, h, turned, h, h)
	VSUBPS(c["6"], h, turned)
	six := s.vec()
	VMOVUPS(c["6"], six)
	s.choose(atLeast, six, h, turned, h, h)
}
