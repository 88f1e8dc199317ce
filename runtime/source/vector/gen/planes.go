package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// planes writes the loops into planes and out of them.
func (s isa) planes() {
	s.expand(1)
	s.expand(3)
	s.write1()
	s.write3()
	s.sum()
}

// expand turns 16 pixels of bytes at a time into a block of each plane.
func (s isa) expand(channels int) {
	a := s.function(fmt.Sprintf("expand%d", channels), "Expand", "Src: Dst: SrcRow DstRow DstPlane Rows Blocks")
	src, dst, srcRow, dstRow, rows := a.word("Src"), a.word("Dst"), a.word("SrcRow"), a.bytes("DstRow"), a.word("Rows")
	var plane reg.GPVirtual
	if channels == 3 {
		plane = a.bytes("DstPlane")
	}
	unit := words("unit"+s.name+fmt.Sprint(channels), []uint32{math.Float32bits(1.0 / 255)})
	scale := s.spread(unit)
	picks := picking(fmt.Sprintf("picks%s%d", s.name, channels))
	loop("row", rows, func() {
		in, out, n := copyOf(src), copyOf(dst), a.word("Blocks")
		loop("block", n, func() {
			to := ptr(out)
			if channels == 1 {
				x := XMM()
				VMOVDQU(ptr(in), x)
				s.numbers(x, scale, to)
			} else {
				for c, x := range pick(ptr(in), picks) {
					if c == 1 {
						to = to.Idx(plane, 1)
					} else if c == 2 {
						to.Scale = 2
					}
					s.numbers(x, scale, to)
				}
			}
			ADDQ(Imm(uint64(16*channels)), in)
			ADDQ(Imm(64), out)
		})
		ADDQ(srcRow, src)
		ADDQ(dstRow, dst)
	})
	end()
}

// numbers writes 16 bytes as scaled numbers.
func (s isa) numbers(x vec, scale vec, to Mem) {
	v := s.block()
	for i := range v {
		if i > 0 {
			VPSRLDQ(Imm(8), x, x)
		}
		VPMOVZXBD(x, v[i])
		VCVTDQ2PS(v[i], v[i])
		VMULPS(scale, v[i], v[i])
	}
	s.store(v, to)
}

// picking is nine masks: which bytes of each of three vectors belong to each
// channel.
func picking(name string) Mem {
	var w []uint8
	for c := range 3 {
		for part := range 3 {
			for i := range 16 {
				at := 3*i + c - 16*part
				if at < 0 || at > 15 {
					at = 0x80
				}
				w = append(w, uint8(at))
			}
		}
	}
	return octets(name, w)
}

// pick reads 16 pixels of three channels: 16 bytes of each.
func pick(m, masks Mem) []vec {
	var in, out []vec
	for part := range 3 {
		x := XMM()
		VMOVDQU(m.Offset(16*part), x)
		in = append(in, x)
	}
	for c := range 3 {
		x, y := XMM(), XMM()
		VPSHUFB(masks.Offset(48*c), in[0], x)
		for part := 1; part < 3; part++ {
			VPSHUFB(masks.Offset(48*c+16*part), in[part], y)
			VPOR(y, x, x)
		}
		out = append(out, x)
	}
	return out
}

const writeFields = "Src: Dst: SrcRow SrcPlane DstRow Rows Blocks Mask: Mean Mean2"

// norm reads mean and scale of channel c.
func (s isa) norm(a args, c int) (mean, scale vec) {
	m := a.mem("Mean").Offset(4 * c)
	return s.spread(m), s.spread(m.Offset(12))
}

func (s isa) write1() {
	a := s.function("write1", "Write", writeFields)
	src, dst, srcRow, dstRow, rows := a.word("Src"), a.word("Dst"), a.bytes("SrcRow"), a.bytes("DstRow"), a.word("Rows")
	mean, scale := s.norm(a, 0)
	mask := s.mask(a)
	loop("row", rows, func() {
		in, out, n := copyOf(src), copyOf(dst), a.word("Blocks")
		normed := func() []vec {
			v := s.block()
			for i := range v {
				VMOVUPS(s.half(ptr(in), i), v[i])
				VSUBPS(mean, v[i], v[i])
				VMULPS(scale, v[i], v[i])
			}
			return v
		}
		DECQ(n)
		JZ(LabelRef("last"))
		loop("block", n, func() {
			s.store(normed(), ptr(out))
			ADDQ(Imm(64), in)
			ADDQ(Imm(64), out)
		})
		Label("last")
		v := normed()
		for i := range v {
			if s.wide() {
				VMOVUPS(v[i], mask[i].(reg.OpmaskVirtual), ptr(out))
			} else {
				VMASKMOVPS(v[i], mask[i], s.half(ptr(out), i))
			}
		}
		ADDQ(srcRow, src)
		ADDQ(dstRow, dst)
	})
	end()
}

// mask reads the mask of a row's last block.
func (s isa) mask(a args) (m []Op) {
	from := ptr(a.word("Mask"))
	for i := range s.halves() {
		v := s.vec()
		VMOVUPS(s.half(from, i), v)
		if !s.wide() {
			m = append(m, v)
			continue
		}
		k := K()
		VPMOVD2M(v, k)
		m = append(m, k)
	}
	return m
}

func (s isa) write3() {
	a := s.function("write3", "Write", writeFields)
	src, dst, srcRow, dstRow, rows := a.word("Src"), a.word("Dst"), a.bytes("SrcRow"), a.bytes("DstRow"), a.word("Rows")
	plane := a.bytes("SrcPlane")
	weave := s.weaver()
	means, scales := make([]vec, 3), make([]vec, 3)
	for c := range 3 {
		means[c], scales[c] = s.norm(a, c)
	}
	loop("row", rows, func() {
		in, out, n := copyOf(src), copyOf(dst), a.word("Blocks")
		loop("block", n, func() {
			for i := range s.halves() {
				var v []vec
				for c, from := range []Mem{ptr(in), ptr(in).Idx(plane, 1), ptr(in).Idx(plane, 2)} {
					x := s.vec()
					VMOVUPS(s.half(from, i), x)
					VSUBPS(means[c], x, x)
					VMULPS(scales[c], x, x)
					v = append(v, x)
				}
				weave(v, ptr(out).Offset(3*s.width()*i))
			}
			ADDQ(Imm(64), in)
			ADDQ(Imm(192), out)
		})
		ADDQ(srcRow, src)
		ADDQ(dstRow, dst)
	})
	end()
}

// weaver writes three vectors side by side, element by element.
func (s isa) weaver() func(v []vec, to Mem) {
	if s.wide() {
		return s.weaver512()
	}
	var from []uint32
	for p := range 24 {
		from = append(from, uint32(p/3))
	}
	index := words("weave"+s.name, from)
	return func(v []vec, to Mem) {
		for part := range 3 {
			pick, x, y := YMM(), YMM(), YMM()
			VMOVUPS(index.Offset(32*part), pick)
			VPERMPS(v[0], pick, x)
			for c := 1; c < 3; c++ {
				lanes := 0
				for i := range 8 {
					if (8*part+i)%3 == c {
						lanes |= 1 << i
					}
				}
				VPERMPS(v[c], pick, y)
				VBLENDPS(Imm(uint64(lanes)), y, x, x)
			}
			VMOVUPS(x, s.half(to, part))
		}
	}
}

// weaver512 takes red and green by one shuffle, then blue by another.
func (s isa) weaver512() func(v []vec, to Mem) {
	var first, second []uint32
	for p := range 48 {
		px, lane := uint32(p/3), uint32(p%16)
		first = append(first, [3]uint32{px, 16 + px, 0}[p%3])
		second = append(second, [3]uint32{lane, lane, 16 + px}[p%3])
	}
	var picks [2][3]vec
	for i, w := range [][]uint32{first, second} {
		m := words(fmt.Sprintf("weave%s%d", s.name, i), w)
		for part := range 3 {
			picks[i][part] = ZMM()
			VMOVUPS(m.Offset(64*part), picks[i][part])
		}
	}
	return func(v []vec, to Mem) {
		for part := range 3 {
			x := ZMM()
			VMOVAPS(v[0], x)
			VPERMT2PS(v[1], picks[0][part], x)
			VPERMT2PS(v[2], picks[1][part], x)
			VMOVUPS(x, s.half(to, part))
		}
	}
}

// sum adds up a row in vectors as they lie, then the rows in float64.
func (s isa) sum() {
	a := s.function("sum", "Sum", "Src: SrcRow Rows Blocks Mask: Out:")
	src, srcRow, rows := a.word("Src"), a.bytes("SrcRow"), a.word("Rows")
	mask, out := s.load(ptr(a.word("Mask"))), a.word("Out")
	last := a.word("Blocks")
	DECQ(last)
	SHLQ(Imm(6), last)
	sums := append(s.block(), s.block()...)
	for _, v := range sums {
		VXORPD(v, v, v)
	}
	loop("row", rows, func() {
		in, n, row := copyOf(src), a.word("Blocks"), s.block()
		for i := range row {
			VMOVUPS(s.half(ptr(src).Idx(last, 1), i), row[i])
			VANDPS(mask[i], row[i], row[i])
		}
		DECQ(n)
		JZ(LabelRef("whole"))
		loop("block", n, func() {
			for i := range row {
				VADDPS(s.half(ptr(in), i), row[i], row[i])
			}
			ADDQ(Imm(64), in)
		})
		Label("whole")
		for i, v := range row {
			s.addWide(v, sums[2*i], sums[2*i+1])
		}
		ADDQ(srcRow, src)
	})
	s.store(sums, ptr(out))
	end()
}

// addWide adds the halves of v to two vectors of float64.
func (s isa) addWide(v, low, high vec) {
	wide := s.vec()
	if s.wide() {
		VCVTPS2PD(v.AsY(), wide)
		VADDPD(wide, low, low)
		VEXTRACTF32X8(Imm(1), v, v.AsY())
		VCVTPS2PD(v.AsY(), wide)
	} else {
		VCVTPS2PD(v.AsX(), wide)
		VADDPD(wide, low, low)
		VEXTRACTF128(Imm(1), v, v.AsX())
		VCVTPS2PD(v.AsX(), wide)
	}
	VADDPD(wide, high, high)
}
