package pipeline

// Turn is one unit's task in the lean order.
type Turn struct {
	Unit int
	Task Task
}

// Turns is the total order of depth 1, for one batch, numbered 0. Per
// microbatch, for k = 1..n: unit k runs Forward, Loss and its own sweep; the
// units below, from the top down, run what the new messages allow; then unit k's
// map passes on. Where losses are taken per batch and frames are kept, "per
// microbatch" goes inside: unit k runs all its Forward, its Loss, all its own
// sweeps, then the unit below all its sweeps of that message, and so on. Where
// they are recomputed a pass of Embed through all units and all losses come
// first. The updates are last, from unit 0 up.
//
//	low  F L S0          S1                    F: Forward, L: Loss
//	mid          F L S0           S1           Sk: Sweep event k
//	high                  ^ F L S0 ^           time runs to the right
func Turns(s Spec) []Turn {
	o := &order{spec: &s}
	switch {
	case s.kept():
		o.through(0, s.Micros, true)
	case s.Recompute:
		o.embed()
		for m := range s.Micros {
			o.through(m, m+1, false)
		}
	default:
		for m := range s.Micros {
			o.through(m, m+1, true)
		}
	}
	for u := range s.Units {
		o.run(u, task(Update, s.Micros-1, 0))
	}
	return o.turns
}

type order struct {
	spec  *Spec
	turns []Turn
}

func (o *order) run(u int, t Task) { o.turns = append(o.turns, Turn{u, t}) }

// embed is pass one of a recomputed batch.
func (o *order) embed() {
	for m := range o.spec.Micros {
		for u := range o.spec.Units {
			o.run(u, task(Embed, m, 0))
		}
	}
	for u := range o.spec.Units {
		o.run(u, task(Loss, o.spec.Micros-1, 0))
	}
}

// through takes the microbatches from..to-1 through all units together.
func (o *order) through(from, to int, loss bool) {
	for u := range o.spec.Units {
		for m := from; m < to; m++ {
			o.run(u, task(Forward, m, 0))
		}
		if loss {
			o.run(u, task(Loss, to-1, 0))
		}
		o.sweep(u, 0, from, to)
	}
}

// sweep runs one event of u and, if it sends, what that allows below.
func (o *order) sweep(u, event, from, to int) {
	for m := from; m < to; m++ {
		o.run(u, task(Sweep, m, event))
	}
	if sends := o.spec.Units[u].Sends; sends[event] {
		o.sweep(u-1, count(sends[:event+1]), from, to)
	}
}

// lean composes the programs of the lean order: around each run of turns of one
// unit, the baton comes from the unit before and goes to the unit after. There
// is one link for each two units that hand it over, so each has one writer and
// one reader, and one baton, so there is always room.
func (c *composer) lean() {
	turns := Turns(*c.spec)
	links := map[[2]int]int{}
	baton := func(from, to int) int {
		l, ok := links[[2]int{from, to}]
		if !ok {
			l = c.link(linkSpec{kind: turnLink, from: from, to: to, capacity: 1})
			links[[2]int{from, to}] = l
		}
		return l
	}
	for i, t := range turns {
		before, after := turns[(i+len(turns)-1)%len(turns)].Unit, turns[(i+1)%len(turns)].Unit
		if before != t.Unit {
			skip := 0
			if i == 0 { // in the first batch unit 0 begins with the baton
				skip = 1
			}
			c.add(t.Unit, step{do: doRecv, task: t.Task, at: baton(before, t.Unit), skip: skip})
		}
		c.turn(t)
		if after != t.Unit {
			c.send(t.Unit, baton(t.Unit, after), t.Task)
		}
		if t.Task.Kind == Update {
			c.add(t.Unit, step{do: doClose})
		}
	}
}

// turn is what the holder of the baton does.
func (c *composer) turn(t Turn) {
	switch {
	case t.Unit != 0:
	case t.Task.Kind == Embed || t.Task.Kind == Forward:
		c.add(0, step{do: doFeed, task: t.Task})
	case t.Task.Kind == Update: // the first update: the others' batons carry it
		c.add(0, step{do: doDecide})
	}
	c.run(t.Unit, t.Task)
}
