package lower

import (
	"cmp"
	"slices"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/model"
)

// reach is the losses, by program unit, that reach a stage. Unit starts and
// ends never decrease, so they are consecutive.
func (b *builder) reach(s int) (ir.LossRange, bool) {
	r, any := ir.LossRange{First: -1}, false
	for k, u := range b.units {
		unit := b.net.Units[u]
		if unit.First <= s && s <= unit.Last && b.owner[s] >= 0 {
			if !any {
				r.First = k
			}
			r.Last, any = k, true
		}
	}
	return r, any
}

// weightRange is W(s): the losses whose sum makes the stage's weight
// gradients.
func (b *builder) weightRange(s int) ir.LossRange {
	r, _ := b.reach(s)
	if b.net.Stages[s].Tie == model.Upper {
		r.First = r.Last
	}
	return r
}

// demand is D(s) of the ir package's comment for all stages: the ranges of
// losses whose summed gradient is needed at the stage's output, in the order
// in which they can be swept.
func (b *builder) demand() [][]ir.LossRange {
	d := make([][]ir.LossRange, len(b.net.Stages))
	for s := range d {
		r, ok := b.reach(s)
		if !ok {
			continue
		}
		d[s] = []ir.LossRange{b.weightRange(s)}
		if s > 0 {
			for _, q := range d[s-1] {
				if q.Last >= r.First {
					d[s] = append(d[s], through(q, r.First))
				}
			}
		}
		slices.SortFunc(d[s], func(x, y ir.LossRange) int {
			return cmp.Or(cmp.Compare(x.Last, y.Last), cmp.Compare(x.First, y.First))
		})
		d[s] = slices.Compact(d[s])
	}
	return d
}

// through is the part of a range that comes through a stage or unit whose
// lowest loss is first.
func through(q ir.LossRange, first int) ir.LossRange {
	return ir.LossRange{First: max(q.First, first), Last: q.Last}
}

// goesOn reports whether the sweep of range r through stage s is needed at the
// output of the stage below.
func goesOn(d [][]ir.LossRange, s int, first int, r ir.LossRange) bool {
	if s == 0 {
		return false
	}
	return slices.ContainsFunc(d[s-1], func(q ir.LossRange) bool {
		return q.Last >= first && through(q, first) == r
	})
}

// fromAbove lists the ranges of gradients that program unit k gets from the
// unit above at its last stage: those of D there that hold a higher loss.
func (b *builder) fromAbove(d [][]ir.LossRange, k int) []ir.LossRange {
	var f []ir.LossRange
	for _, q := range d[b.top(k)] {
		if q.Last > k {
			f = append(f, through(q, k+1))
		}
	}
	slices.SortFunc(f, func(x, y ir.LossRange) int {
		return cmp.Or(cmp.Compare(x.Last, y.Last), cmp.Compare(x.First, y.First))
	})
	return slices.Compact(f)
}

// top is the net's stage on which program unit k ends.
func (b *builder) top(k int) int { return b.net.Units[b.units[k]].Last }

// lasts lists the different last losses of ranges, ascending: one message
// comes for each.
func lasts(rs []ir.LossRange) []int {
	var ls []int
	for _, r := range rs {
		if !slices.Contains(ls, r.Last) {
			ls = append(ls, r.Last)
		}
	}
	slices.Sort(ls)
	return ls
}
