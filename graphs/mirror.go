package graphs

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/graphs/device"
)

// mirrorKey names the copy of a value at a place that is not its home.
type mirrorKey struct {
	place int
	value ir.ValueID // no table
}

// mirror is such a copy. Before a segment reads there what has been written at
// home since, it is copied, through the host.
type mirror struct {
	value *ir.Value
	home  *home
	spot  spot
	mu    sync.Mutex
	have  []uint64 // by slot, the version that lies here
	raw   []byte   // on its way
}

// home counts the writes of each slot of a value that is copied. Memory begins
// zeroed on both sides, so version 0 is there at once.
type home struct{ versions []atomic.Uint64 }

// mirrored finds the copies that a program needs: of what is read away from its
// home.
func mirrored(p *ir.Program, b device.Backend) map[mirrorKey]bool {
	keys := map[mirrorKey]bool{}
	if _, ok := b.(*device.Placed); !ok {
		return keys
	}
	for i, t := range trafficOf(p) {
		for _, u := range t.reads {
			if at := placeOf(p, b, u); at != homeOf(p, b, &p.Values[i]) {
				keys[mirrorKey{at, ir.ValueID(i)}] = true
			}
		}
	}
	return keys
}

// mirrorBytes is what a copy of all slots takes.
func mirrorBytes(v *ir.Value) int64 { s := stretchOf(v); return s.to - s.from }

// mirrors are the copies of a program.
type mirrors struct {
	homes []*home // by value; nil where nothing is copied
	all   map[mirrorKey]*mirror
}

// allocate makes the copies, in order of places and values.
func (ms *mirrors) allocate(p *ir.Program, m *memory) error {
	ms.homes, ms.all = make([]*home, len(p.Values)), map[mirrorKey]*mirror{}
	need := mirrored(p, m.backend)
	for at := range m.places {
		for i := range p.Values {
			key := mirrorKey{at, ir.ValueID(i)}
			if !need[key] {
				continue
			}
			if err := ms.add(&p.Values[i], key, m); err != nil {
				return err
			}
		}
	}
	return nil
}

func (ms *mirrors) add(v *ir.Value, key mirrorKey, m *memory) error {
	pl := &m.places[key.place]
	buffer, err := pl.backend.Alloc(mirrorBytes(v))
	if err != nil {
		return fmt.Errorf("%d bytes for a copy of %s%s: %w", mirrorBytes(v), v.Name, pl.on(), err)
	}
	pl.mirrors = append(pl.mirrors, buffer)
	if ms.homes[v.ID] == nil {
		ms.homes[v.ID] = &home{make([]atomic.Uint64, v.Slots)}
	}
	s := m.spots[v.ID]
	s.buffer, s.shift = buffer, -stretchOf(v).from
	ms.all[key] = &mirror{value: v, home: ms.homes[v.ID], spot: s, have: make([]uint64, v.Slots)}
	return nil
}

// wrote notes that a slot, or all slots, of a value hold something new.
func (ms *mirrors) wrote(v ir.ValueID, micro int, all bool) {
	h := ms.homes[v]
	switch {
	case h == nil:
	case all:
		for i := range h.versions {
			h.versions[i].Add(1)
		}
	default:
		h.versions[micro%len(h.versions)].Add(1)
	}
}

// mirrorPart is how many bytes are on their way at a time.
const mirrorPart = 4 << 20

// fetch is the reading of a value that lies elsewhere: what brings it here.
type fetch struct {
	mirror   *mirror
	from     spot
	all      bool // every slot
	at, here *lane
	read     []access // at home
	write    []access // here
}

// bring copies what the microbatch's reader will read and has not got yet.
func (f *fetch) bring(micro int) error {
	f.mirror.mu.Lock()
	defer f.mirror.mu.Unlock()
	if !f.all {
		return f.slot(micro)
	}
	for i := range f.mirror.have {
		if err := f.slot(i); err != nil {
			return err
		}
	}
	return nil
}

func (f *fetch) slot(micro int) error {
	m := f.mirror
	slot := micro % len(m.have)
	version := m.home.versions[slot].Load()
	if m.have[slot] == version {
		return nil
	}
	if err := f.copy(slot); err != nil {
		return fmt.Errorf("copying %s: %w", m.value.Name, err)
	}
	m.have[slot] = version
	return nil
}

func (f *fetch) copy(slot int) error {
	m := f.mirror
	from, to := f.from.tensor(m.value, slot), m.spot.tensor(m.value, slot)
	size := int64(m.value.Dtype.Size())
	for at, n := int64(0), from.Bytes(); at < n; at += mirrorPart {
		part := min(mirrorPart, n-at)
		m.raw = slices.Grow(m.raw[:0], int(part))[:part]
		if err := f.take(window(from, at, part/size), slot); err != nil {
			return err
		}
		if err := f.give(window(to, at, part/size), slot); err != nil {
			return err
		}
	}
	return nil
}

// window is n elements of t from a byte on.
func window(t device.Tensor, at, n int64) device.Tensor {
	t.Offset, t.Shape = t.Offset+at, []int{int(n)}
	return t
}

// take reads at home. It returns when the bytes are there, so that nobody has to
// wait for it.
func (f *fetch) take(t device.Tensor, slot int) error {
	defer f.at.hold()()
	if err := f.at.await(f.read, slot); err != nil {
		return err
	}
	return f.at.Read(f.mirror.raw, t)
}

func (f *fetch) give(t device.Tensor, slot int) error {
	defer f.here.hold()()
	if err := f.here.await(f.write, slot); err != nil {
		return err
	}
	if err := f.here.Write(t, f.mirror.raw); err != nil {
		return err
	}
	return f.here.leave(f.write, slot)
}
