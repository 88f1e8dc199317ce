package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// peakChains is the number of independent sums of the peak loop: more than the
// latency of a multiply-add times those begun in a cycle.
const peakChains = 12

// peakFamily writes the loop that measures the peak of multiply-adds.
func peakFamily() {
	for _, s := range isas {
		TEXT("peak"+s.name, NOSPLIT, "func(n int)")
		Doc("peak" + s.name + " does n rounds of 12 independent vector multiply-adds.")
		n := Load(Param("n"), GP64())
		v, x := s.vecs(peakChains), s.vecs(2)
		for _, r := range append(v, x...) {
			s.zero(r)
		}
		Label("round")
		for _, r := range v {
			VFMADD231PS(x[0], x[1], r)
		}
		DECQ(n)
		JNZ(LabelRef("round"))
		end()
	}
}
