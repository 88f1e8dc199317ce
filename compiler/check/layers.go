package check

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/dsl"
	"github.com/locorun/locorun/dsl/diag"
)

// Bounds of what a program may write out.
const (
	maxVisits   = 20_000  // statements, each as often as it is written out
	maxTurned   = 100_000 // layers of the programs of units in turn, those below each unit again
	maxNesting  = 64      // blocks that call one another
	maxRepeat   = 1000
	maxSide     = 4096 // of a map
	maxWidth    = 65536
	maxKernel   = 255
	maxElements = 1 << 30 // of a map, and of one layer's weights
	maxWeights  = 1 << 34 // of all layers
	maxBatchMap = 1 << 40 // values of one map for all views of a batch
	maxProducts = 4e15    // multiplications and additions of all layers, forward, for a batch
	maxParts    = 512     // stages; units; watches
)

// run is layers in a row with the map that comes out of them. A map of no size
// is one that could not be known; what follows it is silent.
type run struct {
	layers []*model.Layer
	shape  model.Shape
}

func known(s model.Shape) bool { return s.H > 0 }

func shown(s model.Shape) string { return fmt.Sprintf("%dx%dx%d", s.H, s.W, s.C) }

// writer writes out the statements of one block at a place.
type writer struct {
	c     *checker
	in    env // of the block; its shape is that of out
	names *naming
	out   *run
	// ends, on the top level of a stage, lists the numbers of layers after
	// each block.
	ends *[]int
}

func (c *checker) writer(src *source, args map[string]value, names *naming, in model.Shape) writer {
	w := writer{c: c, in: env{source: src, args: args}, names: names}
	return w.into(in)
}

// into is the writer for a branch that begins with the map in.
func (w writer) into(in model.Shape) writer {
	w.out = &run{shape: in}
	w.in.shape = &w.out.shape
	w.ends = nil
	return w
}

func (w writer) all(statements []*dsl.Statement) {
	for _, s := range statements {
		w.statement(s)
	}
}

// lose makes the map unknown, after a report.
func (w writer) lose() { w.out.shape = model.Shape{} }

// statement writes out one line.
func (w writer) statement(s *dsl.Statement) {
	c := w.c
	if c.visits++; c.visits > maxVisits {
		c.large(s.Word.Range)
		w.lose()
		return
	}
	args, as := w.renamed(s)
	if d := w.in.source.names[s.Word.Text]; d != nil && d.word == "block" {
		w.call(d, s, args, as)
		return
	}
	if !slices.Contains(layerWords, s.Word.Text) {
		w.unknown(s)
		w.lose()
		return
	}
	if s.Call != nil {
		c.errorf(codeExtra, s.Call.Range, "`%s` is a layer, and written without parentheses", s.Word.Text).
			help("%s", layerForms[s.Word.Text].usage)
		w.lose()
		return
	}
	w.layer(s, args, as)
}

// large reports, once, that writing the program out takes too much.
func (c *checker) large(at diag.Range) {
	if !c.tooMuch {
		c.errorf(codeTooMuch, at, "the program is too large: more than %d lines or %d values when written out", maxVisits, maxEvals).
			help("repeat less, or nest fewer repeats and blocks")
	}
	c.tooMuch = true
}

// unknown reports a line that is neither a layer nor a block.
func (w writer) unknown(s *dsl.Statement) {
	c, word := w.c, s.Word.Text
	if c.told(s.Word.Range, codeNameKind, codeName, codeWord, codePlace, codeReserved) {
		return // a block's body is written out again and again
	}
	if d := w.in.source.names[word]; d != nil && !c.lost[word] {
		c.errorf(codeNameKind, s.Word.Range, "`%s` is %s, not a layer or a block", word, article(d.word)).
			note(d.name.Range, "declared here")
		return
	}
	if c.broken || c.lost[word] {
		return
	}
	switch word {
	case "shortcut":
		c.errorf(codePlace, s.Word.Range, "`shortcut` stands first in a residual").help("%s", layerForms["residual"].usage)
		return
	case "branch":
		c.errorf(codePlace, s.Word.Range, "`branch` stands directly in split or fork").help("%s", layerForms["split"].usage)
		return
	}
	words := slices.Clone(layerWords)
	if c.suggests() {
		for _, name := range sorted(w.in.source.names) {
			if w.in.source.names[name].word == "block" {
				words = append(words, name)
			}
		}
	}
	if s.Call != nil && c.suggestion(word, words) == "" {
		c.errorf(codeName, s.Word.Range, "there is no block `%s`", word).
			help("declare it, or import the file that does: %s", usages["block"])
		return
	}
	c.unknownWord(s, "in layers", words)
}

var torchPath = regexp.MustCompile(`^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$`)

// renamed takes `as name` off the arguments of a line.
func (w writer) renamed(s *dsl.Statement) ([]dsl.Arg, string) {
	n := len(s.Args)
	if n < 2 || !isName(s.Args[n-2], "as") {
		return s.Args, ""
	}
	name, ok := w.c.torchName(s.Args[n-1])
	if !ok {
		w.lose()
	}
	return s.Args[:n-2], name
}

// torchName reads the name behind `as`: a name, or a string for a path with
// dots.
func (c *checker) torchName(a dsl.Arg) (string, bool) {
	if a.Kind == dsl.Positional {
		switch v := a.Value.(type) {
		case *dsl.Name:
			return v.Text, true
		case *dsl.String:
			if torchPath.MatchString(v.Value) && len(v.Value) < 200 {
				return v.Value, true
			}
		}
	}
	c.errorf(codeArgument, a.Range, "`as` is followed by a name for exported files").
		help("letters, digits and _; a path with dots stands in quotes")
	return "", false
}

// call writes out a block in place of its call.
func (w writer) call(d *decl, s *dsl.Statement, args []dsl.Arg, as string) {
	c := w.c
	c.noBlock(s)
	var given []dsl.Arg
	if s.Call != nil {
		given = s.Call.Args
	}
	if len(args) > 0 {
		r := c.errorf(codeExtra, args[0].Range, "the arguments of a block stand in parentheses").
			help("%s", callOf(d))
		if slices.Contains(layerWords, d.name.Text) {
			r.note(d.name.Range, "`%s` is this block here, not the layer", d.name.Text)
		}
		w.lose()
		return
	}
	if !c.enter(d, s.Word.Range) {
		w.lose()
		return
	}
	inner := w
	inner.in.args = c.bind(d, given, s.Word.Range, &w.in)
	c.calls = append(c.calls, head(s))
	inner.in.source, inner.names, inner.ends = d.source, w.names.block(as), nil
	inner.all(c.bodyOf(d))
	c.calls = c.calls[:len(c.calls)-1]
	c.callees = c.callees[:len(c.callees)-1]
	if w.ends != nil {
		*w.ends = append(*w.ends, len(w.out.layers))
	}
}

// enter begins a call, unless it is within itself or too deep.
func (c *checker) enter(d *decl, at diag.Range) bool {
	c.visited[d] = true
	if slices.Contains(c.callees, d) {
		c.errorf(codeItself, at, "the block `%s` calls itself", d.name.Text).note(d.name.Range, "declared here").
			help("use repeat for layers that follow one another")
		return false
	}
	if len(c.callees) >= maxNesting {
		c.errorf(codeTooMuch, at, "more than %d blocks call one another", maxNesting)
		return false
	}
	c.callees = append(c.callees, d)
	return true
}

func (c *checker) bodyOf(d *decl) []*dsl.Statement {
	if b := c.block(d.stmt); b != nil {
		return b.Statements
	}
	return nil
}

// callOf shows how a block or a decoder is called.
func callOf(d *decl) string {
	call := d.name.Text + "("
	for i, a := range d.args {
		if i > 0 {
			call += ", "
		}
		call += a.name.Text
		if a.fallback != nil {
			call += "=.."
		}
	}
	return call + ")"
}

// bind gives the arguments of a block or decoder their values; those that were
// reported are poison.
func (c *checker) bind(d *decl, given []dsl.Arg, at diag.Range, in *env) map[string]value {
	args := map[string]value{}
	next := 0
	for _, a := range given {
		name := ""
		if a.Kind == dsl.Keyed {
			name = a.Key.Text
		} else if next < len(d.args) {
			name = d.args[next].name.Text
			next++
		}
		v := c.eval(a.Value, in)
		if !slices.ContainsFunc(d.args, func(x argument) bool { return x.name.Text == name }) {
			c.wrongArgument(d, a)
			continue
		}
		if _, twice := args[name]; twice {
			c.errorf(codeAgain, a.Range, "the argument `%s` is given twice", name).help("%s", callOf(d))
			continue
		}
		args[name] = v
	}
	inner := &env{source: d.source, args: args, shape: in.shape}
	for _, a := range d.args {
		if _, ok := args[a.name.Text]; ok {
			continue
		}
		args[a.name.Text] = value{}
		if a.fallback != nil {
			args[a.name.Text] = c.eval(a.fallback, inner)
			continue
		}
		c.errorf(codeArgument, at, "`%s` lacks its argument `%s`", d.name.Text, a.name.Text).
			note(d.name.Range, "declared here").help("%s", callOf(d))
	}
	return args
}

func (c *checker) wrongArgument(d *decl, a dsl.Arg) {
	if a.Kind != dsl.Keyed {
		c.errorf(codeExtra, a.Range, "`%s` takes %d arguments, this is one more", d.name.Text, len(d.args)).
			note(d.name.Range, "declared here").help("%s", callOf(d))
		return
	}
	var names []string
	for _, x := range d.args {
		names = append(names, x.name.Text)
	}
	r := c.errorf(codeKey, a.Key.Range, "`%s` has no argument `%s`", d.name.Text, a.Key.Text).
		note(d.name.Range, "declared here").help("%s", callOf(d))
	if s := c.suggestion(a.Key.Text, names); s != "" {
		r.help("did you mean `%s`?", s)
	}
}

// checkUncalled looks into the blocks, decoders and views of the program's own
// files that nothing uses: their words and names must be right too.
func (c *checker) checkUncalled() {
	for _, s := range c.declaredBlocks() {
		if s.word == "decoder" && s.stmt.Block != nil && len(s.stmt.Block.Statements) == 0 {
			c.emptyDecoder(s)
		}
		if c.visited[s] {
			continue
		}
		args := map[string]value{}
		for _, a := range s.args {
			args[a.name.Text] = value{}
			if a.fallback != nil {
				c.eval(a.fallback, &env{source: s.source, args: args, shape: &model.Shape{}})
			}
		}
		if !c.enter(s, s.name.Range) {
			continue
		}
		c.writer(s.source, args, decoderNames(), model.Shape{}).all(c.bodyOf(s))
		c.callees = c.callees[:0]
	}
	for _, key := range c.ownSources() {
		src := c.sources[key]
		for _, name := range sorted(src.views) {
			if d := src.views[name]; d.source == src {
				c.steps(d.stmt.Block.Statements, src)
			}
		}
	}
}
