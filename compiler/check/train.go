package check

import (
	"math"
	"slices"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/dsl"
	"github.com/locorun/locorun/dsl/diag"
)

// settings is the train block while it is checked.
type settings struct {
	statements map[string]*dsl.Statement
	numbers    map[string]*decl // what names of numbers mean inside train
	unit       unitSettings     // of units whose braces say nothing else
}

// unitSettings is what the braces of a unit may override.
type unitSettings struct {
	loss      model.Loss
	lr        float64
	optimizer model.Optimizer
	schedule  model.Schedule
	guards    guards
}

// guards is what is done about training that goes wrong.
type guards struct{ nan, divergence, collapse string }

// defaultGuards hold where the file says nothing.
var defaultGuards = guards{nan: "stop", divergence: "warn", collapse: "warn"}

// choice is one of the words that a statement chooses from, with what the word
// takes in parentheses.
type choice struct {
	name string
	form form
}

func positive(name string, key bool) field {
	return field{name: name, key: key, optional: key, open: true, hi: 1e6}
}

func unit01(name string) field { return field{name: name, key: true, optional: true, hi: 1} }

func required(f field) field { f.optional = false; return f }

// numericForms are the settings of train that are a number.
var numericForms = map[string]form{
	"batch":      {"batch 256", []field{{name: "batch", want: wantWhole, lo: 1, hi: 1 << 20}}},
	"microbatch": {"microbatch 64", []field{{name: "microbatch", want: wantWhole, lo: 1, hi: 1 << 20}}},
	"epochs":     {"epochs 100", []field{{name: "epochs", want: wantWhole, lo: 1, hi: 1e6}}},
	"seed":       {"seed 1", []field{{name: "seed", want: wantWhole, lo: 0, hi: maxExact}}},
	"lr":         {"lr 0.5", []field{{name: "lr", lo: 0, hi: 1e6}}},
}

// wordForms are the settings that are a word.
var wordForms = map[string]form{
	"units":         {"units together, or units in_turn", []field{{name: "units", want: wantWord, words: []string{"together", "in_turn"}}}},
	"precision":     {"precision f32, precision tf32, or precision bf16", []field{{name: "precision", want: wantWord, words: []string{"f32", "tf32", "bf16"}}}},
	"on_nan":        {"on_nan stop, or on_nan skip", []field{{name: "on_nan", want: wantWord, words: []string{"stop", "skip"}}}},
	"on_divergence": {"on_divergence warn, or on_divergence stop", []field{{name: "on_divergence", want: wantWord, words: []string{"warn", "stop"}}}},
	"on_collapse":   {"on_collapse warn, or on_collapse stop", []field{{name: "on_collapse", want: wantWord, words: []string{"warn", "stop"}}}},
}

var (
	rateField     = required(positive("lr", true))
	momentumField = field{name: "momentum", key: true, optional: true, hi: 1, below: true}
	decayField    = field{name: "weight_decay", key: true, optional: true, hi: 1e6}
)

var lossChoices = []choice{{"ntxent", form{"ntxent(temperature=0.5, negatives=batch)", []field{
	required(positive("temperature", true)),
	{name: "negatives", key: true, optional: true, want: wantWord, words: []string{"batch", "microbatch"}},
}}}}

var optimizerChoices = []choice{
	{"sgd", form{"sgd(lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=no)", []field{
		rateField, momentumField, decayField, {name: "nesterov", key: true, optional: true, want: wantTruth}}}},
	{"lars", form{"lars(lr=0.3*batch/256, momentum=0.9, weight_decay=1e-6, trust=0.001)", []field{
		rateField, momentumField, decayField, positive("trust", true), {name: "eps", key: true, optional: true, hi: 1}}}},
	{"adamw", form{"adamw(lr=1e-3, weight_decay=0.01, betas=[0.9, 0.999], eps=1e-8)", []field{
		rateField, decayField, {name: "betas", key: true, optional: true, want: wantNumbers, hi: 1, below: true},
		positive("eps", true)}}},
}

var scheduleChoices = []choice{
	{"cosine", form{"cosine(warmup=10)", []field{{name: "warmup", key: true, optional: true, hi: 1e6}}}},
	{"constant", form{"constant", nil}},
}

// missing are the blocks and statements that must be there, with an example.
var missing = []struct{ word, example string }{
	{"data", `data { train folder("train"); test folder("val") }`},
	{"views", "views { crop 224; flip; jitter brightness=0.4 contrast=0.4; grey }"},
	{"stage", "stage s1 { conv 3x3 64; norm; relu }"},
	{"unit", "unit low = s1 -> s2 : proj"},
	{"train", "train { batch 256; epochs 100; loss ntxent(temperature=0.5); optimizer sgd(lr=0.1) }"},
}

// wholeProgram reports the declarations that every program needs.
func (c *checker) wholeProgram() {
	for _, m := range missing {
		has := slices.ContainsFunc(c.root.file.Statements, func(s *dsl.Statement) bool { return s.Word.Text == m.word })
		if m.word == "views" && len(c.viewUses) == 0 {
			has = has && c.failed() // a list that is only named trains nothing
		}
		if !has && !c.meant[m.word] {
			c.lacks(c.endOfFile(), m.word, "the program has no `%s`", m.word).help("for example:\n%s", m.example)
		}
	}
}

// endOfFile is the last place of the root file's statements.
func (c *checker) endOfFile() diag.Range {
	list := c.root.file.Statements
	if len(list) == 0 {
		return startOf(c.root.file.Name)
	}
	r := list[len(list)-1].Range
	r.Start = r.End
	return r
}

// gather collects the statements of a block by their word, each allowed once.
func (c *checker) gather(b *dsl.Block, place string, words []string) map[string]*dsl.Statement {
	got := map[string]*dsl.Statement{}
	for _, s := range b.Statements {
		w := s.Word.Text
		if !slices.Contains(words, w) {
			c.unknownWord(s, place, words)
			continue
		}
		if first := got[w]; first != nil {
			c.errorf(codeAgain, s.Word.Range, "`%s` is written twice", w).note(first.Word.Range, "first here")
			continue
		}
		got[w] = s
	}
	return got
}

// checkTrain checks the train block.
func (c *checker) checkTrain() {
	c.settings = &settings{numbers: map[string]*decl{}, unit: unitSettings{lr: 1, guards: defaultGuards, schedule: model.Schedule{Kind: "constant"}}}
	s := c.settings
	t := &c.net.Train
	t.Seed = 1
	c.trainGuards(s.unit.guards)
	if c.train == nil {
		return
	}
	t.Range = head(c.train)
	c.noArguments(c.train)
	b := c.block(c.train)
	if b == nil {
		return
	}
	s.statements = c.gather(b, "in train { }", trainWords)
	for _, w := range settingWords {
		if st := s.statements[w]; st != nil && len(st.Args) > 0 && st.Args[0].Kind == dsl.Positional {
			s.numbers[w] = &decl{word: "setting", name: st.Word, stmt: st, source: c.root, expr: st.Args[0].Value}
		}
	}
	for _, need := range []struct{ word, example string }{
		{"batch", "batch 256"}, {"epochs", "epochs 100"},
		{"loss", "loss ntxent(temperature=0.5)"}, {"optimizer", "optimizer lars(lr=0.3*batch/256)"},
	} {
		if s.statements[need.word] == nil && !c.meant[need.word] {
			c.lacks(c.train.Word.Range, need.word, "train lacks `%s`", need.word).help("for example:\n%s", need.example)
		}
	}
	c.trainNumbers(t, s)
	t.InTurn = c.wordOf(s.statements["units"], "together") == "in_turn"
	t.Precision = precisions[c.wordOf(s.statements["precision"], "f32")]
	s.unit = c.overrides(s.statements, s.unit)
	t.Loss, t.Optimizer, t.Schedule = s.unit.loss, s.unit.optimizer, s.unit.schedule
	c.trainGuards(s.unit.guards)
}

func (c *checker) trainGuards(g guards) {
	t := &c.net.Train
	t.OnNaN, t.OnDivergence, t.OnCollapse = g.nan, g.divergence, g.collapse
}

func (c *checker) noArguments(s *dsl.Statement) {
	if len(s.Args) > 0 || s.Call != nil {
		c.errorf(codeExtra, head(s), "`%s` takes no argument", s.Word.Text).help("write %s { }", s.Word.Text)
	}
}

// trainNumbers reads batch, microbatch, epochs and seed.
func (c *checker) trainNumbers(t *model.Train, s *settings) {
	t.Batch = int(c.numberOf(s.statements["batch"], 0))
	t.Microbatch = int(c.numberOf(s.statements["microbatch"], float64(t.Batch)))
	t.Epochs = int(c.numberOf(s.statements["epochs"], 0))
	t.Seed = uint64(c.numberOf(s.statements["seed"], 1))
	if t.Microbatch > 0 && t.Batch > 0 && t.Batch%t.Microbatch != 0 {
		c.errorf(codeMicro, s.statements["microbatch"].Args[0].Range, "a microbatch of %d does not divide the batch of %d", t.Microbatch, t.Batch).
			note(s.statements["batch"].Args[0].Range, "the batch").
			help("write a divisor of %d, for example %d", t.Batch, divisorNear(t.Batch, t.Microbatch))
	}
}

// divisorNear is the greatest divisor of n that is at most k, else 1.
func divisorNear(n, k int) int {
	for d := min(k, n); d > 1; d-- {
		if n%d == 0 {
			return d
		}
	}
	return 1
}

// numberOf reads a setting that is a number; 0 after a report.
func (c *checker) numberOf(s *dsl.Statement, otherwise float64) float64 {
	if s == nil {
		return otherwise
	}
	w := s.Word.Text
	if !c.simple(s) {
		return 0
	}
	v := c.match(numericForms[w], w, s.Word.Range, s.Args, c.trainEnv())
	if !v.sound {
		return 0
	}
	return v.num(w, otherwise)
}

// wordOf reads a setting that is a word.
func (c *checker) wordOf(s *dsl.Statement, otherwise string) string {
	if s == nil {
		return otherwise
	}
	w := s.Word.Text
	if !c.simple(s) {
		return otherwise
	}
	return c.match(wordForms[w], w, s.Word.Range, s.Args, c.trainEnv()).word(w, otherwise)
}

// simple reports a block, or parentheses directly behind the word, and whether
// the arguments can be read.
func (c *checker) simple(s *dsl.Statement) bool {
	c.noBlock(s)
	if s.Call != nil {
		c.errorf(codeExtra, s.Call.Range, "`%s` is written without parentheses directly behind it", s.Word.Text).
			help("put a blank there")
	}
	return s.Call == nil
}

func (c *checker) trainEnv() *env { return &env{source: c.root, inTrain: true} }

// choose reads a statement that chooses a word, with arguments or without.
func (c *checker) choose(s *dsl.Statement, choices []choice) (string, values) {
	if !c.simple(s) {
		return "", values{}
	}
	names := make([]string, len(choices))
	for i, ch := range choices {
		names[i] = ch.name
	}
	w := s.Word.Text
	if len(s.Args) != 1 || s.Args[0].Kind != dsl.Positional {
		c.errorf(codeArgument, head(s), "`%s` takes one word with its arguments in parentheses", w).
			help("%s %s", w, choices[0].form.usage)
		return "", values{}
	}
	name, args := s.Args[0].Value, []dsl.Arg(nil)
	if call, ok := name.(*dsl.Call); ok {
		name, args = &call.Func, call.Args
	}
	n, ok := name.(*dsl.Name)
	if !ok {
		c.errorf(codeChoice, name.Span(), "`%s` takes a word", w).help("%s", oneOf("", names))
		return "", values{}
	}
	i := slices.Index(names, n.Text)
	if i < 0 {
		c.noChoice(w, names, n)
		return "", values{}
	}
	v := c.match(choices[i].form, n.Text, n.Range, args, c.trainEnv())
	return n.Text, v
}

// overrides reads loss, lr, optimizer, schedule and what is done about training
// that goes wrong over what holds without them.
func (c *checker) overrides(st map[string]*dsl.Statement, u unitSettings) unitSettings {
	if s := st["loss"]; s != nil {
		u.loss = c.loss(s)
	}
	if s := st["optimizer"]; s != nil {
		u.optimizer = c.optimizer(s)
	}
	if s := st["schedule"]; s != nil {
		u.schedule = c.schedule(s)
	}
	if s := st["lr"]; s != nil {
		u.lr = c.numberOf(s, 1)
	}
	g := &u.guards
	g.nan = c.wordOf(st["on_nan"], g.nan)
	g.divergence = c.wordOf(st["on_divergence"], g.divergence)
	g.collapse = c.wordOf(st["on_collapse"], g.collapse)
	return u
}

func (c *checker) loss(s *dsl.Statement) model.Loss {
	kind, v := c.choose(s, lossChoices)
	l := model.Loss{Range: head(s), Temperature: v.num("temperature", 0), Batch: v.word("negatives", "batch") == "batch"}
	t := c.net.Train
	switch {
	case kind == "" || !v.sound || t.Batch == 0 || t.Microbatch == 0:
	case l.Batch && t.Batch == 1:
		c.errorf(codeNegative, l.Range, "a batch of 1 image leaves this loss without negatives").
			note(c.settings.statements["batch"].Args[0].Range, "the batch").help("use 2 images or more")
	case !l.Batch && t.Microbatch == 1:
		c.errorf(codeNegative, l.Range, "a microbatch of 1 image leaves this loss without negatives").
			help("use microbatches of 2 images or more, or negatives=batch")
	}
	return l
}

func (c *checker) optimizer(s *dsl.Statement) model.Optimizer {
	kind, v := c.choose(s, optimizerChoices)
	o := model.Optimizer{Range: head(s), Kind: kind, LR: v.num("lr", 0), Momentum: v.num("momentum", 0),
		WeightDecay: v.num("weight_decay", 0), Nesterov: v.yes("nesterov", false)}
	switch kind {
	case "lars":
		o.Momentum, o.Trust, o.Eps = v.num("momentum", 0.9), v.num("trust", 0.001), v.num("eps", 0)
	case "adamw":
		o.WeightDecay, o.Eps = v.num("weight_decay", 0.01), v.num("eps", 1e-8)
		betas := v.numbers("betas", 0.9, 0.999)
		if len(betas) != 2 {
			c.errorf(codeRange, v.m["betas"].at, "`betas` are two numbers, these are %d", len(betas)).help("betas=[0.9, 0.999]")
			return o
		}
		o.Betas = [2]float64(betas)
	case "sgd":
		if o.Nesterov && o.Momentum == 0 && v.sound {
			c.errorf(codeArgument, v.m["nesterov"].at, "`nesterov` needs a momentum").help("sgd(lr=.., momentum=0.9, nesterov=yes)")
		}
	}
	return o
}

func (c *checker) schedule(s *dsl.Statement) model.Schedule {
	kind, v := c.choose(s, scheduleChoices)
	w := v.num("warmup", 0)
	if e := float64(c.net.Train.Epochs); e > 0 && w > e && !math.IsInf(w, 0) {
		c.errorf(codeWarmup, v.m["warmup"].at, "a warm-up of %s epochs is longer than the training, which has %s", format(w), format(e)).
			note(c.settings.statements["epochs"].Args[0].Range, "the epochs").
			help("until its end the rate would only rise")
	}
	return model.Schedule{Range: head(s), Kind: kind, Warmup: w}
}

// precisions are the words behind precision.
var precisions = map[string]model.Precision{"f32": model.F32, "tf32": model.TF32, "bf16": model.BF16}
