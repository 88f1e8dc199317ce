package lower

import (
	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/op"
)

// narrowPass makes maps BF16 where the training's precision says so: what the op
// table calls maps, and what carries them between units and to the losses.
func (b *builder) narrowPass() error {
	if b.net.Train.Precision != model.BF16 || b.dtype != op.F32 {
		return nil
	}
	for i := range b.prog.Values {
		switch v := &b.prog.Values[i]; v.Kind {
		case ir.Images, ir.Map, ir.Feedback, ir.Embedding, ir.EmbeddingGrad, ir.Table:
			v.Dtype = op.BF16
		}
	}
	for i := range b.prog.Segments {
		for j := range b.prog.Segments[i].Ops {
			o := &b.prog.Segments[i].Ops[j]
			row := &op.Rows[o.Code]
			b.narrow(row.In, o.In)
			b.narrow(row.Out, o.Out)
		}
	}
	return nil
}

// narrow makes those of an op's arguments or results BF16 that are maps.
func (b *builder) narrow(args []op.Arg, ids []ir.ValueID) {
	for i, id := range ids {
		if id != ir.None && args[min(i, len(args)-1)].Map {
			b.val(id).Dtype = op.BF16
		}
	}
}
