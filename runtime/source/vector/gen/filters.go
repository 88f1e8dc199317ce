package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// filters writes the loops that add up neighbours.
func (s isa) filters() {
	s.columns("columnsNear", s.near)
	if s.wide() {
		s.columns("columnsWide", s.twoTables)
	} else {
		s.columns("columnsWide", s.far)
	}
	s.columns("columnsFar", s.far)
	s.filter()
	s.blur()
}

// reader reads what one tap of a block takes: it is opened for a block, then
// asked for the elements at an offset.
type reader func(a args, src, bases, index reg.Register) func(offset reg.Register, disp int) []vec

// base is the address of base number i of a block.
func base(src, bases reg.Register, i int) reg.GPVirtual {
	r := GP64()
	MOVLQSX(ptr(bases).Offset(4*i), r)
	LEAQ(Mem{Base: src, Index: r, Scale: 4}, r)
	return r
}

// near permutes one vector: all elements of it lie within one.
func (s isa) near(_ args, src, bases, index reg.Register) func(reg.Register, int) []vec {
	var from []reg.GPVirtual
	var picks []vec
	for i := range s.halves() {
		number, at := 0, 0
		if !s.wide() {
			number, at = 1+i, 64+32*i
		}
		pick := s.vec()
		VMOVUPS(ptr(index).Offset(at), pick)
		from, picks = append(from, base(src, bases, number)), append(picks, pick)
	}
	return func(offset reg.Register, disp int) []vec {
		v := s.block()
		for i := range v {
			VPERMPS(Mem{Base: from[i], Index: offset, Scale: 4, Disp: 4 * disp}, picks[i], v[i])
		}
		return v
	}
}

// twoTables permutes two vectors that follow each other.
func (s isa) twoTables(_ args, src, bases, index reg.Register) func(reg.Register, int) []vec {
	from, pick := base(src, bases, 0), ZMM()
	VMOVUPS(ptr(index), pick)
	return func(offset reg.Register, disp int) []vec {
		v, at := ZMM(), Mem{Base: from, Index: offset, Scale: 4, Disp: 4 * disp}
		VMOVUPS(at, v)
		VPERMT2PS(at.Offset(64), pick, v)
		return []vec{v}
	}
}

// far gathers.
func (s isa) far(_ args, src, bases, index reg.Register) func(reg.Register, int) []vec {
	from, picks := base(src, bases, 0), s.load(ptr(index))
	return func(offset reg.Register, disp int) []vec {
		at := GP64()
		LEAQ(Mem{Base: from, Index: offset, Scale: 4, Disp: 4 * disp}, at)
		v := s.block()
		for i := range v {
			m := Mem{Base: at, Index: picks[i], Scale: 4}
			if s.wide() {
				k := K()
				KXNORW(k, k, k)
				VPXORD(v[i], v[i], v[i])
				VGATHERDPS(m, k, v[i])
				continue
			}
			all := YMM()
			VPCMPEQD(all, all, all)
			VXORPS(v[i], v[i], v[i])
			VGATHERDPS(all, m, v[i])
		}
		return v
	}
}

// columns goes over all rows for each block, so that what the block needs stays
// in registers.
func (s isa) columns(name string, open reader) {
	a := s.function(name, "Columns", "Src: Dst: SrcRow DstRow Rows Blocks Taps Bases: Index: Weights:")
	src, dst := a.word("Src"), a.word("Dst")
	bases, index, weights := a.word("Bases"), a.word("Index"), a.word("Weights")
	blocks := a.word("Blocks")
	loop("block", blocks, func() {
		read := open(a, src, bases, index)
		out, offset, rows := GP64(), GP64(), a.word("Rows")
		XORQ(out, out)
		XORQ(offset, offset)
		CMPQ(a.mem("Taps"), Imm(2))
		JNE(LabelRef("any"))
		w0, w1 := s.load(ptr(weights)), s.load(ptr(weights).Offset(64))
		loop("two", rows, func() {
			x, y := read(offset, 0), read(offset, 1)
			for i := range x {
				VMULPS(w0[i], x[i], x[i])
				VMULPS(w1[i], y[i], y[i])
				VADDPS(y[i], x[i], x[i])
			}
			s.store(x, Mem{Base: dst, Index: out, Scale: 4})
			ADDQ(a.mem("SrcRow"), offset)
			ADDQ(a.mem("DstRow"), out)
		})
		JMP(LabelRef("done"))
		Label("any")
		loop("row", rows, func() {
			sum := read(offset, 0)
			w, at, n := copyOf(weights), copyOf(offset), a.word("Taps")
			for i := range sum {
				VMULPS(s.half(ptr(w), i), sum[i], sum[i])
			}
			DECQ(n)
			JZ(LabelRef("summed"))
			loop("tap", n, func() {
				ADDQ(Imm(64), w)
				INCQ(at)
				x := read(at, 0)
				for i := range x {
					VMULPS(s.half(ptr(w), i), x[i], x[i])
					VADDPS(x[i], sum[i], sum[i])
				}
			})
			Label("summed")
			s.store(sum, Mem{Base: dst, Index: out, Scale: 4})
			ADDQ(a.mem("SrcRow"), offset)
			ADDQ(a.mem("DstRow"), out)
		})
		Label("done")
		step := a.word("Taps")
		SHLQ(Imm(6), step)
		ADDQ(step, weights)
		ADDQ(Imm(16), bases)
		ADDQ(Imm(128), index)
		ADDQ(Imm(64), dst)
	})
	end()
}

// filter goes over the blocks of each row.
func (s isa) filter() {
	a := s.function("filter", "Filter", "Src: Dst: SrcRow DstRow Rows Blocks Taps First: Weights:")
	src, dst, srcRow, dstRow := a.word("Src"), a.word("Dst"), a.bytes("SrcRow"), a.bytes("DstRow")
	first, weights, rows := a.word("First"), a.word("Weights"), a.word("Rows")
	loop("row", rows, func() {
		in, out, n := GP64(), copyOf(dst), a.word("Blocks")
		MOVLQSX(ptr(first), in)
		IMULQ(srcRow, in)
		ADDQ(src, in)
		CMPQ(a.mem("Taps"), Imm(2))
		JNE(LabelRef("any"))
		w0, w1 := s.spread(ptr(weights)), s.spread(ptr(weights).Offset(4))
		loop("two", n, func() {
			x, y := s.block(), s.block()
			for i := range x {
				VMULPS(s.half(ptr(in), i), w0, x[i])
				VMULPS(s.half(ptr(in).Idx(srcRow, 1), i), w1, y[i])
				VADDPS(y[i], x[i], x[i])
			}
			s.store(x, ptr(out))
			ADDQ(Imm(64), in)
			ADDQ(Imm(64), out)
		})
		JMP(LabelRef("done"))
		Label("any")
		loop("block", n, func() {
			s.taps(a, in, weights, srcRow, out)
			ADDQ(Imm(64), in)
			ADDQ(Imm(64), out)
		})
		Label("done")
		step := a.bytes("Taps")
		ADDQ(step, weights)
		ADDQ(Imm(4), first)
		ADDQ(dstRow, dst)
	})
	end()
}

// taps adds up one block of any number of rows.
func (s isa) taps(a args, in, weights, srcRow, out reg.Register) {
	at, w, n := copyOf(in), copyOf(weights), a.word("Taps")
	sum, v := s.block(), s.spread(ptr(w))
	for i := range sum {
		VMULPS(s.half(ptr(at), i), v, sum[i])
	}
	DECQ(n)
	JZ(LabelRef("summed"))
	loop("tap", n, func() {
		ADDQ(srcRow, at)
		ADDQ(Imm(4), w)
		v := s.spread(ptr(w))
		x := s.block()
		for i := range sum {
			VMULPS(s.half(ptr(at), i), v, x[i])
			VADDPS(x[i], sum[i], sum[i])
		}
	})
	Label("summed")
	s.store(sum, ptr(out))
}

// blur adds each pair of neighbours before it weighs them.
func (s isa) blur() {
	a := s.function("blur", "Blur", "Src: Dst: Start SrcRow DstRow Step Rows Blocks Kernel:")
	src, dst, srcRow, dstRow := a.word("Src"), a.word("Dst"), a.bytes("SrcRow"), a.bytes("DstRow")
	start, step, rows, kernel := a.bytes("Start"), a.bytes("Step"), a.word("Rows"), a.word("Kernel")
	ADDQ(start, src)
	middle := s.spread(ptr(kernel))
	taps := Mem{Base: a.p, Disp: a.at["Kernel"] + 8} // the kernel's length
	loop("row", rows, func() {
		in, out, n := copyOf(src), copyOf(dst), a.word("Blocks")
		loop("block", n, func() {
			before, after, w, k := copyOf(in), copyOf(in), copyOf(kernel), GP64()
			sum := s.block()
			for i := range sum {
				VMULPS(s.half(ptr(in), i), middle, sum[i])
			}
			MOVQ(taps, k)
			DECQ(k)
			JZ(LabelRef("summed"))
			loop("tap", k, func() {
				SUBQ(step, before)
				ADDQ(step, after)
				ADDQ(Imm(4), w)
				v, x := s.spread(ptr(w)), s.load(ptr(before))
				for i := range x {
					VADDPS(s.half(ptr(after), i), x[i], x[i])
					VMULPS(v, x[i], x[i])
					VADDPS(x[i], sum[i], sum[i])
				}
			})
			Label("summed")
			s.store(sum, ptr(out))
			ADDQ(Imm(64), in)
			ADDQ(Imm(64), out)
		})
		ADDQ(srcRow, src)
		ADDQ(dstRow, dst)
	})
	end()
}
