package lower

import (
	"slices"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/op"
)

// Settings of normalisation fixed for loco 1.
const (
	normEps      = 1e-5
	statMomentum = 0.1
)

// forwardPass emits the forward segments: for each unit its frozen stages, the
// stages it owns, its decoder and its watches' decoders; and the same once
// more as Embed where the batch is recomputed.
func (b *builder) forwardPass() error {
	b.makeSites()
	images := b.value(ir.Value{Name: "images", Kind: ir.Images, Unit: 0,
		Shape: []int{b.pictures(), b.net.Input.H, b.net.Input.W, b.net.Input.C}})
	b.forwardUnits(images, ir.PhaseForward)
	if b.prog.Recompute {
		b.forwardUnits(images, ir.PhaseEmbed)
	}
	return nil
}

// makeSites lists the stages and decoders that the program runs.
func (b *builder) makeSites() {
	top := -1
	for _, u := range b.units {
		top = max(top, b.net.Units[u].Last)
	}
	for s, st := range b.net.Stages {
		if s <= top {
			b.stages[s] = &site{name: st.Name, label: st.Label(), unit: max(b.owner[s], 0), layers: st.Layers, stage: st, fwd: -1}
		}
	}
	for k, u := range b.units {
		unit := b.net.Units[u]
		b.decs = append(b.decs, decoderSite(unit.Name, &unit.Decoder, k))
	}
	for w, watch := range b.net.Watches {
		if k := b.watchUnit(w); k >= 0 {
			b.watch[w] = decoderSite(watch.Name, &watch.Decoder, k)
		}
	}
}

func decoderSite(unit string, d *model.Decoder, k int) *site {
	name := unit + "/" + d.Name
	return &site{name: name, label: name, unit: k, layers: d.Layers, dec: d, fwd: -1}
}

// stageLabel is the prefix of the weights of the stage of that name.
func (b *builder) stageLabel(name string) string {
	for _, s := range b.net.Stages {
		if s.Name == name {
			return s.Label()
		}
	}
	return name
}

// forwardUnits emits one forward phase of all units.
func (b *builder) forwardUnits(x ir.ValueID, phase ir.Phase) {
	for k := range b.prog.Units {
		u := &b.prog.Units[k]
		if phase == ir.PhaseForward {
			u.In = x
		}
		var task ir.Task
		x, task = b.forwardStages(k, x, phase)
		if len(u.Owns) > 0 && k+1 < len(b.prog.Units) {
			b.val(x).Kind = ir.Map
		}
		if phase == ir.PhaseForward && k+1 < len(b.prog.Units) {
			u.Out = x
		}
		task = append(task, b.forwardDecoder(b.decs[k], k, x, phase))
		if phase == ir.PhaseForward {
			u.Forward = task
		} else {
			u.Embed = task
		}
	}
}

// forwardStages emits the stages that unit k runs, each followed by the
// decoders of its watches, and returns the last one's output.
func (b *builder) forwardStages(k int, x ir.ValueID, phase ir.Phase) (ir.ValueID, ir.Task) {
	var task ir.Task
	for s, st := range b.stages {
		if st == nil || !b.runs(k, s) {
			continue
		}
		ph := phase
		if b.owner[s] != k {
			ph = ir.PhaseInfer
		}
		x = b.forwardSite(st, k, x, ph)
		task = append(task, len(b.prog.Segments)-1)
		for w, ws := range b.watch {
			if ws != nil && b.net.Watches[w].Stage == s {
				task = append(task, b.forwardDecoder(ws, k, x, phase))
			}
		}
	}
	return x, task
}

// runs reports whether program unit k runs stage s forward: it owns it, or it
// is the first and the stage lies frozen below.
func (b *builder) runs(k, s int) bool {
	return b.owner[s] == k || (k == 0 && b.owner[s] < 0)
}

// forwardSite emits the forward segment of a site in one phase and returns the
// site's output. In PhaseForward it becomes the site's own.
func (b *builder) forwardSite(s *site, unit int, x ir.ValueID, phase ir.Phase) ir.ValueID {
	e := &emitter{b: b, site: s, seg: b.segment(ir.Segment{Unit: unit, Site: s.name, Phase: phase})}
	e.mode, e.suffix = b.normMode(phase)
	y := e.layers(s.layers, x)
	if phase == ir.PhaseForward {
		s.in, s.out, s.fwd = x, y, e.seg
	}
	return y
}

// normMode is the mode of batch normalisation in a phase, and the suffix of
// the phase's values. The running statistics move once per microbatch: in the
// embed phase where there is one, else in the forward phase.
func (b *builder) normMode(phase ir.Phase) (op.NormMode, string) {
	switch {
	case phase == ir.PhaseEmbed:
		return op.NormUpdate, "@embed"
	case phase == ir.PhaseInfer:
		return op.NormRunning, "@infer"
	case b.prog.Recompute:
		return op.NormBatch, ""
	}
	return op.NormUpdate, ""
}

// forwardDecoder emits a decoder's forward segment; its output is the
// embedding. The embed phase and the forward phase write the same embedding,
// byte for byte. It returns the segment.
func (b *builder) forwardDecoder(s *site, unit int, x ir.ValueID, phase ir.Phase) int {
	prev := s.out
	y := b.forwardSite(s, unit, x, phase)
	seg := len(b.prog.Segments) - 1
	if phase == ir.PhaseEmbed {
		// The loss reads the forward phase's value; write into that one.
		b.redirect(seg, y, prev)
		s.out = prev
		return seg
	}
	b.val(y).Kind = ir.Embedding
	return seg
}

// redirect makes the segment write to instead of from.
func (b *builder) redirect(seg int, from, to ir.ValueID) {
	for i := range b.prog.Segments[seg].Ops {
		o := &b.prog.Segments[seg].Ops[i]
		replace(o.In, from, to)
		replace(o.Out, from, to)
	}
}

func replace(ids []ir.ValueID, from, to ir.ValueID) {
	for i, id := range ids {
		if id == from {
			ids[i] = to
		}
	}
}

// emitter writes the forward ops of one segment.
type emitter struct {
	b      *builder
	site   *site
	seg    int
	mode   op.NormMode
	suffix string
}

// op appends an op whose results take the shapes of its row.
func (e *emitter) op(l *model.Layer, code op.Code, a op.Attr, in []ir.ValueID, ports ...string) []ir.ValueID {
	shapes := e.b.shapesFor(code, a, in)
	return e.emit(l, code, a, in, shapes, ports...)
}

// emit appends an op with results of the given shapes. A port "-" is absent.
func (e *emitter) emit(l *model.Layer, code op.Code, a op.Attr, in []ir.ValueID, shapes [][]int, ports ...string) []ir.ValueID {
	layer := e.label(l)
	out := make([]ir.ValueID, len(ports))
	for i, port := range ports {
		out[i] = ir.None
		if port == "-" {
			continue
		}
		v := ir.Value{Name: layer + ":" + port + e.suffix, Kind: ir.Activation, Shape: shapes[i], Unit: e.b.prog.Segments[e.seg].Unit}
		if port == "index" {
			v.Dtype = op.I32
		}
		out[i] = e.b.value(v)
	}
	seg := &e.b.prog.Segments[e.seg]
	seg.Ops = append(seg.Ops, ir.Op{Code: code, Attr: a, In: in, Out: out, Layer: layer, Range: l.Range})
	return out
}

// label names a layer in values and messages.
func (e *emitter) label(l *model.Layer) string {
	if l.Name != "" {
		return e.b.layerName(e.site, l)
	}
	return e.site.label + "." + string(l.Kind)
}

func (e *emitter) layers(ls []*model.Layer, x ir.ValueID) ir.ValueID {
	for _, l := range ls {
		x = e.layer(l, x)
	}
	return x
}

// layer emits one layer and returns its output.
func (e *emitter) layer(l *model.Layer, x ir.ValueID) ir.ValueID {
	switch l.Kind {
	case model.Conv, model.Dense, model.Norm:
		return e.weighted(l, x)
	case model.ReLU:
		return e.op(l, op.ReLU, op.Attr{}, ids(x), "out")[0]
	case model.Pool:
		return e.pool(l, x)
	case model.Resize:
		return e.op(l, op.Resize, op.Attr{H: l.Out.H, W: l.Out.W}, ids(x), "out")[0]
	case model.Shuffle:
		return e.op(l, op.Shuffle, op.Attr{Groups: l.Groups}, ids(x), "out")[0]
	case model.Residual:
		shortcut := e.layers(l.Branches[0].Layers, x)
		body := e.layers(l.Branches[1].Layers, x)
		return e.op(l, op.Add, op.Attr{}, ids(body, shortcut), "out")[0]
	case model.Split, model.Fork:
		return e.branches(l, x)
	}
	panic("lower: no lowering for layer " + string(l.Kind))
}

// weighted emits a layer with parameters.
func (e *emitter) weighted(l *model.Layer, x ir.ValueID) ir.ValueID {
	p := e.b.paramsOf(e.site, l)
	switch l.Kind {
	case model.Conv:
		a := op.Attr{KH: l.KH, KW: l.KW, Stride: l.Stride, Pad: l.Pad, Groups: max(l.Groups, 1), Bias: l.Bias}
		return e.op(l, op.Conv, a, ids(x, p.weight, p.bias), "out")[0]
	case model.Dense:
		return e.op(l, op.Dense, op.Attr{Bias: true}, ids(x, p.weight, p.bias), "out")[0]
	}
	a := op.Attr{Groups: l.Groups, Mode: e.mode, Eps: normEps, StatMomentum: statMomentum}
	ports := []string{"out", "mean", "invstd"}
	if l.Groups > 0 {
		a.Mode = op.NormBatch // a picture's own statistics, in every phase
	}
	if a.Mode == op.NormRunning {
		ports = []string{"out", "-", "-"}
	}
	return e.op(l, op.Norm, a, ids(x, p.weight, p.bias, p.mean, p.variance, ir.None), ports...)[0]
}

func (e *emitter) pool(l *model.Layer, x ir.ValueID) ir.ValueID {
	a := op.Attr{KH: l.KH, KW: l.KW, Stride: l.Stride, Pad: l.Pad}
	switch {
	case l.KH == 0 && l.Max:
		a = op.Attr{KH: l.In.H, KW: l.In.W, Stride: 1}
		return e.op(l, op.PoolMax, a, ids(x), "out", "index")[0]
	case l.KH == 0:
		return e.op(l, op.Mean, op.Attr{}, ids(x), "out")[0]
	case l.Max:
		return e.op(l, op.PoolMax, a, ids(x), "out", "index")[0]
	}
	return e.op(l, op.PoolMean, a, ids(x), "out")[0]
}

// branches emits a split or a fork and the concatenation of its branches.
func (e *emitter) branches(l *model.Layer, x ir.ValueID) ir.ValueID {
	parts := make([]ir.ValueID, len(l.Branches))
	if l.Kind == model.Split {
		shapes, ports := make([][]int, len(parts)), make([]string, len(parts))
		for i, br := range l.Branches {
			shapes[i] = []int{e.b.pictures(), br.In.H, br.In.W, br.In.C}
			ports[i] = "part"
		}
		// A copy: the op keeps the list of its own results.
		parts = slices.Clone(e.emit(l, op.Split, op.Attr{}, ids(x), shapes, ports...))
	} else {
		for i := range parts {
			parts[i] = x
		}
	}
	for i, br := range l.Branches {
		parts[i] = e.layers(br.Layers, parts[i])
	}
	return e.op(l, op.Concat, op.Attr{}, parts, "out")[0]
}

// shapesFor asks the op's row for the shapes of its results.
func (b *builder) shapesFor(code op.Code, a op.Attr, in []ir.ValueID) [][]int {
	shapes, err := op.Rows[code].Shape(a, b.prog.Shapes(in))
	if err != nil {
		// The checker proved that shapes fit; this is a broken invariant.
		panic("lower: " + code.String() + ": " + err.Error())
	}
	return shapes
}

func ids(v ...ir.ValueID) []ir.ValueID { return v }
