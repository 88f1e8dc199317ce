package check

import (
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/dsl"
	"github.com/locorun/locorun/dsl/diag"
)

// The arguments of the layers.
var (
	kernelField = field{name: "window", want: wantSize, lo: 1, hi: maxKernel}
	strideField = field{name: "stride", key: true, optional: true, want: wantWhole, lo: 1, hi: maxKernel}
	padField    = field{name: "pad", key: true, optional: true, want: wantWhole, lo: 0, hi: maxKernel}
	outField    = field{name: "out", want: wantWhole, lo: 1, hi: maxWidth}
	groupsField = field{name: "groups", key: true, optional: true, want: wantWhole, lo: 1, hi: maxWidth}
)

var layerForms = map[string]form{
	"conv": {"conv 3x3 64 stride=2 pad=1 groups=1 bias=no", []field{kernelField, outField, strideField, padField, groupsField,
		{name: "bias", key: true, optional: true, want: wantTruth}}},
	"norm": {"norm, or norm group=8", []field{{name: "group", key: true, optional: true, want: wantWhole, lo: 1, hi: maxWidth}}},
	"relu": {"relu", nil},
	"pool": {"pool max 3x3 stride=2 pad=1, or pool mean for the whole map", []field{{name: "pool", want: wantWord, words: []string{"mean", "max"}},
		{name: "window", optional: true, want: wantSize, lo: 1, hi: maxSide}, strideField, padField}},
	"dense":    {"dense 128", []field{outField}},
	"resize":   {"resize 28x28, or resize 28", []field{{name: "size", want: wantSize, lo: 1, hi: maxSide}}},
	"shuffle":  {"shuffle groups=2", []field{{name: "groups", key: true, want: wantWhole, lo: 1, hi: maxWidth}}},
	"residual": {"residual { shortcut { conv 1x1 64; norm }; conv 3x3 64; norm }, the shortcut only where it is not the automatic one", nil},
	"split":    {"split { branch { }; branch { conv 3x3 channels; norm } }", nil},
	"fork":     {"fork { branch { conv 1x1 64 }; branch { conv 3x3 64 } }", nil},
	"repeat":   {"repeat 3 { basic(64) }", []field{{name: "count", want: wantWhole, lo: 1, hi: maxRepeat}}},
}

// line is a layer being checked: its statement, its arguments, its result.
type line struct {
	s *dsl.Statement
	v values
	l *model.Layer
}

// at is the place of an argument, or of the line where it was not written.
func (x line) at(name string) diag.Range {
	if v, ok := x.v.m[name]; ok {
		return v.at
	}
	return head(x.s)
}

// layer writes out a layer of the language.
func (w writer) layer(s *dsl.Statement, args []dsl.Arg, as string) {
	c, word := w.c, s.Word.Text
	v := c.match(layerForms[word], word, s.Word.Range, args, &w.in)
	if as != "" && kindNames[model.LayerKind(word)] == "" {
		c.errorf(codeRename, head(s), "`%s` has no weights that could be renamed", word).
			help("`as` renames conv, norm, dense, the call of a block or a stage")
	}
	x := line{s, v, &model.Layer{Kind: model.LayerKind(word), Range: head(s), In: w.out.shape}}
	switch word {
	case "repeat":
		w.repeat(s, v)
		return
	case "residual", "split", "fork":
		w.branched(x)
		return
	}
	c.noBlock(s)
	if !v.sound || !known(x.l.In) {
		w.lose()
		return
	}
	if !plainLayers[word](c, x) || !c.fits(x) {
		w.lose()
		return
	}
	w.add(x.l, as)
}

// add appends a layer, which is sound, and names its weights.
func (w writer) add(l *model.Layer, as string) {
	if kindNames[l.Kind] != "" {
		w.names.weight(l, as)
		w.c.exported(l)
	}
	w.out.layers = append(w.out.layers, l)
	w.out.shape = l.Out
}

// exported reports a second weight of one exported name.
func (c *checker) exported(l *model.Layer) {
	if l.Export == "" {
		return
	}
	first, ok := c.exports[l.Export]
	if !ok {
		c.exports[l.Export] = l.Range
		return
	}
	c.errorf(codeExport, l.Range, "two layers would be exported as `%s`", l.Export).
		note(first, "the first").help("give this one a name of its own: %s as other_name", l.Kind)
}

// plainLayers compute the results of the layers without branches; they report
// what does not fit and say so.
var plainLayers = map[string]func(*checker, line) bool{
	"conv": (*checker).conv, "norm": (*checker).norm, "relu": (*checker).relu, "pool": (*checker).pool,
	"dense": (*checker).dense, "resize": (*checker).resize, "shuffle": (*checker).shuffle,
}

func (c *checker) conv(x line) bool {
	l := x.l
	l.KH, l.KW = x.v.sides("window", 1, 1)
	l.Stride, l.Groups, l.Bias = x.v.int("stride", 1), x.v.int("groups", 1), x.v.yes("bias", false)
	out := x.v.int("out", 1)
	if !c.padding(x) || !c.divides(x, "groups", "input channels", l.In.C, l.Groups, "groups") ||
		!c.divides(x, "groups", "output channels", out, l.Groups, "groups") {
		return false
	}
	return c.window(x, out)
}

// padding sets the padding; the default, (k-1)/2, is one number only where the
// window is square. Windows of a pool that lie side by side need none: with it
// the last row and column of windows would look beyond the map, or not at all.
func (c *checker) padding(x line) bool {
	l := x.l
	if l.Kind == model.Pool && l.Stride >= max(l.KH, l.KW) {
		l.Pad = x.v.int("pad", 0)
		return true
	}
	l.Pad = x.v.int("pad", (l.KH-1)/2)
	if l.KH != l.KW && !x.v.has("pad") && (l.KH-1)/2 != (l.KW-1)/2 {
		c.errorf(codeSquare, x.at("window"), "a window of %dx%d needs pad= written", l.KH, l.KW).
			help("the default, (k-1)/2, is %d for its height and %d for its width", (l.KH-1)/2, (l.KW-1)/2)
		return false
	}
	return true
}

// divides reports channels that do not divide evenly.
func (c *checker) divides(x line, arg, what string, channels, parts int, name string) bool {
	if channels%parts == 0 {
		return true
	}
	c.errorf(codeDivide, x.at(arg), "%d %s do not divide into %d %s", channels, what, parts, name)
	return false
}

// window sets the result of a conv or pool with `out` channels.
func (c *checker) window(x line, out int) bool {
	l := x.l
	l.Out = model.Shape{
		H: op.ConvOut(l.In.H, l.KH, l.Stride, l.Pad),
		W: op.ConvOut(l.In.W, l.KW, l.Stride, l.Pad),
		C: out,
	}
	if l.Out.H >= 1 && l.Out.W >= 1 {
		return true
	}
	c.errorf(codeWindow, x.at("window"), "a window of %dx%d with padding %d does not fit into a map of %dx%d",
		l.KH, l.KW, l.Pad, l.In.H, l.In.W).help("the map is %s here", shown(l.In))
	return false
}

func (c *checker) norm(x line) bool {
	x.l.Groups, x.l.Out = x.v.int("group", 0), x.l.In
	in := x.l.In
	if x.l.Groups == 0 {
		return true
	}
	if !c.divides(x, "group", "channels", in.C, x.l.Groups, "groups") {
		return false
	}
	if in.Elements() == x.l.Groups {
		c.errorf(codeRange, x.at("group"), "%d groups of a map of %s hold one value each, which a norm makes 0", x.l.Groups, shown(in)).
			help("write fewer groups, or norm without group=, which looks at the whole microbatch")
		return false
	}
	return true
}

func (c *checker) relu(x line) bool {
	x.l.Out = x.l.In
	return true
}

func (c *checker) pool(x line) bool {
	l := x.l
	l.Max = x.v.word("pool", "") == "max"
	if !x.v.has("window") {
		if x.v.has("stride") || x.v.has("pad") {
			c.errorf(codeArgument, head(x.s), "`pool` over the whole map has neither stride nor padding").
				help("%s", layerForms["pool"].usage)
			return false
		}
		l.Out = model.Shape{H: 1, W: 1, C: l.In.C}
		return true
	}
	l.KH, l.KW = x.v.sides("window", 1, 1)
	if l.KH != l.KW && !x.v.has("stride") {
		c.errorf(codeSquare, x.at("window"), "a window of %dx%d needs stride= written", l.KH, l.KW).
			help("the default is the window's side, and this one has two")
		return false
	}
	l.Stride = x.v.int("stride", l.KH)
	if !c.padding(x) {
		return false
	}
	if l.Pad >= min(l.KH, l.KW) {
		c.errorf(codeWindow, x.at("pad"), "a padding of %d lets a window of %dx%d miss the map", l.Pad, l.KH, l.KW).
			help("the padding of a pool is smaller than its window")
		return false
	}
	return c.window(x, l.In.C)
}

func (c *checker) dense(x line) bool {
	l := x.l
	if l.In.H != 1 || l.In.W != 1 {
		c.errorf(codeVector, head(x.s), "`dense` takes a 1x1 map, but this is %dx%d", l.In.H, l.In.W).
			help("pool it first:\npool mean")
		return false
	}
	l.Out = model.Shape{H: 1, W: 1, C: x.v.int("out", 1)}
	return true
}

func (c *checker) resize(x line) bool {
	h, w := x.v.sides("size", 1, 1)
	x.l.Out = model.Shape{H: h, W: w, C: x.l.In.C}
	return true
}

func (c *checker) shuffle(x line) bool {
	x.l.Groups, x.l.Out = x.v.int("groups", 1), x.l.In
	return c.divides(x, "groups", "channels", x.l.In.C, x.l.Groups, "groups")
}

// weightsOf counts the trained values of a layer.
func weightsOf(l *model.Layer) int64 {
	switch l.Kind {
	case model.Conv:
		n := int64(l.Out.C) * int64(l.KH) * int64(l.KW) * int64(l.In.C/l.Groups)
		if l.Bias {
			n += int64(l.Out.C)
		}
		return n
	case model.Dense:
		return int64(l.Out.C) * (int64(l.In.C) + 1)
	case model.Norm:
		return 2 * int64(l.In.C)
	}
	return 0
}

// weightsIn counts the trained values of layers.
func weightsIn(layers []*model.Layer) int64 {
	var n int64
	for _, l := range layers {
		n += weightsOf(l)
		for _, b := range l.Branches {
			n += weightsIn(b.Layers)
		}
	}
	return n
}

// fits bounds a layer's map and weights, and the weights of all layers.
func (c *checker) fits(x line) bool {
	if n := int64(x.l.Out.H) * int64(x.l.Out.W) * int64(x.l.Out.C); n > maxElements || x.l.Out.C > maxWidth {
		c.errorf(codeTooLarge, head(x.s), "a map of %s is too large", shown(x.l.Out)).
			help("a map has at most %d values and %d channels", maxElements, maxWidth)
		return false
	}
	if !c.fitsBatch(x) {
		return false
	}
	n := weightsOf(x.l)
	if n > maxElements {
		c.errorf(codeTooLarge, head(x.s), "%d weights in one layer are too many", n).help("a layer has at most %d", maxElements)
		return false
	}
	if c.weights += n; c.weights > maxWeights {
		c.errorf(codeTooLarge, head(x.s), "with this layer the program has more than %d weights", int64(maxWeights))
		return false
	}
	return true
}

// fitsBatch bounds what a layer makes of the views of one batch, so that no
// count of values, bytes or operations overflows.
func (c *checker) fitsBatch(x line) bool {
	pictures := 2 * max(int64(c.net.Train.Batch), 1)
	if pictures*int64(x.l.Out.Elements()) > maxBatchMap {
		c.errorf(codeTooLarge, head(x.s), "a map of %s for each view of %d images is too large", shown(x.l.Out), pictures/2).
			help("all maps of one layer in a batch have at most %d values", int64(maxBatchMap))
		return false
	}
	if k := x.l.Kind; k == model.Conv || k == model.Dense {
		c.products += float64(pictures) * float64(x.l.Out.H*x.l.Out.W) * float64(weightsOf(x.l))
	}
	if c.products > maxProducts {
		c.errorf(codeTooLarge, head(x.s), "with this layer a batch of %d images takes more than %g multiplications and additions", pictures/2, maxProducts).
			help("write a smaller batch, smaller views or narrower layers")
		return false
	}
	return true
}
