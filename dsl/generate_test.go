package dsl

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// writer draws a correct program, oddly laid out.
type writer struct {
	*rapid.T
	out strings.Builder
}

func (w *writer) pick(what string, from ...string) string {
	return rapid.SampledFrom(from).Draw(w.T, what)
}

func (w *writer) upTo(what string, n int) int { return rapid.IntRange(0, n).Draw(w.T, what) }

func (w *writer) put(s string) { w.out.WriteString(s) }

// space writes blanks; within brackets newlines and comments too.
func (w *writer) space(inBrackets bool) {
	if inBrackets {
		w.put(w.pick("space", "", " ", "", "  ", "\n", " // c\n", "\n// own\n  ", "\n\n", "\t"))
		return
	}
	w.put(w.pick("space", " ", "  ", "\t"))
}

// stop ends a statement.
func (w *writer) stop() {
	w.put(w.pick("stop", "\n", "\n\n\n", "; ", ";", " // t\n", "\n// own\n", "\n\n// own\n\n", " ;\n", "//t\n//u\n"))
}

func (w *writer) statements(depth int) {
	for range w.upTo("statements", 4) {
		w.statement(depth)
		w.stop()
	}
}

func (w *writer) statement(depth int) {
	w.put(w.pick("word", "conv", "param", "unit", "stage", "a", strings.Repeat("long", 12)))
	if w.upTo("call", 4) == 0 {
		w.call()
	}
	for i := range w.upTo("args", 3) {
		w.space(false)
		if w.upTo("sign", 5) == 0 {
			w.put(w.pick("sign", "->", ":", ","))
			w.space(false)
		}
		// A value after a value must not begin with "-": that is a subtraction.
		w.arg(2, false, i == 0)
	}
	if depth > 0 && w.upTo("block", 2) == 0 {
		w.put(w.pick("brace", " {", "{", " { ", " {\n", " {// c\n", "{\n\n"))
		w.statements(depth - 1)
		w.put(w.pick("close", "}", "}\n", "\n }", "} "))
	}
}

func (w *writer) arg(depth int, inBrackets, minus bool) {
	if w.upTo("keyed", 3) == 0 {
		w.put(w.pick("key", "p", "width", "in"))
		w.put(w.pick("equals", "=", " = ", "= ", " ="))
		minus = true
	}
	w.expr(depth, inBrackets, minus)
}

func (w *writer) expr(depth int, inBrackets, minus bool) {
	w.operand(depth, inBrackets, minus)
	for range w.upTo("operators", 2) {
		if inBrackets {
			w.space(true)
		}
		w.put(w.pick("operator", "+", "-", " * ", "/ ", " - "))
		if inBrackets {
			w.put(" ")
			w.space(true)
		}
		w.operand(depth, inBrackets, true)
	}
}

func (w *writer) operand(depth int, inBrackets, minus bool) {
	kind := w.upTo("operand", 9)
	switch {
	case kind == 0 && minus:
		w.put("-")
		w.operand(depth, inBrackets, true)
	case kind == 1 && depth > 0:
		w.put(" (")
		w.space(true)
		w.expr(depth-1, true, true)
		w.space(true)
		w.put(")")
	case kind == 2 && depth > 0:
		w.put("f")
		w.call()
	case kind == 3 && depth > 0:
		w.list(depth)
	default:
		w.put(w.pick("literal", "1", "0.5", "1e-4", "3x3", `"s\"\\\n"`, `"// no"`, "x", "yes", strings.Repeat("w", 40), `"漢字"`))
	}
}

func (w *writer) call() {
	w.put("(")
	n := w.upTo("call args", 3)
	for i := range n {
		w.space(true)
		w.arg(1, true, true)
		w.space(true)
		w.comma(i, n)
	}
	w.space(true)
	w.put(")")
}

func (w *writer) list(depth int) {
	w.put("[")
	n := w.upTo("elements", 3)
	for i := range n {
		w.space(true)
		w.expr(depth-1, true, true)
		w.space(true)
		w.comma(i, n)
	}
	w.space(true)
	w.put("]")
}

// comma writes the comma behind element i of n; the last may do without.
func (w *writer) comma(i, n int) {
	if i < n-1 || w.upTo("last comma", 1) == 0 {
		w.put(",")
	}
}

func TestFormatKeepsRandomPrograms(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &writer{T: rt}
		w.statements(3)
		src := w.out.String()
		if _, l := Parse("x.loco", []byte(src)); len(l) > 0 {
			rt.Fatalf("%v\n%s", l, src)
		}
		if d := differs([]byte(src)); d != "" {
			rt.Fatal(d)
		}
	})
}
