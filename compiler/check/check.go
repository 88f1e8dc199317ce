// Package check turns a syntax tree into a model, or says why it is none.
//
// In: a dsl.File, the values of -D, a method, the library and a way to read
// imported files. Out: a model.Net in which every name is resolved, every
// shape known, every block and repeat written out and the method's rewrite
// done; or diagnostics, several per run, sorted by place. A Net comes with
// warnings at most. The same input gives the same output, always.
//
//	dsl.File --names--> declarations --stages--> shapes --units, overlaps-->
//	  written units --method, ties, first--> units --decoders--> model.Net
//
// Where a word may stand is written in the tables of words.go, what it takes in
// the forms beside its check; a problem is a row of codes.go. A value that was reported is poisoned: what
// depends on it is silent. One place gives one message of a kind, however many
// calls and repeats go through it.
//
// # Scope
//
// A file sees what it declares and what it imports, and what those import; a
// block of the library does not see the names of the file that calls it.
// `import "x.loco" as r` puts r_ before each name: r_basic(64).
//
// # Names of weights
//
// Within a stage (Layer.Name) a line in a block is "<index>.<kind><n>", a line
// outside blocks "<kind><n>", n counting each kind from 1 within its block, the
// index counting the calls of blocks from 0. A block within a block adds an
// index of its own; the convolution and the norm of a shortcut are
// "downsample.0" and "downsample.1". Checkpoints put the stage's name before.
//
// In exported files (Layer.Export) `as` on a stage names the run of its blocks,
// and the lines outside blocks stand beside it, at the top, where
// torchvision's ResNet has its stem:
//
//	stage s1 as layer1 {
//	  conv 7x7 64 stride=2; norm; relu     conv1.weight, bn1.weight, ...
//	  repeat 3 { bottleneck(64) }          layer1.0.conv1.weight, ...
//	}
//
// A stage without `as` has its own name before all of them: s1.conv1.weight,
// s1.0.conv1.weight. `as` on a line replaces its "<kind><n>", `as` on the call
// of a block its index, in exported files only. Two weights of one exported
// name are an error.
//
// # What is not written
//
// dsl/SPEC.md is the authority on defaults, bounds and scope; a test compiles
// its programs and compares its table of codes with Codes.
package check

import (
	"fmt"
	"io/fs"
	"slices"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/dsl"
	"github.com/locorun/locorun/dsl/diag"
)

// Options are what decides the meaning of a program beside its text.
type Options struct {
	// Defines are the values of -D by name, as they were written.
	Defines map[string]string
	// Method is loco, gim or e2e; "" is loco.
	Method string
	// Std holds the files whose import begins with std/, without that prefix;
	// nil: there are none.
	Std fs.FS
	// Read reads an imported file by its slash-separated path relative to the
	// root file's directory; the path never leaves it. nil: there are none.
	Read func(path string) ([]byte, error)
}

// Check checks f, which dsl.Parse read without an error. The Net is nil where
// the diagnostics hold an error.
func Check(f *dsl.File, opt Options) (*model.Net, diag.List) {
	if opt.Method == "" {
		opt.Method = "loco"
	}
	c := &checker{
		opt: opt, seen: map[mark]bool{}, sources: map[string]*source{},
		exports: map[string]diag.Range{}, visited: map[*decl]bool{},
		meant: map[string]bool{}, lost: map[string]bool{}, net: &model.Net{File: f.Name, Method: opt.Method},
	}
	c.run(f)
	list := make(diag.List, len(c.found))
	for i, d := range c.found {
		list[i] = *d
	}
	list = list.Sorted()
	if list.HasErrors() {
		return nil, list
	}
	return c.net, list
}

// checker holds a program while it is checked.
type checker struct {
	opt   Options
	found []*diag.Diagnostic
	seen  map[mark]bool // places and codes already reported

	sources map[string]*source // files by key, see imports.go
	root    *source
	broken  bool // an import failed: unknown names may have been in it
	// meant are the words that unknown ones were taken for, lost the names that
	// were declared with them.
	meant, lost map[string]bool

	data, train *dsl.Statement
	stageDecls  []*decl
	unitDecls   []*decl
	watchDecls  []*decl
	overlaps    []*dsl.Statement
	readouts    []*dsl.Statement
	viewUses    []*dsl.Statement

	settings *settings // of the train block

	chain   int          // values being computed that wait for one another
	calls   []diag.Range // calls of blocks being written out, outermost first
	callees []*decl
	visits  int            // statements written out so far
	evals   int            // operations evaluated so far
	tooMuch bool           // more of them than may be, reported
	visited map[*decl]bool // blocks and decoders written out at least once
	weights int64          // of all stages and decoders so far
	// products counts multiplications and additions of a batch so far.
	products float64
	exports  map[string]diag.Range // exported names of layers
	stages   []*stage
	wholes   []int // see wholeStage
	units    []*unit
	holders  [][]int // by written stage: the units that hold it, in order
	ties     []*overlap

	net *model.Net
}

// run is the order of checking. Steps whose input is poisoned are silent.
func (c *checker) run(f *dsl.File) {
	if !c.method() || !c.version(f) {
		return
	}
	c.loadRoot(f)
	c.params()
	c.wholeProgram()
	c.checkTrain()
	c.checkData()
	c.checkViews()
	c.checkStages()
	c.checkUnits()
	c.checkOverlaps()
	if !c.failed() {
		c.rewrite()
		c.makeUnits()
		c.makeWatches()
		c.boundTurns()
	}
	c.checkUncalled()
	c.checkReadouts()
}

// failed reports whether an error was found.
func (c *checker) failed() bool {
	for _, d := range c.found {
		if d.Severity == diag.Error {
			return true
		}
	}
	return false
}

// mark is a place with a kind of problem, and what it is about where several
// of the kind share a place.
type mark struct {
	code  diag.Code
	where diag.Range
	what  string
}

// report is a diagnostic to which a second place and a remedy can be added.
type report struct{ d *diag.Diagnostic }

// errorf reports an error, once per place and code. Within a block that is
// being written out, the call is named as well.
func (c *checker) errorf(code diag.Code, where diag.Range, format string, a ...any) report {
	r := c.add(diag.Error, mark{code, where, ""}, fmt.Sprintf(format, a...))
	if len(c.calls) > 0 && c.calls[0] != where {
		r.note(c.calls[0], "used here")
	}
	return r
}

func (c *checker) warnf(code diag.Code, where diag.Range, format string, a ...any) report {
	return c.add(diag.Warning, mark{code, where, ""}, fmt.Sprintf(format, a...))
}

// lacks reports something that must be written at a place.
func (c *checker) lacks(where diag.Range, what, format string, a ...any) report {
	return c.add(diag.Error, mark{codeMissing, where, what}, fmt.Sprintf(format, a...))
}

// told reports whether one of these errors was reported there.
func (c *checker) told(where diag.Range, codes ...diag.Code) bool {
	return slices.ContainsFunc(codes, func(code diag.Code) bool { return c.seen[mark{code, where, ""}] })
}

func (c *checker) add(s diag.Severity, m mark, message string) report {
	d := &diag.Diagnostic{Severity: s, Code: m.code, Range: m.where, Message: message}
	if !c.seen[m] {
		c.seen[m] = true
		c.found = append(c.found, d)
	}
	return report{d}
}

// note adds a second place.
func (r report) note(where diag.Range, format string, a ...any) report {
	r.d.Notes = append(r.d.Notes, diag.Note{Range: where, Message: fmt.Sprintf(format, a...)})
	return r
}

// help says what to do.
func (r report) help(format string, a ...any) report {
	r.d.Help = fmt.Sprintf(format, a...)
	return r
}

// method checks the method's name, which is no part of the text.
func (c *checker) method() bool {
	for _, m := range methods {
		if m == c.opt.Method {
			return true
		}
	}
	c.errorf(codeMethod, diag.Range{}, "there is no method `%s`", c.opt.Method).
		help("%s", oneOf(c.opt.Method, methods))
	return false
}

// methods are the ways to cut a file into units.
var methods = []string{"loco", "gim", "e2e"}

// head is the range of a statement without its block.
func head(s *dsl.Statement) diag.Range {
	r := s.Word.Range
	if s.Call != nil {
		r.End = s.Call.Range.End
	}
	if n := len(s.Args); n > 0 {
		r.End = s.Args[n-1].Range.End
	}
	return r
}

// startOf is the first character of a file.
func startOf(name string) diag.Range {
	p := diag.Pos{Line: 1, Column: 1}
	return diag.Range{File: name, Start: p, End: p}
}
