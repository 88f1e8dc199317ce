package ir

// Turn is a stretch of the lean order: one task of one unit.
type Turn struct {
	Unit int
	Task Task
	// Loop numbers the stretch of turns that is repeated for each microbatch
	// of the batch; turns of one number follow each other within a microbatch.
	// -1: the task runs once per batch.
	Loop int
}

// Order is the order in which a batch's tasks run at depth 1, when a baton
// goes round and one unit computes at a time. For each microbatch, from the
// lowest unit up: forward, loss, own sweep; then the units below, from the top
// down, run what that unit's message lets them run; then the map passes on.
//
// With losses over the batch and all frames kept, each of these steps is a loop
// over the microbatches; with frames recomputed, one loop embeds, the losses
// follow, and a second loop is as above without them.
func (p *Program) Order() []Turn {
	o := &orderer{p: p}
	switch {
	case p.BatchLoss && p.Recompute:
		for k := range p.Units {
			o.add(k, p.Units[k].Embed)
		}
		for k := range p.Units {
			o.once(k, p.Units[k].Loss)
		}
		o.loop++
		o.sweeps(false, false)
	case p.BatchLoss:
		o.sweeps(true, true)
	default:
		o.sweeps(true, false)
	}
	for k := range p.Units {
		o.once(k, p.Units[k].Update)
		o.once(k, p.Units[k].Publish)
	}
	return o.turns
}

type orderer struct {
	p     *Program
	turns []Turn
	loop  int
}

func (o *orderer) add(unit int, t Task) {
	if len(t) > 0 {
		o.turns = append(o.turns, Turn{unit, t, o.loop})
	}
}

func (o *orderer) once(unit int, t Task) {
	if len(t) > 0 {
		o.turns = append(o.turns, Turn{unit, t, -1})
	}
}

// sweeps appends the units' forwards and sweeps, with the losses where they
// are taken here; apart makes a loop of each step.
func (o *orderer) sweeps(losses, apart bool) {
	next := func() {
		if apart {
			o.loop++
		}
	}
	for k := range o.p.Units {
		u := &o.p.Units[k]
		o.add(k, u.Forward)
		next()
		switch {
		case losses && apart:
			o.once(k, u.Loss)
		case losses:
			o.add(k, u.Loss)
		}
		o.add(k, u.Events[0])
		next()
		for below := k - 1; below >= 0; below-- {
			if e := o.p.event(below, k); e > 0 {
				o.add(below, o.p.Units[below].Events[e])
				next()
			}
		}
	}
}

// event is the number of the event of a unit that the loss of a higher unit
// starts, 0 where none does.
func (p *Program) event(unit, loss int) int {
	for e, l := range p.Units[unit].Starts {
		if e > 0 && l == loss {
			return e
		}
	}
	return 0
}

// WaitsAbove reports whether a turn runs a sweep that a message from the unit
// above starts.
func (p *Program) WaitsAbove(t Turn) bool {
	for k, e := range p.Units[t.Unit].Events {
		if k > 0 && len(e) > 0 && len(t.Task) > 0 && e[0] == t.Task[0] {
			return true
		}
	}
	return false
}

// Window is the number of microbatches a unit may have in flight: those whose
// map it has sent and whose gradients it has not read.
func (p *Program) Window() int {
	if p.BatchLoss && !p.Recompute {
		return p.Micros
	}
	return min(p.Depth, p.Micros)
}

// MapSlots is the number of buffers of each map that crosses between units:
// those in flight below, and as many again in use above. With all frames kept
// the batch's own suffice.
func (p *Program) MapSlots() int {
	switch {
	case p.Mode == Lean && !(p.BatchLoss && !p.Recompute):
		return 1
	case p.BatchLoss && !p.Recompute:
		return p.Window()
	}
	return 2 * p.Window()
}

// InFlight bounds the microbatches between the arrival of their images and
// their last sweep in any unit. Each holds a slot: of the images, until the
// lowest unit has swept it, or of a map, until the unit above has. So the bound
// is the sum of these slots; in the lean order the same microbatches hold the
// slots of all. The memory pass must have run.
func (p *Program) InFlight() int {
	n := p.Window()
	if p.Mode == Lean {
		return n
	}
	for k := range p.Units {
		if out := p.Units[k].Out; out != None && p.Values[out].Unit == k {
			n += p.Values[out].Slots
		}
	}
	return n
}
