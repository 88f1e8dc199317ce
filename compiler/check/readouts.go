package check

import (
	"fmt"
	"slices"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/dsl"
)

// readoutForms are the settings of readouts that are one argument.
var readoutForms = map[string]form{
	"every":       {"every 5", []field{{name: "every", want: wantWhole, lo: 1, hi: 1e6}}},
	"k":           {"k 200", []field{{name: "k", want: wantWhole, lo: 1, hi: 1e6}}},
	"temperature": {"temperature 0.07", []field{{name: "temperature", open: true, hi: 1e6}}},
	"standardise": {"standardise yes, or standardise no", []field{{name: "standardise", want: wantTruth}}},
}

var fitChoices = []choice{{"sgd", form{"sgd(lr=30, momentum=0, batch=256, epochs=100, drop=[30, 60, 90])", []field{
	positive("lr", true), momentumField, decayField,
	{name: "batch", key: true, optional: true, want: wantWhole, lo: 1, hi: 1 << 20},
	{name: "epochs", key: true, optional: true, want: wantWhole, lo: 1, hi: 1e6},
	{name: "drop", key: true, optional: true, want: wantWholes, lo: 1, hi: 1e6}}}}}

// checkReadouts checks the readouts, which need labelled pictures.
func (c *checker) checkReadouts() {
	for _, s := range c.readouts {
		n, ok := soleName(s)
		if !ok {
			c.errorf(codeArgument, head(s), "`readout` takes its kind").help("readout linear { on s4 }, or readout knn { on s4 }")
			continue
		}
		words := linearWords
		switch {
		case n.Text == "knn":
			words = knnWords
		case n.Text != "linear":
			c.noChoice("readout", []string{"linear", "knn"}, n)
			continue
		}
		if b := c.block(s); b != nil {
			c.readout(s, n.Text, c.gather(b, "in readout "+n.Text+" { }", words))
		}
	}
}

func (c *checker) readout(s *dsl.Statement, kind string, st map[string]*dsl.Statement) {
	r := model.Readout{Kind: kind, Range: head(s), Standardise: kind == "linear"}
	r.On = c.readsFrom(st["on"])
	c.readTwice(r)
	r.Every = int(c.readoutSetting(st["every"]).num("every", 0))
	if kind == "linear" {
		r.Standardise = c.readoutSetting(st["standardise"]).yes("standardise", true)
		r.Linear = c.fit(st["fit"])
	} else {
		r.KNN = model.KNN{K: c.readoutSetting(st["k"]).int("k", 200), Temperature: c.readoutSetting(st["temperature"]).num("temperature", 0.07)}
	}
	r.TestView = c.readoutView(st["test_view"], c.defaultView(r))
	r.TrainView = c.readoutView(st["train_view"], r.TestView)
	if c.data != nil && c.data.Block != nil {
		c.labelled(s)
	}
	c.net.Readouts = append(c.net.Readouts, r)
}

// readTwice reports a stage that an earlier readout of the kind reads: their
// results could not be told apart.
func (c *checker) readTwice(r model.Readout) {
	for _, other := range c.net.Readouts {
		for _, i := range r.On {
			if other.Kind == r.Kind && slices.Contains(other.On, i) {
				c.errorf(codeAgain, r.Range, "a %s readout of this stage is written twice", r.Kind).note(other.Range, "first here").
					help("read other stages, or delete one of the two")
			}
		}
	}
}

// labelled reports a readout without the pictures it needs.
func (c *checker) labelled(s *dsl.Statement) {
	for _, need := range []string{"train", "test"} {
		has := slices.ContainsFunc(c.data.Block.Statements, func(x *dsl.Statement) bool { return x.Word.Text == need })
		if !has {
			c.errorf(codeMissing, head(s), "a readout is fitted on `train` and scored on `test`, but data has no `%s`", need).
				note(head(c.data), "the data").help("name labelled pictures, or hold some out:\ntrain split(folder(\"dir\"), 0.1)\ntest  split(folder(\"dir\"), 0.1)")
			return
		}
	}
}

// readoutSetting reads a setting of one argument; it is empty where there is
// none.
func (c *checker) readoutSetting(s *dsl.Statement) values {
	if s == nil {
		return values{}
	}
	w := s.Word.Text
	if !c.simple(s) {
		return values{}
	}
	return c.match(readoutForms[w], w, s.Word.Range, s.Args, &env{source: c.root})
}

// readsFrom reads `on s1, s2`: the stages, by index; the last where nothing is
// written.
func (c *checker) readsFrom(s *dsl.Statement) []int {
	if s == nil {
		n := len(c.stageDecls)
		if n == 0 {
			return nil
		}
		return []int{c.wholeStage(c.stageDecls[n-1])}
	}
	c.simple(s)
	var on []int
	for _, n := range c.commaNames(s, s.Args, "on s1, s2") {
		d := c.find(n, "stage")
		if d == nil {
			continue
		}
		i := c.wholeStage(d)
		if slices.Contains(on, i) {
			c.errorf(codeAgain, n.Range, "`%s` is named twice", n.Text)
			continue
		}
		on = append(on, i)
	}
	return on
}

// commaNames reads names with commas between them.
func (c *checker) commaNames(s *dsl.Statement, args []dsl.Arg, usage string) []*dsl.Name {
	var names []*dsl.Name
	for i, a := range args {
		if i%2 == 1 {
			if a.Kind != dsl.Comma {
				c.errorf(codeExtra, a.Range, "a comma is missing before this").help("%s", usage)
				return names
			}
			continue
		}
		n, ok := a.Value.(*dsl.Name)
		if !ok || a.Kind != dsl.Positional {
			c.errorf(codeArgument, a.Range, "a name is needed here").help("%s", usage)
			return names
		}
		names = append(names, n)
	}
	if len(args) == 0 {
		c.errorf(codeArgument, head(s), "`%s` lacks its names", s.Word.Text).help("%s", usage)
	}
	return names
}

func (c *checker) fit(s *dsl.Statement) model.LinearFit {
	v := values{}
	if s != nil {
		_, v = c.choose(s, fitChoices)
	}
	f := model.LinearFit{LR: v.num("lr", 30), Momentum: v.num("momentum", 0), WeightDecay: v.num("weight_decay", 0),
		Batch: v.int("batch", 256), Epochs: v.int("epochs", 100)}
	for _, d := range v.numbers("drop", 30, 60, 90) {
		f.Drop = append(f.Drop, int(d))
	}
	for i := 1; i < len(f.Drop); i++ {
		if f.Drop[i] <= f.Drop[i-1] {
			c.errorf(codeRange, v.m["drop"].at, "the epochs of `drop` must ascend")
			break
		}
	}
	return f
}

// defaultView brings any picture to the size of a view: it does nothing to one
// that has it. A square view is the middle of the picture, whose shape is kept;
// others are the whole picture, whose shape may change.
func (c *checker) defaultView(r model.Readout) []model.View {
	h, w := c.net.Input.H, c.net.Input.W
	if h != w {
		return []model.View{{Kind: "resize", Range: r.Range, H: h, W: w, P: 1}}
	}
	return []model.View{
		{Kind: "resize", Range: r.Range, H: h, P: 1},
		{Kind: "centre", Range: r.Range, H: h, W: w, P: 1},
	}
}

// readoutView reads a readout's own pictures, which must have the size of a
// view.
func (c *checker) readoutView(s *dsl.Statement, otherwise []model.View) []model.View {
	if s == nil {
		return otherwise
	}
	views, sound := c.viewsOf(s)
	if !sound {
		return views
	}
	for _, source := range c.judged() {
		c.readoutSize(s, c.sizeAfter(views, source.Known, source.Range))
	}
	return views
}

// judged are the sources whose pictures readouts see, one where the sizes of
// both are the same.
func (c *checker) judged() []*model.Source {
	train, test := c.net.Data.Train, c.net.Data.Test
	switch {
	case train == nil && test == nil:
		return []*model.Source{{}}
	case test == nil || train != nil && train.Known == test.Known:
		return []*model.Source{train}
	case train == nil:
		return []*model.Source{test}
	}
	return []*model.Source{train, test}
}

// readoutSize reports pictures that have not the size of a view.
func (c *checker) readoutSize(s *dsl.Statement, out extent) {
	in := c.net.Input
	if out.lost || in.H == 0 || out.h == in.H && out.w == in.W {
		return
	}
	size := "any size"
	if out.h > 0 {
		size = fmt.Sprintf("%dx%d", out.h, out.w)
	}
	steps := fmt.Sprintf("resize %dx%d", in.H, in.W)
	if in.H == in.W {
		steps = fmt.Sprintf("resize %d; centre %d", in.H, in.W)
	}
	c.errorf(codeViewSize, head(s), "these pictures have %s, but the stages are made for views of %dx%d", size, in.H, in.W).
		help("end with a size, for example:\n%s { %s }", s.Word.Text, steps)
}
