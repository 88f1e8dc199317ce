package graphs

import (
	"fmt"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/graphs/device"
)

// Views has the device make views into a value of a microbatch, as device.Viewer
// does. Where the value's device makes none, it is an error.
func (p *Program) Views(v ir.ValueID, micro int, w *device.Views) error {
	t, err := p.tensor(v, micro)
	if err != nil {
		return fmt.Errorf("graphs: views: %w", err)
	}
	h := &p.hosts[v]
	viewer, ok := h.lane.Queue.(device.Viewer)
	if !ok {
		return fmt.Errorf("graphs: views into %s: its device makes none", p.ir.Values[v].Name)
	}
	if err := h.lane.within(h.write, micro, func() error { return viewer.Views(t, w) }); err != nil {
		return fmt.Errorf("graphs: views into %s: %w", p.ir.Values[v].Name, err)
	}
	p.wrote(v, micro)
	return nil
}
