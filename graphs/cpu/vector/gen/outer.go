package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Words of OuterTile.
const (
	outerCols = iota
	outerRows
	outerPictures
	outerA
	outerAStep
	outerARow
	outerAPicture
	outerB
	outerBStep
	outerBRow
	outerBPicture
	outerC
	outerCStep
	outerAdd
	outerAhead
	outerAheadStep
	outerMask
)

// outerHeight is the most rows of a tile of an instruction set.
func outerHeight(s isa, vecs int) int {
	if s.lanes == 16 {
		return 14
	}
	if vecs == 1 {
		return 12
	}
	return 6
}

func outerFamily() {
	for _, s := range isas {
		for _, vecs := range []int{1, 2} {
			for height := 1; height <= outerHeight(s, vecs); height++ {
				outerTile(s, height, vecs)
			}
		}
	}
}

// outerTile writes one kernel: the sum over all pixels of the outer product of
// height elements of A with vecs vectors of B.
func outerTile(s isa, height, vecs int) {
	p := s.function(fmt.Sprintf("outer%dx%d", height, vecs), "OuterTile",
		fmt.Sprintf("sums outer products of %d by %d elements.", height, vecs*s.lanes))
	mask := s.tailAt(field(p, outerMask))
	sums, b := s.vecs(height*vecs), s.vecs(vecs)
	for i := range sums {
		s.zero(sums[i])
	}
	masks := 0
	if s.lanes == 8 {
		masks = 1
	}
	inputs := s.vecs(max(1, min(3, s.registers-len(sums)-vecs-masks)))
	pictures, pa, pb := word(p, outerPictures), word(p, outerA), word(p, outerB)
	rows, ra, rb := GP64(), GP64(), GP64()
	cols, a, q := GP64(), GP64(), GP64()
	aStep, bStep, ahead := word(p, outerAStep), word(p, outerBStep), word(p, outerAhead)
	Label("picture")
	MOVQ(pa, ra)
	MOVQ(pb, rb)
	MOVQ(field(p, outerRows), rows)
	Label("row")
	MOVQ(ra, a)
	MOVQ(rb, q)
	MOVQ(field(p, outerCols), cols)
	Label("pixel")
	PREFETCHT1(Mem{Base: ahead})
	ADDQ(field(p, outerAheadStep), ahead)
	for j := range b {
		m := Mem{Base: q, Disp: s.width() * j}
		if j == vecs-1 {
			mask.load(m, b[j])
		} else {
			VMOVUPS(m, b[j])
		}
	}
	for i := range height {
		t := inputs[i%len(inputs)]
		VBROADCASTSS(Mem{Base: a, Disp: 4 * i}, t)
		for j := range b {
			VFMADD231PS(b[j], t, sums[i*vecs+j])
		}
	}
	ADDQ(aStep, a)
	ADDQ(bStep, q)
	DECQ(cols)
	JNZ(LabelRef("pixel"))
	ADDQ(field(p, outerARow), ra)
	ADDQ(field(p, outerBRow), rb)
	DECQ(rows)
	JNZ(LabelRef("row"))
	ADDQ(field(p, outerAPicture), pa)
	ADDQ(field(p, outerBPicture), pb)
	DECQ(pictures)
	JNZ(LabelRef("picture"))
	MOVQ(ahead, field(p, outerAhead))
	outerStore(s, p, sums, height, vecs, mask)
	end()
}

// outerStore writes the sums, or adds them to what is there.
func outerStore(s isa, p reg.Register, sums []reg.VecVirtual, height, vecs int, mask tail) {
	add, c, step, have := word(p, outerAdd), word(p, outerC), word(p, outerCStep), s.vec()
	each := func(do func(sum reg.VecVirtual, m Mem, last bool)) {
		for i := range height {
			for j := range vecs {
				do(sums[i*vecs+j], Mem{Base: c, Disp: s.width() * j}, j == vecs-1)
			}
			ADDQ(step, c)
		}
	}
	TESTQ(add, add)
	JZ(LabelRef("store"))
	each(func(sum reg.VecVirtual, m Mem, last bool) {
		if last {
			mask.load(m, have)
			VADDPS(have, sum, sum)
			return
		}
		VADDPS(m, sum, sum)
	})
	MOVQ(field(p, outerC), c)
	Label("store")
	each(func(sum reg.VecVirtual, m Mem, last bool) {
		if last {
			mask.store(sum, m)
			return
		}
		VMOVUPS(sum, m)
	})
}
