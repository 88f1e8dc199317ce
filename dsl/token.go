package dsl

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/alecthomas/participle/v2/lexer"
	"github.com/locorun/locorun/dsl/diag"
)

// rules are the tokens of the language, the first that matches winning. No
// token spans lines, so the source is read line by line; the last rule takes
// any character, so reading never fails and odd text becomes a diagnostic of
// the statement it stands in.
var rules = lexer.MustStateful(lexer.Rules{"Root": {
	{Name: "blank", Pattern: `[ \t\r]+`},
	{Name: "Name", Pattern: `[A-Za-z_][A-Za-z0-9_]*`},
	{Name: "Comment", Pattern: `//[^\n]*`},
	{Name: "Junk", Pattern: `/\*`},
	{Name: "Punct", Pattern: `->|\.\.|[-+*/=:,;(){}\[\]]`},
	{Name: "Number", Pattern: `\.?[0-9](?:[eE][-+][0-9]|\.?[0-9A-Za-z_])*`},
	{Name: "String", Pattern: `"(?:[^"\\\n]|\\.)*"`},
	{Name: "Open", Pattern: `"[^\n(){};\[\]]*`}, // leaves what would close brackets
	{Name: "Any", Pattern: `[^\n]`},
}})

// vocabulary is what the grammar sees: the lexer's tokens and some that are
// told apart afterwards, the fewer alternatives for the parser to try. A Func
// is a Name directly followed by "(", a Key a Name followed by "="; a Value is
// a Number, a Size such as 3x3 or a String; Operators and Signs are Puncts.
type vocabulary struct {
	*lexer.StatefulDefinition
	symbols map[string]lexer.TokenType
}

// Symbols names every token type.
func (v vocabulary) Symbols() map[string]lexer.TokenType { return v.symbols }

func newVocabulary(d *lexer.StatefulDefinition, more ...string) vocabulary {
	v := vocabulary{d, map[string]lexer.TokenType{}}
	last := lexer.EOF
	for name, t := range d.Symbols() {
		v.symbols[name] = t
		last = min(last, t)
	}
	for i, name := range more {
		v.symbols[name] = last - 1 - lexer.TokenType(i)
	}
	return v
}

var (
	words = newVocabulary(rules, "Func", "Key", "Value", "Operator", "Sign", "Newline")

	tName     = words.symbols["Name"]
	tComment  = words.symbols["Comment"]
	tJunk     = words.symbols["Junk"]
	tNumber   = words.symbols["Number"]
	tString   = words.symbols["String"]
	tOpen     = words.symbols["Open"]
	tAny      = words.symbols["Any"]
	tFunc     = words.symbols["Func"]
	tKey      = words.symbols["Key"]
	tValue    = words.symbols["Value"]
	tOperator = words.symbols["Operator"]
	tSign     = words.symbols["Sign"]
	tNewline  = words.symbols["Newline"]
)

// reader cuts a source into tokens, line by line, and stops at the bounds.
type reader struct {
	file     string
	tokens   []lexer.Token // ends with an EOF token; comments left out
	comments []Comment
	count    int // tokens and comments
	depth    depth
}

// read cuts src, whose bytes are known to be sound, into tokens. A diagnostic
// means that a bound was passed and the tokens are not to be used.
func read(file string, src []byte) (*reader, *diag.Diagnostic) {
	r := &reader{file: file}
	text := string(src)
	pos := lexer.Position{Filename: file, Line: 1, Column: 1}
	if strings.HasPrefix(text, byteOrderMark) {
		pos.Offset, text = len(byteOrderMark), text[len(byteOrderMark):]
	}
	for {
		line, rest, more := strings.Cut(text, "\n")
		if d := r.line(line, pos); d != nil {
			return nil, d
		}
		pos.Column = 1 + utf8.RuneCountInString(line)
		pos.Offset += len(line)
		if !more {
			r.tokens = append(r.tokens, lexer.EOFToken(pos))
			return r, nil
		}
		r.tokens = append(r.tokens, lexer.Token{Type: tNewline, Value: "\n", Pos: pos})
		pos.Offset, pos.Line, pos.Column, text = pos.Offset+1, pos.Line+1, 1, rest
	}
}

// line appends the tokens of one line that begins at pos.
func (r *reader) line(text string, pos lexer.Position) *diag.Diagnostic {
	lex, err := rules.LexString(r.file, text)
	if err != nil {
		panic("dsl: the lexer refused to start: " + err.Error())
	}
	for {
		t, err := lex.Next()
		if err != nil {
			panic("dsl: a rule for any character did not match: " + err.Error())
		}
		if t.EOF() {
			return nil
		}
		t.Pos.Offset, t.Pos.Line = t.Pos.Offset+pos.Offset, pos.Line
		if d := r.add(t); d != nil {
			return d
		}
	}
}

// add appends t under its final type, unless it passes a bound.
func (r *reader) add(t lexer.Token) *diag.Diagnostic {
	if r.count++; r.count > maxTokens {
		return tooManyTokens(r.rangeOf(t))
	}
	if t.Type == tComment {
		text := strings.TrimRight(t.Value[2:], "\r")
		t.Value = "//" + text
		r.comments = append(r.comments, Comment{Range: r.rangeOf(t), Text: text})
		return nil
	}
	var prev *lexer.Token
	if n := len(r.tokens); n > 0 {
		prev = &r.tokens[n-1]
	}
	if !r.depth.step(prev, t) {
		return tooDeep(r.rangeOf(t))
	}
	switch {
	case t.Value == "(" && prev != nil && prev.Type == tName && endOf(*prev).Offset == t.Pos.Offset:
		prev.Type = tFunc
	case t.Type == tNumber || t.Type == tString:
		t.Type = tValue
	case operator(t):
		t.Type = tOperator
	case is(t, "->") || is(t, ":") || is(t, ","):
		t.Type = tSign
	}
	r.tokens = append(r.tokens, t)
	return nil
}

// is reports whether t is the given sign, which no other kind of token reads
// like.
func is(t lexer.Token, sign string) bool { return t.Value == sign }

func operator(t lexer.Token) bool {
	switch t.Value {
	case "..", "+", "-", "*", "/":
		return true
	}
	return false
}

func (r *reader) rangeOf(t lexer.Token) diag.Range {
	return diag.Range{File: r.file, Start: posOf(t.Pos), End: endOf(t)}
}

func posOf(p lexer.Position) diag.Pos {
	return diag.Pos{Offset: p.Offset, Line: p.Line, Column: p.Column}
}

// endOf gives the place behind t, which lies on one line.
func endOf(t lexer.Token) diag.Pos {
	p := posOf(t.Pos)
	p.Offset += len(t.Value)
	p.Column += utf8.RuneCountInString(t.Value)
	return p
}

// isSize reports whether s reads digits, x, digits.
func isSize(s string) bool {
	h, w, ok := strings.Cut(s, "x")
	return ok && digits(h) && digits(w)
}

// isNumber reports whether s is a number: digits, perhaps a point with digits
// on both sides, perhaps an exponent.
func isNumber(s string) bool {
	mantissa := s
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		exponent := s[i+1:]
		if signed := strings.HasPrefix(exponent, "+") || strings.HasPrefix(exponent, "-"); signed {
			exponent = exponent[1:]
		}
		if !digits(exponent) {
			return false
		}
		mantissa = s[:i]
	}
	whole, fraction, point := strings.Cut(mantissa, ".")
	return digits(whole) && (!point || digits(fraction))
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// sizeOf reads a Size token; ok is false where a side is not in 1..maxSide.
func sizeOf(s string) (h, w int, ok bool) {
	a, b, _ := strings.Cut(s, "x")
	h, errH := strconv.Atoi(a)
	w, errW := strconv.Atoi(b)
	return h, w, errH == nil && errW == nil && 1 <= min(h, w) && max(h, w) <= maxSide
}

// numberOf reads a Number token; ok is false where a float64 cannot hold it,
// or, written whole, not exactly.
func numberOf(s string) (v float64, whole, ok bool) {
	if digits(s) {
		n, err := strconv.ParseUint(s, 10, 64)
		return float64(n), true, err == nil && n <= maxWhole
	}
	v, err := strconv.ParseFloat(s, 64)
	return v, false, err == nil
}
