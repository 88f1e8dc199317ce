package check

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/locorun/locorun/dsl"
	"github.com/locorun/locorun/dsl/diag"
)

// want is the kind of value an argument takes.
type want uint8

const (
	wantNumber  want = iota
	wantWhole        // a whole number
	wantSize         // 3x3, or a whole number: square
	wantSpan         // 0.3..1, or a number: both ends
	wantWord         // one of the field's words
	wantText         // a string
	wantTruth        // yes or no
	wantNumbers      // a list of numbers
	wantWholes       // a list of whole numbers
)

// field is one argument of a statement or a call.
type field struct {
	name     string
	key      bool // written name=value; else by its position
	optional bool
	want     want
	words    []string
	lo, hi   float64 // bounds of numbers, of each side, of each end
	open     bool    // lo itself is refused
	below    bool    // hi itself is refused
}

// form is what a statement or a call takes.
type form struct {
	usage  string
	fields []field
}

// values are the arguments that were written, by name.
type values struct {
	m map[string]value
	// sound says that nothing was wrong with them.
	sound bool
}

func (v values) has(name string) bool { _, ok := v.m[name]; return ok }

// num is the number written, or the default.
func (v values) num(name string, otherwise float64) float64 {
	if x, ok := v.m[name]; ok {
		return x.n
	}
	return otherwise
}

func (v values) int(name string, otherwise int) int {
	if x, ok := v.m[name]; ok {
		return int(x.n)
	}
	return otherwise
}

// sides is the size written, height and width, or the default.
func (v values) sides(name string, h, w int) (int, int) {
	if x, ok := v.m[name]; ok {
		return x.h, x.w
	}
	return h, w
}

func (v values) span(name string, lo, hi float64) [2]float64 {
	if x, ok := v.m[name]; ok {
		return [2]float64{x.n, x.hi}
	}
	return [2]float64{lo, hi}
}

func (v values) word(name, otherwise string) string {
	if x, ok := v.m[name]; ok {
		return x.s
	}
	return otherwise
}

func (v values) yes(name string, otherwise bool) bool {
	if x, ok := v.m[name]; ok {
		return x.yes
	}
	return otherwise
}

func (v values) numbers(name string, otherwise ...float64) []float64 {
	x, ok := v.m[name]
	if !ok {
		return otherwise
	}
	list := make([]float64, len(x.list))
	for i, e := range x.list {
		list[i] = e.n
	}
	return list
}

// match reads arguments by a form. word is the statement's or the call's word,
// at is where it stands.
func (c *checker) match(f form, word string, at diag.Range, args []dsl.Arg, in *env) values {
	v := values{m: map[string]value{}, sound: true}
	at.End = lastOf(at, args)
	next := 0
	for _, a := range args {
		fd := c.fieldFor(f, word, a, &next)
		if fd == nil {
			v.sound = false
			continue
		}
		if v.has(fd.name) {
			c.errorf(codeAgain, a.Range, "`%s` is written twice", fd.name)
			v.sound = false
			continue
		}
		x, ok := c.convert(*fd, a.Value, in)
		if v.m[fd.name] = x; !ok {
			v.sound = false
		}
	}
	for _, fd := range f.fields {
		if !fd.optional && !v.has(fd.name) && v.sound {
			c.errorf(codeArgument, at, "`%s` lacks %s", word, fd.describe(word)).help("%s", f.usage)
			v.sound = false
		}
	}
	return v
}

func lastOf(at diag.Range, args []dsl.Arg) diag.Pos {
	if n := len(args); n > 0 && args[n-1].Range.File == at.File {
		return args[n-1].Range.End
	}
	return at.End
}

func (f field) describe(word string) string {
	if f.name == word && f.want != wantWord {
		return "its value"
	}
	if f.key {
		return fmt.Sprintf("`%s=`", f.name)
	}
	if f.want == wantWord {
		return "a word: " + oneOf("", f.words)
	}
	return "its `" + f.name + "`"
}

// fieldFor finds the field that an argument is for, or reports it.
func (c *checker) fieldFor(f form, word string, a dsl.Arg, next *int) *field {
	switch a.Kind {
	case dsl.Positional:
		for *next < len(f.fields) && f.fields[*next].key {
			*next++
		}
		if *next == len(f.fields) {
			c.errorf(codeExtra, a.Range, "`%s` takes no further argument here", word).help("%s", f.usage)
			return nil
		}
		*next++
		return &f.fields[*next-1]
	case dsl.Keyed:
		for i := range f.fields {
			if f.fields[i].key && f.fields[i].name == a.Key.Text {
				return &f.fields[i]
			}
		}
		c.unknownKey(f, word, a.Key)
		return nil
	}
	c.errorf(codeExtra, a.Range, "`%s` cannot stand here: blanks separate the arguments of a statement", signOf(a.Kind)).
		help("%s", f.usage)
	return nil
}

func signOf(k dsl.ArgKind) string {
	return map[dsl.ArgKind]string{dsl.Arrow: "->", dsl.Colon: ":", dsl.Comma: ","}[k]
}

func (c *checker) unknownKey(f form, word string, key *dsl.Name) {
	if slices.Contains(reserved, key.Text) {
		c.errorf(codeReserved, key.Range, "`%s` is not in this version", key.Text).help("it is reserved for a later one")
		return
	}
	var keys []string
	for _, fd := range f.fields {
		if fd.key {
			keys = append(keys, fd.name)
		} else if fd.name == key.Text {
			c.errorf(codeKey, key.Range, "`%s` of `%s` is written without its name", key.Text, word).help("%s", f.usage)
			return
		}
	}
	r := c.errorf(codeKey, key.Range, "`%s` has no key `%s`", word, key.Text)
	switch s := c.suggestion(key.Text, keys); {
	case s != "":
		r.help("did you mean `%s`?", s)
	case len(keys) > 0:
		r.help("%s", oneOf("", keys))
	default:
		r.help("%s", f.usage)
	}
}

// convert evaluates an argument and checks that it is what the field wants.
// Where it is not, that was reported and ok is false.
func (c *checker) convert(f field, e dsl.Expr, in *env) (v value, ok bool) {
	if n, isName := e.(*dsl.Name); isName && f.words != nil {
		if slices.Contains(f.words, n.Text) {
			return value{kind: text, s: n.Text, at: n.Range}, true
		}
		if f.want == wantWord {
			c.badWord(f, n)
			return v, false
		}
	}
	if f.want == wantWord {
		c.errorf(codeChoice, e.Span(), "%s takes a word", f.subject()).help("%s", oneOf("", f.words))
		return v, false
	}
	v = c.eval(e, in)
	if v.kind == poison {
		return v, false
	}
	switch f.want {
	case wantSize:
		return c.asSize(f, v)
	case wantSpan:
		return c.asSpan(f, v)
	case wantText:
		return v, c.isKind(f, v, text)
	case wantTruth:
		return v, c.isKind(f, v, truth)
	case wantNumbers, wantWholes:
		return v, c.isKind(f, v, listing) && c.elements(f, v.list)
	}
	return v, c.isKind(f, v, number) && c.inBounds(f, v, v.n)
}

func (f field) subject() string { return fmt.Sprintf("`%s`", f.name) }

func (c *checker) badWord(f field, n *dsl.Name) {
	if slices.Contains(reserved, n.Text) {
		c.errorf(codeReserved, n.Range, "`%s` is not in this version", n.Text).help("%s", oneOf("", f.words))
		return
	}
	c.choices(c.errorf(codeChoice, n.Range, "`%s` does not take `%s`", f.name, n.Text), n.Text, f.words)
}

// noChoice reports a word where another of its sort is needed.
func (c *checker) noChoice(sort string, words []string, n *dsl.Name) {
	if slices.Contains(reserved, n.Text) {
		c.errorf(codeReserved, n.Range, "`%s` is not in this version", n.Text).help("%s", oneOf("", words))
		return
	}
	c.choices(c.errorf(codeChoice, n.Range, "there is no %s `%s`", sort, n.Text), n.Text, words)
}

// choices adds to a report what could have been written.
func (c *checker) choices(r report, word string, words []string) {
	if s := c.suggestion(word, words); s != "" {
		r.help("did you mean `%s`?", s)
		return
	}
	r.help("%s", oneOf("", words))
}

func (c *checker) isKind(f field, v value, k valueKind) bool {
	if v.kind == k {
		return true
	}
	c.errorf(codeKind, v.at, "%s takes %s, this is %s", f.subject(), k, v.kind)
	return false
}

func (c *checker) elements(f field, list []value) bool {
	if len(list) > maxList {
		c.errorf(codeRange, list[maxList].at, "%s has more than %d values", f.subject(), maxList)
		return false
	}
	if f.want == wantWholes {
		f.want = wantWhole
	}
	for _, x := range list {
		if !c.isKind(f, x, number) || !c.inBounds(f, x, x.n) {
			return false
		}
	}
	return true
}

// maxList is the greatest length of a list of settings.
const maxList = 1000

func (c *checker) asSize(f field, v value) (value, bool) {
	if v.kind == size {
		ok := c.inBounds(f, v, float64(v.h)) && c.inBounds(f, v, float64(v.w))
		return v, ok
	}
	if v.kind != number {
		c.errorf(codeKind, v.at, "%s takes a size such as 3x3 or 3, this is %s", f.subject(), v.kind)
		return v, false
	}
	if !c.inBounds(f, v, v.n) {
		return v, false
	}
	v.kind, v.h, v.w, v.single = size, int(v.n), int(v.n), true
	return v, true
}

func (c *checker) asSpan(f field, v value) (value, bool) {
	if v.kind == number {
		v.kind, v.hi = interval, v.n
	}
	if v.kind != interval {
		c.errorf(codeKind, v.at, "%s takes a range such as 0.3..1, this is %s", f.subject(), v.kind)
		return v, false
	}
	return v, c.inBounds(f, v, v.n) && c.inBounds(f, v, v.hi)
}

// inBounds checks a number of v against the field.
func (c *checker) inBounds(f field, v value, n float64) bool {
	if f.want == wantWhole || f.want == wantSize {
		if n != math.Trunc(n) {
			c.errorf(codeWhole, v.at, "%s takes a whole number, this is %s", f.subject(), format(n)).
				help("where a whole number is needed, division must be exact")
			return false
		}
	}
	if n > f.lo || n == f.lo && !f.open {
		if n < f.hi || n == f.hi && !f.below {
			return true
		}
	}
	c.errorf(codeRange, v.at, "%s is %s, but must be %s", f.subject(), format(n), f.bounds())
	return false
}

// bounds says in words which numbers a field takes.
func (f field) bounds() string {
	var parts []string
	if f.open {
		parts = append(parts, "above "+bound(f.lo))
	} else {
		parts = append(parts, "at least "+bound(f.lo))
	}
	switch {
	case math.IsInf(f.hi, 1):
	case f.below:
		parts = append(parts, "below "+bound(f.hi))
	default:
		parts = append(parts, "at most "+bound(f.hi))
	}
	return strings.Join(parts, " and ")
}

func bound(n float64) string {
	return format(n)
}
