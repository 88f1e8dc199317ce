package cli

import (
	"slices"

	"github.com/locorun/locorun/graphs/cuda/driver"
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/runtime"
)

// watched is a backend on a card that can be asked how it is used.
type watched interface {
	Monitor() (driver.Monitor, error)
}

// devicesOf are the backends of a run by their devices' names: of one, its kind;
// of several, what the user calls them.
func devicesOf(b device.Backend) []device.Place {
	if p, ok := b.(*device.Placed); ok {
		return p.Places()
	}
	return []device.Place{{Device: runtime.DeviceKind(b), Backend: b}}
}

// deviceNames are those that metrics speak of: the program's as a whole, by its
// kind, and each on its own.
func deviceNames(b device.Backend) []string {
	names := []string{runtime.DeviceKind(b)}
	for _, at := range devicesOf(b) {
		if !slices.Contains(names, at.Device) {
			names = append(names, at.Device)
		}
	}
	return names
}

// watchCards looks at the run's cards for as long as it goes on, where somebody
// may read what they tell. Without NVML there is nothing to read, which the run's
// log says.
func (s *session) watchCards(b device.Backend) {
	if s.screen.server == nil {
		return
	}
	for _, at := range devicesOf(b) {
		w, ok := at.Backend.(watched)
		if !ok {
			continue
		}
		m, err := w.Monitor()
		if err != nil {
			s.file.Info("no figures of the card", "device", at.Device, "error", err)
			continue
		}
		s.unwatch = append(s.unwatch, s.screen.set.WatchCard(at.Device, m, func(text string) {
			s.file.Warn("the card cannot tell how it is used; training goes on", "what", text)
		}))
	}
}
