package dsl

import (
	"fmt"
	"strings"

	"github.com/alecthomas/participle/v2/lexer"
	"github.com/locorun/locorun/dsl/diag"
)

// builder turns the grammar's nodes into the syntax tree. It keeps the first
// thing that the grammar let through and the language does not.
type builder struct {
	*reader
	found *diag.Diagnostic
}

func (b *builder) fail(d diag.Diagnostic) {
	if b.found == nil {
		b.found = &d
	}
}

func (b *builder) statement(n *headNode) *Statement {
	s := &Statement{}
	if n.Call != nil {
		s.Call = b.call(n.Call)
		s.Word, s.Range = s.Call.Func, s.Call.Range
	} else {
		s.Word = *b.name(n.Word)
		s.Range = s.Word.Range
	}
	for _, i := range n.Items {
		s.Args = append(s.Args, b.item(i))
	}
	if len(s.Args) > 0 {
		s.Range.End = s.Args[len(s.Args)-1].Range.End
	}
	return s
}

func (b *builder) item(n *itemNode) Arg {
	if n.Sign.Value == "" {
		return b.arg(n.Key, n.First, n.Rest)
	}
	a := Arg{Kind: Arrow, Range: b.rangeOf(n.Sign)}
	switch n.Sign.Value {
	case ":":
		a.Kind = Colon
	case ",":
		a.Kind = Comma
	}
	return a
}

func (b *builder) arg(key lexer.Token, first *operandNode, rest []*stepNode) Arg {
	a := Arg{Kind: Positional, Value: b.expr(first, rest)}
	a.Range = a.Value.Span()
	if key.Value != "" {
		a.Kind, a.Key = Keyed, b.name(key)
		a.Range.Start = a.Key.Range.Start
	}
	return a
}

func (b *builder) name(t lexer.Token) *Name {
	return &Name{Range: b.rangeOf(t), Text: t.Value}
}

func (b *builder) call(n *callNode) *Call {
	c := &Call{Func: *b.name(n.Func)}
	c.Range = span(c.Func.Range, b.rangeOf(n.Close))
	for _, a := range n.Args {
		c.Args = append(c.Args, b.arg(a.Key, a.First, a.Rest))
	}
	return c
}

// span is the stretch from the start of x to the end of y.
func span(x, y diag.Range) diag.Range {
	return diag.Range{File: x.File, Start: x.Start, End: y.End}
}

// binding is how tightly an operator holds its operands.
func binding(op string) int {
	switch op {
	case "..":
		return 1
	case "+", "-":
		return 2
	}
	return 3
}

// expr makes a tree of a flat row of operators; all lean to the left.
func (b *builder) expr(first *operandNode, rest []*stepNode) Expr {
	if len(rest) > maxOperators {
		op := rest[maxOperators].Op
		b.fail(diag.Diagnostic{
			Code: codeTooDeep, Range: b.rangeOf(op),
			Message: fmt.Sprintf("more than %d operators in one expression", maxOperators),
			Help:    "give a part of it a name with let",
		})
		return b.operand(first)
	}
	return b.climb(b.operand(first), &rest, 1)
}

// climb applies to x the operators of rest that bind at least as tightly as
// least, taking them off.
func (b *builder) climb(x Expr, rest *[]*stepNode, least int) Expr {
	for len(*rest) > 0 && binding((*rest)[0].Op.Value) >= least {
		step := (*rest)[0]
		*rest = (*rest)[1:]
		y := b.climb(b.operand(step.X), rest, binding(step.Op.Value)+1)
		if left, ok := x.(*Binary); ok && step.Op.Value == ".." && left.Op == ".." {
			b.fail(diag.Diagnostic{
				Code: codeRangeOfRanges, Range: b.rangeOf(step.Op),
				Message: "a range has two ends, this is a third",
				Help:    "write lowest..highest",
			})
		}
		x = &Binary{Range: span(x.Span(), y.Span()), Op: step.Op.Value, X: x, Y: y}
	}
	return x
}

func (b *builder) operand(n *operandNode) Expr {
	switch {
	case n.Call != nil:
		return b.call(n.Call)
	case n.Unary != nil:
		x := b.operand(n.Unary.X)
		return &Unary{Range: span(b.rangeOf(n.Unary.Op), x.Span()), Op: "-", X: x}
	case n.List != nil:
		list := &List{Range: span(b.rangeOf(n.List.Open), b.rangeOf(n.List.Close))}
		for _, e := range n.List.Elems {
			list.Elems = append(list.Elems, b.expr(e.First, e.Rest))
		}
		return list
	case n.Paren != nil:
		r := span(b.rangeOf(n.Paren.Open), b.rangeOf(n.Paren.Close))
		return &Paren{Range: r, X: b.expr(n.Paren.X.First, n.Paren.X.Rest)}
	}
	if n.Name.Value != "" {
		return b.name(n.Name)
	}
	return b.literal(n.Value)
}

func (b *builder) literal(t lexer.Token) Expr {
	r := b.rangeOf(t)
	switch {
	case t.Value[0] == '"':
		return &String{Range: r, Value: unquote(t.Value)}
	case isSize(t.Value):
		h, w, _ := sizeOf(t.Value)
		return &Size{Range: r, H: h, W: w}
	}
	v, whole, _ := numberOf(t.Value)
	return &Number{Range: r, Text: t.Value, Value: v, Whole: whole}
}

// escapes are the letters that may follow a backslash in a string, and what
// they stand for.
var escapes = map[byte]byte{'"': '"', '\\': '\\', 'n': '\n', 't': '\t'}

// unquote gives the text of a String token, whose escapes are known to be good.
func unquote(s string) string {
	s = s[1 : len(s)-1]
	if !strings.Contains(s, `\`) {
		return s
	}
	var text strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			text.WriteByte(s[i])
			continue
		}
		i++
		text.WriteByte(escapes[s[i]])
	}
	return text.String()
}

// badEscape finds the first backslash in a String token that begins no escape;
// -1 where all are good.
func badEscape(s string) int {
	for i := 1; i < len(s)-1; i++ {
		if s[i] != '\\' {
			continue
		}
		if _, ok := escapes[s[i+1]]; !ok {
			return i
		}
		i++
	}
	return -1
}
