// Package memory plans the memory of a program to the byte: every value gets
// an offset in its space, the arena's by lifetimes over the order in which the
// ops run.
//
//	op:        1   2   3   4   5   6   7   8
//	s1:out     |-----------------------|          offset 0
//	s1:norm        |---|                          offset 4096
//	dx                         |---|              offset 4096   (reused)
//
// A result that its op may make in place, over an argument of its size that
// nothing reads later, takes over that argument's place; the op table says which
// may. So sums of gradients lie where the first of them lay.
//
// A value that lives within one stretch of the order, between two points where
// another microbatch may come in between, needs one slot. One that crosses
// such a point needs a slot for every microbatch in flight.
package memory

import (
	"cmp"
	"slices"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/op"
)

// align is the alignment of every slot, in bytes: a cache line, an AVX-512
// register.
const align = 64

// Plan gives every value of p its space, offset, stride and slots, and sets
// p.Sizes. It changes nothing else.
func Plan(p *ir.Program) error {
	p.Sizes = map[ir.Space]int64{}
	for i := range p.Values {
		persist(p, &p.Values[i])
	}
	l := lifetimes(p)
	if p.Mode == ir.Lean {
		p.Sizes[ir.Arena] = l.pack(l.all(), 0)
	} else {
		p.Sizes[ir.Arena] = pipelined(p, l)
	}
	tables(p)
	return nil
}

func up(n int64) int64 { return (n + align - 1) / align * align }

// persist lays out what persists, one value after another.
func persist(p *ir.Program, v *ir.Value) {
	v.Slots = 1
	switch v.Kind {
	case ir.Images:
		v.Space = ir.Input
		return // its slots follow from its lifetime
	case ir.Weight, ir.Statistic:
		v.Space = ir.Weights
	case ir.WeightGrad:
		v.Space = ir.Gradients
	case ir.State:
		v.Space = ir.States
	case ir.Peer:
		v.Space, v.Slots = ir.States, 2
	default:
		v.Space = ir.Arena
		return
	}
	v.Stride = up(v.Bytes())
	v.Offset = p.Sizes[v.Space]
	p.Sizes[v.Space] += v.Stride * int64(v.Slots)
}

// tables makes each table the window over all slots of its value.
func tables(p *ir.Program) {
	for i := range p.Values {
		if v := &p.Values[i]; v.Kind == ir.Table {
			of := &p.Values[v.Of]
			v.Space, v.Offset, v.Slots, v.Stride = of.Space, of.Offset, 1, 0
		}
	}
}

// life is the time in which a value's memory is taken: ops First..Last of the
// order, inclusive, and the stretches it touches.
type life struct {
	value       ir.ValueID
	first, last int
	from, to    int // stretches
	unit        int
	over        []ir.ValueID // may lie in the memory of each of these that ends at first
}

// stretch is a part of the order within which no other microbatch's ops run.
type stretch struct{ first, last int }

// table of lifetimes.
type table struct {
	p         *ir.Program
	lives     []*life // by value; nil where the value is not in the arena
	stretches []stretch
}

// all lists the lives of values that need memory in a space planned by
// lifetimes, in order of the values.
func (t *table) all() []*life {
	var ls []*life
	for _, l := range t.lives {
		if l != nil {
			ls = append(ls, l)
		}
	}
	return ls
}

// lifetimes walks the order once.
func lifetimes(p *ir.Program) *table {
	t := &table{p: p, lives: make([]*life, len(p.Values))}
	at, key := 0, [2]int{-2, -2}
	for _, turn := range p.Order() {
		k := stretchKey(p, turn)
		if k != key || turn.Loop < 0 {
			t.stretches = append(t.stretches, stretch{at, at})
			key = k
		}
		for _, id := range turn.Task {
			for i := range p.Segments[id].Ops {
				t.op(&p.Segments[id].Ops[i], at)
				at++
			}
		}
		t.stretches[len(t.stretches)-1].last = at - 1
	}
	t.settle(at)
	return t
}

// stretchKey tells stretches apart: the loop, and, where units run side by
// side, the unit and whether the turn waits for a message from above.
func stretchKey(p *ir.Program, t ir.Turn) [2]int {
	if p.Mode == ir.Lean {
		return [2]int{t.Loop, 0}
	}
	return [2]int{t.Loop, t.Unit*2 + boolInt(p.WaitsAbove(t))}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// op notes the values an op touches.
func (t *table) op(o *ir.Op, at int) {
	here := len(t.stretches) - 1
	for _, v := range slices.Concat(o.In, o.Out) {
		if v == ir.None {
			continue
		}
		if of := t.p.Values[v].Of; of != ir.None {
			v = of
		}
		if s := t.p.Values[v].Space; s != ir.Arena && s != ir.Input {
			continue
		}
		l := t.lives[v]
		if l == nil {
			l = &life{value: v, first: at, from: here, unit: t.p.Values[v].Unit, over: Over(o, v)}
			t.lives[v] = l
		}
		l.last, l.to = at, here
	}
}

// Over lists the arguments of o in whose memory its result v may be made in
// place, as far as the op is concerned: none where v is no result.
func Over(o *ir.Op, v ir.ValueID) (args []ir.ValueID) {
	out := slices.Index(o.Out, v)
	if out < 0 {
		return nil
	}
	for i, a := range o.In {
		if a != ir.None && op.Rows[o.Code].MayLieOver(out, i) && once(o.In, a) {
			args = append(args, a)
		}
	}
	return args
}

// once reports whether an argument stands there once only.
func once(in []ir.ValueID, a ir.ValueID) bool {
	n := 0
	for _, v := range in {
		if v == a {
			n++
		}
	}
	return n == 1
}

// settle decides slots and widens the lives of values that cross stretches.
func (t *table) settle(end int) {
	for _, l := range t.lives {
		if l == nil {
			continue
		}
		v := &t.p.Values[l.value]
		v.Slots, v.Stride = 1, up(v.Bytes())
		switch {
		case v.Kind == ir.Embedding || v.Kind == ir.EmbeddingGrad || v.Kind == ir.LossValue:
			// Read at the batch's end too, and as tables: microbatches side by side.
			v.Slots, v.Stride = t.p.Micros, v.Bytes()
			l.first, l.last = 0, end-1
		case v.Kind == ir.Images && t.p.Mode == ir.Pipelined:
			// Freed with the last sweep of the microbatch, whichever reads it last.
			v.Slots = t.p.Window()
		case l.from != l.to:
			v.Slots = t.p.Window()
			l.first, l.last = t.stretches[l.from].first, t.stretches[l.to].last
			if t.p.Mode == ir.Pipelined {
				// Other microbatches' stretches come in between.
				l.first, l.last = 0, end-1
			}
		}
	}
}

// pack gives offsets, from base on, to lives that overlap in time so that they
// do not overlap in memory: largest first, each at the lowest free place. A
// result made in place goes where its argument goes. It returns the end of the
// highest.
func (t *table) pack(lives []*life, base int64) int64 {
	sorted := t.join(lives)
	slices.SortStableFunc(sorted, func(a, b *place) int {
		return cmp.Or(-cmp.Compare(a.size, b.size), cmp.Compare(a.first, b.first), cmp.Compare(a.values[0], b.values[0]))
	})
	var placed []*place // by offset
	high := base
	for _, l := range sorted {
		if v := &t.p.Values[l.values[0]]; v.Space == ir.Input {
			v.Offset = t.p.Sizes[ir.Input]
			t.p.Sizes[ir.Input] += l.size
			continue
		}
		l.from = lowest(placed, l, base)
		for _, v := range l.values {
			t.p.Values[v].Offset = l.from
		}
		at, _ := slices.BinarySearchFunc(placed, l, func(a, b *place) int { return cmp.Compare(a.from, b.from) })
		placed = slices.Insert(placed, at, l)
		high = max(high, l.from+l.size)
	}
	return high
}

// place is a stretch of the arena for a time: for one value, or for several of
// one size, each made in place of the one before.
type place struct {
	values      []ir.ValueID
	first, last int
	from, size  int64
}

// join makes the places that lives need.
func (t *table) join(lives []*life) []*place {
	byTime := slices.Clone(lives)
	slices.SortStableFunc(byTime, func(a, b *life) int { return cmp.Compare(a.first, b.first) })
	var places []*place
	ends := map[ir.ValueID]*place{} // by the last value there so far
	for _, l := range byTime {
		own := t.inPlace(l, ends)
		if own == nil {
			v := &t.p.Values[l.value]
			own = &place{first: l.first, size: up(v.Stride*int64(v.Slots-1) + v.Bytes())}
			places = append(places, own)
		}
		own.values, own.last = append(own.values, l.value), l.last
		ends[l.value] = own
	}
	return places
}

// inPlace is the place in which l is made over what ends there with the op that
// makes l, or nil.
func (t *table) inPlace(l *life, ends map[ir.ValueID]*place) *place {
	for _, v := range l.over {
		if own := ends[v]; own != nil && t.takes(l, t.lives[v]) {
			delete(ends, v)
			return own
		}
	}
	return nil
}

// takes reports whether late may lie exactly where early lies, which ends in
// the op that makes late. Both have one slot: what microbatches share has one
// place for all of them.
func (t *table) takes(late, early *life) bool {
	a, b := &t.p.Values[late.value], &t.p.Values[early.value]
	return late.first == early.last && a.Space == b.Space && a.Slots == 1 && b.Slots == 1 && a.Bytes() == b.Bytes()
}

// lowest is the lowest offset, from base on, at which l has no byte in common
// with what is placed at the same time.
func lowest(placed []*place, l *place, base int64) int64 {
	at := base
	for _, o := range placed {
		switch {
		case l.first > o.last || o.first > l.last:
			continue
		case at+l.size <= o.from:
			return at
		}
		at = max(at, o.from+o.size)
	}
	return at
}

// pipelined plans a region for each unit's frames, and one for each map and
// gradient that crosses between units.
func pipelined(p *ir.Program, t *table) int64 {
	var base int64
	for k := range p.Units {
		var mine []*life
		for _, l := range t.all() {
			v := &p.Values[l.value]
			if l.unit == k && v.Kind != ir.Map && v.Kind != ir.Feedback {
				mine = append(mine, l)
			}
		}
		base = t.pack(mine, base)
	}
	for _, l := range t.all() {
		v := &p.Values[l.value]
		switch v.Kind {
		case ir.Map:
			v.Slots = p.MapSlots()
		case ir.Feedback:
			v.Slots = p.Window()
		default:
			continue
		}
		v.Offset = base
		base += v.Stride * int64(v.Slots)
	}
	return base
}
