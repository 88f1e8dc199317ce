package dsl

import (
	"fmt"

	"github.com/alecthomas/participle/v2/lexer"
	"github.com/locorun/locorun/dsl/diag"
)

// explain says why the grammar stopped at token i of a head whose brackets
// match; i is len(head) where more was expected.
func explain(r *reader, head []lexer.Token, i int) diag.Diagnostic {
	if i == 0 {
		return noWord(r, head[0])
	}
	prev := head[i-1]
	if i == len(head) {
		return diag.Diagnostic{Code: codeNoValue, Range: r.rangeOf(prev),
			Message: "a value is missing after " + quote(prev.Value),
			Help:    "a statement ends with its line; only within ( ) and [ ] does it go on"}
	}
	t := head[i]
	d := diag.Diagnostic{Code: codeUnexpected, Range: r.rangeOf(t)}
	open := enclosing(head[:i])
	switch {
	case is(t, "="):
		d.Message = "`=` needs a name before it"
		d.Help = "key=value: the key is a single word"
	case wantsValue(prev) && t.Type == tKey:
		d.Message = fmt.Sprintf("a value is expected after %s, not a key with a value of its own", quote(prev.Value))
	case wantsValue(prev):
		d.Code, d.Range = codeNoValue, r.rangeOf(prev)
		d.Message = fmt.Sprintf("a value is missing between %s and %s", quote(prev.Value), quote(t.Value))
	case t.Type == tOperator:
		d.Code = codeNoValue
		d.Message = "a value is missing before " + quote(t.Value)
	case open == nil:
		d.Message = "unexpected " + quote(t.Value)
	default:
		inBrackets(&d, *open, t)
		if open.Pos.Line != t.Pos.Line {
			d.Notes = []diag.Note{{Range: r.rangeOf(*open), Message: "within this"}}
		}
	}
	return d
}

// noWord speaks of a statement that does not begin with a word.
func noWord(r *reader, t lexer.Token) diag.Diagnostic {
	d := diag.Diagnostic{Code: codeNoWord, Range: r.rangeOf(t),
		Message: "a statement begins with a word, not with " + quote(t.Value)}
	switch {
	case t.Type == tKey:
		d.Message = fmt.Sprintf("a statement begins with a word; %s gives a value to a key", quote(t.Value+" ="))
		d.Help = fmt.Sprintf("write %s for a setting, %s for a name of your own", quote(t.Value+" value"), quote("let "+t.Value+" = value"))
	case t.Type == tSign || t.Type == tOperator || is(t, "="):
		d.Help = "a statement ends with its line: write this at the end of the line before, with what follows"
	}
	return d
}

// inBrackets completes a message about t, which neither belongs to the value
// before it nor separates it from the next, within the bracket open.
func inBrackets(d *diag.Diagnostic, open, t lexer.Token) {
	pair := quote(open.Value + " " + closing(open.Value))
	switch {
	case open.Value == "(" && open.Type != tFunc && is(t, ","):
		d.Message = "these parentheses hold one value"
		d.Help = "a call is a name directly followed by `(`, without a blank; a list stands in `[ ]`"
	case t.Type == tKey && open.Type != tFunc:
		d.Message = fmt.Sprintf("%s cannot stand within %s", quote(t.Value+"="), pair)
		d.Help = "only calls take key=value: a name directly followed by `(`, without a blank"
	case is(t, "->") || is(t, ":"):
		d.Message = fmt.Sprintf("%s cannot stand within %s", quote(t.Value), pair)
	case is(t, ",") || closes(t):
		d.Message = fmt.Sprintf("a value is missing before %s", quote(t.Value))
		d.Code = codeNoValue
	default:
		d.Message = "a comma is missing before " + quote(t.Value)
	}
}

// enclosing is the innermost bracket that is open behind tokens; its Type is
// tFunc where it belongs to a call.
func enclosing(tokens []lexer.Token) *lexer.Token {
	level := 0
	for i := len(tokens) - 1; i >= 0; i-- {
		switch t := tokens[i]; {
		case closes(t):
			level++
		case opens(t) && level > 0:
			level--
		case opens(t):
			if i > 0 && tokens[i-1].Type == tFunc {
				t.Type = tFunc
			}
			return &t
		}
	}
	return nil
}

// wantsValue reports whether a value must follow t.
func wantsValue(t lexer.Token) bool { return is(t, "=") || t.Type == tOperator }
