package main

import (
	"fmt"
	"strings"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// isa is an instruction set. A block is 16 elements: one vector or two.
type isa struct {
	name  string // in function names
	lanes int    // float32 elements of a vector
}

type vec = reg.VecVirtual

func (s isa) halves() int { return 16 / s.lanes }
func (s isa) width() int  { return 4 * s.lanes }
func (s isa) wide() bool  { return s.lanes == 16 }

// vec is a new vector register.
func (s isa) vec() vec {
	if s.wide() {
		return ZMM()
	}
	return YMM()
}

// block is registers for a block.
func (s isa) block() []vec {
	v := make([]vec, s.halves())
	for i := range v {
		v[i] = s.vec()
	}
	return v
}

// half is the place of half i of the block at m.
func (s isa) half(m Mem, i int) Mem { return m.Offset(i * s.width()) }

// load reads a block.
func (s isa) load(m Mem) []vec {
	v := s.block()
	for i := range v {
		VMOVUPS(s.half(m, i), v[i])
	}
	return v
}

// store writes a block.
func (s isa) store(v []vec, m Mem) {
	for i := range v {
		VMOVUPS(v[i], s.half(m, i))
	}
}

// spread fills a vector with the float32 at m.
func (s isa) spread(m Mem) vec {
	v := s.vec()
	VBROADCASTSS(m, v)
	return v
}

// args are the fields of a struct of arguments by name: "Src: Dst: Rows" are
// two slices and a word.
type args struct {
	p  reg.Register
	at map[string]int
}

// function opens a loop that takes a pointer to its arguments.
func (s isa) function(name, of, fields string) args {
	TEXT(name+s.name, NOSPLIT, "func(p *byte)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s%s takes a *%s.", name, s.name, of))
	a := args{Load(Param("p"), GP64()), map[string]int{}}
	at := 0
	for f := range strings.FieldsSeq(fields) {
		name, slice := strings.CutSuffix(f, ":")
		a.at[name] = at
		if at += 8; slice {
			at += 16
		}
	}
	return a
}

// mem is the place of a field.
func (a args) mem(name string) Mem {
	at, ok := a.at[name]
	if !ok {
		panic("no field " + name)
	}
	return Mem{Base: a.p, Disp: at}
}

// word loads a field: a number, or the pointer of a slice.
func (a args) word(name string) reg.GPVirtual {
	r := GP64()
	MOVQ(a.mem(name), r)
	return r
}

// bytes loads a number of elements of four bytes as bytes.
func (a args) bytes(name string) reg.GPVirtual {
	r := a.word(name)
	SHLQ(Imm(2), r)
	return r
}

// loop repeats body n times, at least once; n is used up.
func loop(label string, n reg.Register, body func()) {
	Label(label)
	body()
	DECQ(n)
	JNZ(LabelRef(label))
}

// copyOf is a register with the same value.
func copyOf(r reg.Register) reg.GPVirtual {
	c := GP64()
	MOVQ(r, c)
	return c
}

func ptr(r reg.Register) Mem { return Mem{Base: r} }

// end leaves a loop's function.
func end() {
	VZEROUPPER()
	RET()
}

// words is a constant of 32-bit numbers.
func words(name string, w []uint32) Mem {
	m := GLOBL(name, RODATA|NOPTR)
	for i, v := range w {
		DATA(4*i, U32(v))
	}
	return m
}

// octets is a constant of bytes.
func octets(name string, w []uint8) Mem {
	m := GLOBL(name, RODATA|NOPTR)
	for i, v := range w {
		DATA(i, U8(v))
	}
	return m
}
