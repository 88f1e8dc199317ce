package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Words of a Walk: three loops, then where they start.
const (
	walkIn = 12 + iota
	walkOut
	walkPlace
	walkWords
)

// Words of a loop of a Walk, and of its state on the stack.
const (
	loopCount = iota
	loopIn
	loopOut
	loopPlace
)

// walk writes nested loops whose counts and steps stand at the start of the
// arguments. The state of each lies on the stack: few registers are left for
// anything but the innermost work.
type walk struct {
	p     reg.Register
	state Mem
	depth int // loops
	moved int // of in, out and place, how many are followed

	suffix string // of labels
}

func newWalk(p reg.Register, depth, moved int) walk {
	return walk{p: p, state: AllocLocal(32 * depth), depth: depth, moved: moved}
}

// at is a word of the state of a loop.
func (w walk) at(loop, word int) Mem { return w.state.Offset(32*loop + 8*word) }

// in, out and place are where the innermost loop stands.
func (w walk) in() Mem    { return w.at(w.depth-1, loopIn) }
func (w walk) out() Mem   { return w.at(w.depth-1, loopOut) }
func (w walk) place() Mem { return w.at(w.depth-1, loopPlace) }

// run writes the loops around body.
func (w walk) run(body func()) { w.nest(0, body) }

func (w walk) nest(loop int, body func()) {
	copyWord(field(w.p, 4*loop), w.at(loop, loopCount))
	for i := range w.moved {
		from := field(w.p, walkIn+i)
		if loop > 0 {
			from = w.at(loop-1, loopIn+i)
		}
		copyWord(from, w.at(loop, loopIn+i))
	}
	label := fmt.Sprintf("loop%d%s", loop, w.suffix)
	Label(label)
	if loop == w.depth-1 {
		body()
	} else {
		w.nest(loop+1, body)
	}
	for i := range w.moved {
		step := word(w.p, 4*loop+loopIn+i)
		ADDQ(step, w.at(loop, loopIn+i))
	}
	DECQ(w.at(loop, loopCount))
	JNZ(LabelRef(label))
}

// copyWord copies eight bytes.
func copyWord(from, to Mem) {
	t := GP64()
	MOVQ(from, t)
	MOVQ(t, to)
}

// load reads memory into a register.
func load(m Mem) reg.GPVirtual {
	r := GP64()
	MOVQ(m, r)
	return r
}

// channels are the words, somewhere in the arguments, that say how many
// channels a kernel works on: whole vectors, then one with a mask.
type channels struct {
	s               isa
	p               reg.Register
	vectors, tailAt int // words: the number, whether there is a tail, which the mask follows
}

// each writes a loop over the whole vectors, and the code for the tail. do
// gets nil or the tail's mask, and a suffix for labels; it moves its pointers
// by itself.
func (c channels) each(do func(t *tail, suffix string)) {
	n := word(c.p, c.vectors)
	TESTQ(n, n)
	JZ(LabelRef("tail"))
	Label("vector")
	do(nil, "")
	DECQ(n)
	JNZ(LabelRef("vector"))
	Label("tail")
	has := word(c.p, c.tailAt)
	TESTQ(has, has)
	JZ(LabelRef("done"))
	t := c.s.tailAt(field(c.p, c.tailAt+1))
	do(&t, "Tail")
	Label("done")
}

// loadPart reads a vector, or its tail and zeros.
func (s isa) loadPart(t *tail, m Mem, v reg.VecVirtual) {
	if t == nil {
		VMOVUPS(m, v)
		return
	}
	t.load(m, v)
}

// storePart writes a vector, or its tail.
func (s isa) storePart(t *tail, v reg.VecVirtual, m Mem) {
	if t == nil {
		VMOVUPS(v, m)
		return
	}
	t.store(v, m)
}

// multiplyAdd adds memory times v to sum; spare is used for tails with AVX2.
func (s isa) multiplyAdd(t *tail, m Mem, v, sum, spare reg.VecVirtual) {
	switch {
	case t == nil:
		VFMADD231PS(m, v, sum)
	case s.lanes == 16:
		VFMADD231PS(m, v, t.k, sum)
	default:
		t.load(m, spare)
		VFMADD231PS(spare, v, sum)
	}
}
