package check

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/dsl"
)

// params gives the params their values, those of -D first, and computes every
// let, so that one that is not used is checked too.
func (c *checker) params() {
	var names []string
	for _, s := range c.root.file.Statements {
		d := c.declared(s)
		if d == nil || d.word != "param" {
			continue
		}
		names = append(names, d.name.Text)
		c.param(d)
	}
	for _, name := range slices.Sorted(maps.Keys(c.opt.Defines)) {
		if !slices.Contains(names, name) {
			c.unknownDefine(name, names)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.sources)) {
		src := c.sources[key]
		for _, name := range sorted(src.names) {
			if d := src.names[name]; d.word == "let" {
				c.valueOf(d, d.name.Range)
			}
		}
	}
}

// declared is the declaration of the root file that a statement made, or nil.
func (c *checker) declared(s *dsl.Statement) *decl {
	if len(s.Args) == 0 || s.Args[0].Key == nil {
		return nil
	}
	d := c.root.names[s.Args[0].Key.Text]
	if d == nil || d.stmt != s {
		return nil
	}
	return d
}

// param computes a param: its default, whose kind is fixed, or the value of -D.
func (c *checker) param(d *decl) {
	v := c.valueOf(d, d.name.Range)
	if v.kind == poison {
		return
	}
	if v.kind != number && v.kind != text && v.kind != truth {
		c.errorf(codeKind, d.expr.Span(), "a param is a number, a string or yes or no, this is %s", v.kind).
			help("use let for anything else")
		d.value = value{}
		return
	}
	if written, ok := c.opt.Defines[d.name.Text]; ok {
		d.value = c.define(d, v, written)
	}
	if d.value.kind != poison {
		p := model.Param{Name: d.name.Text, Value: d.value.written(), Range: d.stmt.Range}
		c.net.Params = append(c.net.Params, p)
	}
}

// define reads the value of -D as the kind of the default.
func (c *checker) define(d *decl, old value, written string) value {
	v := value{kind: old.kind, at: d.name.Range, s: written}
	ok := true
	switch old.kind {
	case number:
		v.n, ok = numberIn(written)
	case truth:
		v.yes, ok = written == "yes", written == "yes" || written == "no"
	}
	if !ok {
		c.errorf(codeDefine, d.name.Range, "-D %s=%s does not fit: `%s` takes %s", d.name.Text, written, d.name.Text, old.kind).
			note(d.expr.Span(), "its default fixes its kind")
		return value{}
	}
	return v
}

// numberIn reads a number as the language writes it, with a sign.
func numberIn(s string) (float64, bool) {
	digits := strings.TrimPrefix(s, "-")
	if digits == "" || strings.Trim(digits, "0123456789.eE+-") != "" || digits[0] < '0' || digits[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseFloat(s, 64)
	return n, err == nil
}

func (c *checker) unknownDefine(name string, params []string) {
	r := c.errorf(codeDefine, startOf(c.root.file.Name), "-D %s: the file has no param `%s`", name, name)
	switch s := c.suggestion(name, params); {
	case s != "":
		r.help("did you mean `%s`?", s)
	case len(params) == 0:
		r.help("it declares none")
	default:
		r.help("%s", oneOf("", params))
	}
}
