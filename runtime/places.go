package runtime

import (
	"fmt"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/graphs"
	"github.com/locorun/locorun/graphs/device"
)

// Share is what a program takes of a device.
type Share = graphs.Share

// Shares tells where a run's units are, with what the program takes there, of
// turns the one that takes most; nil where all are on one device. opt is how
// frames are held.
func Shares(net *model.Net, opt lower.Options, b device.Backend) ([]Share, error) {
	if _, ok := b.(*device.Placed); !ok {
		return nil, nil
	}
	turns, err := lower.Turns(net, opt)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", net.File, err)
	}
	return sharesOf(turns, b), nil
}

func sharesOf(turns []*ir.Program, b device.Backend) (all []Share) {
	for _, p := range turns {
		for i, s := range graphs.Shares(p, b) {
			if i == len(all) {
				all = append(all, Share{Device: s.Device})
			}
			all[i].Units = append(all[i].Units, s.Units...)
			all[i].Bytes = max(all[i].Bytes, s.Bytes)
		}
	}
	return all
}

// RoomsOf foresees a run on several devices: what it takes of each place that
// says how much of its memory is free, by the place's device.
func RoomsOf(net *model.Net, opt lower.Options, b *device.Placed, readouts bool) (map[string]*Room, error) {
	turns, err := lower.Turns(net, opt)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", net.File, err)
	}
	rooms := map[string]*Room{}
	shares := sharesOf(turns, b)
	for i, at := range b.Places() {
		r, err := roomAt(net, at.Backend, readouts && i == 0)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at.Device, err)
		}
		if r == nil {
			continue
		}
		r.Program = shares[i].Bytes
		for _, p := range turns {
			held := spread(b, p)[i].kernelBytes(p)
			if b.At(p.Units[0].Name) == i { // where the images are
				held += viewBytes(net, p, b)
			}
			r.Kernels = max(r.Kernels, held)
		}
		if i == 0 { // the one whose speed is measured
			r.Kernels += speedBytes(at.Backend, mapsOf(net))
		}
		rooms[at.Device] = r
	}
	return rooms, nil
}

// roomAt is what a device has and what readouts take of it; nil where it does not
// say.
func roomAt(net *model.Net, b device.Backend, readouts bool) (*Room, error) {
	h, ok := b.(holder)
	if !ok {
		return nil, nil
	}
	r := &Room{Reserve: Reserve}
	var err error
	if readouts && len(net.Readouts) > 0 {
		if r.Readouts, err = readoutBytes(net, b); err != nil {
			return nil, err
		}
	}
	if r.Free, r.Total, err = h.Memory(); err != nil {
		return nil, fmt.Errorf("how much memory is free: %w", err)
	}
	return r, nil
}
