package runtime

import (
	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/op"
)

// sequence runs a batch without goroutines, channels or microbatches in flight,
// up to its updates: each step of ir.Program.Order, those of a loop for every
// microbatch, one after another.
type sequence struct {
	p    *ir.Program
	feed func(micro int) error        // writes the images of a microbatch, counted through all batches
	task func(t ir.Task, n int) error // runs forward, loss or sweep of a microbatch
}

// batch runs one batch, counted from 0.
func (s *sequence) batch(batch int) error {
	order := s.p.Order()
	for i := 0; i < len(order); {
		j, micros := i+1, 1
		for order[i].Loop >= 0 && j < len(order) && order[j].Loop == order[i].Loop {
			j++
		}
		if order[i].Loop >= 0 {
			micros = s.p.Micros
		}
		for m := range micros {
			if err := s.steps(order[i:j], batch, m); err != nil {
				return err
			}
		}
		i = j
	}
	return nil
}

func (s *sequence) steps(turns []ir.Turn, batch, micro int) error {
	for _, t := range turns {
		if err := s.step(t, batch, micro); err != nil {
			return err
		}
	}
	return nil
}

func (s *sequence) step(t ir.Turn, batch, micro int) error {
	u, n := &s.p.Units[t.Unit], batch*s.p.Micros+micro
	switch {
	case begins(t.Task, u.Update) || begins(t.Task, u.Publish):
		return nil
	case t.Loop < 0: // a loss over the batch
		return s.task(t.Task, (batch+1)*s.p.Micros-1)
	case t.Unit == 0 && (begins(t.Task, u.Forward) || begins(t.Task, u.Embed)):
		if err := s.feed(n); err != nil {
			return err
		}
	}
	return s.task(t.Task, n)
}

// begins reports whether two tasks of a unit are the same.
func begins(a, b ir.Task) bool { return len(a) > 0 && len(b) > 0 && a[0] == b[0] }

// moved are the running statistics that the program moves; it reads the others.
func moved(p *ir.Program) map[ir.ValueID]bool {
	ids := map[ir.ValueID]bool{}
	for _, o := range ops(p) {
		if o.Attr.Mode != op.NormUpdate {
			continue
		}
		for _, v := range o.In {
			ids[v] = true
		}
	}
	return ids
}
