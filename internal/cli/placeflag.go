package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/plan"
	"github.com/locorun/locorun/dsl/diag"
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/runtime"
)

// placeFlag says which units run elsewhere than on --device.
type placeFlag struct {
	Place places `placeholder:"UNIT=DEVICE,..." help:"Units that run elsewhere than on --device, such as low=cuda:0,mid=cuda:1. Where all are named and --device is not, the first device named serves the rest."`
}

// places are units with their devices, in the order in which they are named.
type places []unitOn

type unitOn struct{ unit, device string }

// UnmarshalText reads "low=cuda:0,mid=cuda:1". A flag that is given again adds to
// what it said before.
func (p *places) UnmarshalText(text []byte) error {
	for part := range strings.SplitSeq(string(text), ",") {
		unit, device, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok || unit == "" || device == "" {
			return fmt.Errorf("%q names no unit with its device; write low=cuda:0,mid=cuda:1", part)
		}
		*p = append(*p, unitOn{unit, device})
	}
	return nil
}

// opener starts the backend of a device.
type opener func(device string) (device.Backend, error)

// backends starts the backends of a net's units. base is the device of --device,
// given whether that was named.
func (f placeFlag) backends(net *model.Net, base string, given bool, open opener) (device.Backend, error) {
	if len(f.Place) == 0 {
		return open(base)
	}
	if err := f.check(net); err != nil {
		return nil, err
	}
	if !given && len(f.Place) == len(net.Units) {
		base = f.Place[0].device
	}
	s := &starter{open: open}
	if err := s.start(f.Place, net, base); err != nil {
		s.close()
		return nil, err
	}
	if len(s.places) == 1 {
		return s.places[0].Backend, nil
	}
	return device.NewPlaced(s.places)
}

// check refuses units that are not there, or are named twice, and devices that
// cannot compute what the program says.
func (f placeFlag) check(net *model.Net) error {
	var names, seen []string
	for _, u := range net.Units {
		names = append(names, u.Name)
	}
	for _, p := range f.Place {
		switch {
		case !slices.Contains(names, p.unit):
			return wrongf("--place %s=%s: there is no such unit; %s", p.unit, p.device, unitRemedy(p.unit, names))
		case slices.Contains(seen, p.unit):
			return wrongf("--place names unit %s twice; it runs on one device, so leave one out", p.unit)
		case !isDevice(p.device):
			return wrongf("--place %s=%s: no such device; write cpu, cuda, or cuda:N for card N", p.unit, p.device)
		case p.device == "cpu" && net.Train.Precision != model.F32:
			return wrongf("--place %s=cpu: precision %s is a card's: a processor computes in f32; place the unit on a card, or write precision f32", p.unit, net.Train.Precision)
		}
		seen = append(seen, p.unit)
	}
	return nil
}

func unitRemedy(unit string, names []string) string {
	if s := diag.Suggest(unit, names); s != "" {
		return "did you mean " + s + "?"
	}
	return "the units are " + strings.Join(names, ", ")
}

// starter starts backends, one for each device.
type starter struct {
	open   opener
	places []device.Place
}

// start starts the base, and what units need beside it, from the images upwards.
func (s *starter) start(units places, net *model.Net, base string) error {
	if _, err := s.at(base); err != nil {
		return err
	}
	for _, u := range net.Units {
		k := slices.IndexFunc(units, func(p unitOn) bool { return p.unit == u.Name })
		if k < 0 {
			continue
		}
		i, err := s.at(units[k].device)
		if err != nil {
			return err
		}
		s.places[i].Units = append(s.places[i].Units, u.Name)
	}
	return nil
}

// at is the index of a device's place, which is made where there is none.
func (s *starter) at(name string) (int, error) {
	name = canonical(name)
	if i := slices.IndexFunc(s.places, func(p device.Place) bool { return p.Device == name }); i >= 0 {
		return i, nil
	}
	b, err := s.open(name)
	if err != nil {
		return 0, err
	}
	s.places = append(s.places, device.Place{Device: name, Backend: b})
	return len(s.places) - 1, nil
}

func (s *starter) close() {
	for _, p := range s.places {
		_ = p.Backend.Close() // why the next could not be started is told
	}
}

// placesText says where units run; nothing where all are on one device.
func placesText(shares []runtime.Share, readouts bool) string {
	var text strings.Builder
	for i, s := range shares {
		what := "no unit"
		if len(s.Units) > 0 {
			what = "units " + strings.Join(s.Units, ", ")
		}
		if i == 0 && readouts {
			what += "; readouts"
		}
		fmt.Fprintf(&text, "on %s: %s; %s planned\n", s.Device, what, plan.Bytes(s.Bytes))
	}
	return text.String()
}

// fitPlaces refuses a run that the memory of one of its cards cannot hold.
func fitPlaces(net *model.Net, opt lower.Options, b *device.Placed, readouts bool) error {
	rooms, err := runtime.RoomsOf(net, opt, b, readouts)
	if err != nil {
		return err
	}
	for _, p := range b.Places() {
		r := rooms[p.Device]
		if r == nil || r.Fits() {
			continue
		}
		return wrongf("the run needs %s of the memory of %s (%s), %s more than the %s that are free of %s; place fewer units there, or take a smaller microbatch",
			plan.Bytes(r.Need()), p.Device, parts(r), plan.Bytes(r.Need()-r.Free), plan.Bytes(r.Free), plan.Bytes(r.Total))
	}
	return nil
}
