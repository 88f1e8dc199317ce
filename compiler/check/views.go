package check

import (
	"fmt"
	"slices"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/dsl"
	"github.com/locorun/locorun/dsl/diag"
)

var (
	chanceField = unit01("p")
	sideField   = field{name: "size", want: wantSize, lo: 1, hi: maxSide}
)

func strength(name string, most float64) field {
	return field{name: name, key: true, optional: true, hi: most}
}

// viewForms are the steps of an augmentation.
var viewForms = map[string]form{
	"crop": {"crop 224 scale=0.08..1 ratio=3/4..4/3", []field{sideField,
		{name: "scale", key: true, optional: true, want: wantSpan, open: true, hi: 1},
		{name: "ratio", key: true, optional: true, want: wantSpan, open: true, hi: 100}}},
	"centre": {"centre 224", []field{sideField}},
	"resize": {"resize 256", []field{sideField}},
	"flip":   {"flip p=0.5", []field{chanceField}},
	"jitter": {"jitter brightness=0.4 contrast=0.4 saturation=0.4 hue=0.1 p=0.8", []field{
		strength("brightness", 10), strength("contrast", 10), strength("saturation", 10), strength("hue", 0.5), chanceField}},
	"grey": {"grey p=0.2", []field{chanceField}},
	"blur": {"blur sigma=0.1..2 p=0.5", []field{
		{name: "sigma", key: true, optional: true, want: wantSpan, open: true, hi: 100}, chanceField}},
}

// chances are the probabilities of steps that do not write one.
var chances = map[string]float64{"flip": 0.5, "jitter": 0.8, "grey": 0.2, "blur": 0.5}

// checkViews finds the views of the units and the size of a picture.
func (c *checker) checkViews() {
	if len(c.viewUses) == 0 {
		return
	}
	use := c.viewUses[0]
	for _, s := range c.viewUses[1:] {
		c.errorf(codeAgain, s.Word.Range, "the views are written twice").note(use.Word.Range, "first here")
	}
	views, sound := c.viewsOf(use)
	c.net.Views = views
	if !sound {
		return
	}
	source := c.net.Data.Images
	if source == nil {
		source = &model.Source{}
	}
	out := c.sizeAfter(views, source.Known, source.Range)
	if out.h == 0 && !out.lost && c.net.Data.Images != nil {
		c.errorf(codeNoSize, head(use), "the size of a view is not known").
			note(source.Range, "these pictures may have any size").
			help("begin the views with a crop, for example:\ncrop 224")
	}
	if c.net.Input.C > 0 {
		c.net.Input.H, c.net.Input.W = out.h, out.w
	}
}

// extent is the size of pictures after some steps; h is 0 where it is not
// known, shorter then what is known of the shorter side. lost says that a step
// was reported.
type extent struct {
	h, w, shorter int
	lost          bool
}

// sizeAfter follows the size of pictures through a row of steps, from that of
// a source where it is known, and reports a centre larger than the picture.
func (c *checker) sizeAfter(views []model.View, from model.Shape, source diag.Range) extent {
	x := extent{h: from.H, w: from.W, shorter: min(from.H, from.W)}
	for _, v := range views {
		switch v.Kind {
		case "resize":
			x, source = resized(x, v), diag.Range{}
		case "centre":
			if x.shorter > 0 && (min(v.H, v.W) > x.shorter || x.h > 0 && (v.H > x.h || v.W > x.w)) {
				c.tooSmall(x, v, source)
				return extent{lost: true}
			}
			x, source = extent{h: v.H, w: v.W, shorter: min(v.H, v.W)}, diag.Range{}
		case "crop":
			x, source = extent{h: v.H, w: v.W, shorter: min(v.H, v.W)}, diag.Range{}
		}
	}
	return x
}

// resized is the size after a resize: exactly what it says, or, where that is
// one number, with this shorter side.
func resized(x extent, v model.View) extent {
	switch {
	case v.W > 0:
		return extent{h: v.H, w: v.W, shorter: min(v.H, v.W)}
	case x.h == 0:
		return extent{shorter: v.H}
	case x.h <= x.w:
		return extent{h: v.H, w: v.H * x.w / x.h, shorter: v.H}
	}
	return extent{h: v.H * x.h / x.w, w: v.H, shorter: v.H}
}

func (c *checker) tooSmall(x extent, v model.View, source diag.Range) {
	size := fmt.Sprintf("%dx%d", x.h, x.w)
	if x.h == 0 {
		size = fmt.Sprintf("a shorter side of %d", x.shorter)
	}
	r := c.errorf(codeViewSize, v.Range, "the middle of %dx%d is larger than the pictures, which have %s here", v.H, v.W, size).
		help("put a resize before it, for example:\nresize %d", max(v.H, v.W))
	if !source.IsZero() {
		r.note(source, "the pictures come from here")
	}
}

// viewsOf reads a statement with steps in its block, or the name of views that
// are declared. It is not sound where something was reported.
func (c *checker) viewsOf(s *dsl.Statement) ([]model.View, bool) {
	if s.Block != nil {
		c.noArguments(s)
		return c.steps(s.Block.Statements, c.root)
	}
	n, ok := soleName(s)
	if !ok {
		c.errorf(codeBlock, head(s), "`%s` needs a block, or the name of views that are declared", s.Word.Text).
			help("%s { crop 224; flip }", s.Word.Text)
		return nil, false
	}
	d := c.root.views[n.Text]
	if d == nil {
		if !c.broken {
			c.unknownName(n, "views", c.root.views)
		}
		return nil, false
	}
	return c.steps(d.stmt.Block.Statements, d.source)
}

// steps reads the steps of an augmentation, in order.
func (c *checker) steps(list []*dsl.Statement, src *source) ([]model.View, bool) {
	views, sound := []model.View{}, true
	for _, s := range list {
		w := s.Word.Text
		if !slices.Contains(viewWords, w) {
			c.unknownWord(s, "in views { }", viewWords)
			sound = false
			continue
		}
		c.simple(s)
		v := c.match(viewForms[w], w, s.Word.Range, s.Args, &env{source: src})
		sound = sound && v.sound
		if v.sound {
			views = append(views, c.step(s, v))
		}
	}
	return views, sound
}

func (c *checker) step(s *dsl.Statement, v values) model.View {
	w := s.Word.Text
	view := model.View{Kind: w, Range: head(s), P: 1}
	if p, ok := chances[w]; ok {
		view.P = v.num("p", p)
	}
	switch w {
	case "crop", "centre", "resize":
		view.H, view.W = v.sides("size", 0, 0)
		if w == "resize" && v.m["size"].single {
			view.W = 0 // the shorter side
		}
	case "jitter":
		view.Brightness, view.Contrast = v.num("brightness", 0), v.num("contrast", 0)
		view.Saturation, view.Hue = v.num("saturation", 0), v.num("hue", 0)
		if view.Brightness+view.Contrast+view.Saturation+view.Hue == 0 {
			c.errorf(codeNothing, head(s), "this jitter changes nothing").help("%s", viewForms[w].usage)
		}
	case "blur":
		view.Sigma = v.span("sigma", 0.1, 2)
	}
	if w == "crop" {
		view.Scale, view.Ratio = v.span("scale", 0.08, 1), v.span("ratio", 3.0/4, 4.0/3)
	}
	if c.net.Input.C == 1 && (w == "grey" || view.Saturation > 0 || view.Hue > 0) {
		c.warnf(codeColour, head(s), "colour is changed, but the pictures have one channel").
			help("it has no effect; delete it, or keep brightness and contrast only")
	}
	return view
}
