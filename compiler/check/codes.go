package check

import (
	"slices"

	"github.com/locorun/locorun/dsl/diag"
)

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
	// Example is a line that shows it. It stands in the place of the line of
	// Base that begins with Instead, or at its end where Instead is empty.
	Example, Instead string
	// Define is the name=value of a -D, Method the method, that go with it.
	Define, Method string
}

// Base is the small correct program that the examples of Codes change.
const Base = `loco 1
data { train synthetic(shapes, n=100); test synthetic(shapes, n=50) }
views { crop 32; flip }
stage s1 { conv 3x3 8; norm; relu }
stage s2 { conv 3x3 16 stride=2; norm; relu }
stage s3 { conv 3x3 32 stride=2; norm; relu }
decoder proj { pool mean; dense 16 }
unit low = s1 -> s2 : proj
unit high = s2 -> s3 : proj
overlap s2 in low, high
train { batch 8; epochs 1; loss ntxent(temperature=0.5); optimizer sgd(lr=0.1) }
`

// Codes lists the diagnostics of Check, in order.
func Codes() []CodeRow {
	return slices.Concat(languageCodes, importCodes, dataCodes, layerCodes, unitCodes)
}

var languageCodes = []CodeRow{
	{Code: codeNoVersion, Meaning: "the file does not begin with `loco 1`", Example: "", Instead: "loco"},
	{Code: codeVersion, Meaning: "the file is written in a newer language", Example: "loco 2", Instead: "loco"},
	{Code: codeWord, Meaning: "a word that means nothing where it stands", Example: "projector p { pool mean }"},
	{Code: codeTwice, Meaning: "a name is declared twice", Example: "let s1 = 3"},
	{Code: codeReserved, Meaning: "a word reserved for a later version", Example: "readout segment { on s3 }"},
	{Code: codeDeclares, Meaning: "a word of the language is declared as a name", Example: "param batch = 3"},
	{Code: codePlace, Meaning: "a word that belongs elsewhere", Example: "crop 32"},
	{Code: codeAgain, Meaning: "something is written twice that is written once", Example: "train { batch 8 }"},
	{Code: codeMissing, Meaning: "something that must be there is missing", Example: "train { batch 8; epochs 1; loss ntxent(temperature=0.5) }", Instead: "train"},
	{Code: codeKey, Meaning: "an unknown key or argument", Example: "stage s1 { conv 3x3 8 strid=2 }", Instead: "stage s1"},
	{Code: codeArgument, Meaning: "an argument is missing, or what stands there cannot be one", Example: "stage s1 { conv 3x3 }", Instead: "stage s1"},
	{Code: codeExtra, Meaning: "an argument or a sign too many", Example: "stage s1 { conv 3x3 8 2 }", Instead: "stage s1"},
	{Code: codeKind, Meaning: "a value of another kind than is needed", Example: `stage s1 { conv 3x3 "8" }`, Instead: "stage s1"},
	{Code: codeRange, Meaning: "a value out of its bounds", Example: "stage s1 { conv 3x3 0 }", Instead: "stage s1"},
	{Code: codeWhole, Meaning: "a whole number is needed", Example: "stage s1 { conv 3x3 8/3 }", Instead: "stage s1"},
	{Code: codeName, Meaning: "a name that is not declared", Example: "stage s1 { conv 3x3 width }", Instead: "stage s1"},
	{Code: codeNameKind, Meaning: "a name of something else than is needed", Example: "stage s1 { conv 3x3 low }", Instead: "stage s1"},
	{Code: codeItself, Meaning: "something depends on itself", Example: "let a = a + 1"},
	{Code: codeArith, Meaning: "arithmetic without a result", Example: "let a = 1/0"},
	{Code: codeChoice, Meaning: "not one of the words to choose from", Example: "stage s1 { pool mid }", Instead: "stage s1"},
	{Code: codeDefine, Meaning: "a -D that names no param, or does not fit it", Example: "param wide = 8", Define: "wid=9"},
	{Code: codeBlock, Meaning: "a block is missing, or one too many", Example: "stage s1 { repeat 2 }", Instead: "stage s1"},
	{Code: codeTooMuch, Meaning: "the program is too large when written out", Example: "stage s1 { repeat 1000 { repeat 1000 { relu } } }", Instead: "stage s1"},
	{Code: codeHides, Meaning: "warning: a block has the name of a layer and stands for it", Example: "block relu() { norm }"},
	{Code: codeMethod, Meaning: "there is no such method", Method: "locos"},
}

var importCodes = []CodeRow{
	{Code: codePath, Meaning: "an import leads out of the root file's directory", Example: `import "../x.loco"`},
	{Code: codeUnreadable, Meaning: "an imported file cannot be read", Example: `import "std/resnets.loco"`},
	{Code: codeCycle, Meaning: "files import one another in a circle", Example: `import "base.loco"`},
}

var dataCodes = []CodeRow{
	{Code: codeChannels, Meaning: "the sources' channels differ", Example: `data { train synthetic(shapes); test idx("i", "l") }`, Instead: "data"},
	{Code: codeSame, Meaning: "readouts would be scored on pictures they are fitted on (a warning, or an error for splits)",
		Example: `data { train split(cifar10("d"), 0.1); test split(cifar10("d"), 0.2) }`, Instead: "data"},
	{Code: codeNormalise, Meaning: "the means or deviations are not one for each channel",
		Example: "data { train synthetic(shapes); normalise mean=[0] std=[1] }", Instead: "data"},
	{Code: codeNoSize, Meaning: "the size of a view is not known", Example: `data { train folder("d") }; views { flip }`, Instead: "data { train synthetic(shapes, n=100); test synthetic(shapes, n=50) }\nviews"},
	{Code: codeColour, Meaning: "warning: colour is changed in pictures of one channel", Example: "data { train synthetic(shapes); channels 1 }; views { crop 32; grey }", Instead: "data { train synthetic(shapes, n=100); test synthetic(shapes, n=50) }\nviews"},
	{Code: codeNothing, Meaning: "a step of the views that changes nothing", Example: "views { crop 32; jitter }", Instead: "views"},
	{Code: codeViewSize, Meaning: "pictures have another size than the stages or a step take", Example: "readout knn { on s3; test_view { centre 28 } }"},
	{Code: codeClasses, Meaning: "train and test have different classes", Example: "data { train synthetic(shapes); test synthetic(shapes, classes=5) }", Instead: "data"},
}

var layerCodes = []CodeRow{
	{Code: codeWindow, Meaning: "a window does not fit into the map", Example: "stage s1 { conv 35x35 8 pad=0 }", Instead: "stage s1"},
	{Code: codeDivide, Meaning: "channels do not divide evenly", Example: "stage s1 { conv 3x3 8 groups=2 }", Instead: "stage s1"},
	{Code: codeVector, Meaning: "`dense` behind a map larger than 1x1", Example: "decoder proj { dense 16 }", Instead: "decoder"},
	{Code: codeShapes, Meaning: "the maps of branches do not fit together", Example: "stage s1 { fork { branch { }; branch { pool mean 2 } } }", Instead: "stage s1"},
	{Code: codeShortcut, Meaning: "there is no automatic shortcut around this body", Example: "stage s1 { residual { pool mean } }", Instead: "stage s1"},
	{Code: codeTooLarge, Meaning: "a map, or the weights, are too large", Example: "stage s1 { resize 4096; conv 3x3 65536 }", Instead: "stage s1"},
	{Code: codeExport, Meaning: "two layers would be exported under one name", Example: "stage s1 { conv 3x3 8 as a; conv 3x3 8 as a }", Instead: "stage s1"},
	{Code: codeRename, Meaning: "`as` on a line without weights", Example: "stage s1 { relu as a }", Instead: "stage s1"},
	{Code: codeSquare, Meaning: "a window that is not square needs its padding or stride written", Example: "stage s1 { conv 3x1 8 }", Instead: "stage s1"},
	{Code: codeEmpty, Meaning: "something without layers or branches", Example: "stage s1 { }", Instead: "stage s1"},
}

var unitCodes = []CodeRow{
	{Code: codeSkips, Meaning: "an arrow skips a stage or goes back", Example: "unit low = s1 -> s3 : proj", Instead: "unit low"},
	{Code: codeOrder, Meaning: "the starts or ends of units decrease", Example: "unit top = s1 -> s2 -> s3 : proj also"},
	{Code: codeUntrain, Meaning: "no unit holds a stage", Example: "stage s4 { relu }"},
	{Code: codeOverlap, Meaning: "units share a stage, but no overlap says so", Example: "", Instead: "overlap"},
	{Code: codeNoShare, Meaning: "an overlap that the units do not make", Example: "overlap s3 in low, high"},
	{Code: codeAlso, Meaning: "two units end on one stage and `also` does not say so, or it does where they do not", Example: "unit high = s2 -> s3 : proj also", Instead: "unit high"},
	{Code: codeDecoder, Meaning: "a decoder that gives no vector", Example: "decoder proj { norm }", Instead: "decoder"},
	{Code: codeTie, Meaning: "a tie that means nothing here", Example: "unit bottom = s1 : proj; unit low = s1 -> s2 : proj; overlap s1 in bottom, low tie=free", Instead: "unit low"},
	{Code: codeFirst, Meaning: "a cut that means nothing here", Example: "overlap s2 in low, high first=1", Instead: "overlap"},
	{Code: codeInTurn, Meaning: "units that share a stage cannot be trained in turn",
		Example: "train { batch 8; epochs 1; units in_turn; loss ntxent(temperature=0.5); optimizer sgd(lr=0.1) }", Instead: "train"},
	{Code: codeMicro, Meaning: "the microbatch does not divide the batch",
		Example: "train { batch 8; microbatch 3; epochs 1; loss ntxent(temperature=0.5); optimizer sgd(lr=0.1) }", Instead: "train"},
	{Code: codeNegative, Meaning: "a loss without negatives",
		Example: "train { batch 1; epochs 1; loss ntxent(temperature=0.5); optimizer sgd(lr=0.1) }", Instead: "train"},
	{Code: codeWarmup, Meaning: "the warm-up is longer than the training",
		Example: "train { batch 8; epochs 1; loss ntxent(temperature=0.5); optimizer sgd(lr=0.1); schedule cosine(warmup=2) }", Instead: "train"},
}
