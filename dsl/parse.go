package dsl

import (
	"github.com/alecthomas/participle/v2/lexer"
	"github.com/locorun/locorun/dsl/diag"
)

// Parse reads a source file. name is used in every place reported; src is kept
// and must not be changed afterwards.
//
// The diagnostics are sorted by place and hold at most one error per
// statement. With errors, the File holds the statements that could be read;
// it is never nil.
func Parse(name string, src []byte) (*File, diag.List) {
	f := &File{Name: name, Source: src}
	if d := checkBytes(name, src); d != nil {
		return f, diag.List{*d}
	}
	r, d := read(name, src)
	if d != nil {
		return f, diag.List{*d}
	}
	l := &layout{reader: r}
	f.Comments = r.comments
	f.Statements = l.statements(nil)
	if l.open != nil {
		l.report(*l.open)
	}
	return f, l.found.Sorted()
}

// layout finds statements and blocks among the tokens and gives the grammar
// one statement at a time:
//
//	stage s1 { conv 3x3 width; norm }
//	~~~~~~~~   ~~~~~~~~~~~~~~  ~~~~      heads
//	         ^                      ^   a block
type layout struct {
	*reader
	next  int // index of the next token
	found diag.List

	// open is the message about one of the blocks that the file's end found
	// open: one whose brace seems to be missing inside the file, else the
	// innermost.
	open *diag.Diagnostic
}

func (l *layout) peek() lexer.Token { return l.tokens[l.next] }

// at reports whether the next token is the sign s.
func (l *layout) at(s string) bool { return is(l.peek(), s) }

func (l *layout) report(d diag.Diagnostic) {
	d.Severity = diag.Error
	l.found = append(l.found, d)
}

// statements reads up to the brace that closes open, or, where open is nil, to
// the end of the file.
func (l *layout) statements(open *lexer.Token) []*Statement {
	var list []*Statement
	for {
		switch t := l.peek(); {
		case t.EOF():
			return list
		case is(t, "}") && open != nil:
			return list
		case is(t, "}"):
			l.report(closesNothing(l.rangeOf(t), t))
			l.next++
		case is(t, "{"):
			l.strayBlock(list)
		case t.Type == tNewline || is(t, ";"):
			l.next++
		default:
			if s := l.statement(); s != nil {
				list = append(list, s)
			}
		}
	}
}

// strayBlock reads a block whose brace does not stand on its statement's line.
// It becomes the block of the statement before, if that has none, so that no
// further message is due to it.
func (l *layout) strayBlock(before []*Statement) {
	t := l.peek()
	var owner *Statement
	if n := len(before); n > 0 {
		owner = before[n-1]
	}
	l.report(strayBrace(l.rangeOf(t), owner))
	block := l.block()
	if owner != nil && owner.Block == nil {
		owner.Block, owner.Range.End = block, block.Range.End
	}
}

// statement reads a head and, where one follows, its block. It returns nil
// where the head was not understood; its block was then read for its errors.
func (l *layout) statement() *Statement {
	head, sound := l.head()
	var s *Statement
	if sound {
		s = l.parse(head)
	}
	if !l.at("{") {
		return s
	}
	block := l.block()
	if s != nil {
		s.Block, s.Range.End = block, block.Range.End
	}
	return s
}

// block reads from "{" to "}".
func (l *layout) block() *Block {
	i := l.next
	open := l.tokens[i]
	l.next++
	b := &Block{Range: l.rangeOf(open), Statements: l.statements(&open)}
	if t := l.peek(); t.EOF() {
		d := neverClosed(l.rangeOf(open), open, l.outdented(i, b.Statements))
		if l.open == nil || l.open.Notes == nil && d.Notes != nil {
			l.open = &d
		}
		b.Range.End = posOf(t.Pos)
		return b
	}
	b.Range.End = endOf(l.peek())
	l.next++
	return b
}

// outdented looks for where the brace that closes the one at index open may be
// missing: before the first statement that stands no deeper than its line.
func (l *layout) outdented(open int, list []*Statement) []diag.Note {
	line := l.tokens[open].Pos.Line
	for open > 0 && l.tokens[open-1].Pos.Line == line {
		open--
	}
	for _, s := range list {
		if at := s.Range.Start; at.Line > line && at.Column <= l.tokens[open].Pos.Column {
			return []diag.Note{{Range: s.Word.Range, Message: "perhaps before this"}}
		}
	}
	return nil
}

// head reads the tokens of a statement up to its end or its block. It is not
// sound where the brackets do not match or a token is no token; that has then
// been reported.
func (l *layout) head() (head []lexer.Token, sound bool) {
	from := l.next
	var open []int // indices of brackets not yet closed
	sound = true
	for ; !l.endsHead(len(open) > 0); l.next++ {
		switch t := l.peek(); {
		case opens(t):
			open = append(open, l.next)
		case closes(t) && !l.closeBracket(&open, sound):
			sound = false
		}
	}
	if len(open) > 0 {
		l.unclosed(open, sound)
		return nil, false
	}
	tokens := l.tokens[from:l.next]
	if d := badToken(l.reader, tokens); d != nil && sound {
		l.report(*d)
		sound = false
	}
	return joined(tokens), sound
}

// joined leaves out the newlines, which stand within brackets, and makes Keys
// of the Names that an equals sign follows.
func joined(tokens []lexer.Token) []lexer.Token {
	head := make([]lexer.Token, 0, len(tokens))
	for _, t := range tokens {
		if t.Type == tNewline {
			continue
		}
		if n := len(head); is(t, "=") && n > 0 && head[n-1].Type == tName {
			head[n-1].Type = tKey
		}
		head = append(head, t)
	}
	return head
}

// endsHead reports whether the next token stands behind the statement's head.
// A brace or a ";" ends it even within brackets: one of them is then missing.
func (l *layout) endsHead(inBrackets bool) bool {
	t := l.peek()
	return t.EOF() || is(t, "{") || is(t, "}") || is(t, ";") || t.Type == tNewline && !inBrackets
}

// closeBracket matches the next token, which closes, with the brackets that
// are open. It reports a mismatch unless the head has its message already.
func (l *layout) closeBracket(open *[]int, quiet bool) bool {
	t := l.peek()
	for i := len(*open) - 1; i >= 0; i-- {
		o := l.tokens[(*open)[i]]
		if (o.Value == "(") != (t.Value == ")") {
			continue
		}
		inner := (*open)[i+1:]
		*open = (*open)[:i]
		if len(inner) == 0 {
			return true
		}
		if quiet {
			o = l.tokens[inner[len(inner)-1]]
			l.report(neverClosed(l.rangeOf(o), o, []diag.Note{{Range: l.rangeOf(t), Message: "before this"}}))
		}
		return false
	}
	if quiet {
		l.report(closesNothing(l.rangeOf(t), t))
	}
	return false
}

// unclosed reports the innermost of the open brackets that stand on the line
// of the first, and goes back to the end of that line, so that the statements
// swallowed are read after all.
func (l *layout) unclosed(open []int, report bool) {
	i := open[0]
	for _, j := range open {
		if l.tokens[j].Pos.Line == l.tokens[open[0]].Pos.Line {
			i = j
		}
	}
	if o := l.tokens[i]; report {
		l.report(neverClosed(l.rangeOf(o), o, nil))
	}
	for j := i; j < l.next; j++ {
		if l.tokens[j].Type == tNewline {
			l.next = j
			return
		}
	}
}

// parse gives a head to the grammar.
func (l *layout) parse(head []lexer.Token) *Statement {
	node, bad := parseHead(head)
	if node == nil {
		l.report(explain(l.reader, head, bad))
		return nil
	}
	b := builder{reader: l.reader}
	s := b.statement(node)
	if b.found != nil {
		l.report(*b.found)
		return nil
	}
	if last := head[len(head)-1]; last.Type == tSign {
		l.report(nothingFollows(l.rangeOf(last), last))
		return nil
	}
	return s
}
