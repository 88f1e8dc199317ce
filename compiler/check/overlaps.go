package check

import (
	"slices"
	"strings"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/dsl"
	"github.com/locorun/locorun/dsl/diag"
)

// overlap is a stage that several units hold, as declared.
type overlap struct {
	stmt    *dsl.Statement
	at      diag.Range
	stage   int
	units   []int // that hold it, in order
	tie     string
	penalty float64
	tieAt   diag.Range
	first   int // blocks that the lower unit holds; 0: all
	firstAt diag.Range
}

// copies reports whether the lower unit has a copy of its own.
func (o *overlap) copies() bool { return o.tie == "soft" || o.tie == "free" }

// checkOverlaps compares the overlaps declared with those that the units make.
func (c *checker) checkOverlaps() {
	declared := map[int]*overlap{}
	sound := true
	for _, s := range c.overlaps {
		o := c.overlap(s)
		switch {
		case o == nil:
			sound = false
		case declared[o.stage] != nil:
			c.errorf(codeAgain, o.at, "the overlap of `%s` is declared twice", c.stageDecls[o.stage].name.Text).
				note(declared[o.stage].at, "first here").help("name all units in one line")
		default:
			declared[o.stage] = o
			c.ties = append(c.ties, o)
		}
	}
	if !sound || len(c.units) == 0 || c.meant["overlap"] {
		return
	}
	for i := range c.stageDecls {
		c.compareOverlap(i, declared[i])
	}
	if c.failed() {
		return
	}
	copied := map[int]bool{}
	for _, o := range c.ties {
		copied[o.stage] = o.copies()
	}
	for _, o := range c.ties {
		c.meaning(o, copied)
	}
}

var overlapForm = form{"overlap s2 in low, mid tie=shared first=2", []field{
	{name: "first", key: true, optional: true, want: wantWhole, lo: 1, hi: maxVisits}}}

// overlap reads an overlap line; nil after a report, and where a name is not known
// for a reason that was reported elsewhere.
func (c *checker) overlap(s *dsl.Statement) *overlap {
	args := s.Args
	if !c.simple(s) || len(args) < 3 || !isName(args[1], "in") {
		c.errorf(codeArgument, head(s), "`overlap` names a stage and the units that hold it").help("%s", usages["overlap"])
		return nil
	}
	n, ok := args[0].Value.(*dsl.Name)
	if !ok || args[0].Kind != dsl.Positional {
		c.errorf(codeArgument, args[0].Range, "`overlap` begins with a stage").help("%s", usages["overlap"])
		return nil
	}
	before := len(c.found)
	o := &overlap{stmt: s, at: head(s), tie: "shared"}
	end := slices.IndexFunc(args, func(a dsl.Arg) bool { return a.Kind == dsl.Keyed })
	if end < 0 {
		end = len(args)
	}
	known := true
	if d := c.find(n, "stage"); d != nil {
		o.stage = d.index
	} else {
		known = false
	}
	named := map[*decl]bool{}
	for _, u := range c.commaNames(s, args[2:end], usages["overlap"]) {
		d := c.find(u, "unit")
		if d == nil {
			known = false
			continue
		}
		if named[d] {
			c.errorf(codeAgain, u.Range, "`%s` is named twice", u.Text)
		}
		named[d] = true
		o.units = append(o.units, d.index)
	}
	c.overlapKeys(o, s, args[end:])
	if !known || len(c.found) > before {
		return nil
	}
	return o
}

// overlapKeys reads tie= and first=.
func (c *checker) overlapKeys(o *overlap, s *dsl.Statement, args []dsl.Arg) {
	f := overlapForm
	f.fields = append(slices.Clone(f.fields), field{name: "tie", key: true, optional: true})
	var rest []dsl.Arg
	for _, a := range args {
		if a.Kind == dsl.Keyed && a.Key.Text == "tie" {
			if !o.tieAt.IsZero() {
				c.errorf(codeAgain, a.Range, "`tie` is written twice")
			}
			o.tieAt = a.Range
			c.tie(o, a.Value)
			continue
		}
		rest = append(rest, a)
	}
	v := c.match(f, "overlap", s.Word.Range, rest, &env{source: c.root})
	if o.first = v.int("first", 0); o.first > 0 {
		o.firstAt = v.m["first"].at
	}
}

var tieWords = []string{"shared", "upper", "soft", "free"}

func (c *checker) tie(o *overlap, e dsl.Expr) {
	n, isName := e.(*dsl.Name)
	call, isCall := e.(*dsl.Call)
	if isCall {
		n = &call.Func
	}
	switch {
	case !isName && !isCall:
		c.errorf(codeChoice, e.Span(), "`tie` is a word").help("%s", oneOf("", tieWords))
	case !slices.Contains(tieWords, n.Text):
		c.badWord(field{name: "tie", words: tieWords}, n)
	case (n.Text == "soft") != isCall:
		r := c.errorf(codeArgument, e.Span(), "`%s` is written otherwise", n.Text)
		if isCall {
			r.help("tie=%s", n.Text)
			return
		}
		r.help("tie=soft(1e-3): the number is the penalty")
	default:
		o.tie = n.Text
	}
	if isCall && n.Text == "soft" {
		f := form{"tie=soft(1e-3)", []field{{name: "penalty", open: true, hi: 1e6}}}
		o.penalty = c.match(f, "soft", n.Range, call.Args, &env{source: c.root}).num("penalty", 0)
	}
}

// compareOverlap checks one stage: held by several units and declared, or
// neither.
func (c *checker) compareOverlap(stage int, o *overlap) {
	holders := c.holders[stage]
	name := c.stageDecls[stage].name.Text
	var names []string
	for _, k := range holders {
		names = append(names, c.units[k].name)
	}
	line := "overlap " + name + " in " + strings.Join(names, ", ")
	switch {
	case o == nil && len(holders) > 1:
		low, up := c.units[holders[0]], c.units[holders[1]]
		c.errorf(codeOverlap, up.spans[stage-up.first], "`%s` is held by %s, but no overlap says so", name, joined(names)).
			note(low.spans[stage-low.first], "`%s` holds it here", low.name).
			help("if they are to share it:\n%s", line)
	case o != nil && len(holders) < 2:
		r := c.errorf(codeNoShare, o.at, "only `%s` holds `%s`, so there is no overlap", joined(names), name).
			note(c.stageDecls[stage].name.Range, "this stage")
		if len(holders) == 0 {
			r.d.Message = "no unit holds `" + name + "`, so there is no overlap"
		}
		r.help("delete the line, or let a second unit hold the stage")
	case o != nil && !slices.Equal(o.units, holders):
		c.errorf(codeNoShare, o.at, "`%s` is held by %s, in this order", name, joined(names)).
			help("name exactly these units:\n%s", line+c.keysOf(o))
	}
}

// keysOf is the rest of an overlap line, as written.
func (c *checker) keysOf(o *overlap) string {
	rest := ""
	for _, a := range o.stmt.Args {
		if a.Kind == dsl.Keyed {
			rest += " " + c.textOf(a.Range)
		}
	}
	return rest
}

// joined lists names in a sentence.
func joined(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = "`" + n + "`"
	}
	if n := len(quoted); n > 1 {
		return strings.Join(quoted[:n-1], ", ") + " and " + quoted[n-1]
	}
	return strings.Trim(strings.Join(quoted, ""), "`")
}

// meaning refuses ties and cuts that mean nothing where they stand. copied are
// the stages that some unit copies.
func (c *checker) meaning(o *overlap, copied map[int]bool) {
	st := c.stages[o.stage]
	name := st.m.Name
	low := c.units[o.units[0]]
	if o.copies() {
		switch above := c.sharedAbove(o, low, copied); {
		case len(o.units) > 2:
			c.errorf(codeTie, o.tieAt, "%d units hold `%s`, and a copy has no place among more than two", len(o.units), name).
				help("use tie=shared or tie=upper")
		case above != "":
			c.errorf(codeTie, o.tieAt, "`%s` would read its copy of `%s` in a stage that it shares, `%s`", low.name, name, above).
				help("a copied stage is followed by copies only: tie `%s` in the same way", above)
		case o.stage == low.first:
			c.errorf(codeTie, o.tieAt, "`%s` would hold copies only, and train no stage of the encoder", low.name).
				note(low.at, "this unit").help("use tie=shared or tie=upper")
		}
	}
	if o.first == 0 {
		return
	}
	switch n := len(st.ends); {
	case len(o.units) > 2:
		c.errorf(codeFirst, o.firstAt, "%d units hold `%s`; a cut parts two", len(o.units), name).help("delete `first`")
	case low.last != o.stage:
		c.errorf(codeFirst, o.firstAt, "`%s` goes on above `%s`, so it cannot end within it", low.name, name).
			note(low.spans[len(low.spans)-1], "it ends here").help("delete `first`")
	case n == 0:
		c.errorf(codeFirst, o.firstAt, "`%s` calls no blocks, so it cannot be cut behind one", name).
			note(st.d.name.Range, "this stage").help("delete `first`, or write the stage's layers as blocks")
	case o.first > n || st.ends[o.first-1] == len(st.m.Layers):
		c.errorf(codeFirst, o.firstAt, "`%s` has %d %s, so its first %d leave nothing to the upper unit", name, n, plural(n, "block"), o.first).
			note(st.d.name.Range, "only calls of blocks are counted").help("delete `first`, or write a smaller number")
	case st.ends[o.first-1] == 0:
		c.errorf(codeFirst, o.firstAt, "the first %d %s of `%s` have no layers", o.first, plural(o.first, "block"), name).
			help("delete `first`, or write a greater number")
	}
}

// sharedAbove is a stage above o's that its lower unit holds and does not copy.
func (c *checker) sharedAbove(o *overlap, low *unit, copied map[int]bool) string {
	for s := o.stage + 1; s <= low.last; s++ {
		if !copied[s] {
			return c.stages[s].m.Name
		}
	}
	return ""
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// inTurn refuses training in turn where units overlap.
func (c *checker) inTurn() {
	if !c.net.Train.InTurn || len(c.ties) == 0 {
		return
	}
	o := c.ties[0]
	var names []string
	for _, k := range o.units {
		names = append(names, c.units[k].name)
	}
	c.errorf(codeInTurn, head(c.settings.statements["units"]), "units that share `%s` cannot be trained in turn", c.stages[o.stage].m.Name).
		note(o.at, "%s train it together", joined(names)).
		help("a stage that is finished cannot learn from the unit above; use `units together`, or --method gim")
}

// tying is the model's word for a tie.
func tying(o *overlap) model.Tying {
	if o.tie == "upper" {
		return model.Upper
	}
	return model.Shared
}

// boundTurns refuses units in turn whose programs are too much together: each
// holds its unit and all that lies below it.
func (c *checker) boundTurns() {
	if !c.net.Train.InTurn {
		return
	}
	below, stage, total := 0, 0, 0
	for _, u := range c.net.Units {
		for ; stage <= u.Last; stage++ {
			below += countLayers(c.net.Stages[stage].Layers)
		}
		total += below + countLayers(u.Decoder.Layers)
	}
	if total > maxTurned {
		c.errorf(codeTooMuch, head(c.settings.statements["units"]), "%d units in turn over %d layers are too much", len(c.net.Units), below).
			help("each unit's turn runs all layers below it again: %d layers in all, at most %d can be; use `units together`, or fewer units", total, maxTurned)
	}
}

// countLayers counts layers, those in branches included.
func countLayers(list []*model.Layer) (n int) {
	for _, l := range list {
		n++
		for _, b := range l.Branches {
			n += countLayers(b.Layers)
		}
	}
	return n
}
