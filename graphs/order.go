package graphs

import (
	"fmt"
	"sync"

	"github.com/locorun/locorun/graphs/device"
)

// cell is a value's memory on one backend, of which several lanes make use, at
// least one by writing. It keeps how far those must have come on whom a later use
// has to wait.
//
// A use waits for the marks that it finds: those of uses queued before. That is
// enough, for whoever drives a Program orders conflicting uses by when they are
// queued. The pipeline does: a unit reads a map or a gradient when its token has
// come, which is sent when the segment that makes it has been queued and its mark
// noted; the slot of a map is written again when all readers' releases have come;
// that of a gradient when the map has come that the unit below sends after
// sweeping that gradient; a published weight is read when the neighbour's batch
// has ended or its map has come, and its slot written again two batches later,
// when the reader's next batch has begun. Barriers and snapshots read what their
// own unit makes. So no conflicting use is ever missing among the marks, and the
// order between lanes is the host's, which is that of a run without lanes.
type cell struct {
	mu    sync.Mutex
	slots []marks
}

// marks are those of a slot: behind its last write, and behind the last read
// since then of each lane.
type marks struct {
	write device.Mark
	reads []device.Mark
}

// access is what a segment, or a copy, does with a cell.
type access struct {
	cell  *cell
	all   bool // every slot
	write bool
	mark  bool // other lanes look for a mark behind it
}

// each calls f on the slots that a microbatch's access concerns.
func (a access) each(micro int, f func(*marks) error) error {
	a.cell.mu.Lock()
	defer a.cell.mu.Unlock()
	if !a.all {
		return f(&a.cell.slots[micro%len(a.cell.slots)])
	}
	for i := range a.cell.slots {
		if err := f(&a.cell.slots[i]); err != nil {
			return err
		}
	}
	return nil
}

// await lets what is queued on l from now on begin after the conflicting accesses
// of other lanes.
func (l *lane) await(as []access, micro int) error {
	for _, a := range as {
		err := a.each(micro, func(m *marks) error {
			if err := l.wait(m.write); err != nil || !a.write {
				return err
			}
			for _, r := range m.reads {
				if err := l.wait(r); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// wait lets the lane wait for a mark, unless it is its own or has waited as far
// already.
func (l *lane) wait(m device.Mark) error {
	if m.At == 0 || m.Lane == l.number || l.waited[m.Lane] >= m.At {
		return nil
	}
	if err := l.own.Wait(m); err != nil {
		return fmt.Errorf("waiting for lane %d: %w", m.Lane, err)
	}
	l.waited[m.Lane] = m.At
	return nil
}

// leave notes a mark behind what has been queued on l, where other lanes will
// look for it.
func (l *lane) leave(as []access, micro int) error {
	var mark device.Mark
	for _, a := range as {
		if !a.mark {
			continue
		}
		if mark.At == 0 {
			var err error
			if mark, err = l.own.Mark(); err != nil {
				return fmt.Errorf("marking lane %d: %w", l.number, err)
			}
		}
		a.note(micro, mark)
	}
	return nil
}

func (a access) note(micro int, mark device.Mark) {
	_ = a.each(micro, func(m *marks) error { // which cannot fail
		m.note(mark, a.write)
		return nil
	})
}

func (m *marks) note(mark device.Mark, write bool) {
	if write { // it has waited for all reads
		m.write, m.reads = mark, m.reads[:0]
		return
	}
	for i := range m.reads {
		if m.reads[i].Lane == mark.Lane {
			m.reads[i] = mark
			return
		}
	}
	m.reads = append(m.reads, mark)
}
