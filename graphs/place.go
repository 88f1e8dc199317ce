package graphs

import (
	"fmt"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/graphs/device"
)

// place is a backend with the memory of the values of the units there.
type place struct {
	backend device.Backend
	name    string // of the device; "" where it is the only one
	buffers [spaces]device.Buffer
	pieces  []piece // of spaces, in order
	mirrors []device.Buffer
}

// piece is a stretch of a space, and how much further on its bytes lie in the
// place's buffer.
type piece struct {
	stretch
	shift int64
}

// placesOf lists the places of a backend: its own, or itself.
func placesOf(b device.Backend) []place {
	placed, ok := b.(*device.Placed)
	if !ok {
		return []place{{backend: b}}
	}
	var list []place
	for _, p := range placed.Places() {
		list = append(list, place{backend: p.Backend, name: p.Device})
	}
	return list
}

// placeOf is the index of a unit's place.
func placeOf(p *ir.Program, b device.Backend, unit int) int {
	placed, ok := b.(*device.Placed)
	if !ok || unit < 0 || unit >= len(p.Units) {
		return 0
	}
	return placed.At(p.Units[unit].Name)
}

// homeOf is the index of the place where a value lies: that of the unit which
// makes or owns it.
func homeOf(p *ir.Program, b device.Backend, v *ir.Value) int { return placeOf(p, b, v.Unit) }

// piecesOf is what a place needs of the spaces: all where it is the only one, else
// what its units' values take, side by side.
func piecesOf(p *ir.Program, b device.Backend, at int) (pieces []piece, sizes [spaces]int64) {
	if _, ok := b.(*device.Placed); !ok {
		for _, s := range ir.Spaces() {
			pieces = append(pieces, piece{stretch: stretch{s, 0, p.Sizes[s]}})
			sizes[s] = p.Sizes[s]
		}
		return pieces, sizes
	}
	var all []stretch
	for i := range p.Values {
		v := &p.Values[i]
		if v.Space != 0 && v.Kind != ir.Table && int(v.Space) < spaces && homeOf(p, b, v) == at {
			all = append(all, stretchOf(v))
		}
	}
	for _, s := range union(all) {
		pieces = append(pieces, piece{s, sizes[s.space] - s.from})
		sizes[s.space] += s.to - s.from
	}
	return pieces, sizes
}

// allocate gives the place its buffers.
func (pl *place) allocate(p *ir.Program, at int, b device.Backend) error {
	var sizes [spaces]int64
	pl.pieces, sizes = piecesOf(p, b, at)
	for _, s := range ir.Spaces() {
		if sizes[s] == 0 {
			continue
		}
		buffer, err := pl.backend.Alloc(sizes[s])
		if err != nil {
			return fmt.Errorf("%d bytes for the space %s%s: %w", sizes[s], s, pl.on(), err)
		}
		pl.buffers[s] = buffer
	}
	return nil
}

// on gives " on cuda:1", or nothing for the only place.
func (pl *place) on() string {
	if pl.name == "" {
		return ""
	}
	return " on " + pl.name
}

// find is the buffer that holds a spot of this place, and its shift there.
func (pl *place) find(s spot) (device.Buffer, int64) {
	for _, p := range pl.pieces {
		if p.space == s.space && p.from <= s.offset && s.offset < p.to {
			return pl.buffers[s.space], p.shift
		}
	}
	return pl.buffers[s.space], 0
}

func (pl *place) free() {
	for i, b := range pl.buffers {
		if b != nil {
			pl.backend.Free(b)
			pl.buffers[i] = nil
		}
	}
	for _, b := range pl.mirrors {
		pl.backend.Free(b)
	}
	pl.mirrors = nil
}

// Share is what a program takes at a place.
type Share struct {
	Device string   `json:"device"` // "cuda:1"; "" where all is on one
	Units  []string `json:"units"`  // in order
	Bytes  int64    `json:"bytes"`  // of values and copies
}

// Shares tells what a program would take of each place of a backend, in their
// order. The program's memory must be planned.
func Shares(p *ir.Program, b device.Backend) []Share {
	var shares []Share
	for i, pl := range placesOf(b) {
		s := Share{Device: pl.name}
		_, sizes := piecesOf(p, b, i)
		for _, n := range sizes {
			s.Bytes += n
		}
		for u := range p.Units {
			if placeOf(p, b, u) == i {
				s.Units = append(s.Units, p.Units[u].Name)
			}
		}
		shares = append(shares, s)
	}
	for key := range mirrored(p, b) {
		shares[key.place].Bytes += mirrorBytes(&p.Values[key.value])
	}
	return shares
}
