package lower

import (
	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/op"
)

// Units of an encoder program.
const (
	// Infer runs the stages with running statistics and writes the features.
	Infer = 0
	// Statistics runs the stages with the pictures' statistics and moves the
	// running ones; it writes no features.
	Statistics = 1
)

// Encoder lowers the stages alone, for readouts, embeddings and export:
// pictures at a time, no decoders, no gradients. Program.Features names the
// mean-pooled map of each stage. Parameters are named as in training.
func Encoder(net *model.Net, pictures int) (*ir.Program, error) {
	b := &builder{
		net: net, dtype: op.F32, pictureCount: pictures,
		params: map[*model.Layer]*layerParams{}, paramOf: map[ir.ValueID]int{}, names: map[string]int{},
		owner: make([]int, len(net.Stages)), stages: make([]*site, len(net.Stages)),
	}
	b.prog = &ir.Program{Name: net.File, Batch: pictures, Microbatch: pictures, Micros: 1, Depth: 1, Mode: ir.Lean}
	for _, name := range []string{"infer", "statistics"} {
		b.prog.Units = append(b.prog.Units, ir.Unit{Name: name, In: ir.None, Out: ir.None, Events: []ir.Task{nil}, Starts: []int{0}, Sends: [][]ir.ValueID{nil}})
	}
	for s, st := range net.Stages {
		b.prog.Units[Infer].Owns = append(b.prog.Units[Infer].Owns, st.Name)
		b.stages[s] = &site{name: st.Name, label: st.Label(), layers: st.Layers, stage: st, fwd: -1, out: ir.None}
	}
	images := b.value(ir.Value{Name: "images", Kind: ir.Images, Shape: []int{pictures, net.Input.H, net.Input.W, net.Input.C}})
	b.encode(Infer, images, ir.PhaseInfer)
	b.encode(Statistics, images, ir.PhaseEmbed)
	for _, p := range []func(*builder) error{(*builder).fusePass, (*builder).compactPass, (*builder).countPass, (*builder).memoryPass} {
		if err := p(b); err != nil {
			return nil, err
		}
	}
	return b.prog, nil
}

// encode emits all stages in one phase and, in inference, their features.
func (b *builder) encode(unit int, x ir.ValueID, phase ir.Phase) {
	u := &b.prog.Units[unit]
	u.In = x
	for _, s := range b.stages {
		x = b.forwardSite(s, unit, x, phase)
		s.out = x
		seg := len(b.prog.Segments) - 1
		u.Forward = append(u.Forward, seg)
		if phase != ir.PhaseInfer {
			continue
		}
		e := &emitter{b: b, site: s, seg: seg, suffix: "@infer"}
		f := e.op(&model.Layer{Kind: model.Pool, Name: "features", Range: s.stage.Range}, op.Mean, op.Attr{}, ids(x), "out")[0]
		b.val(f).Kind = ir.Embedding
		b.prog.Features = append(b.prog.Features, ir.Feature{Stage: s.name, Value: f})
	}
}
