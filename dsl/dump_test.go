package dsl

import (
	"fmt"
	"strconv"
	"strings"
)

// dump prints a tree as nested lists, one statement a line, without places.
func dump(f *File) string {
	var b strings.Builder
	dumpStatements(&b, f.Statements, "")
	for _, c := range f.Comments {
		fmt.Fprintf(&b, "comment %d %q\n", c.Range.Start.Line, c.Text)
	}
	return b.String()
}

func dumpStatements(b *strings.Builder, list []*Statement, indent string) {
	for _, s := range list {
		fmt.Fprintf(b, "%s(%s", indent, s.Word.Text)
		if s.Call != nil {
			fmt.Fprintf(b, " (call%s)", dumpArgs(s.Call.Args))
		}
		b.WriteString(dumpArgs(s.Args))
		if s.Block != nil {
			b.WriteString(" {\n")
			dumpStatements(b, s.Block.Statements, indent+"  ")
			b.WriteString(indent + "}")
		}
		b.WriteString(")\n")
	}
}

func dumpArgs(args []Arg) string {
	var b strings.Builder
	for _, a := range args {
		switch a.Kind {
		case Positional:
			b.WriteString(" " + dumpExpr(a.Value))
		case Keyed:
			fmt.Fprintf(&b, " %s=%s", a.Key.Text, dumpExpr(a.Value))
		case Arrow:
			b.WriteString(" ->")
		case Colon:
			b.WriteString(" :")
		case Comma:
			b.WriteString(" ,")
		}
	}
	return b.String()
}

func dumpExpr(e Expr) string {
	switch e := e.(type) {
	case *Name:
		return e.Text
	case *Number:
		if e.Whole {
			return strconv.FormatFloat(e.Value, 'f', -1, 64)
		}
		return "~" + strconv.FormatFloat(e.Value, 'g', -1, 64)
	case *Size:
		return fmt.Sprintf("<%dx%d>", e.H, e.W)
	case *String:
		return strconv.Quote(e.Value)
	case *Call:
		return "(call " + e.Func.Text + dumpArgs(e.Args) + ")"
	case *List:
		var b strings.Builder
		for _, x := range e.Elems {
			b.WriteString(" " + dumpExpr(x))
		}
		return "(list" + b.String() + ")"
	case *Paren:
		return "(paren " + dumpExpr(e.X) + ")"
	case *Binary:
		return "(" + e.Op + " " + dumpExpr(e.X) + " " + dumpExpr(e.Y) + ")"
	case *Unary:
		return "(" + e.Op + " " + dumpExpr(e.X) + ")"
	}
	panic(fmt.Sprintf("no such expression: %T", e))
}
