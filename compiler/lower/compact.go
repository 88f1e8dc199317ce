package lower

import "github.com/locorun/locorun/compiler/ir"

// compactPass drops the values that nothing mentions any more and renumbers
// the rest in order.
func (b *builder) compactPass() error {
	p := b.prog
	used := make([]bool, len(p.Values))
	mark := func(v *ir.ValueID) {
		if *v != ir.None {
			used[*v] = true
			if of := p.Values[*v].Of; of != ir.None {
				used[of] = true
			}
		}
	}
	eachID(p, mark)
	renamed := make([]ir.ValueID, len(p.Values))
	var kept []ir.Value
	for i, v := range p.Values {
		if used[i] {
			renamed[i] = ir.ValueID(len(kept))
			v.ID = renamed[i]
			kept = append(kept, v)
		}
	}
	p.Values = kept
	rename := func(v *ir.ValueID) {
		if *v != ir.None {
			*v = renamed[*v]
		}
	}
	eachID(p, rename)
	for i := range p.Values {
		rename(&p.Values[i].Of)
	}
	return nil
}

// eachID calls f on every mention of a value outside the list of values.
func eachID(p *ir.Program, f func(*ir.ValueID)) {
	all := func(vs []ir.ValueID) {
		for i := range vs {
			f(&vs[i])
		}
	}
	for i := range p.Segments {
		for j := range p.Segments[i].Ops {
			all(p.Segments[i].Ops[j].In)
			all(p.Segments[i].Ops[j].Out)
		}
	}
	for i := range p.Units {
		u := &p.Units[i]
		f(&u.In)
		f(&u.Out)
		for _, s := range u.Sends {
			all(s)
		}
		for j := range u.Losses {
			f(&u.Losses[j].Value)
			f(&u.Losses[j].Embedding)
			f(&u.Losses[j].Grad)
		}
	}
	for i := range p.Features {
		f(&p.Features[i].Value)
	}
	for i := range p.Params {
		f(&p.Params[i].Value)
		f(&p.Params[i].Grad)
		all(p.Params[i].State)
	}
}
