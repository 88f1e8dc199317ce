package lower

import (
	"fmt"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/op"
)

// updatePass emits, for each unit, the pull between tied weights, the
// optimiser's update of all it owns in order of the parameters, and the copies
// of tied weights for the neighbour.
func (b *builder) updatePass() error {
	ties, err := b.tied()
	if err != nil {
		return err
	}
	for k := range b.prog.Units {
		u := &b.prog.Units[k]
		update := b.segment(ir.Segment{Unit: k, Site: u.Name, Phase: ir.PhaseUpdate})
		for i := range b.prog.Params {
			p := &b.prog.Params[i]
			if p.Unit != k || p.Grad == ir.None {
				continue
			}
			if t, ok := ties[p.Value]; ok && t.penalty > 0 {
				b.appendOp(update, p, op.Pull, op.Attr{Scale: t.penalty}, ids(p.Value, t.peer), ids(p.Grad))
			}
			b.update(update, p, b.net.Units[b.units[k]])
		}
		u.Update = ir.Task{update}
		b.publish(k, ties)
	}
	return nil
}

// tie is one weight's bond to its copy in the neighbouring unit.
type tie struct {
	penalty float64
	peer    ir.ValueID // the neighbour's value at the batch's start, as a copy
	mine    ir.ValueID // where this weight is published for the neighbour
}

// tied pairs the weights of copied stages, by name within the stage.
func (b *builder) tied() (map[ir.ValueID]tie, error) {
	ties := map[ir.ValueID]tie{}
	if b.opt.Turn >= 0 {
		return ties, nil
	}
	for _, t := range b.net.Ties {
		if t.Penalty == 0 {
			continue
		}
		upper := map[string]*ir.Param{}
		for i := range b.prog.Params {
			if p := &b.prog.Params[i]; p.Stage == t.Stage && p.Kind == ir.Weight {
				upper[p.Init.Key] = p
			}
		}
		decoder := b.decs[t.Lower].name
		for i := range b.prog.Params {
			p := &b.prog.Params[i]
			q := upper[p.Init.Key]
			if p.Stage != decoder || p.Kind != ir.Weight || q == nil {
				continue
			}
			up, low := b.peer(q), b.peer(p)
			ties[p.Value] = tie{t.Penalty, up, low}
			ties[q.Value] = tie{t.Penalty, low, up}
			delete(upper, p.Init.Key)
		}
		if len(upper) > 0 {
			return nil, fmt.Errorf("stage %s: %d weights have no copy in %s", t.Stage, len(upper), decoder)
		}
	}
	return ties, nil
}

// peer makes the published copy of a weight. The unit that publishes it writes
// the slot of the coming batch while the neighbour reads that of its own.
func (b *builder) peer(p *ir.Param) ir.ValueID {
	return b.value(ir.Value{Name: p.Name + ":published", Kind: ir.Peer, Shape: b.val(p.Value).Shape, Unit: p.Unit})
}

func (b *builder) publish(k int, ties map[ir.ValueID]tie) {
	seg := -1
	for i := range b.prog.Params {
		p := &b.prog.Params[i]
		t, ok := ties[p.Value]
		if !ok || p.Unit != k {
			continue
		}
		if seg < 0 {
			seg = b.segment(ir.Segment{Unit: k, Site: b.prog.Units[k].Name, Phase: ir.PhaseUpdate})
			b.prog.Units[k].Publish = ir.Task{seg}
		}
		b.appendOp(seg, p, op.Copy, op.Attr{}, ids(p.Value), ids(t.mine))
	}
}

// update emits the optimiser's op for one parameter.
func (b *builder) update(seg int, p *ir.Param, u *model.Unit) {
	o := u.Optimizer
	a := op.Attr{LRFactor: u.LR, Eps: o.Eps}
	if p.Decay {
		a.Decay = o.WeightDecay
	}
	switch o.Kind {
	case "sgd":
		a.Momentum, a.Nesterov = o.Momentum, o.Nesterov
		if o.Momentum == 0 {
			b.appendOp(seg, p, op.SGD, a, ids(p.Value, p.Grad, ir.None), ids(p.Value, p.Grad, ir.None))
			return
		}
		b.withState(seg, p, op.SGD, a, "momentum")
	case "lars":
		a.Momentum = o.Momentum
		if p.Decay {
			a.Trust = o.Trust
		}
		b.withState(seg, p, op.LARS, a, "momentum")
	case "adamw":
		a.Beta1, a.Beta2 = o.Betas[0], o.Betas[1]
		b.withState(seg, p, op.AdamW, a, "mean", "square")
	default:
		panic("lower: no update for optimizer " + o.Kind)
	}
}

// withState emits an update that keeps state between batches.
func (b *builder) withState(seg int, p *ir.Param, code op.Code, a op.Attr, names ...string) {
	args := ids(p.Value, p.Grad)
	for _, n := range names {
		v := b.value(ir.Value{Name: p.Name + ":" + n, Kind: ir.State, Shape: b.val(p.Value).Shape, Unit: p.Unit})
		p.State = append(p.State, v)
		args = append(args, v)
	}
	b.appendOp(seg, p, code, a, args, append([]ir.ValueID(nil), args...))
}

func (b *builder) appendOp(seg int, p *ir.Param, code op.Code, a op.Attr, in, out []ir.ValueID) {
	s := &b.prog.Segments[seg]
	s.Ops = append(s.Ops, ir.Op{Code: code, Attr: a, In: in, Out: out, Layer: p.Name, Range: p.Range})
}
