// Package memory plans the memory of a program to the byte: every value gets
// an offset in its space, the arena's by lifetimes over the order in which the
// ops run.
//
//	op:        1   2   3   4   5   6   7   8
//	s1:out     |-----------------------|          offset 0
//	s1:norm        |---|                          offset 4096
//	dx                         |---|              offset 4096   (reused)
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
		place(p, &p.Values[i])
	}
	l := lifetimes(p)
	if p.Mode == ir.Lean {
		p.Sizes[ir.Arena] = pack(p, l.all(), 0)
	} else {
		p.Sizes[ir.Arena] = pipelined(p, l)
	}
	tables(p)
	return nil
}

func up(n int64) int64 { return (n + align - 1) / align * align }

// place lays out what persists, one value after another.
func place(p *ir.Program, v *ir.Value) {
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
	inPlace     ir.ValueID // may take the place of this one, which dies at first
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
			l = &life{value: v, first: at, from: here, unit: t.p.Values[v].Unit, inPlace: ir.None}
			t.lives[v] = l
			if slices.Contains(o.Out, v) && worksInPlace(o.Code) {
				l.inPlace = o.In[0]
			}
		}
		l.last, l.to = at, here
	}
}

// worksInPlace reports whether an op may write its result over its first
// argument.
func worksInPlace(c op.Code) bool { return c == op.Add || c == op.ReLUGrad || c == op.ReLU }

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
// do not overlap in memory: largest first, each at the lowest free place. It
// returns the end of the highest.
func pack(p *ir.Program, lives []*life, base int64) int64 {
	sorted := slices.Clone(lives)
	size := func(l *life) int64 {
		v := &p.Values[l.value]
		return up(v.Stride*int64(v.Slots-1) + v.Bytes())
	}
	slices.SortStableFunc(sorted, func(a, b *life) int {
		return cmp.Or(-cmp.Compare(size(a), size(b)), cmp.Compare(a.first, b.first), cmp.Compare(a.value, b.value))
	})
	var placed []placement // by offset
	var taken []spot
	high := base
	for _, l := range sorted {
		v := &p.Values[l.value]
		n := size(l)
		if v.Space == ir.Input {
			v.Offset = p.Sizes[ir.Input]
			p.Sizes[ir.Input] += n
			continue
		}
		taken = taken[:0]
		inPlace := spot{-1, -1} // of a value that this one may share its bytes with
		for i := range placed {
			o := &placed[i]
			if l.first > o.last || o.first > l.last {
				continue
			}
			if inPlace.from < 0 && o.to-o.from == n && (takes(l, o.life) || takes(o.life, l)) {
				inPlace = o.spot
				continue
			}
			taken = append(taken, o.spot)
		}
		v.Offset = lowest(taken, inPlace, base, n)
		placed = insert(placed, placement{spot{v.Offset, v.Offset + n}, l.first, l.last, l})
		high = max(high, v.Offset+n)
	}
	return high
}

// placement is a life with its place; the times are copied for speed.
type placement struct {
	spot
	first, last int
	life        *life
}

// insert keeps the list sorted by offset.
func insert(ps []placement, p placement) []placement {
	at, _ := slices.BinarySearchFunc(ps, p, func(a, b placement) int { return cmp.Compare(a.from, b.from) })
	return slices.Insert(ps, at, p)
}

// spot is a stretch of the arena.
type spot struct{ from, to int64 }

// lowest is the place for n bytes beside what is taken, sorted: exactly on the bytes of inPlace, where
// nothing else lies there, else the lowest free one that shares none of them.
// An op may write over its argument, but not beside its beginning.
func lowest(taken []spot, inPlace spot, base, n int64) int64 {
	if inPlace.from >= base {
		free := !slices.ContainsFunc(taken, func(s spot) bool { return s.from < inPlace.to && inPlace.from < s.to })
		if free {
			return inPlace.from
		}
		i, _ := slices.BinarySearchFunc(taken, inPlace, func(a, b spot) int { return cmp.Compare(a.from, b.from) })
		taken = slices.Insert(taken, i, inPlace)
	}
	at := base
	for _, s := range taken {
		if at+n <= s.from {
			break
		}
		at = max(at, s.to)
	}
	return at
}

// takes reports whether late may lie exactly where early lies, which dies in
// the op that makes it.
func takes(late, early *life) bool {
	return late.inPlace == early.value && late.first == early.last
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
		base = pack(p, mine, base)
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
