package dsl

import "github.com/locorun/locorun/dsl/diag"

// File is a parsed source file: exactly what was written, with places. It is
// never changed after Parse.
type File struct {
	Name       string // as given to Parse; used in every Range
	Source     []byte
	Statements []*Statement
	Comments   []Comment // in order of appearance
}

// Statement is a word, its arguments and, where there is one, its block:
//
//	unit low = s1 -> s2 : proj { lr 0.5 }
//	~~~~ ~~~~~~~~~~~~~~~~~~~~~ ~~~~~~~~~~
//	Word Args                  Block
//
// A statement that is a call, such as basic(2*width, stride=2), has the call
// in Call and the call's name in Word; Args holds what follows the closing
// parenthesis. A word that a blank parts from "(" is no call: its first
// argument is a *Paren.
type Statement struct {
	Range diag.Range // from the word to the end of the last argument or block
	Word  Name
	Call  *Call // nil where the word is not directly followed by "("
	Args  []Arg
	Block *Block // nil where none was written
}

// Block is the statements between braces.
type Block struct {
	Range      diag.Range // braces included
	Statements []*Statement
}

// ArgKind says what an Arg is.
type ArgKind uint8

// The kinds of argument.
const (
	Positional ArgKind = iota // an expression
	Keyed                     // key=value
	Arrow                     // ->
	Colon                     // :
	Comma                     // ,
)

// Arg is one item after a statement's word or between a call's parentheses.
// Value is nil for the three kinds that are only a sign; Key is set for Keyed.
type Arg struct {
	Range diag.Range
	Kind  ArgKind
	Key   *Name
	Value Expr
}

// Comment is a // comment, its text without the slashes and the newline.
type Comment struct {
	Range diag.Range
	Text  string
}

// Expr is an expression: *Name, *Number, *Size, *String, *Call, *List, *Paren,
// *Binary or *Unary.
type Expr interface{ Span() diag.Range }

type (
	// Name is an identifier, also yes and no.
	Name struct {
		Range diag.Range
		Text  string
	}
	// Number is a number literal. Whole is set where it is written without
	// point and exponent.
	Number struct {
		Range diag.Range
		Text  string
		Value float64
		Whole bool
	}
	// Size is H x W written as one token, such as 3x3.
	Size struct {
		Range diag.Range
		H, W  int
	}
	// String is a string literal; Value is unquoted.
	String struct {
		Range diag.Range
		Value string
	}
	// Call is a name directly followed by an opening parenthesis. Args holds
	// only Positional and Keyed arguments.
	Call struct {
		Range diag.Range
		Func  Name
		Args  []Arg
	}
	// List is [a, b].
	List struct {
		Range diag.Range
		Elems []Expr
	}
	// Paren is (x).
	Paren struct {
		Range diag.Range
		X     Expr
	}
	// Binary is x op y with op one of + - * / and ".." (a range of numbers).
	Binary struct {
		Range diag.Range
		Op    string
		X, Y  Expr
	}
	// Unary is -x.
	Unary struct {
		Range diag.Range
		Op    string
		X     Expr
	}
)

// Span returns the place of the expression.
func (e *Name) Span() diag.Range   { return e.Range }
func (e *Number) Span() diag.Range { return e.Range }
func (e *Size) Span() diag.Range   { return e.Range }
func (e *String) Span() diag.Range { return e.Range }
func (e *Call) Span() diag.Range   { return e.Range }
func (e *List) Span() diag.Range   { return e.Range }
func (e *Paren) Span() diag.Range  { return e.Range }
func (e *Binary) Span() diag.Range { return e.Range }
func (e *Unary) Span() diag.Range  { return e.Range }
