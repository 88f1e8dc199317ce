package graphs

import (
	"fmt"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/graphs/device"
)

// route is how the work of a segment, or of the host on a value, reaches the
// device: what is brought first, the lane, and what it touches that other lanes
// touch too.
type route struct {
	lane     *lane
	fetches  []*fetch
	accesses []access
}

// router makes a program's routes.
type router struct {
	p       *Program
	traffic []traffic
	cells   map[mirrorKey]*cell // of values and of copies, where there is need
}

// route settles lanes and the order between them. Memory has been allocated.
func (p *Program) route(first int) error {
	r := &router{p: p, traffic: trafficOf(p.ir), cells: map[mirrorKey]*cell{}}
	p.lanes = lanes{first: first, apart: apart(p.ir, r.traffic), made: map[[2]int]*lane{}}
	for i := range p.segments {
		if err := r.segment(&p.segments[i]); err != nil {
			return err
		}
	}
	p.hosts = make([]host, len(p.ir.Values))
	for i := range p.hosts {
		if err := r.host(&p.ir.Values[i]); err != nil {
			return err
		}
	}
	return nil
}

// segment makes the route of a segment.
func (r *router) segment(s *segment) error {
	here := r.p.placeOf(s.ir.Unit)
	l, err := r.lane(here, s.ir.Unit)
	if err != nil {
		return err
	}
	s.route.lane = l
	for _, t := range touchesOf(r.p.ir, s.ir) {
		v := &r.p.ir.Values[t.value]
		home := homeOf(r.p.ir, r.p.memory.backend, v)
		switch {
		case t.write && home != here:
			return fmt.Errorf("%s writes %s, which lies%s", s.ir.Name(), v.Name, r.p.memory.places[home].on())
		case t.write:
			s.wrote = append(s.wrote, t)
		case home != here:
			f, err := r.fetch(t, s.ir.Unit, home, here)
			if err != nil {
				return err
			}
			s.route.fetches = append(s.route.fetches, f)
		}
		s.route.accesses = append(s.route.accesses, r.access(t, here, s.ir.Unit)...)
	}
	return nil
}

// lane is a unit's lane at a place.
func (r *router) lane(place, unit int) (*lane, error) {
	return r.p.lanes.of(r.p.memory.places[place].backend, place, unit)
}

// fetch makes the reading of a value by a unit away from the value's home. Both
// ends of it have the unit's number, so that the lane there, too, is its own.
func (r *router) fetch(t touch, unit, home, here int) (*fetch, error) {
	at, err := r.lane(home, unit)
	if err != nil {
		return nil, err
	}
	l, err := r.lane(here, unit)
	if err != nil {
		return nil, err
	}
	return &fetch{
		mirror: r.p.mirrors.all[mirrorKey{here, t.value}], from: r.p.memory.spots[t.value], all: t.all,
		at: at, here: l,
		read: r.access(touch{value: t.value}, home, unit), write: r.access(touch{value: t.value, write: true}, here, unit),
	}, nil
}

// access is what a unit's touch of a value at a place means for others there:
// nothing where no other lane has to do with it.
func (r *router) access(t touch, place, unit int) []access {
	if _, ok := r.p.memory.places[place].backend.(device.Laned); !ok {
		return nil
	}
	reads, writes := r.numbers(t.value, place)
	mine := r.p.lanes.number(unit)
	others := func(ns []int) bool { return len(ns) > 1 || len(ns) == 1 && ns[0] != mine }
	if !others(writes) && !(t.write && others(reads)) {
		return nil
	}
	key := mirrorKey{place, t.value}
	if r.cells[key] == nil {
		r.cells[key] = &cell{slots: make([]marks, max(1, r.p.ir.Values[t.value].Slots))}
	}
	return []access{{cell: r.cells[key], all: t.all, write: t.write, mark: t.write || others(writes)}}
}

// numbers are those of the lanes that read and write a value at a place. Away
// from home, whoever reads it first writes it.
func (r *router) numbers(v ir.ValueID, place int) (reads, writes []int) {
	t := &r.traffic[v]
	p := r.p
	home := homeOf(p.ir, p.memory.backend, &p.ir.Values[v])
	for _, u := range t.reads {
		if place == home || p.placeOf(u) == place {
			reads = insert(reads, p.lanes.number(u))
		}
	}
	if place != home {
		return reads, reads
	}
	for _, u := range t.writes {
		writes = insert(writes, p.lanes.number(u))
	}
	return reads, insert(writes, p.lanes.number(t.host))
}

// host is how the host reads and writes a value.
type host struct {
	lane        *lane
	read, write []access
}

// host settles how the host reads and writes a value: at its home, a table as the
// value whose slots it joins.
func (r *router) host(v *ir.Value) error {
	t := touch{value: v.ID}
	if v.Kind == ir.Table {
		t = touch{value: v.Of, all: true}
	}
	unit, home := r.traffic[t.value].host, homeOf(r.p.ir, r.p.memory.backend, v)
	l, err := r.lane(home, unit)
	if err != nil {
		return err
	}
	h := &r.p.hosts[v.ID]
	h.lane, h.read = l, r.access(t, home, unit)
	t.write = true
	h.write = r.access(t, home, unit)
	return nil
}

// placeOf is the index of a unit's place.
func (p *Program) placeOf(unit int) int { return placeOf(p.ir, p.memory.backend, unit) }

// spot is where a value lies for the work of a unit: at home, or its copy.
func (p *Program) spot(v ir.ValueID, unit int) spot {
	value := &p.ir.Values[v]
	s := p.memory.spots[v]
	of := v
	if value.Kind == ir.Table {
		of = value.Of
	}
	if m := p.mirrors.all[mirrorKey{p.placeOf(unit), of}]; m != nil {
		s.buffer, s.shift = m.spot.buffer, m.spot.shift
	}
	return s
}

// within runs f as part of a lane's work, in order with other lanes' accesses.
func (l *lane) within(as []access, micro int, f func() error) error {
	defer l.hold()()
	if err := l.await(as, micro); err != nil {
		return err
	}
	err := f()
	if left := l.leave(as, micro); left != nil && err == nil {
		err = left
	}
	return err
}

// readFrom copies a window of a value of a microbatch to the host.
func (p *Program) readFrom(v ir.ValueID, micro int, dst []byte, t device.Tensor) error {
	h := &p.hosts[v]
	defer h.lane.hold()()
	if err := h.lane.await(h.read, micro); err != nil {
		return err
	}
	return h.lane.Read(dst, t) // over when it returns: nobody need wait for it
}

// writeTo copies src to a window of a value of a microbatch.
func (p *Program) writeTo(v ir.ValueID, micro int, t device.Tensor, src []byte) error {
	h := &p.hosts[v]
	err := h.lane.within(h.write, micro, func() error { return h.lane.Write(t, src) })
	p.wrote(v, micro)
	return err
}

// wrote notes that the host has written a value.
func (p *Program) wrote(v ir.ValueID, micro int) {
	if of := p.ir.Values[v].Of; of != ir.None {
		p.mirrors.wrote(of, 0, true)
		return
	}
	p.mirrors.wrote(v, micro, false)
}
