package plan

import "github.com/locorun/locorun/compiler/ir"

// Saved is the most bytes of forward results alive at one time of the lean
// order because a sweep will read them: activations saved for backward, those
// of decoders included. Gradients, temporaries of one op and what persists do
// not count.
func Saved(p *ir.Program) int64 {
	first, last := map[ir.ValueID]int{}, map[ir.ValueID]int{}
	at := 0
	for _, t := range p.Order() {
		for _, id := range t.Task {
			s := &p.Segments[id]
			for _, o := range s.Ops {
				if s.Phase == ir.PhaseForward {
					for _, v := range o.Out {
						if v != ir.None {
							first[v] = at
						}
					}
				}
				if s.Phase == ir.PhaseSweep {
					for _, v := range o.In {
						if v != ir.None {
							last[v] = at
						}
					}
				}
				at++
			}
		}
	}
	change := make([]int64, at+1)
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
