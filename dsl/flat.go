package dsl

import (
	"fmt"
	"strings"
)

// flatStatements writes statements on one line: a; b { c }.
func flatStatements(list []*Statement) string {
	parts := make([]string, len(list))
	for i, s := range list {
		parts[i] = flatStatement(s)
	}
	return strings.Join(parts, "; ")
}

func flatStatement(s *Statement) string {
	var b strings.Builder
	b.WriteString(s.Word.Text)
	if s.Call != nil {
		b.WriteString(flatArgs(s.Call.Args))
	}
	for i, a := range s.Args {
		if a.Kind != Comma {
			b.WriteByte(' ')
		}
		b.WriteString(flatArg(a, spaced(s, i)))
	}
	switch {
	case s.Block == nil:
	case len(s.Block.Statements) == 0:
		b.WriteString(" { }")
	default:
		b.WriteString(" { " + flatStatements(s.Block.Statements) + " }")
	}
	return b.String()
}

// spaced reports whether argument i of s is a declared name with its value,
// which has blanks around its equals sign.
func spaced(s *Statement, i int) bool {
	switch s.Word.Text {
	case "param", "let", "unit", "watch":
		return i == 0 && s.Call == nil
	}
	return false
}

func equals(spaced bool) string {
	if spaced {
		return " = "
	}
	return "="
}

func flatArg(a Arg, spaced bool) string {
	switch a.Kind {
	case Arrow:
		return "->"
	case Colon:
		return ":"
	case Comma:
		return ","
	case Keyed:
		return a.Key.Text + equals(spaced) + flatExpr(a.Value)
	}
	return flatExpr(a.Value)
}

func flatArgs(args []Arg) string {
	parts := make([]string, len(args))
	for i, a := range args {
		parts[i] = flatArg(a, false)
	}
	return "(" + strings.Join(parts, ", ") + ")"
}

func flatExpr(e Expr) string {
	switch e := e.(type) {
	case *Name:
		return e.Text
	case *Number:
		return e.Text
	case *Size:
		return fmt.Sprintf("%dx%d", e.H, e.W)
	case *String:
		return quoteString(e.Value)
	case *Call:
		return e.Func.Text + flatArgs(e.Args)
	case *List:
		parts := make([]string, len(e.Elems))
		for i, x := range e.Elems {
			parts[i] = flatExpr(x)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case *Paren:
		return "(" + flatExpr(e.X) + ")"
	case *Binary:
		return flatExpr(e.X) + e.Op + flatExpr(e.Y)
	case *Unary:
		return e.Op + flatExpr(e.X)
	}
	panic(fmt.Sprintf("dsl: no such expression: %T", e))
}

var quoted = strings.NewReplacer(`"`, `\"`, `\`, `\\`, "\n", `\n`, "\t", `\t`)

// quoteString is the inverse of unquote.
func quoteString(s string) string { return `"` + quoted.Replace(s) + `"` }
