package check

import (
	"slices"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/dsl"
)

// stage is a stage as it was written.
type stage struct {
	d    *decl
	m    *model.Stage
	ends []int // numbers of layers after each block of its top level
}

// checkStages writes out the stages in order; each begins with the map of the
// one before.
func (c *checker) checkStages() {
	shape := c.net.Input
	if shape.C == 0 {
		shape = model.Shape{}
	}
	for _, d := range c.stageDecls {
		st := c.stage(d, shape)
		c.stages = append(c.stages, st)
		shape = st.m.Out
	}
}

func (c *checker) stage(d *decl, in model.Shape) *stage {
	as := ""
	switch rest := d.stmt.Args[1:]; {
	case len(rest) == 2 && isName(rest[0], "as"):
		as, _ = c.torchName(rest[1])
	default:
		c.noMore(d.stmt, rest)
	}
	st := &stage{d: d, m: &model.Stage{Name: d.name.Text, As: as, Range: d.name.Range, In: in, Tie: model.Shared}}
	w := c.writer(c.root, nil, stageNames(d.name.Text, as), in)
	w.ends = &st.ends
	if b := c.block(d.stmt); b != nil {
		w.all(b.Statements)
		if len(b.Statements) == 0 || len(w.out.layers) == 0 && c.writtenOut(w.out.shape) {
			c.errorf(codeEmpty, d.name.Range, "the stage `%s` has no layers", d.name.Text).help("%s", usages["stage"])
		}
	}
	if as == "" {
		st.m.As = d.name.Text
	}
	st.m.Layers, st.m.Out = w.out.layers, w.out.shape
	return st
}

// writtenOut reports whether all layers up to the map out are known: none was
// reported, and no block of a file that could not be read may lack some.
func (c *checker) writtenOut(out model.Shape) bool { return known(out) && !c.broken }

// wholeStage is the index, in the model, at which the whole of a written stage
// has run: of its second part where it was cut.
func (c *checker) wholeStage(d *decl) int {
	if len(c.wholes) > 0 {
		return c.wholes[d.index]
	}
	return d.index
}

// decoderCall is the use of a decoder.
type decoderCall struct {
	d    *decl
	args []dsl.Arg
	expr dsl.Expr
}

// decoderOf reads the decoder behind a colon.
func (c *checker) decoderOf(e dsl.Expr) *decoderCall {
	call := &decoderCall{expr: e}
	var n *dsl.Name
	switch e := e.(type) {
	case *dsl.Name:
		n = e
	case *dsl.Call:
		n, call.args = &e.Func, e.Args
	default:
		c.errorf(codeArgument, e.Span(), "behind `:` stands a decoder")
		return nil
	}
	if call.d = c.find(n, "decoder"); call.d == nil {
		return nil
	}
	return call
}

// decoder writes out an instance of a decoder behind copies of stages, for the
// map of stage last.
func (c *checker) decoder(call *decoderCall, last int, copied []int) model.Decoder {
	c.visited[call.d] = true
	top := c.net.Stages[last].Out
	m := model.Decoder{Name: call.d.name.Text, Range: call.expr.Span(), In: top}
	for _, i := range copied {
		st := c.net.Stages[i]
		m.Copied = append(m.Copied, model.Copied{Stage: st.Name, Layers: len(st.Layers)})
		m.Layers = append(m.Layers, copyLayers(st.Layers)...)
		c.weights += weightsIn(st.Layers)
		top = st.Out
	}
	args := c.bind(call.d, call.args, call.expr.Span(), &env{source: c.root, shape: &top})
	w := c.writer(call.d.source, args, decoderNames(), top)
	c.calls = append(c.calls, call.expr.Span())
	c.callees = append(c.callees, call.d)
	body := c.bodyOf(call.d)
	w.all(body)
	c.callees, c.calls = c.callees[:0], c.calls[:0]
	m.Layers = append(m.Layers, w.out.layers...)
	c.vector(call, w.out.shape, len(body), len(w.out.layers))
	m.Out = w.out.shape.C
	return m
}

// vector checks that a decoder gives a vector.
func (c *checker) vector(call *decoderCall, out model.Shape, lines, layers int) {
	switch {
	case lines == 0, layers == 0 && c.writtenOut(out):
		c.emptyDecoder(call.d)
	case !known(out):
	case out.H != 1 || out.W != 1:
		c.errorf(codeDecoder, call.expr.Span(), "the decoder `%s` ends in a map of %dx%d, but the loss takes a vector", call.d.name.Text, out.H, out.W).
			note(call.d.name.Range, "declared here").help("pool the map in it:\npool mean")
	case out.C < 2:
		c.errorf(codeDecoder, call.expr.Span(), "the decoder `%s` ends in a single number, whose direction says nothing", call.d.name.Text).
			note(call.d.name.Range, "declared here").help("end it with, for example:\ndense 128")
	}
}

func (c *checker) emptyDecoder(d *decl) {
	c.errorf(codeEmpty, d.name.Range, "the decoder `%s` has no layers", d.name.Text).help("%s", usages["decoder"])
}

// copyLayers copies layers deeply; a copy is not exported.
func copyLayers(layers []*model.Layer) []*model.Layer {
	out := make([]*model.Layer, len(layers))
	for i, l := range layers {
		k := *l
		k.Export = ""
		k.Branches = slices.Clone(l.Branches)
		for j := range k.Branches {
			k.Branches[j].Layers = copyLayers(l.Branches[j].Layers)
		}
		out[i] = &k
	}
	return out
}

// declaredBlocks lists the blocks and decoders of the program's own files, in
// the order of the files' keys and of their names.
func (c *checker) declaredBlocks() []*decl {
	var list []*decl
	for _, key := range c.ownSources() {
		src := c.sources[key]
		for _, name := range sorted(src.names) {
			if d := src.names[name]; d.source == src && (d.word == "block" || d.word == "decoder") {
				list = append(list, d)
			}
		}
	}
	return list
}
