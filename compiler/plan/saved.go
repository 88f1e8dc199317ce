package plan

import "github.com/locorun/locorun/compiler/ir"

// Saved is the most bytes of forward results alive at one time of the lean
// order because a sweep will read them: activations saved for backward, those
// of decoders included. Gradients, temporaries of one op and what persists do
// not count.
func Saved(p *ir.Program) int64 {
	first, last, ops := savedFor(p)
	change := make([]int64, ops+1)
	for id := range p.Values {
		v := ir.ValueID(id)
		f, made := first[v]
		l, read := last[v]
		if made && read {
			change[f] += p.Values[v].Bytes() * int64(p.Values[v].Slots)
			change[l+1] -= p.Values[v].Bytes() * int64(p.Values[v].Slots)
		}
	}
	var now, most int64
	for _, c := range change {
		now += c
		most = max(most, now)
	}
	return most
}

// savedFor gives, as places in the lean order, the forward op that makes each
// value and the last op of a sweep that reads it, and how many ops there are.
func savedFor(p *ir.Program) (first, last map[ir.ValueID]int, ops int) {
	first, last = map[ir.ValueID]int{}, map[ir.ValueID]int{}
	note := func(places map[ir.ValueID]int, vs []ir.ValueID) {
		for _, v := range vs {
			if v != ir.None {
				places[v] = ops
			}
		}
	}
	for _, t := range p.Order() {
		for _, id := range t.Task {
			s := &p.Segments[id]
			for _, o := range s.Ops {
				switch s.Phase {
				case ir.PhaseForward:
					note(first, o.Out)
				case ir.PhaseSweep:
					note(last, o.In)
				}
				ops++
			}
		}
	}
	return first, last, ops
}
