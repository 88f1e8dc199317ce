package device

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Place is a Backend with the units that run on it.
type Place struct {
	Device  string // what the user calls it: "cuda:1"
	Backend Backend
	Units   []string // by name; of the first place also all that no place names
}

// Placed is a Backend of several: each unit's work and values are on its own.
// What belongs to no unit, such as readouts, is on the first; so are Alloc, Free,
// Write, Read and Run.
type Placed struct {
	Backend
	places []Place
}

// NewPlaced joins places, each with a backend of its own; the first may have no
// units. It owns the backends from then on.
func NewPlaced(places []Place) (*Placed, error) {
	if len(places) == 0 {
		return nil, errors.New("no backend to place units on")
	}
	seen := map[string]bool{}
	for _, p := range places {
		for _, u := range p.Units {
			if seen[u] {
				return nil, fmt.Errorf("unit %q has two places", u)
			}
			seen[u] = true
		}
	}
	return &Placed{places[0].Backend, slices.Clone(places)}, nil
}

// Places lists the places.
func (p *Placed) Places() []Place { return slices.Clone(p.places) }

// At is the index of a unit's place.
func (p *Placed) At(unit string) int {
	return max(0, slices.IndexFunc(p.places, func(pl Place) bool { return slices.Contains(pl.Units, unit) }))
}

// Name gives "cpu/avx2; high on cuda/sm_90, low on cuda/sm_90": the name of the
// first place, and those of the units that have one by name, in alphabetical order,
// so that it does not matter which of two like devices is which.
func (p *Placed) Name() string {
	var units []string
	for _, pl := range p.places {
		for _, u := range pl.Units {
			units = append(units, u+" on "+pl.Backend.Name())
		}
	}
	if len(units) == 0 {
		return p.Backend.Name()
	}
	slices.Sort(units)
	return p.Backend.Name() + "; " + strings.Join(units, ", ")
}

// Counted is the count of all places together.
func (p *Placed) Counted() (n int64) {
	for _, pl := range p.places {
		n += pl.Backend.Counted()
	}
	return n
}

// Close closes all backends.
func (p *Placed) Close() error {
	var errs []error
	for _, pl := range p.places {
		if err := pl.Backend.Close(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", pl.Device, err))
		}
	}
	return errors.Join(errs...)
}

// On is the backend on which a unit runs.
func On(b Backend, unit string) Backend {
	if p, ok := b.(*Placed); ok {
		return p.places[p.At(unit)].Backend
	}
	return b
}

// First is the backend for what belongs to no unit.
func First(b Backend) Backend {
	if p, ok := b.(*Placed); ok {
		return p.Backend
	}
	return b
}
