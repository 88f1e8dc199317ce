// Package diag holds diagnostics as values: what is wrong, where, with which
// second place, and what to do about it.
//
// In: problems found by the parser and the checker. Out: a List, sorted by
// position, that Render writes for people and WriteJSON for scripts.
// A List with an error means that no later stage of the compiler ran.
package diag

import (
	"cmp"
	"fmt"
	"slices"
)

// Pos is a place in a source file. Offset counts bytes from 0, Line counts
// from 1 and Column counts characters (runes) from 1.
type Pos struct{ Offset, Line, Column int }

// Range is a stretch of source text: Start inclusive, End exclusive. The zero
// Range means "no place".
type Range struct {
	File       string
	Start, End Pos
}

// IsZero reports whether r names no place.
func (r Range) IsZero() bool { return r == Range{} }

// String gives "file:line:column".
func (r Range) String() string {
	return fmt.Sprintf("%s:%d:%d", r.File, r.Start.Line, r.Start.Column)
}

// Severity says how bad a diagnostic is. The zero Severity is invalid.
type Severity uint8

// The severities.
const (
	Error Severity = iota + 1
	Warning
)

func (s Severity) String() string {
	return [...]string{"invalid", "error", "warning"}[s]
}

// Code is the stable identifier of a kind of diagnostic, such as "L0203".
type Code string

// Note is a second place that a diagnostic speaks of, or, with a zero Range, a
// plain remark.
type Note struct {
	Range   Range
	Message string
}

// Diagnostic is one finding about a program.
type Diagnostic struct {
	Severity Severity
	Code     Code
	Message  string // what is wrong, one line, no final dot
	Range    Range  // the tight place the caret stands under
	Notes    []Note // places that disagree with it, in reading order
	Help     string // what to do about it; may hold a line to paste
}

// List is a set of diagnostics. It is an error when it holds one.
type List []Diagnostic

// HasErrors reports whether l holds a diagnostic of severity Error.
func (l List) HasErrors() bool {
	return slices.ContainsFunc(l, func(d Diagnostic) bool { return d.Severity == Error })
}

// Sorted returns l ordered by file, position and code, the order of printing.
func (l List) Sorted() List {
	s := slices.Clone(l)
	slices.SortStableFunc(s, func(a, b Diagnostic) int {
		return cmp.Or(
			cmp.Compare(a.Range.File, b.Range.File),
			cmp.Compare(a.Range.Start.Offset, b.Range.Start.Offset),
			cmp.Compare(a.Code, b.Code))
	})
	return s
}

// Error gives the first error and the number of the others.
func (l List) Error() string {
	n, first := 0, ""
	for _, d := range l.Sorted() {
		if d.Severity != Error {
			continue
		}
		if n++; n == 1 {
			first = fmt.Sprintf("%s: %s [%s]", d.Range, d.Message, d.Code)
		}
	}
	if n > 1 {
		return fmt.Sprintf("%s (and %d more)", first, n-1)
	}
	return first
}
