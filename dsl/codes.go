package dsl

import "github.com/locorun/locorun/dsl/diag"

// The codes of this package: L01xx, what is wrong with the text of a program.
// A code keeps its meaning for ever; one that falls out of use is not reused.
const (
	codeTooLarge      diag.Code = "L0101"
	codeNotUTF8       diag.Code = "L0102"
	codeControl       diag.Code = "L0103"
	codeTooManyTokens diag.Code = "L0104"
	codeTooDeep       diag.Code = "L0105"
	codeCharacter     diag.Code = "L0106"
	codeOpenString    diag.Code = "L0107"
	codeEscape        diag.Code = "L0108"
	codeNumber        diag.Code = "L0109"
	codeNumberRange   diag.Code = "L0110"
	codeName          diag.Code = "L0111"
	codeNeverClosed   diag.Code = "L0112"
	codeClosesNothing diag.Code = "L0113"
	codeStrayBrace    diag.Code = "L0114"
	codeNoWord        diag.Code = "L0115"
	codeNoValue       diag.Code = "L0116"
	codeUnexpected    diag.Code = "L0117"
	codeRangeOfRanges diag.Code = "L0118"
)

// CodeRow documents a diagnostic code.
type CodeRow struct {
	Code    diag.Code
	Meaning string
	// Example is the shortest program that shows it, written Times times over
	// (0: once).
	Example string
	Times   int
}

// Codes lists the diagnostics of Parse, in order.
func Codes() []CodeRow {
	return []CodeRow{
		{Code: codeTooLarge, Meaning: "the file is larger than 1 MiB", Example: "// sixteen bytes\n", Times: 1<<16 + 1},
		{Code: codeNotUTF8, Meaning: "the file is not UTF-8", Example: "loco 1 // \xFF"},
		{Code: codeControl, Meaning: "a control character, or one that reorders the text shown", Example: "loco\x00 1"},
		{Code: codeTooManyTokens, Meaning: "the file has more than 200,000 tokens", Example: "a;", Times: 100_001},
		{Code: codeTooDeep, Meaning: "more than 64 brackets, braces and unary operators inside one another, or more than 64 operators in one expression", Example: "a {\n", Times: 65},
		{Code: codeCharacter, Meaning: "a character that is not part of the language", Example: "stage s1 # the stem"},
		{Code: codeOpenString, Meaning: "a string without its closing quote", Example: `train folder("train)`},
		{Code: codeEscape, Meaning: "a backslash that begins no escape", Example: `train folder("C:\data")`},
		{Code: codeNumber, Meaning: "a malformed number or size", Example: "flip p=.5"},
		{Code: codeNumberRange, Meaning: "a number or size that is too large, or a size of nothing", Example: "resize 0x32"},
		{Code: codeName, Meaning: "a name with a capital letter, a leading _ or more than 63 characters", Example: "param Width = 32"},
		{Code: codeNeverClosed, Meaning: "a bracket or brace that is never closed", Example: "stage s1 {"},
		{Code: codeClosesNothing, Meaning: "a closing bracket or brace without its opening one", Example: "stage s1 { norm } }"},
		{Code: codeStrayBrace, Meaning: "a block that does not begin on its statement's line, or a second block", Example: "stage s1\n{ norm }"},
		{Code: codeNoWord, Meaning: "a statement that does not begin with a word", Example: "3x3 conv"},
		{Code: codeNoValue, Meaning: "a value is missing", Example: "param width ="},
		{Code: codeUnexpected, Meaning: "something that cannot stand here, such as a value without a comma before it", Example: "on [s1 s2]"},
		{Code: codeRangeOfRanges, Meaning: "a range with more than two ends", Example: "crop scale=0..1..2"},
	}
}
