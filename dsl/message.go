package dsl

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/alecthomas/participle/v2/lexer"
	"github.com/locorun/locorun/dsl/diag"
)

// quote shows source text in a message, cut where it is long.
func quote(text string) string {
	const most = 40
	if utf8.RuneCountInString(text) > most {
		text = string([]rune(text)[:most]) + "..."
	}
	return "`" + text + "`"
}

func closesNothing(r diag.Range, t lexer.Token) diag.Diagnostic {
	return diag.Diagnostic{
		Code: codeClosesNothing, Range: r,
		Message: fmt.Sprintf("this %s closes nothing", quote(t.Value)),
		Help:    fmt.Sprintf("delete it, or write the %s it belongs to", quote(opening(t.Value))),
	}
}

func opening(closing string) string {
	return map[string]string{")": "(", "]": "[", "}": "{"}[closing]
}

func closing(opening string) string {
	return map[string]string{"(": ")", "[": "]", "{": "}"}[opening]
}

func neverClosed(r diag.Range, t lexer.Token, notes []diag.Note) diag.Diagnostic {
	return diag.Diagnostic{
		Code: codeNeverClosed, Range: r, Notes: notes,
		Message: fmt.Sprintf("this %s is never closed", quote(t.Value)),
		Help:    fmt.Sprintf("write the missing %s", quote(closing(t.Value))),
	}
}

// strayBrace speaks of a block that does not begin on the line of a statement,
// or of a statement's second block; owner is the statement before, if any.
func strayBrace(r diag.Range, owner *Statement) diag.Diagnostic {
	d := diag.Diagnostic{Code: codeStrayBrace, Range: r, Message: "a block belongs to a statement, and there is none before this `{`"}
	switch {
	case owner != nil && owner.Block != nil:
		d.Message = fmt.Sprintf("%s has a block already", quote(owner.Word.Text))
		d.Notes = []diag.Note{{Range: owner.Word.Range, Message: "this statement"}}
		d.Help = "a statement has one block; write everything into it"
	case owner != nil && owner.Range.End.Line != r.Start.Line:
		d.Message = "`{` must stand on its statement's line"
		d.Notes = []diag.Note{{Range: owner.Word.Range, Message: "the statement is over at the end of its line"}}
		d.Help = "write the `{` at the end of the line before"
	}
	return d
}

func nothingFollows(r diag.Range, t lexer.Token) diag.Diagnostic {
	return diag.Diagnostic{
		Code: codeNoValue, Range: r,
		Message: fmt.Sprintf("nothing follows %s", quote(t.Value)),
		Help:    "a statement ends with its line; only within ( ) and [ ] does it go on",
	}
}

// badToken finds the first token that is none: an odd character, a string
// without end, a malformed or too large number, a name of the wrong form.
func badToken(r *reader, tokens []lexer.Token) *diag.Diagnostic {
	for _, t := range tokens {
		var d *diag.Diagnostic
		switch t.Type {
		case tJunk, tAny:
			d = badCharacter(t.Value)
		case tOpen:
			d = &diag.Diagnostic{Code: codeOpenString, Message: "this string is not closed",
				Help: "write the missing `\"` on the same line; a `\"` inside a string is written \\\""}
		case tValue:
			d = badValue(t)
		case tName, tFunc:
			d = badName(t.Value)
		}
		if d != nil {
			if d.Range.IsZero() {
				d.Range = r.rangeOf(t)
			}
			d.Range.File = r.file
			return d
		}
	}
	return nil
}

// instead says what to write for characters that people or editors put in the
// place of others.
var instead = map[string]string{
	"#": "comments begin with //", "/*": "comments begin with // and end with the line",
	"'": "strings stand in double quotes: \"text\"", "`": "strings stand in double quotes: \"text\"",
	"\u2018": "strings stand in double quotes: \"text\"", "\u2019": "strings stand in double quotes: \"text\"",
	"\u201C": "strings stand in plain double quotes: \"text\"", "\u201D": "strings stand in plain double quotes: \"text\"",
	"\u00D7": "a size is written with the letter x: 3x3", "\u2192": "the arrow is written ->",
	"\u2013": "write an ordinary - for minus", "\u2014": "write an ordinary - for minus", "\u2212": "write an ordinary - for minus",
	"\u2026": "a range is written with two points: 0.3..1", "|": "in the documentation | means or: write one of the words",
	"%": "write the share as a number: 0.1", "\u00A0": "put an ordinary blank in its place",
	"<": "a stage leads to the next with ->", ">": "a stage leads to the next with ->",
}

func badCharacter(text string) *diag.Diagnostic {
	c, _ := utf8.DecodeRuneInString(text)
	d := &diag.Diagnostic{Code: codeCharacter, Message: quote(text) + " is not part of the language", Help: instead[text]}
	switch {
	case text == ".":
		d.Help = "a range is written with two points, a number with digits on both sides of its point"
	case unicode.IsLetter(c):
		d.Help = "names are made of a to z, 0 to 9 and _; other letters may stand in strings and comments"
	case !unicode.IsPrint(c):
		d.Message = fmt.Sprintf("the character U+%04X is not part of the language", c)
	}
	return d
}

// badValue looks into a string, a size or a number.
func badValue(t lexer.Token) *diag.Diagnostic {
	switch {
	case t.Value[0] == '"':
		return badString(t)
	case isSize(t.Value):
		return badSize(t)
	}
	return badNumber(t)
}

func badString(t lexer.Token) *diag.Diagnostic {
	i := badEscape(t.Value)
	if i < 0 {
		return nil
	}
	c, n := utf8.DecodeRuneInString(t.Value[i+1:])
	from := posOf(t.Pos)
	from.Offset += i
	from.Column += utf8.RuneCountInString(t.Value[:i])
	to := diag.Pos{Offset: from.Offset + 1 + n, Line: from.Line, Column: from.Column + 2}
	return &diag.Diagnostic{
		Code: codeEscape, Range: diag.Range{Start: from, End: to},
		Message: fmt.Sprintf("%s is no escape", quote(`\`+string(c))),
		Help:    `in a string, \" is a quote, \\ a backslash, \n a newline, \t a tab; paths are written with /`,
	}
}

func badSize(t lexer.Token) *diag.Diagnostic {
	if _, _, ok := sizeOf(t.Value); ok {
		return nil
	}
	return &diag.Diagnostic{Code: codeNumberRange,
		Message: fmt.Sprintf("the size %s is not between 1x1 and %dx%d", quote(t.Value), maxSide, maxSide),
		Help:    "a size is height x width in pixels"}
}

func badNumber(t lexer.Token) *diag.Diagnostic {
	if !isNumber(t.Value) {
		return &diag.Diagnostic{Code: codeNumber, Message: quote(t.Value) + " is neither a number nor a size nor a name",
			Help: numberHelp(t.Value)}
	}
	_, whole, ok := numberOf(t.Value)
	if ok {
		return nil
	}
	d := &diag.Diagnostic{Code: codeNumberRange, Message: fmt.Sprintf("the number %s is too large", quote(t.Value))}
	if whole {
		d.Help = fmt.Sprintf("whole numbers go up to %d", int64(maxWhole))
	}
	return d
}

func numberHelp(text string) string {
	switch {
	case strings.HasPrefix(text, ".") && isNumber("0"+text):
		return "write 0" + text
	case isSize(strings.ToLower(text)):
		return "write " + strings.ToLower(text)
	case strings.Count(text, "x") == 2:
		return "a size has two sides, height x width; the number of channels is an argument of its own"
	case digits(strings.ReplaceAll(text, "_", "")):
		return "write " + strings.ReplaceAll(text, "_", "")
	}
	return "numbers look like 64, 0.5 or 1e-4, sizes like 3x3; a name begins with a letter"
}

func badName(text string) *diag.Diagnostic {
	if len(text) > maxName {
		return &diag.Diagnostic{Code: codeName, Message: fmt.Sprintf("the name %s has %d characters; %d are allowed", quote(text), len(text), maxName)}
	}
	lower := strings.ToLower(text)
	switch {
	case text[0] == '_':
		return &diag.Diagnostic{Code: codeName, Message: quote(text) + " is no name: names begin with a letter"}
	case lower != text:
		return &diag.Diagnostic{Code: codeName, Message: quote(text) + " is no name: names have no capital letters", Help: "write " + quote(lower)}
	}
	return nil
}
