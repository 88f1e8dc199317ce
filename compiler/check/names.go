package check

import (
	"maps"
	"slices"

	"github.com/locorun/locorun/dsl"
)

// state is how far a value is computed.
type state uint8

const (
	fresh state = iota
	computing
	computed
)

// decl is a declaration.
type decl struct {
	word   string // param, let, block, stage, decoder, unit, watch; setting
	name   dsl.Name
	stmt   *dsl.Statement
	source *source
	index  int        // stage, unit: among those of its kind
	args   []argument // block, decoder
	expr   dsl.Expr   // param, let, setting
	value  value
	state  state
}

// argument is an argument that a block or a decoder declares.
type argument struct {
	name     dsl.Name
	fallback dsl.Expr // nil where there is no default
}

// source is a file of the program with what it declares and imports.
type source struct {
	key     string // root-relative path, or std/...
	file    *dsl.File
	names   map[string]*decl
	views   map[string]*decl
	loading bool
}

// version checks the line that every program begins with.
func (c *checker) version(f *dsl.File) bool {
	if len(f.Statements) == 0 || f.Statements[0].Word.Text != "loco" {
		where := startOf(f.Name)
		r := c.errorf(codeNoVersion, where, "the file does not begin with the version of its language")
		for _, s := range f.Statements {
			if s.Word.Text == "loco" {
				r.note(s.Word.Range, "this line must come first")
				return true
			}
		}
		r.help("write as its first line:\nloco 1")
		return true
	}
	return c.versionLine(f.Statements[0])
}

// versionLine checks `loco 1` and reports whether this is a language we know.
func (c *checker) versionLine(s *dsl.Statement) bool {
	c.noBlock(s)
	if len(s.Args) == 1 && s.Call == nil {
		if _, ok := s.Args[0].Value.(*dsl.Number); !ok {
			c.errorf(codeVersion, s.Args[0].Range, "the version of the language is a number").help("loco 1")
			return true
		}
	}
	f := form{"loco 1", []field{{name: "version", want: wantWhole, lo: 1, hi: 1e9}}}
	v := c.match(f, "loco", s.Word.Range, s.Args, &env{source: &source{}})
	if n := v.int("version", 1); v.sound && n > 1 {
		c.errorf(codeVersion, s.Args[0].Range, "this file is written in loco %d, this program knows loco 1", n).
			help("use a newer locorun")
		return false
	}
	return true
}

// loadRoot declares everything of the root file.
func (c *checker) loadRoot(f *dsl.File) {
	c.root = c.newSource(rootKey(f.Name), f)
	c.root.loading = true
	for i, s := range f.Statements {
		c.rootStatement(i, s)
	}
	c.root.loading = false
}

func (c *checker) newSource(key string, f *dsl.File) *source {
	s := &source{key: key, file: f, names: map[string]*decl{}, views: map[string]*decl{}}
	c.sources[key] = s
	return s
}

// rootStatement sorts a statement of the root file by its word.
func (c *checker) rootStatement(i int, s *dsl.Statement) {
	switch s.Word.Text {
	case "loco":
		if first := c.root.file.Statements[0]; i > 0 && first.Word.Text == "loco" {
			c.errorf(codeAgain, s.Word.Range, "the version is written twice").note(first.Word.Range, "first here")
		}
	case "data":
		c.once(&c.data, s)
	case "train":
		c.once(&c.train, s)
	case "readout":
		c.readouts = append(c.readouts, s)
	case "overlap":
		c.overlaps = append(c.overlaps, s)
	case "param", "stage", "unit", "watch":
		c.declareIn(c.root, s)
	case "views":
		if s.Block == nil || len(s.Args) == 0 {
			c.viewUses = append(c.viewUses, s)
			return
		}
		c.declareViews(c.root, s)
	default:
		c.sharedStatement(c.root, s, "at the top level", rootWords)
	}
}

// sharedStatement handles what any file may hold.
func (c *checker) sharedStatement(src *source, s *dsl.Statement, place string, words []string) {
	switch s.Word.Text {
	case "let", "block", "decoder":
		c.declareIn(src, s)
	case "views":
		c.declareViews(src, s)
	case "import":
		c.importFile(src, s)
	default:
		c.unknownWord(s, place, words)
	}
}

// once keeps the first statement of its word.
func (c *checker) once(kept **dsl.Statement, s *dsl.Statement) {
	if *kept != nil {
		c.errorf(codeAgain, s.Word.Range, "`%s` is written twice", s.Word.Text).
			note((*kept).Word.Range, "first here").help("write all of it in one place")
		return
	}
	*kept = s
}

// declareIn reads the name that a statement declares.
func (c *checker) declareIn(src *source, s *dsl.Statement) {
	d := &decl{word: s.Word.Text, stmt: s, source: src}
	if !c.nameOf(d) {
		return
	}
	if !c.mayDeclare(d) {
		c.lost[d.name.Text] = true
		return
	}
	if !c.addName(src, d) {
		c.lost[d.name.Text] = src.names[d.name.Text].word != d.word
		return
	}
	if n := len(c.stageDecls); d.word == "stage" && n == maxParts || d.word == "unit" && len(c.unitDecls) == maxParts ||
		d.word == "watch" && len(c.watchDecls) == maxParts {
		c.tooMany(d)
		return
	}
	switch d.word {
	case "stage":
		d.index = len(c.stageDecls)
		c.stageDecls = append(c.stageDecls, d)
	case "unit":
		d.index = len(c.unitDecls)
		c.unitDecls = append(c.unitDecls, d)
	case "watch":
		c.watchDecls = append(c.watchDecls, d)
	}
}

// tooMany reports, once, more stages, units or watches than a program may have.
func (c *checker) tooMany(d *decl) {
	if !c.tooMuch {
		c.errorf(codeTooMuch, d.name.Range, "a program has at most %d %ss", maxParts, d.word)
	}
	c.tooMuch = true
	c.lost[d.name.Text] = true
	delete(d.source.names, d.name.Text)
}

// usages show how each declaration is written.
var usages = map[string]string{
	"param":   "param width = 32",
	"let":     "let wide = 2*width",
	"block":   "block basic(out, stride=1) { conv 3x3 out stride=stride; norm; relu }",
	"decoder": "decoder proj(width=256) { pool mean; dense width; relu; dense 128 }",
	"stage":   "stage s1 as layer1 { conv 3x3 64; norm; relu }",
	"unit":    "unit low = s1 -> s2 : proj",
	"watch":   "watch stem = s1 : proj",
	"overlap": "overlap s2 in low, mid",
	"views":   "views imagenet { crop 224; flip }",
	"import":  `import "std/resnet.loco"`,
}

// nameOf finds the name in the arguments of a declaration.
func (c *checker) nameOf(d *decl) bool {
	s := d.stmt
	switch {
	case len(s.Args) == 0:
	case d.word == "param" || d.word == "let":
		return c.nameAndValue(d)
	case (d.word == "unit" || d.word == "watch") && s.Args[0].Kind == dsl.Keyed:
		d.name = *s.Args[0].Key
		return true
	case d.word == "stage" && s.Args[0].Kind == dsl.Positional:
		if n, ok := s.Args[0].Value.(*dsl.Name); ok {
			d.name = *n
			return true
		}
	case d.word == "block" || d.word == "decoder":
		if d.args, d.name = c.signature(s.Args[0]); d.name.Text != "" {
			return c.noMore(s, s.Args[1:])
		}
	}
	c.errorf(codeArgument, head(s), "`%s` declares no name", d.word).help("%s", usages[d.word])
	return false
}

func (c *checker) noMore(s *dsl.Statement, args []dsl.Arg) bool {
	if len(args) > 0 {
		c.errorf(codeExtra, args[0].Range, "`%s` takes no further argument here", s.Word.Text).
			help("%s", usages[s.Word.Text])
	}
	return len(args) == 0
}

// nameAndValue reads `name = value`.
func (c *checker) nameAndValue(d *decl) bool {
	a := d.stmt.Args[0]
	if a.Kind != dsl.Keyed || d.stmt.Call != nil {
		c.errorf(codeArgument, head(d.stmt), "`%s` is written with a name and a value", d.word).help("%s", usages[d.word])
		return false
	}
	c.noBlock(d.stmt)
	d.name, d.expr = *a.Key, a.Value
	return c.noMore(d.stmt, d.stmt.Args[1:])
}

// maxArguments bounds the arguments of a block or decoder.
const maxArguments = 64

// signature reads `name` or `name(arg, arg=default)`. The name is empty where
// it is neither.
func (c *checker) signature(a dsl.Arg) ([]argument, dsl.Name) {
	if n, ok := a.Value.(*dsl.Name); ok && a.Kind == dsl.Positional {
		return nil, *n
	}
	call, ok := a.Value.(*dsl.Call)
	if !ok || a.Kind != dsl.Positional {
		return nil, dsl.Name{}
	}
	if len(call.Args) > maxArguments {
		c.errorf(codeTooMuch, call.Func.Range, "`%s` declares %d arguments; at most %d can be", call.Func.Text, len(call.Args), maxArguments)
		return nil, call.Func
	}
	var args []argument
	for _, p := range call.Args {
		arg := argument{}
		if p.Kind == dsl.Keyed {
			arg.name, arg.fallback = *p.Key, p.Value
		} else if n, isName := p.Value.(*dsl.Name); isName {
			arg.name = *n
		} else {
			c.errorf(codeArgument, p.Range, "an argument is declared by a name").
				help("write `name`, or `name=default`")
			continue
		}
		args = c.addArgument(args, arg)
	}
	return args, call.Func
}

func (c *checker) addArgument(args []argument, arg argument) []argument {
	if arg.name.Text == "channels" || slices.Contains(connectives, arg.name.Text) {
		c.errorf(codeDeclares, arg.name.Range, "`%s` is a word of the language and cannot be declared", arg.name.Text).
			help("choose another name")
		return args
	}
	for _, other := range args {
		if other.name.Text == arg.name.Text {
			c.errorf(codeTwice, arg.name.Range, "the argument `%s` is declared twice", arg.name.Text).
				note(other.name.Range, "first declared here")
			return args
		}
		if arg.fallback == nil && other.fallback != nil {
			c.errorf(codeArgument, arg.name.Range, "`%s` has no default, but stands behind one that has", arg.name.Text).
				note(other.name.Range, "this one").help("write arguments without a default first")
			return args
		}
	}
	return append(args, arg)
}

// mayDeclare refuses words of the language. A block may have the name of a
// layer: it then stands for it, so that a new layer breaks no old file.
func (c *checker) mayDeclare(d *decl) bool {
	name := d.name.Text
	if d.word == "block" && slices.Contains(layerWords, name) {
		c.warnf(codeHides, d.name.Range, "the block `%s` hides the layer `%s`", name, name).
			help("within this file `%s` is the block; rename it to have both", name)
		return true
	}
	if !isStatementWord(name) && !slices.Contains(connectives, name) {
		return true
	}
	c.errorf(codeDeclares, d.name.Range, "`%s` is a word of the language and cannot be declared", name).
		help("choose another name, such as `my_%s`", name)
	return false
}

// addName puts a declaration into a file's names.
func (c *checker) addName(src *source, d *decl) bool {
	if first := src.names[d.name.Text]; first != nil {
		c.errorf(codeTwice, d.name.Range, "`%s` is declared twice", d.name.Text).
			note(first.name.Range, "first declared here").
			help("stages, decoders, units, watches, blocks, params and lets share their names: rename one of them")
		return false
	}
	src.names[d.name.Text] = d
	return true
}

// declareViews declares `views NAME { }`.
func (c *checker) declareViews(src *source, s *dsl.Statement) {
	d := &decl{word: "views", stmt: s, source: src}
	n, ok := soleName(s)
	if !ok || s.Block == nil {
		c.errorf(codeArgument, head(s), "here `views` declares a name and a block").help("%s", usages["views"])
		return
	}
	d.name = *n
	if first := src.views[n.Text]; first != nil {
		c.errorf(codeTwice, n.Range, "the views `%s` are declared twice", n.Text).note(first.name.Range, "first declared here")
		return
	}
	src.views[n.Text] = d
}

// soleName is the name that is a statement's only argument.
func soleName(s *dsl.Statement) (*dsl.Name, bool) {
	if len(s.Args) != 1 || s.Args[0].Kind != dsl.Positional || s.Call != nil {
		return nil, false
	}
	n, ok := s.Args[0].Value.(*dsl.Name)
	return n, ok
}

// noBlock reports a block where none belongs.
func (c *checker) noBlock(s *dsl.Statement) {
	if s.Block != nil {
		c.errorf(codeBlock, s.Block.Range, "`%s` takes no block", s.Word.Text)
	}
}

// block is the block of a statement that must have one, nil after reporting
// that it has none.
func (c *checker) block(s *dsl.Statement) *dsl.Block {
	if s.Block == nil {
		c.errorf(codeBlock, head(s), "`%s` needs a block", s.Word.Text).help("write { } behind it, on the same line")
	}
	return s.Block
}

// sorted lists the names of a table in alphabetical order.
func sorted(m map[string]*decl) []string { return slices.Sorted(maps.Keys(m)) }

// find looks up a name that must be one of the given kind of declaration. The
// result is nil after a report.
func (c *checker) find(n *dsl.Name, word string) *decl {
	d := c.root.names[n.Text]
	if d != nil && d.word == word {
		return d
	}
	if d != nil && c.lost[n.Text] {
		return nil // it was declared as both
	}
	if d != nil {
		c.errorf(codeNameKind, n.Range, "`%s` is %s, not %s", n.Text, article(d.word), article(word)).
			note(d.name.Range, "declared here")
		return nil
	}
	if c.broken || c.lost[n.Text] {
		return nil
	}
	c.unknownName(n, word, c.root.names)
	return nil
}

func (c *checker) unknownName(n *dsl.Name, word string, names map[string]*decl) {
	r := c.errorf(codeName, n.Range, "there is no %s `%s`", word, n.Text)
	if word == "views" {
		r.d.Message = "there are no views `" + n.Text + "`"
	}
	if !c.suggests() {
		return
	}
	var known []string
	for _, name := range sorted(names) {
		if names[name].word == word {
			known = append(known, name)
		}
	}
	switch s := c.suggestion(n.Text, known); {
	case s != "":
		r.help("did you mean `%s`?", s)
	case len(known) == 0:
		r.help("declare it: %s", usages[word])
	case len(known) <= 8:
		r.help("%s", oneOf("", known))
	}
}
