package dsl

import (
	"strings"
	"unicode/utf8"

	"github.com/locorun/locorun/dsl/diag"
)

const (
	formatWidth = 100 // columns a line may take, trailing comments apart
	indentUnit  = "  "
)

// Format gives the one canonical layout of a file that Parse read without
// errors:
//
//   - two blanks of indent, one blank between arguments, key=value tight, but
//     for the names that param, let, unit and watch declare: "param width = 32";
//   - statements written on one line stay on one line, a block as well, unless
//     they take more than 100 columns;
//   - brackets stay on one line where they fit and hold no comment, else every
//     element has a line;
//   - at most one empty line, none at the ends of a block;
//   - comments stay where they are: on a line of their own or behind what they
//     follow. One within parentheses moves behind the statement.
//
// Formatting the result again changes nothing, and it has the tree f has.
func Format(f *File) []byte {
	p := printer{comments: f.Comments}
	p.statements(f.Statements, end)
	return []byte(p.out.String())
}

// end is a place behind all others.
const end = int(^uint(0) >> 1)

// printer lays out a file from top to bottom. Comments are taken from their
// queue as the places they stood at are passed.
type printer struct {
	out      strings.Builder
	indent   int
	column   int       // of the line being written, from 0
	comments []Comment // not yet written
	line     int       // the source line of what was last written
	fresh    bool      // something was written in this block
}

func (p *printer) write(s string) {
	if s == "" {
		return
	}
	if p.column == 0 {
		blank := strings.Repeat(indentUnit, p.indent)
		p.out.WriteString(blank)
		p.column = len(blank)
	}
	p.out.WriteString(s)
	p.column += utf8.RuneCountInString(s)
}

func (p *printer) newline() {
	p.out.WriteByte('\n')
	p.column = 0
}

// commented reports whether a comment not yet written stands before offset.
func (p *printer) commented(offset int) bool {
	return len(p.comments) > 0 && p.comments[0].Range.Start.Offset < offset
}

func trimmed(c Comment) string { return strings.TrimRight(c.Text, " \t\r") }

func (p *printer) takeComment() Comment {
	c := p.comments[0]
	p.comments = p.comments[1:]
	return c
}

// finish ends the line of what stood up to source line `line`: a comment that
// stood there before offset goes behind it.
func (p *printer) finish(line, offset int) {
	if p.commented(offset) && p.comments[0].Range.Start.Line <= line {
		p.write("  //" + trimmed(p.takeComment()))
	}
	p.line = line
	p.newline()
}

// own writes the comments before offset, each on a line of its own.
func (p *printer) own(offset int) {
	for p.commented(offset) {
		c := p.takeComment()
		p.gap(c.Range.Start.Line)
		p.write("//" + trimmed(c))
		p.newline()
		p.line = max(p.line, c.Range.End.Line)
	}
}

// gap keeps an empty line before source line next, where there was one and it
// is not the first of a block.
func (p *printer) gap(next int) {
	if p.fresh && next > p.line+1 {
		p.newline()
	}
	p.fresh = true
}

// statements writes statements and the comments among them, up to offset.
func (p *printer) statements(list []*Statement, offset int) {
	p.fresh = false
	for len(list) > 0 {
		n := p.oneLine(list)
		p.own(list[0].Range.Start.Offset)
		p.gap(list[0].Range.Start.Line)
		if text, ok := p.fits(list[:n]); ok {
			p.write(text)
			p.finishStatement(list[n-1], list[n:], offset)
		} else {
			for i, s := range list[:n] {
				p.own(s.Range.Start.Offset)
				p.statement(s)
				p.finishStatement(s, list[i+1:], offset)
			}
		}
		list = list[n:]
	}
	p.own(offset)
}

// finishStatement ends the line of s, before the statements rest and offset.
func (p *printer) finishStatement(s *Statement, rest []*Statement, offset int) {
	if len(rest) > 0 {
		offset = rest[0].Range.Start.Offset
	}
	p.finish(s.Range.End.Line, offset)
	p.fresh = true
}

// oneLine counts the statements at the head of list that were written on one
// line.
func (p *printer) oneLine(list []*Statement) int {
	n := 1
	for n < len(list) && list[n].Range.Start.Line == list[n-1].Range.End.Line {
		n++
	}
	return n
}

// fits gives the statements as one line, if they may stand on one: their
// blocks did or are empty, no comment is among them, and they take at most the
// width.
func (p *printer) fits(list []*Statement) (string, bool) {
	if p.commented(list[len(list)-1].Range.End.Offset) {
		return "", false
	}
	for _, s := range list {
		if b := s.Block; b != nil && len(b.Statements) > 0 && b.Range.Start.Line != b.Range.End.Line {
			return "", false
		}
	}
	text := flatStatements(list)
	return text, len(indentUnit)*p.indent+utf8.RuneCountInString(text) <= formatWidth
}

// statement writes a statement by itself, without ending its line.
func (p *printer) statement(s *Statement) {
	if text, ok := p.fits([]*Statement{s}); ok {
		p.write(text)
		return
	}
	p.head(s)
	if s.Block == nil {
		return
	}
	p.write(" {")
	inner := s.Block.Range.End.Offset - 1
	if first := s.Block.Statements; len(first) > 0 {
		inner = first[0].Range.Start.Offset
	}
	p.finish(s.Block.Range.Start.Line, inner)
	p.indent++
	p.statements(s.Block.Statements, s.Block.Range.End.Offset)
	p.indent--
	p.write("}")
}

// head writes a statement's word and arguments, breaking brackets where they
// hold comments or do not fit.
func (p *printer) head(s *Statement) {
	if s.Call != nil {
		p.expr(s.Call)
	} else {
		p.write(s.Word.Text)
	}
	for i, a := range s.Args {
		if a.Kind != Comma {
			p.write(" ")
		}
		if a.Value == nil {
			p.write(flatArg(a, false))
			continue
		}
		if a.Key != nil {
			p.write(a.Key.Text + equals(spaced(s, i)))
		}
		p.expr(a.Value)
	}
}

// expr writes an expression, broken into lines where it must be.
func (p *printer) expr(e Expr) {
	flat := flatExpr(e)
	r := e.Span()
	if p.column+utf8.RuneCountInString(flat) <= formatWidth && !p.commented(r.End.Offset) {
		p.write(flat)
		return
	}
	switch e := e.(type) {
	case *Call:
		p.write(e.Func.Text)
		p.brackets("(", ")", r, len(e.Args), func(i int) diag.Range { return e.Args[i].Range }, func(i int) {
			if e.Args[i].Key != nil {
				p.write(e.Args[i].Key.Text + "=")
			}
			p.expr(e.Args[i].Value)
		})
	case *List:
		p.brackets("[", "]", r, len(e.Elems), func(i int) diag.Range { return e.Elems[i].Span() }, func(i int) { p.expr(e.Elems[i]) })
	case *Binary:
		p.expr(e.X)
		p.write(e.Op)
		p.expr(e.Y)
	case *Unary:
		p.write(e.Op)
		p.expr(e.X)
	case *Paren:
		p.write("(")
		p.expr(e.X)
		p.write(")")
	default:
		p.write(flat)
	}
}

// brackets writes n elements, one a line, with a comma behind each.
func (p *printer) brackets(open, shut string, r diag.Range, n int, place func(int) diag.Range, element func(int)) {
	start := func(i int) int {
		if i < n {
			return place(i).Start.Offset
		}
		return r.End.Offset - 1
	}
	if n == 0 && !p.commented(start(0)) {
		p.write(open + shut)
		return
	}
	p.write(open)
	p.indent++
	p.finish(r.Start.Line, start(0))
	for i := range n {
		p.bracketed(start(i))
		element(i)
		p.write(",")
		p.finish(place(i).End.Line, start(i+1))
	}
	p.bracketed(start(n))
	p.indent--
	p.write(shut)
}

// bracketed writes the comments before offset; between brackets there are no
// empty lines.
func (p *printer) bracketed(offset int) {
	p.fresh = false
	for p.commented(offset) {
		p.own(p.comments[0].Range.End.Offset)
		p.fresh = false
	}
}
