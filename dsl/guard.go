package dsl

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"github.com/alecthomas/participle/v2/lexer"
	"github.com/locorun/locorun/dsl/diag"
)

// The bounds of a source file. They are checked before the parser sees a
// token, for it recurses once per level and a stack overflow cannot be caught.
const (
	maxBytes     = 1 << 20
	maxTokens    = 200_000
	maxDepth     = 64
	maxOperators = 64      // in one expression: its tree leans to one side
	maxName      = 63      // characters of a name
	maxSide      = 1 << 20 // height or width of a size
	maxWhole     = 1 << 53 // greatest whole number that is exact everywhere
)

const byteOrderMark = "\uFEFF"

// checkBytes finds what makes src no text at all: its length, its encoding,
// characters that no text file holds. One finding is enough.
func checkBytes(file string, src []byte) *diag.Diagnostic {
	if len(src) > maxBytes {
		return &diag.Diagnostic{
			Severity: diag.Error, Code: codeTooLarge, Range: start(file),
			Message: fmt.Sprintf("the file has %d bytes; a .loco file has at most %d", len(src), maxBytes),
			Help:    "is this the right file? data are named in the data block, not written into the program",
		}
	}
	if bytes.HasPrefix(src, []byte{0xFF, 0xFE}) || bytes.HasPrefix(src, []byte{0xFE, 0xFF}) {
		return &diag.Diagnostic{
			Severity: diag.Error, Code: codeNotUTF8, Range: start(file),
			Message: "the file is UTF-16, a .loco file is UTF-8", Help: "save it as UTF-8",
		}
	}
	for i := 0; i < len(src); {
		c, n := utf8.DecodeRune(src[i:])
		if c == utf8.RuneError && n == 1 {
			return &diag.Diagnostic{
				Severity: diag.Error, Code: codeNotUTF8, Range: at(file, src, i, 1),
				Message: fmt.Sprintf("byte 0x%02X is not UTF-8", src[i]),
				Help:    "save the file as UTF-8; is this the right file?",
			}
		}
		if forbidden(c) || c == '\uFEFF' && i > 0 || c == '\r' && !bytes.HasPrefix(src[i+1:], []byte{'\n'}) {
			help := "delete it; is this a text file?"
			if c == '\r' {
				help = "a line ends with a newline, U+000A; a carriage return may stand before it, and nowhere else"
			}
			return &diag.Diagnostic{
				Severity: diag.Error, Code: codeControl, Range: at(file, src, i, n),
				Message: fmt.Sprintf("control character U+%04X", c), Help: help,
			}
		}
		i += n
	}
	return nil
}

// forbidden reports whether c is a control character or one that reorders the
// text a reader sees.
func forbidden(c rune) bool {
	switch {
	case c == '\t' || c == '\n' || c == '\r':
		return false
	case c < 0x20 || 0x7F <= c && c < 0xA0:
		return true
	}
	return 0x202A <= c && c <= 0x202E || 0x2066 <= c && c <= 0x2069
}

// start is the first character of a file.
func start(file string) diag.Range {
	p := diag.Pos{Line: 1, Column: 1}
	return diag.Range{File: file, Start: p, End: p}
}

// at is the place of n bytes at offset i of src, one character; the text
// before it is sound.
func at(file string, src []byte, i, n int) diag.Range {
	before := bytes.TrimPrefix(src[:i], []byte(byteOrderMark))
	line := before[bytes.LastIndexByte(before, '\n')+1:]
	p := diag.Pos{Offset: i, Line: 1 + bytes.Count(before, []byte{'\n'}), Column: 1 + utf8.RuneCount(line)}
	return diag.Range{File: file, Start: p, End: diag.Pos{Offset: i + n, Line: p.Line, Column: p.Column + 1}}
}

// depth counts how many brackets, braces and unary operators a token stands
// in:
//
//	a { f(-(2   is 4 deep
type depth struct {
	outer []int // depths to return to when a bracket closes
	now   int
	unary int // unary operators directly before the next token
}

// step moves past t, which follows prev, and reports whether the bound holds.
// Brackets that close nothing are left to the parser's messages.
func (d *depth) step(prev *lexer.Token, t lexer.Token) bool {
	switch {
	case is(t, "-") && !endsValue(prev):
		d.unary++
		return d.now+d.unary <= maxDepth
	case opens(t):
		d.outer = append(d.outer, d.now)
		d.now += d.unary + 1
	case closes(t) && len(d.outer) > 0:
		d.now = d.outer[len(d.outer)-1]
		d.outer = d.outer[:len(d.outer)-1]
	}
	d.unary = 0
	return d.now <= maxDepth
}

// endsValue reports whether an operator behind t has t as its left operand.
// The word of a statement is not told apart here: "lr -1" counts no unary
// operator, "lr --1" counts one; the parser adds at most this one.
func endsValue(t *lexer.Token) bool {
	return t != nil && (t.Type == tName || t.Type == tValue || is(*t, ")") || is(*t, "]"))
}

func opens(t lexer.Token) bool { return is(t, "(") || is(t, "[") || is(t, "{") }

func closes(t lexer.Token) bool { return is(t, ")") || is(t, "]") || is(t, "}") }

func tooManyTokens(r diag.Range) *diag.Diagnostic {
	return &diag.Diagnostic{
		Severity: diag.Error, Code: codeTooManyTokens, Range: r,
		Message: fmt.Sprintf("the file has more than %d tokens", maxTokens),
		Help:    "use block and repeat instead of writing layers out",
	}
}

func tooDeep(r diag.Range) *diag.Diagnostic {
	return &diag.Diagnostic{
		Severity: diag.Error, Code: codeTooDeep, Range: r,
		Message: fmt.Sprintf("more than %d brackets, braces and unary operators inside one another", maxDepth),
		Help:    "is a closing bracket missing? give inner parts a name with let or block",
	}
}
