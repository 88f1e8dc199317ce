package pipeline

import "context"

// oracle runs a chain naively, on one goroutine and in an order of its own:
// every phase of a batch for all units and microbatches before the next phase,
// sweeps from the top unit down with all events of a unit together. It needs
// memory for a whole batch everywhere. before is called before each task.
type oracle struct {
	spec  Spec
	mem   *memory
	fakes []*fake
}

func newOracle(s Spec) *oracle {
	// The oracle's memory is that of kept frames, whatever the program's is.
	roomy := s
	roomy.Lean, roomy.Depth, roomy.InputSlots = false, s.Micros, s.Micros
	roomy.Units = append([]UnitSpec(nil), s.Units...)
	for u := range roomy.Units {
		roomy.Units[u].Slots = s.Micros
	}
	o := &oracle{spec: roomy}
	o.mem, o.fakes = newChain(&o.spec)
	for _, f := range o.fakes {
		f.frames, f.prefixes = newRing(s.Micros), newRing(s.Micros)
	}
	return o
}

func (o *oracle) run() error {
	for b := o.spec.First; b < o.spec.Batches; b++ {
		if err := o.batch(b); err != nil {
			return err
		}
	}
	return nil
}

func (o *oracle) batch(b int) error {
	phases := []func(int) error{o.embeds, o.losses, o.forwards, o.sweeps, o.updates}
	if !o.spec.Recompute {
		phases = []func(int) error{o.forwards, o.losses, o.sweeps, o.updates}
	}
	for _, phase := range phases {
		if err := phase(b); err != nil {
			return err
		}
	}
	return nil
}

func (o *oracle) do(u int, kind TaskKind, b, m, event int) error {
	t := Task{Kind: kind, Batch: b, Micro: m, Seq: b*o.spec.Micros + m, Event: event}
	if u == 0 && (kind == Embed || kind == Forward) {
		if err := o.mem.feed(context.Background(), t); err != nil {
			return err
		}
	}
	return o.fakes[u].Run(context.Background(), t)
}

func (o *oracle) embeds(b int) error { return o.upwards(Embed, b) }

func (o *oracle) forwards(b int) error { return o.upwards(Forward, b) }

func (o *oracle) upwards(kind TaskKind, b int) error {
	for m := range o.spec.Micros {
		for u := range o.fakes {
			if err := o.do(u, kind, b, m, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *oracle) losses(b int) error {
	for m := range o.spec.Micros {
		if o.spec.BatchLoss && m < o.spec.Micros-1 {
			continue
		}
		for u := range o.fakes {
			if err := o.do(u, Loss, b, m, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *oracle) sweeps(b int) error {
	for u := len(o.fakes) - 1; u >= 0; u-- {
		for m := range o.spec.Micros {
			for k := range 1 + o.spec.Units[u].Feedbacks {
				if err := o.do(u, Sweep, b, m, k); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (o *oracle) updates(b int) error {
	for u := range o.fakes {
		if err := o.do(u, Update, b, o.spec.Micros-1, 0); err != nil {
			return err
		}
	}
	return nil
}
