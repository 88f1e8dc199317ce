package check

import (
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/dsl"
	"github.com/locorun/locorun/dsl/diag"
)

// repeat writes its block out several times, each with weights of its own. A
// round that went wrong is not repeated.
func (w writer) repeat(s *dsl.Statement, v values) {
	b := w.c.block(s)
	if b == nil || !v.sound {
		w.lose()
	}
	if b == nil {
		return
	}
	for range v.int("count", 1) {
		before := known(w.out.shape)
		w.all(b.Statements)
		if w.c.tooMuch || !v.sound || !before || !known(w.out.shape) {
			return
		}
	}
}

// branched writes out a layer with branches.
func (w writer) branched(x line) {
	b := w.c.block(x.s)
	if b == nil {
		w.lose()
		return
	}
	x.l.Out = model.Shape{}
	if x.s.Word.Text == "residual" {
		w.residual(x, b.Statements)
	} else {
		w.parallel(x, b.Statements)
	}
	if !x.v.sound || !known(x.l.In) || !known(x.l.Out) || !w.c.fits(x) {
		w.lose()
		return
	}
	w.add(x.l, "")
}

// branch writes out one path that begins with the map in.
func (w writer) branch(where diag.Range, in model.Shape, statements []*dsl.Statement) model.Branch {
	inner := w.into(in)
	inner.all(statements)
	return model.Branch{Range: where, In: in, Out: inner.out.shape, Layers: inner.out.layers}
}

// residual computes a residual: the body, and the shortcut around it.
func (w writer) residual(x line, statements []*dsl.Statement) {
	c := w.c
	var written *dsl.Statement
	if len(statements) > 0 && statements[0].Word.Text == "shortcut" {
		written, statements = statements[0], statements[1:]
		c.plain(written)
	}
	body := w.branch(x.l.Range, x.l.In, statements)
	if len(statements) == 0 || len(body.Layers) == 0 && c.writtenOut(body.Out) {
		c.errorf(codeEmpty, head(x.s), "a residual without layers only doubles its input").
			help("%s", layerForms["residual"].usage)
		return
	}
	short := model.Branch{Range: x.l.Range, In: x.l.In, Out: x.l.In}
	switch {
	case written != nil:
		inner := w
		inner.names = w.names.shortcut()
		if written.Block != nil {
			short = inner.branch(head(written), x.l.In, written.Block.Statements)
		}
	case known(body.Out) && known(x.l.In) && body.Out != x.l.In:
		if short = w.automatic(x, body); !known(short.Out) {
			return
		}
	}
	x.l.Branches = []model.Branch{short, body}
	if !known(short.Out) || !known(body.Out) {
		return
	}
	if short.Out != body.Out {
		c.errorf(codeShapes, short.Range, "the shortcut gives a map of %s, the body one of %s", shown(short.Out), shown(body.Out)).
			note(x.l.Range, "the residual that adds them")
		return
	}
	x.l.Out = body.Out
}

// plain checks a shortcut's or a branch's own line.
func (c *checker) plain(s *dsl.Statement) {
	if c.block(s) == nil {
		return
	}
	if len(s.Args) > 0 || s.Call != nil {
		c.errorf(codeExtra, head(s), "`%s` takes no argument", s.Word.Text).help("write %s { }", s.Word.Text)
	}
}

// automatic is the shortcut of a residual whose body changes the shape: a 1x1
// convolution with the body's total stride, then the body's norm; where the
// body resizes, a resize to the body's size before a convolution of stride 1.
func (w writer) automatic(x line, body model.Branch) model.Branch {
	c := w.c
	inner := w.into(x.l.In)
	inner.names = w.names.shortcut()
	stride := strideOf(body.Layers)
	if resizes(body.Layers) {
		stride = 1
		inner.add(&model.Layer{Kind: model.Resize, Range: x.l.Range, In: x.l.In,
			Out: model.Shape{H: body.Out.H, W: body.Out.W, C: x.l.In.C}}, "")
	}
	conv := &model.Layer{Kind: model.Conv, Range: x.l.Range, In: inner.out.shape, KH: 1, KW: 1, Stride: stride, Groups: 1}
	if stride > 0 {
		conv.Out = model.Shape{H: op.ConvOut(conv.In.H, 1, stride, 0), W: op.ConvOut(conv.In.W, 1, stride, 0), C: body.Out.C}
	}
	if conv.Out != body.Out {
		c.noAutomatic(x, conv, body)
		return model.Branch{}
	}
	if !c.fits(line{s: x.s, l: conv}) {
		return model.Branch{}
	}
	inner.add(conv, "")
	if norm := lastNorm(body.Layers); norm != nil {
		n := &model.Layer{Kind: model.Norm, Range: x.l.Range, In: conv.Out, Out: conv.Out, Groups: norm.Groups}
		if norm.Groups > 0 && conv.Out.C%norm.Groups != 0 {
			c.errorf(codeShortcut, x.l.Range, "the automatic shortcut cannot norm %d channels in %d groups", conv.Out.C, norm.Groups).
				note(norm.Range, "the body's norm").help("write the shortcut:\nshortcut { conv 1x1 %d; norm }", conv.Out.C)
			return model.Branch{}
		}
		inner.add(n, "")
	}
	return model.Branch{Range: x.l.Range, In: x.l.In, Out: inner.out.shape, Layers: inner.out.layers}
}

func (c *checker) noAutomatic(x line, conv *model.Layer, body model.Branch) {
	r := c.errorf(codeShortcut, x.l.Range, "no automatic shortcut leads from %s to %s, which the body gives", shown(x.l.In), shown(body.Out))
	if known(conv.Out) {
		r.note(diag.Range{}, "a 1x1 convolution with the body's total stride, %d, gives %s", conv.Stride, shown(conv.Out))
	}
	r.help("write the shortcut as the residual's first line:\nshortcut { resize %dx%d; conv 1x1 %d; norm }",
		body.Out.H, body.Out.W, body.Out.C)
}

// strideOf is the total stride of layers in a row; 0 where there is none
// because a pool takes the whole map.
func strideOf(layers []*model.Layer) int {
	stride := 1
	for _, l := range layers {
		switch l.Kind {
		case model.Conv:
			stride *= l.Stride
		case model.Pool:
			stride *= l.Stride // 0 over the whole map
		case model.Residual:
			stride *= strideOf(l.Branches[1].Layers)
		case model.Split, model.Fork:
			stride *= strideOf(l.Branches[0].Layers)
		}
		if stride > maxSide {
			return 0
		}
	}
	return stride
}

// resizes reports whether a resize is among the layers, at any depth.
func resizes(layers []*model.Layer) bool {
	for _, l := range layers {
		if l.Kind == model.Resize {
			return true
		}
		for _, b := range l.Branches {
			if resizes(b.Layers) {
				return true
			}
		}
	}
	return false
}

// lastNorm is the last norm among the layers of a body, or nil.
func lastNorm(layers []*model.Layer) *model.Layer {
	for i := len(layers) - 1; i >= 0; i-- {
		l := layers[i]
		if l.Kind == model.Norm {
			return l
		}
		for j := len(l.Branches) - 1; j >= 0; j-- {
			if n := lastNorm(l.Branches[j].Layers); n != nil {
				return n
			}
		}
	}
	return nil
}

// parallel computes a split or a fork.
func (w writer) parallel(x line, statements []*dsl.Statement) {
	c, word := w.c, x.s.Word.Text
	sound := true
	for _, s := range statements {
		if s.Word.Text != "branch" {
			c.errorf(codePlace, s.Word.Range, "`%s` holds branches only", word).help("%s", layerForms[word].usage)
			sound = false
		}
	}
	if sound && len(statements) < 2 {
		c.errorf(codeEmpty, head(x.s), "`%s` needs two branches or more", word).help("%s", layerForms[word].usage)
		sound = false
	}
	in := x.l.In
	if word == "split" && sound && known(in) {
		if !c.divides(x, "", "channels", in.C, len(statements), "equal parts") {
			in = model.Shape{}
		}
		in.C /= len(statements)
	}
	for _, s := range statements {
		c.plain(s)
		if s.Block != nil && s.Word.Text == "branch" {
			x.l.Branches = append(x.l.Branches, w.branch(head(s), in, s.Block.Statements))
		}
	}
	if sound && len(x.l.Branches) == len(statements) {
		x.l.Out = c.together(x.l.Branches)
	}
}

// together is the map of branches whose outputs are put one after another.
func (c *checker) together(branches []model.Branch) model.Shape {
	first := branches[0].Out
	all := first
	for _, b := range branches[1:] {
		if !known(b.Out) || !known(first) {
			return model.Shape{}
		}
		if b.Out.H != first.H || b.Out.W != first.W {
			c.errorf(codeShapes, b.Range, "this branch gives a map of %dx%d, the first one of %dx%d", b.Out.H, b.Out.W, first.H, first.W).
				note(branches[0].Range, "the first branch").help("branches are joined channel by channel: their maps must have one size")
			return model.Shape{}
		}
		all.C += b.Out.C
	}
	return all
}
