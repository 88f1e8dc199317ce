package pipeline

import "context"

// buffer is a map's slots as its writer sees them. A slot is lent to every
// reader when it is claimed, and free again when each has released it; the
// readers' releases come in the order of their use, so they are counted off
// until the wanted slot is among them.
type buffer struct {
	slots    int
	releases []*link  // one per reader
	lent     [][]bool // [reader][slot]
}

func newBuffer(p *Pipeline, s bufferSpec) *buffer {
	b := &buffer{slots: s.slots}
	for _, l := range s.releases {
		b.releases = append(b.releases, p.links[l])
		b.lent = append(b.lent, make([]bool, s.slots))
	}
	return b
}

// claim waits until the slot of t.Seq is free and lends it anew.
func (w *worker) claim(ctx context.Context, b *buffer, t Task) error {
	slot := t.Seq % b.slots
	for r, l := range b.releases {
		for b.lent[r][slot] {
			tok, err := w.take(ctx, l, t, doClaim)
			if err != nil {
				return err
			}
			b.lent[r][tok.seq%b.slots] = false
		}
		b.lent[r][slot] = true
	}
	return nil
}
