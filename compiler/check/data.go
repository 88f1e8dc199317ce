package check

import (
	"reflect"
	"slices"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/dsl"
	"github.com/locorun/locorun/dsl/diag"
)

// sourceForms are the sources of pictures, in the order they are listed.
var sourceForms = []choice{
	{"idx", form{`idx("images.gz", "labels.gz")`, []field{{name: "images", want: wantText}, {name: "labels", want: wantText, optional: true}}}},
	{"cifar10", form{`cifar10("dir")`, []field{{name: "directory", want: wantText}}}},
	{"cifar100", form{`cifar100("dir")`, []field{{name: "directory", want: wantText}}}},
	{"stl10", form{`stl10("dir", part=train)`, []field{{name: "directory", want: wantText},
		{name: "part", key: true, optional: true, want: wantWord, words: []string{"unlabelled", "train", "test"}}}}},
	{"folder", form{`folder("dir")`, []field{{name: "directory", want: wantText}}}},
	{"synthetic", form{"synthetic(shapes, n=10000, classes=10, size=32)", []field{
		{name: "kind", want: wantWord, words: []string{"shapes"}},
		{name: "n", key: true, optional: true, want: wantWhole, lo: 1, hi: 1e8},
		{name: "classes", key: true, optional: true, want: wantWhole, lo: 2, hi: 80},
		{name: "size", key: true, optional: true, want: wantSize, lo: 8, hi: 1024}}}},
	{"split", form{`split(folder("dir"), 0.1)`, nil}},
}

// roles number what a source is for; the draws of synthetic sources are keyed
// by it, so that they never meet.
var roles = map[string]uint64{"images": 1, "train": 2, "test": 3}

// stlParts are the parts of stl10 that are meant where none is written.
var stlParts = map[string]string{"images": "unlabelled", "train": "train", "test": "test"}

// checkData checks the data block.
func (c *checker) checkData() {
	if c.data == nil {
		return
	}
	d := &c.net.Data
	d.Range = head(c.data)
	d.Normalise.Kind = "auto"
	c.noArguments(c.data)
	b := c.block(c.data)
	if b == nil {
		return
	}
	st := c.gather(b, "in data { }", dataWords)
	d.Train, d.Test, d.Images = c.sourceFor(st["train"]), c.sourceFor(st["test"]), c.sourceFor(st["images"])
	if st["images"] == nil {
		d.Images = d.Train
	}
	if st["images"] == nil && st["train"] == nil && !c.meant["images"] && !c.meant["train"] {
		c.errorf(codeMissing, c.data.Word.Range, "data names no pictures to train on").help("for example:\ntrain folder(\"train\")")
	}
	c.channels(st["channels"])
	c.compareSources()
	c.normalise(st["normalise"])
}

// channels reads the number of channels, or takes the sources' own.
func (c *checker) channels(s *dsl.Statement) {
	d := &c.net.Data
	if s == nil {
		c.sameChannels()
		return
	}
	c.simple(s)
	v := c.match(form{"channels 3, or channels 1", []field{{name: "channels", want: wantWhole, lo: 1, hi: 3}}}, "channels",
		s.Word.Range, s.Args, &env{source: c.root})
	n := v.int("channels", 0)
	if v.sound && n == 2 {
		c.errorf(codeRange, s.Args[0].Range, "`channels` is 2, but must be 3 or 1")
		n = 0
	}
	d.Channels = n
	c.net.Input.C = n
}

// sameChannels compares the channels of all sources.
func (c *checker) sameChannels() {
	d := c.net.Data
	if d.Images == nil {
		return
	}
	c.net.Input.C = channelsOf(d.Images)
	for _, s := range []*model.Source{d.Train, d.Test} {
		if s != nil && channelsOf(s) != c.net.Input.C {
			c.errorf(codeChannels, s.Range, "these pictures have %d %s, those the units are trained on %d",
				channelsOf(s), plural(channelsOf(s), "channel"), c.net.Input.C).
				note(d.Images.Range, "trained on these").help("add to data, to give all the same channels:\nchannels 3")
		}
	}
}

// channelsOf is the number of channels a source has.
func channelsOf(s *model.Source) int {
	switch s.Kind {
	case "split":
		return channelsOf(s.Of)
	case "idx":
		return 1
	}
	return 3
}

// sourceFor reads the source of a statement of data; nil where there is none.
func (c *checker) sourceFor(s *dsl.Statement) *model.Source {
	if s == nil {
		return nil
	}
	c.simple(s)
	if len(s.Args) != 1 || s.Args[0].Kind != dsl.Positional {
		c.errorf(codeArgument, head(s), "`%s` takes one source", s.Word.Text).help("for example:\n%s folder(\"dir\")", s.Word.Text)
		return nil
	}
	return c.source(s.Args[0].Value, s.Word.Text, false)
}

// source reads a source. Within a split, both roles see the same pictures.
func (c *checker) source(e dsl.Expr, role string, inSplit bool) *model.Source {
	call, ok := e.(*dsl.Call)
	if !ok {
		c.errorf(codeKind, e.Span(), "a source is written like a call").help(`for example folder("dir")`)
		return nil
	}
	names := make([]string, len(sourceForms))
	for i, f := range sourceForms {
		names[i] = f.name
	}
	i := slices.Index(names, call.Func.Text)
	if i < 0 {
		c.noChoice("source", names, &call.Func)
		return nil
	}
	if call.Func.Text == "split" {
		return c.split(call, role, inSplit)
	}
	v := c.match(sourceForms[i].form, call.Func.Text, call.Func.Range, call.Args, &env{source: c.root})
	if !v.sound {
		return nil
	}
	s := &model.Source{Range: call.Range, Kind: call.Func.Text}
	if inSplit {
		role = "train"
	}
	if !c.fill(s, v, role, inSplit) {
		return nil
	}
	return s
}

// fill puts the arguments of a call into a source.
func (c *checker) fill(s *model.Source, v values, role string, inSplit bool) bool {
	for _, arg := range []string{"images", "labels", "directory"} {
		if x, ok := v.m[arg]; ok {
			if x.s == "" {
				c.errorf(codeArgument, x.at, "the path is empty")
				return false
			}
			s.Paths = append(s.Paths, x.s)
		}
	}
	switch s.Kind {
	case "idx":
		if role != "images" && len(s.Paths) < 2 {
			c.errorf(codeArgument, s.Range, "`%s` needs labels: readouts are fitted and scored on it", role).
				help(`idx("images.gz", "labels.gz")`)
			return false
		}
	case "cifar10", "cifar100":
		s.Known, s.Part = model.Shape{H: 32, W: 32, C: 3}, "train"
		if role == "test" {
			s.Part = "test"
		}
	case "stl10":
		s.Known, s.Part = model.Shape{H: 96, W: 96, C: 3}, v.word("part", stlParts[role])
		if s.Part == "unlabelled" && role != "images" {
			c.errorf(codeArgument, v.m["part"].at, "`%s` needs labels, this part has none", role).help("images stl10(\"dir\", part=unlabelled)")
			return false
		}
	case "synthetic":
		s.N, s.Classes, s.Seed = v.int("n", 10000), v.int("classes", 10), roles[role]
		s.Size[0], s.Size[1] = v.sides("size", 32, 32)
		s.Known = model.Shape{H: s.Size[0], W: s.Size[1], C: 3}
	}
	return true
}

// split reads split(source, share): test gets the share held out, train and
// images the rest.
func (c *checker) split(call *dsl.Call, role string, inSplit bool) *model.Source {
	usage := `split(folder("dir"), 0.1)`
	if inSplit {
		c.errorf(codeKind, call.Range, "a split cannot be split again").help("%s", usage)
		return nil
	}
	if len(call.Args) != 2 || call.Args[0].Kind != dsl.Positional {
		c.errorf(codeArgument, call.Range, "`split` takes a source and the share held out").help("%s", usage)
		return nil
	}
	of := c.source(call.Args[0].Value, role, true)
	share := form{usage, []field{{name: "share", open: true, hi: 1, below: true}}}
	v := c.match(share, "split", call.Func.Range, call.Args[1:], &env{source: c.root})
	if of == nil || !v.sound {
		return nil
	}
	s := &model.Source{Range: call.Range, Kind: "split", Fraction: v.num("share", 0), Of: of, Part: "rest", Known: of.Known}
	if role == "test" {
		s.Part = "held"
	}
	return s
}

// compareSources finds pictures that are both trained and scored on, and
// labels that do not agree.
func (c *checker) compareSources() {
	d := c.net.Data
	if d.Test == nil {
		return
	}
	for _, s := range []*model.Source{d.Train, d.Images} {
		switch {
		case s == nil || s.Kind != d.Test.Kind:
		case s.Kind == "split" && samePictures(s.Of, d.Test.Of) && s.Fraction != d.Test.Fraction:
			c.errorf(codeSame, d.Test.Range, "the test holds out another share of the same pictures than the training").
				note(s.Range, "trained on the rest of this").help("hold out %s in both", format(s.Fraction))
		case s.Kind != "split" && samePictures(s, d.Test):
			c.warnf(codeSame, d.Test.Range, "the readouts are scored on pictures they are fitted on").
				note(s.Range, "the same pictures").help("hold some out: train split(.., 0.1) and test split(.., 0.1)")
		}
	}
	if d.Train == nil {
		return
	}
	fitted, scored := classesOf(d.Train), classesOf(d.Test)
	if fitted > 0 && scored > 0 && fitted != scored {
		c.errorf(codeClasses, d.Test.Range, "the test has %d classes, the training %d", scored, fitted).
			note(d.Train.Range, "the training")
	}
}

// classesOf is the number of classes of a source; 0: not known here.
func classesOf(s *model.Source) int {
	switch s.Kind {
	case "split":
		return classesOf(s.Of)
	case "cifar10", "stl10":
		return 10
	case "cifar100":
		return 100
	}
	return s.Classes
}

// samePictures reports whether two sources are written the same.
func samePictures(a, b *model.Source) bool {
	x, y := *a, *b
	x.Range, y.Range = diag.Range{}, diag.Range{}
	return reflect.DeepEqual(x, y)
}

// normalise reads how pictures are centred and scaled.
func (c *checker) normalise(s *dsl.Statement) {
	if s == nil {
		return
	}
	n := &c.net.Data.Normalise
	n.Range = head(s)
	c.simple(s)
	f := form{"normalise mean=[0.5, 0.5, 0.5] std=[0.2, 0.2, 0.2], or normalise none", []field{
		{name: "normalise", optional: true, want: wantWord, words: []string{"none"}},
		{name: "mean", key: true, optional: true, want: wantNumbers, lo: -1e6, hi: 1e6},
		{name: "std", key: true, optional: true, want: wantNumbers, lo: 0, open: true, hi: 1e6}}}
	v := c.match(f, "normalise", s.Word.Range, s.Args, &env{source: c.root})
	if !v.sound {
		return
	}
	none, mean, std := v.has("normalise"), v.has("mean"), v.has("std")
	if none == (mean || std) || mean != std {
		c.errorf(codeArgument, head(s), "`normalise` takes a mean and a deviation, or `none`").help("%s", f.usage)
		return
	}
	if n.Kind = "given"; none {
		n.Kind = "none"
		return
	}
	n.Mean, n.Std = v.numbers("mean"), v.numbers("std")
	for _, name := range []string{"mean", "std"} {
		if k := len(v.m[name].list); c.net.Input.C > 0 && k != c.net.Input.C {
			c.errorf(codeNormalise, v.m[name].at, "`%s` has %d %s, but the pictures have %d %s", name, k, plural(k, "value"), c.net.Input.C, plural(c.net.Input.C, "channel")).
				help("write one for each channel")
		}
	}
}
