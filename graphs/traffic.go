package graphs

import (
	"slices"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/op"
)

// traffic is who touches a value: units, ascending, each once. A table is the
// value whose slots it joins.
type traffic struct {
	reads, writes []int // by segments
	host          int   // the unit on whose lane the host reads and writes it
}

// touches are a segment's reads and writes of values, each value once: as
// written where the segment does both.
type touch struct {
	value ir.ValueID // no table
	all   bool       // every slot of it
	write bool
}

// trafficOf finds out who touches what.
func trafficOf(p *ir.Program) []traffic {
	ts := make([]traffic, len(p.Values))
	for i := range p.Segments {
		s := &p.Segments[i]
		for _, t := range touchesOf(p, s) {
			add := &ts[t.value].reads
			if t.write {
				add = &ts[t.value].writes
			}
			*add = insert(*add, s.Unit)
		}
	}
	for i := range ts {
		ts[i].host = hostOf(&p.Values[i], ts[i].reads)
	}
	return ts
}

// hostOf is the unit on whose lane the host reads and writes a value: that which
// makes or owns it, but that which reads a gradient which crosses, for it is the
// one that looks at it.
func hostOf(v *ir.Value, reads []int) int {
	if v.Kind == ir.Feedback && len(reads) > 0 {
		return reads[0]
	}
	return v.Unit
}

// units are all that touch a value, the host's included.
func (t *traffic) units() []int {
	all := []int{t.host}
	for _, u := range slices.Concat(t.reads, t.writes) {
		all = insert(all, u)
	}
	return all
}

func insert(sorted []int, n int) []int {
	at, found := slices.BinarySearch(sorted, n)
	if found {
		return sorted
	}
	return slices.Insert(sorted, at, n)
}

// touchesOf lists what a segment touches, in order of its ops.
func touchesOf(p *ir.Program, s *ir.Segment) (list []touch) {
	at := map[ir.ValueID]int{}
	note := func(id ir.ValueID, write bool) {
		if id < 0 || int(id) >= len(p.Values) {
			return // None; what is no value the graph refuses
		}
		v := &p.Values[id]
		table := v.Kind == ir.Table
		if table {
			id = v.Of
		}
		i, ok := at[id]
		if !ok {
			i = len(list)
			at[id] = i
			list = append(list, touch{value: id})
		}
		list[i].all = list[i].all || table
		list[i].write = list[i].write || write
	}
	for i := range s.Ops {
		o := &s.Ops[i]
		row := &op.Rows[o.Code]
		for j, id := range o.In {
			note(id, moves(o, row, j))
		}
		for _, id := range o.Out {
			note(id, true)
		}
	}
	return list
}

// apart reports whether units' work may run side by side: the program is planned
// for that, and what one unit alone touches shares no address with anything else.
// The plan keeps them so; should it ever not, one lane for all is right whatever
// the addresses.
func apart(p *ir.Program, ts []traffic) bool {
	if p.Mode != ir.Pipelined {
		return false
	}
	own := make([][]stretch, len(p.Units))
	var all []stretch
	for i := range p.Values {
		v := &p.Values[i]
		if v.Space == 0 || v.Kind == ir.Table {
			continue
		}
		if us := ts[i].units(); len(us) == 1 {
			own[us[0]] = append(own[us[0]], stretchOf(v))
		} else {
			all = append(all, stretchOf(v))
		}
	}
	for _, o := range own {
		all = append(all, union(o)...)
	}
	return !overlap(all)
}

// updates reports whether an op looks at the learning rate or the number of the
// update.
func updates(c op.Code) bool { return c == op.SGD || c == op.LARS || c == op.AdamW }
