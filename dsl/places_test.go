package dsl

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf8"

	"github.com/locorun/locorun/dsl/diag"
	"github.com/rogpeppe/go-internal/txtar"
)

// seeds are the programs of the golden files and some odd ones.
func seeds(tb testing.TB) [][]byte {
	paths, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil {
		tb.Fatal(err)
	}
	var all [][]byte
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, txtar.Parse(data).Files[0].Data)
	}
	for _, c := range Codes() {
		if c.Times == 0 {
			all = append(all, []byte(c.Example))
		}
	}
	for _, s := range []string{
		"a (1 // c\n) f(2) // d\nb", "a (1 // c\n + 2 // d\n) { b }", "f(// c\n)", "a [1 // x\n, 2, // y\n// z\n]",
		"a {\n}\n\n\n\nb", "a { // c\n}", "a { b; c // d\n e }", "a {\n\n b\n\n}", "a f(\n1\n); b", "a { } b",
		"a --1..-2 - -b", "a \"\t\\t\"", "\r\na\r\n// b \r\n", "a 007x03 1e+5", "a -(-(b))", "a;;;\n;b",
	} {
		all = append(all, []byte(s))
	}
	return all
}

// checkRange checks that r lies in src, in order, on character boundaries, and
// that its lines and columns are those of its offsets.
func checkRange(t *testing.T, src []byte, r diag.Range) {
	t.Helper()
	if r.File != "fuzz.loco" || r.Start.Offset > r.End.Offset || r.End.Offset > len(src) {
		t.Fatalf("the place %+v is outside the file of %d bytes", r, len(src))
	}
	if !utf8.Valid(src) {
		return
	}
	checkPos(t, src, r.Start)
	checkPos(t, src, r.End)
}

func checkPos(t *testing.T, src []byte, p diag.Pos) {
	t.Helper()
	before := bytes.TrimPrefix(src[:p.Offset], []byte(byteOrderMark))
	line := 1 + bytes.Count(before, []byte("\n"))
	column := 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	if p.Line != line || p.Column != column {
		t.Fatalf("%+v lies at line %d, column %d of %q", p, line, column, src)
	}
}

func checkStatements(t *testing.T, src []byte, list []*Statement) {
	for _, s := range list {
		checkRange(t, src, s.Range)
		checkRange(t, src, s.Word.Range)
		if s.Call != nil {
			checkExpr(t, src, s.Call)
		}
		checkArgs(t, src, s.Args)
		if s.Block != nil {
			checkRange(t, src, s.Block.Range)
			checkStatements(t, src, s.Block.Statements)
		}
	}
}

func checkArgs(t *testing.T, src []byte, args []Arg) {
	for _, a := range args {
		checkRange(t, src, a.Range)
		if a.Value != nil {
			checkExpr(t, src, a.Value)
		}
	}
}

func checkExpr(t *testing.T, src []byte, e Expr) {
	checkRange(t, src, e.Span())
	switch e := e.(type) {
	case *Call:
		checkArgs(t, src, e.Args)
	case *List:
		for _, x := range e.Elems {
			checkExpr(t, src, x)
		}
	case *Paren:
		checkExpr(t, src, e.X)
	case *Unary:
		checkExpr(t, src, e.X)
	case *Binary:
		checkExpr(t, src, e.X)
		checkExpr(t, src, e.Y)
	}
}
