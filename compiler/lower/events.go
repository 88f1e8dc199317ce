package lower

import (
	"fmt"
	"slices"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/op"
)

// message is what a unit gets from the unit above: a gradient for each range.
type message map[ir.LossRange]ir.ValueID

// sweepPass emits every sweep of every unit, from the top unit down, so that
// what a unit sends is known when the unit below is made.
func (b *builder) sweepPass() error {
	d := b.demand()
	from := message{}
	for k := len(b.prog.Units) - 1; k >= 0; k-- {
		from = b.sweepUnit(d, k, from)
	}
	return nil
}

// sweepUnit emits the events of program unit k. from holds the gradients the
// unit above leaves at this unit's output; the result those that this unit
// leaves for the unit below.
func (b *builder) sweepUnit(d [][]ir.LossRange, k int, from message) message {
	u := &b.prog.Units[k]
	wanted := []ir.LossRange{}
	if k > 0 {
		wanted = b.fromAbove(d, k-1)
	}
	sends := message{}
	own, task := b.sweepDecoders(k)
	for _, last := range append([]int{k}, lasts(b.fromAbove(d, k))...) {
		if last != k {
			task = nil
		}
		u.Events = append(u.Events, append(task, b.sweepStages(d, k, last, own, from, wanted, sends)...))
		u.Starts = append(u.Starts, last)
		u.Sends = append(u.Sends, sent(wanted, last, sends))
	}
	return sends
}

// sent lists the gradients of the message whose last loss is last.
func sent(wanted []ir.LossRange, last int, sends message) []ir.ValueID {
	var vs []ir.ValueID
	for _, r := range wanted {
		if r.Last == last {
			vs = append(vs, sends[r])
		}
	}
	return vs
}

// sweepDecoders emits the sweeps of the unit's decoder, down to the gradient
// at its output, and of its watches' decoders, which train themselves only.
func (b *builder) sweepDecoders(k int) (own ir.ValueID, task ir.Task) {
	r := ir.LossRange{First: k, Last: k}
	for i, w := range b.watch {
		if w == nil || w.unit != k {
			continue
		}
		s := b.newSweep(w, k, r, true, false)
		s.run(b.lossGrad[w])
		if b.atOnce(w, b.net.Watches[i].Loss) {
			u := &b.prog.Units[k]
			u.Forward = after(u.Forward, b.lossSegment[w], s.seg)
			continue
		}
		task = append(task, s.seg)
	}
	s := b.newSweep(b.decs[k], k, r, true, true)
	own = s.run(b.lossGrad[b.decs[k]])
	return own, append(task, s.seg)
}

// sweepStages emits what unit k can sweep once the gradient of loss last is
// there: through its stages from the top, one sweep per range of D that ends
// in last.
func (b *builder) sweepStages(d [][]ir.LossRange, k, last int, own ir.ValueID, from message, wanted []ir.LossRange, sends message) ir.Task {
	var task ir.Task
	owned := b.ownedStages(k)
	at := map[ir.LossRange]ir.ValueID{} // gradients at the coming stage's output
	top := b.top(k)
	for _, r := range d[top] {
		if r.Last != last {
			continue
		}
		if len(owned) == 0 {
			continue
		}
		g, seg := b.meet(b.stages[top], k, r, own, from)
		at[r] = g
		task = append(task, seg...)
	}
	for _, s := range slices.Backward(owned) {
		next := map[ir.LossRange]ir.ValueID{}
		for _, r := range d[s] {
			if r.Last != last {
				continue
			}
			weights, input := r == b.weightRange(s), goesOn(d, s, b.lowest(s), r)
			if !weights && !input {
				continue
			}
			sw := b.newSweep(b.stages[s], k, r, weights, input)
			dx := sw.run(at[r])
			task = append(task, sw.seg)
			if input {
				next[r] = dx
			}
		}
		at = next
	}
	return append(task, b.leave(k, last, own, from, at, wanted, sends)...)
}

// ownedStages lists the net's stages that program unit k owns, ascending.
func (b *builder) ownedStages(k int) []int {
	var ss []int
	for s, o := range b.owner {
		if o == k {
			ss = append(ss, s)
		}
	}
	return ss
}

// lowest is the lowest loss that reaches stage s.
func (b *builder) lowest(s int) int {
	r, _ := b.reach(s)
	return r.First
}

// meet makes the gradient of range r at the unit's output, where the unit's
// own loss and those from above meet: their sum in unit order. Where only one
// has a part it is that one itself.
func (b *builder) meet(s *site, k int, r ir.LossRange, own ir.ValueID, from message) (ir.ValueID, ir.Task) {
	if r.Last == k {
		return own, nil
	}
	above := from[through(r, k+1)]
	if r.First > k {
		return above, nil
	}
	seg := b.segment(ir.Segment{Unit: k, Site: s.name, Phase: ir.PhaseSweep, Range: r})
	sum := b.emitJoin(seg, s, op.Add, ids(own, above), r, ir.Activation)
	return sum, ir.Task{seg}
}

// emitJoin appends an op that joins or copies gradients at a site's output.
func (b *builder) emitJoin(seg int, s *site, code op.Code, in []ir.ValueID, r ir.LossRange, kind ir.Kind) ir.ValueID {
	sg := &b.prog.Segments[seg]
	v := b.value(ir.Value{
		Name: fmt.Sprintf("%s:dout@%s", s.label, rangeName(r)), Kind: kind,
		Shape: slices.Clone(b.val(in[0]).Shape), Unit: sg.Unit,
	})
	sg.Ops = append(sg.Ops, ir.Op{Code: code, In: in, Out: ids(v), Layer: s.label, Range: s.place()})
	return v
}

// leave hands on to the unit below what this event made for it: the gradients
// of the unit's input, or, in a unit that owns no stage, those at its output.
func (b *builder) leave(k, last int, own ir.ValueID, from message, at map[ir.LossRange]ir.ValueID, wanted []ir.LossRange, sends message) ir.Task {
	var task ir.Task
	for _, r := range wanted {
		if r.Last != last {
			continue
		}
		g, made := at[r]
		if !made { // no stage of its own: what meets here goes on
			var t ir.Task
			g, t = b.meet(b.decs[k], k, r, own, from)
			task = append(task, t...)
		}
		// What is sent has a buffer of its own, which the unit below frees.
		if v := b.val(g); v.Kind != ir.Activation || !b.madeBy(g, k) || sentAlready(sends, g) {
			seg := b.segment(ir.Segment{Unit: k, Site: b.decs[k].name, Phase: ir.PhaseSweep, Range: r})
			g = b.emitJoin(seg, b.decs[k], op.Copy, ids(g), r, ir.Feedback)
			task = append(task, seg)
		}
		b.val(g).Kind = ir.Feedback
		sends[r] = g
	}
	return task
}

// madeBy reports whether program unit k makes the value.
func (b *builder) madeBy(v ir.ValueID, k int) bool { return b.val(v).Unit == k }

func sentAlready(sends message, g ir.ValueID) bool {
	for _, v := range sends {
		if v == g {
			return true
		}
	}
	return false
}
