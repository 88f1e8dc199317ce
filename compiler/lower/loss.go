package lower

import (
	"fmt"
	"slices"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/dsl/diag"
)

// lossPass emits the losses of units and watches. A loss over the batch reads
// the table of all microbatches' embeddings and runs once; a loss over the
// microbatch runs once per microbatch and weighs microbatch/batch.
func (b *builder) lossPass() error {
	b.lossGrad, b.lossSegment = map[*site]ir.ValueID{}, map[*site]int{}
	for k := range b.prog.Units {
		unit := b.net.Units[b.units[k]]
		b.loss(k, unit.Name, b.decs[k], unit.Loss, false)
		for w, s := range b.watch {
			if s != nil && s.unit == k {
				watch := b.net.Watches[w]
				b.loss(k, watch.Name, s, watch.Loss, true)
			}
		}
	}
	return nil
}

// loss emits one loss. Where the program takes losses over the batch, one that
// sees its microbatch only runs at the end of each microbatch's forward.
func (b *builder) loss(k int, name string, s *site, l model.Loss, watch bool) {
	e := b.val(s.out)
	rows := e.Shape[0]
	grad := b.value(ir.Value{Name: s.label + ":de", Kind: ir.EmbeddingGrad, Shape: slices.Clone(e.Shape), Unit: k})
	b.lossGrad[s] = grad
	seg := b.segment(ir.Segment{Unit: k, Site: s.name, Phase: ir.PhaseLoss, Range: ir.LossRange{First: k, Last: k}})
	micros := b.prog.Micros
	in, out, value := s.out, grad, ir.None
	scale := 1 / float64(micros)
	if l.Batch {
		scale, rows = 1, rows*micros
	}
	if b.prog.BatchLoss && l.Batch {
		in, out = b.table(s.out, micros), b.table(grad, micros)
	}
	value = b.value(ir.Value{Name: name + ":loss", Kind: ir.LossValue, Shape: []int{1}, Unit: k})
	a := op.Attr{Temperature: l.Temperature, Scale: scale}
	place := s.place()
	b.prog.Segments[seg].Ops = []ir.Op{{Code: op.NTXent, Attr: a, In: ids(in), Out: ids(value, out), Layer: s.label, Range: place}}
	u := &b.prog.Units[k]
	switch {
	case b.atOnce(s, l):
		u.Forward = after(u.Forward, s.fwd, seg)
	case b.prog.BatchLoss && !l.Batch:
		u.Forward = append(u.Forward, seg)
	default:
		u.Loss = append(u.Loss, seg)
	}
	b.lossSegment[s] = seg
	u.Losses = append(u.Losses, ir.Loss{
		Name: name, Value: value, Embedding: s.out, Grad: grad, Negatives: rows - 2, Watch: watch, PerBatch: b.prog.BatchLoss && l.Batch,
	})
}

// atOnce reports whether a watch runs whole, from decoder to sweep, right after
// its stage, so that nothing of it is kept while the stages above run. It can
// unless its loss waits for the batch's other microbatches.
func (b *builder) atOnce(s *site, l model.Loss) bool {
	return slices.Contains(b.watch, s) && !(b.prog.BatchLoss && l.Batch)
}

// after puts a segment behind another one of a task.
func after(t ir.Task, seg, next int) ir.Task {
	return slices.Insert(t, slices.Index(t, seg)+1, next)
}

// table sees all slots of a value as one tensor.
func (b *builder) table(v ir.ValueID, micros int) ir.ValueID {
	x := b.val(v)
	shape := slices.Clone(x.Shape)
	shape[0] *= micros
	return b.value(ir.Value{Name: fmt.Sprintf("%s*%d", x.Name, micros), Kind: ir.Table, Shape: shape, Unit: x.Unit, Of: v})
}

// place is where a site is written.
func (s *site) place() diag.Range {
	if s.stage != nil {
		return s.stage.Range
	}
	return s.dec.Range
}
