package check

import (
	"slices"
	"strings"

	"github.com/locorun/locorun/dsl"
	"github.com/locorun/locorun/dsl/diag"
)

// unit is a unit as it was written, or as a method made it.
type unit struct {
	name        string
	at          diag.Range // its name
	first, last int
	spans       []diag.Range // the stages in its arrow
	decoder     *decoderCall
	also        *diag.Range
	set         unitSettings
	stmt        *dsl.Statement
	copied      []int // stages its decoder begins with copies of
}

// checkUnits reads the units; the rules that compare them wait until each is
// sound.
func (c *checker) checkUnits() {
	sound := len(c.unitDecls) > 0
	for _, d := range c.unitDecls {
		u := c.unit(d)
		if u == nil {
			sound = false
			continue
		}
		c.units = append(c.units, u)
	}
	for _, d := range c.watchDecls {
		c.watch(d)
	}
	if !sound {
		c.units = nil
		return
	}
	for i, u := range c.units[1:] {
		sound = c.upward(c.units[i], u) && sound
	}
	if !sound {
		c.units = nil // what overlaps is not known
		return
	}
	c.holders = make([][]int, len(c.stageDecls))
	for k, u := range c.units {
		for s := u.first; s <= u.last; s++ {
			c.holders[s] = append(c.holders[s], k)
		}
	}
	c.sameEnd()
	c.allHeld()
}

// arrow is what stands behind the name of a unit or a watch.
type arrow struct {
	stages  []*dsl.Name
	decoder *decoderCall
	also    *diag.Range
}

// arrow reads `= s1 -> s2 : decoder [also]`; nil after a report.
func (c *checker) arrow(d *decl) *arrow {
	args := d.stmt.Args
	a := &arrow{}
	first, ok := args[0].Value.(*dsl.Name)
	if !ok {
		c.errorf(codeArgument, args[0].Value.Span(), "`%s` begins with a stage", d.word).help("%s", usages[d.word])
		return nil
	}
	a.stages = append(a.stages, first)
	i := 1
	for ; i+1 < len(args) && args[i].Kind == dsl.Arrow; i += 2 {
		n, isName := args[i+1].Value.(*dsl.Name)
		if !isName || args[i+1].Kind != dsl.Positional {
			c.errorf(codeArgument, args[i+1].Range, "behind `->` stands a stage").help("%s", usages[d.word])
			return nil
		}
		a.stages = append(a.stages, n)
	}
	if i+1 >= len(args) || args[i].Kind != dsl.Colon || args[i+1].Kind != dsl.Positional {
		c.noDecoder(d, args[i:])
		return nil
	}
	a.decoder = c.decoderOf(args[i+1].Value)
	rest := args[i+2:]
	if len(rest) > 0 && isName(rest[0], "also") && d.word == "unit" {
		a.also = &rest[0].Range
		rest = rest[1:]
	}
	if !c.noMore(d.stmt, rest) || a.decoder == nil {
		return nil
	}
	return a
}

// noDecoder reports an arrow that is not followed by a colon and a decoder.
func (c *checker) noDecoder(d *decl, rest []dsl.Arg) {
	if len(rest) > 0 && rest[0].Kind != dsl.Colon {
		c.errorf(codeExtra, rest[0].Range, "behind the stages of `%s` stands `:` and its decoder", d.name.Text).
			help("stages are joined by `->`:\n%s", usages[d.word])
		return
	}
	c.errorf(codeArgument, head(d.stmt), "`%s` has no decoder", d.name.Text).
		help("%s : %s", c.textOf(head(d.stmt)), c.someDecoder())
}

// someDecoder is a decoder of the file, for examples.
func (c *checker) someDecoder() string {
	if !c.suggests() {
		return "proj"
	}
	for _, name := range sorted(c.root.names) {
		if c.root.names[name].word == "decoder" {
			return name
		}
	}
	return "proj"
}

// textOf is the source text at a place of the root file.
func (c *checker) textOf(r diag.Range) string {
	src := c.root.file.Source
	if r.Start.Offset < 0 || r.End.Offset > len(src) || r.Start.Offset > r.End.Offset {
		return ""
	}
	return string(src[r.Start.Offset:r.End.Offset])
}

// unit reads a unit; nil after a report.
func (c *checker) unit(d *decl) *unit {
	set, sound := c.braces(d)
	a := c.arrow(d)
	if a == nil {
		return nil
	}
	u := &unit{name: d.name.Text, at: d.name.Range, decoder: a.decoder, also: a.also, stmt: d.stmt, set: set}
	var at []int
	for _, n := range a.stages {
		s := c.find(n, "stage")
		if s == nil {
			return nil
		}
		at = append(at, s.index)
		u.spans = append(u.spans, n.Range)
	}
	if !c.consecutive(d, a, at) || !sound {
		return nil
	}
	u.first, u.last = at[0], at[len(at)-1]
	return u
}

// consecutive checks that an arrow writes every stage, upward.
func (c *checker) consecutive(d *decl, a *arrow, at []int) bool {
	for i := 1; i < len(at); i++ {
		if at[i] == at[i-1]+1 {
			continue
		}
		line := c.fullLine(d, a, slices.Min(at), slices.Max(at))
		where := a.stages[i].Range
		if at[i] <= at[i-1] {
			c.errorf(codeSkips, where, "the arrow goes from `%s` back to `%s`", a.stages[i-1].Text, a.stages[i].Text).
				note(c.stageDecls[at[i]].name.Range, "stages follow one another in the order they are declared").
				help("write the stages upward:\n%s", line)
			return false
		}
		skipped := c.stageDecls[at[i-1]+1].name
		c.errorf(codeSkips, where, "the arrow skips `%s`", skipped.Text).
			note(skipped.Range, "this stage lies between").help("write every stage:\n%s", line)
		return false
	}
	return true
}

// fullLine is the line of a unit that holds the stages from..to. A very long
// one is left in short.
func (c *checker) fullLine(d *decl, a *arrow, from, to int) string {
	names := c.stageNames(from, min(to, from+maxShown))
	if to > from+maxShown {
		names = append(names, "..")
	}
	return d.word + " " + d.name.Text + " = " + strings.Join(names, " -> ") + " : " + c.textOf(a.decoder.expr.Span())
}

// maxShown is the number of stages or units that a line to paste shows.
const maxShown = 100

// stageNames lists the names of written stages.
func (c *checker) stageNames(from, to int) []string {
	var names []string
	for _, d := range c.stageDecls[from : to+1] {
		names = append(names, d.name.Text)
	}
	return names
}

// braces reads the settings of a unit.
func (c *checker) braces(d *decl) (unitSettings, bool) {
	if d.stmt.Block == nil {
		return c.settings.unit, true
	}
	before := len(c.found)
	for _, s := range d.stmt.Block.Statements {
		if w := s.Word.Text; slices.Contains(trainWords, w) && !slices.Contains(unitWords, w) {
			c.errorf(codePlace, s.Word.Range, "`%s` is the same for all units", w).help("it belongs in train { }")
		}
	}
	st := map[string]*dsl.Statement{}
	for _, s := range d.stmt.Block.Statements {
		if w := s.Word.Text; slices.Contains(trainWords, w) && !slices.Contains(unitWords, w) {
			continue
		}
		one := c.gather(&dsl.Block{Statements: []*dsl.Statement{s}}, "in the braces of a unit", unitWords)
		for w := range one {
			if st[w] != nil {
				c.errorf(codeAgain, s.Word.Range, "`%s` is written twice", w).note(st[w].Word.Range, "first here")
				continue
			}
			st[w] = s
		}
	}
	return c.overrides(st, c.settings.unit), len(c.found) == before
}

// watch checks a watch: one stage and a decoder.
func (c *checker) watch(d *decl) {
	c.noBlock(d.stmt)
	a := c.arrow(d)
	if a == nil {
		return
	}
	if len(a.stages) > 1 {
		c.errorf(codeExtra, a.stages[1].Range, "a watch looks at one stage").
			help("it trains nothing but its decoder:\n%s", usages["watch"])
	}
	c.find(a.stages[0], "stage")
}

// upward checks that starts and ends never decrease.
func (c *checker) upward(lower, upper *unit) bool {
	what, at, of := "", 0, 0
	switch {
	case upper.first < lower.first:
		what, at, of = "starts", 0, 0
	case upper.last < lower.last:
		what, at, of = "ends", len(upper.spans)-1, len(lower.spans)-1
	default:
		return true
	}
	c.errorf(codeOrder, upper.spans[at], "`%s` %s below `%s`, which is written before it", upper.name, what, lower.name).
		note(lower.spans[of], "`%s` %s here", lower.name, what).
		help("write the units from the bottom up: starts and ends never decrease")
	return false
}

// sameEnd checks `also`: two units end on one stage only if the second says so.
func (c *checker) sameEnd() {
	for i, u := range c.units {
		var below *unit
		if i > 0 && c.units[i-1].last == u.last {
			below = c.units[i-1]
		}
		top := c.stageDecls[u.last].name.Text
		switch {
		case below != nil && u.also == nil:
			c.errorf(codeAlso, u.spans[len(u.spans)-1], "`%s` ends on `%s`, as `%s` does", u.name, top, below.name).
				note(below.spans[len(below.spans)-1], "`%s` ends here", below.name).
				help("if both losses are meant:\n%s also", c.textOf(head(u.stmt)))
		case below == nil && u.also != nil:
			c.errorf(codeAlso, *u.also, "no unit before `%s` ends on `%s`", u.name, top).help("delete `also`")
		}
	}
}

// allHeld checks that every stage is trained.
func (c *checker) allHeld() {
	for i, d := range c.stageDecls {
		if len(c.holders[i]) > 0 {
			continue
		}
		r := c.errorf(codeUntrain, d.name.Range, "no unit holds the stage `%s`, so nothing would train it", d.name.Text)
		from := max(i-1, 0)
		r.help("hold it, for example:\nunit %s = %s : %s", c.freshName("top"), strings.Join(c.stageNames(from, i), " -> "), c.someDecoder())
	}
}

// freshName is a name like the given one that is not declared.
func (c *checker) freshName(name string) string {
	for c.root.names[name] != nil {
		name += "x"
	}
	return name
}
