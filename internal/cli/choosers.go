package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/locorun/locorun/graphs/device"
)

// choosers are the places of a run whose backends choose kernels.
type choosers []device.Place

// chooserOf is what keeps a run's choices of kernels; nil where none are made.
func chooserOf(b device.Backend) chooser {
	p, ok := b.(*device.Placed)
	if !ok {
		c, _ := b.(chooser)
		return c
	}
	var all choosers
	for _, at := range p.Places() {
		if _, ok := at.Backend.(chooser); ok {
			all = append(all, at)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// key names a place by its units: where a run goes on its devices may have other
// numbers.
func (choosers) key(p device.Place) string { return strings.Join(p.Units, ",") }

// Choices are those of all places.
func (cs choosers) Choices() []byte {
	all := map[string]string{}
	for _, p := range cs {
		all[cs.key(p)] = string(p.Backend.(chooser).Choices())
	}
	text, err := json.Marshal(all)
	if err != nil {
		panic("cli: choices of kernels: " + err.Error()) // strings can always be written
	}
	return text
}

// SetChoices gives every place its own.
func (cs choosers) SetChoices(text []byte) error {
	var all map[string]string
	if err := json.Unmarshal(text, &all); err != nil {
		return errors.New("its choices of kernels are not by units, as those of a run with --place are")
	}
	for _, p := range cs {
		mine, ok := all[cs.key(p)]
		if !ok {
			return fmt.Errorf("it has no choices of kernels for the units of %s: %s", p.Device, cs.key(p))
		}
		if err := p.Backend.(chooser).SetChoices([]byte(mine)); err != nil {
			return fmt.Errorf("%s: %w", p.Device, err)
		}
	}
	return nil
}
