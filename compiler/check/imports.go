package check

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/locorun/locorun/dsl"
	"github.com/locorun/locorun/dsl/diag"
)

// Files are known by a key: their slash-separated path relative to the root
// file's directory, or std/... for the library. The two never meet: a path
// that is imported as std/... is the library's.

const stdPrefix = "std/"

// maxFiles bounds the number of files of a program.
const maxFiles = 256

func rootKey(name string) string { return path.Base(strings.ReplaceAll(name, `\`, "/")) }

// importFile handles `import "path" [as prefix]`.
func (c *checker) importFile(into *source, s *dsl.Statement) {
	file, prefix, ok := c.importLine(s)
	if !ok {
		c.broken = true
		return
	}
	at := s.Args[0].Range
	key, ok := c.resolve(into, file, at)
	if !ok {
		c.broken = true
		return
	}
	src := c.load(key, at)
	if src == nil {
		c.broken = true
		return
	}
	c.bring(into, src, prefix, at)
}

func (c *checker) importLine(s *dsl.Statement) (file, prefix string, ok bool) {
	c.noBlock(s)
	args := s.Args
	if n := len(args); n == 3 && isName(args[1], "as") {
		if name, is := args[2].Value.(*dsl.Name); is && args[2].Kind == dsl.Positional {
			prefix, args = name.Text+"_", args[:1]
		}
	}
	if len(args) == 1 && args[0].Kind == dsl.Positional && s.Call == nil {
		if str, is := args[0].Value.(*dsl.String); is {
			return str.Value, prefix, true
		}
	}
	c.errorf(codeArgument, head(s), "`import` takes the path of a file in quotes").help("%s", usages["import"])
	return "", "", false
}

func isName(a dsl.Arg, text string) bool {
	n, ok := a.Value.(*dsl.Name)
	return ok && a.Kind == dsl.Positional && n.Text == text
}

// resolve gives the key of an imported path, confined to the root's directory
// or the library.
func (c *checker) resolve(from *source, file string, at diag.Range) (string, bool) {
	switch {
	case file == "" || strings.ContainsAny(file, "\\\x00:"):
		c.errorf(codePath, at, "this is no path of a file").help("write it with /, relative to this file")
		return "", false
	case path.IsAbs(file):
		c.errorf(codePath, at, "an import cannot be an absolute path").help("write it relative to this file")
		return "", false
	case strings.HasPrefix(file, stdPrefix):
		if key := path.Clean(file); strings.HasPrefix(key, stdPrefix) {
			return key, true
		}
	default:
		key := path.Join(path.Dir(from.key), file)
		inStd := strings.HasPrefix(from.key, stdPrefix)
		if key != ".." && !strings.HasPrefix(key, "../") && inStd == strings.HasPrefix(key, stdPrefix) {
			return key, true
		}
	}
	c.errorf(codePath, at, "an import stays inside the directory of the file that is run").
		help("move the imported file into it")
	return "", false
}

// load reads a file once and declares what it holds. nil: that failed and was
// reported.
func (c *checker) load(key string, at diag.Range) *source {
	if src := c.sources[key]; src != nil {
		if src.loading {
			c.errorf(codeCycle, at, "the import of %s goes round in a circle", quotePath(key)).
				note(startOf(src.file.Name), "%s is being read", quotePath(key)).
				help("move what both need into a third file")
			return nil
		}
		return src
	}
	if len(c.sources) >= maxFiles {
		c.errorf(codeTooMuch, at, "a program has at most %d files", maxFiles)
		return nil
	}
	text, err := c.read(key)
	if err != nil {
		c.unreadable(key, err, at)
		return nil
	}
	f, list := dsl.Parse(c.nameOfFile(key), text)
	for i := range list {
		c.found = append(c.found, &list[i])
		c.broken = true
	}
	src := c.newSource(key, f)
	src.loading = true
	for i, s := range f.Statements {
		c.importedStatement(src, i, s)
	}
	src.loading = false
	return src
}

// nameOfFile is the name a file's places carry: a path that can be opened from
// where the root file's name can, or std/...
func (c *checker) nameOfFile(key string) string {
	if strings.HasPrefix(key, stdPrefix) {
		return key
	}
	return path.Join(path.Dir(strings.ReplaceAll(c.root.file.Name, `\`, "/")), key)
}

func (c *checker) read(key string) ([]byte, error) {
	if rest, ok := strings.CutPrefix(key, stdPrefix); ok {
		if c.opt.Std == nil {
			return nil, fs.ErrNotExist
		}
		return fs.ReadFile(c.opt.Std, rest)
	}
	if c.opt.Read == nil {
		return nil, fs.ErrNotExist
	}
	return c.opt.Read(key)
}

func (c *checker) unreadable(key string, err error, at diag.Range) {
	if !strings.HasPrefix(key, stdPrefix) || !errors.Is(err, fs.ErrNotExist) {
		why := err.Error()
		if errors.Is(err, fs.ErrNotExist) {
			why = "there is no such file"
		}
		c.errorf(codeUnreadable, at, "cannot read %s: %s", quotePath(key), why).
			help("the path is relative to the importing file; the library is std/...")
		return
	}
	var have []string
	if c.opt.Std != nil {
		matches, _ := fs.Glob(c.opt.Std, "*.loco") // the pattern is well formed
		for _, m := range matches {
			have = append(have, stdPrefix+m)
		}
	}
	r := c.errorf(codeUnreadable, at, "the library has no %s", quotePath(key))
	if len(have) > 0 {
		r.help("%s", oneOf(key, have))
	}
}

func quotePath(key string) string { return `"` + key + `"` }

// importedStatement declares what an imported file may hold. A version line is
// welcome as its first.
func (c *checker) importedStatement(src *source, i int, s *dsl.Statement) {
	w := s.Word.Text
	if w == "loco" && i == 0 {
		c.versionLine(s)
		return
	}
	if slices.Contains(rootWords, w) && !slices.Contains(importedWords[1:], w) {
		c.errorf(codePlace, s.Word.Range, "an imported file cannot hold `%s`", w).
			help("it holds let, block, decoder and views NAME only")
		return
	}
	c.sharedStatement(src, s, "in an imported file", importedWords)
}

// bring puts the names of an imported file, and of those it imports, into a
// file's own.
func (c *checker) bring(into, from *source, prefix string, at diag.Range) {
	bringAll(c, into.names, from.names, prefix, at, "`%s` comes from two places")
	bringAll(c, into.views, from.views, prefix, at, "the views `%s` come from two places")
}

func bringAll(c *checker, into, from map[string]*decl, prefix string, at diag.Range, clash string) {
	for _, name := range sorted(from) {
		d := from[name]
		have := into[prefix+name]
		switch {
		case have == nil:
			into[prefix+name] = d
		case have != d:
			message := strings.Replace(clash, "%s", prefix+name, 1)
			c.add(diag.Error, mark{codeTwice, at, message}, message).note(have.name.Range, "declared here").note(d.name.Range, "and here").
				help("rename one of them, or import with a prefix: import \"...\" as other")
		}
	}
}
