package check

import "github.com/locorun/locorun/dsl/diag"

// The codes of this package: L02xx, what is wrong with the meaning of a
// program. A code keeps its meaning for ever; one that falls out of use is not
// reused.
const (
	// The language.
	codeNoVersion diag.Code = "L0201"
	codeVersion   diag.Code = "L0202"
	codeWord      diag.Code = "L0203"
	codeTwice     diag.Code = "L0204"
	codeReserved  diag.Code = "L0205"
	codeDeclares  diag.Code = "L0206"
	codePlace     diag.Code = "L0207"
	codeAgain     diag.Code = "L0208"
	codeMissing   diag.Code = "L0209"
	codeKey       diag.Code = "L0210"
	codeArgument  diag.Code = "L0211"
	codeExtra     diag.Code = "L0212"
	codeKind      diag.Code = "L0213"
	codeRange     diag.Code = "L0214"
	codeWhole     diag.Code = "L0215"
	codeName      diag.Code = "L0216"
	codeNameKind  diag.Code = "L0217"
	codeItself    diag.Code = "L0218"
	codeArith     diag.Code = "L0219"
	codeChoice    diag.Code = "L0220"
	codeDefine    diag.Code = "L0221"
	codeBlock     diag.Code = "L0222"
	codeTooMuch   diag.Code = "L0223"
	codeHides     diag.Code = "L0224"
	codeMethod    diag.Code = "L0225"

	// Imports.
	codePath       diag.Code = "L0226"
	codeUnreadable diag.Code = "L0227"
	codeCycle      diag.Code = "L0228"

	// Data and views.
	codeChannels  diag.Code = "L0229"
	codeSame      diag.Code = "L0230"
	codeNormalise diag.Code = "L0231"
	codeNoSize    diag.Code = "L0232"
	codeColour    diag.Code = "L0233"
	codeNothing   diag.Code = "L0234"
	codeViewSize  diag.Code = "L0235"
	codeClasses   diag.Code = "L0236"

	// Layers.
	codeWindow   diag.Code = "L0237"
	codeDivide   diag.Code = "L0238"
	codeVector   diag.Code = "L0239"
	codeShapes   diag.Code = "L0240"
	codeShortcut diag.Code = "L0241"
	codeTooLarge diag.Code = "L0242"
	codeExport   diag.Code = "L0243"
	codeRename   diag.Code = "L0244"
	codeSquare   diag.Code = "L0245"
	codeEmpty    diag.Code = "L0246"

	// Units.
	codeSkips    diag.Code = "L0247"
	codeOrder    diag.Code = "L0248"
	codeUntrain  diag.Code = "L0249"
	codeOverlap  diag.Code = "L0250"
	codeNoShare  diag.Code = "L0251"
	codeAlso     diag.Code = "L0252"
	codeDecoder  diag.Code = "L0253"
	codeTie      diag.Code = "L0254"
	codeFirst    diag.Code = "L0255"
	codeInTurn   diag.Code = "L0256"
	codeMicro    diag.Code = "L0257"
	codeNegative diag.Code = "L0258"
	codeWarmup   diag.Code = "L0259"
)

// CodeRow documents a diagnostic code.
type CodeRow struct {
	Code    diag.Code
	Meaning string
	// Example is a minimal program that shows it: the lines that replace or
	// join those of a small correct program; see examples_test.go.
	Example string
	// Defines and Method are the options that go with it.
	Defines map[string]string
	Method  string
}
