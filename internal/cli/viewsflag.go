package cli

import (
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/runtime"
)

// viewsFlag says who makes the views that units are trained on. A device rounds
// otherwise: it is part of a run's identity.
type viewsFlag struct {
	Views string `enum:"auto,host,device" default:"auto" help:"Where pictures are augmented: host, device, or auto: on the device that reads them where it can."`
}

// onDevice settles it for a net on a backend.
func (f viewsFlag) onDevice(net *model.Net, b device.Backend) (bool, error) {
	can := runtime.MakesViews(net, b)
	if f.Views == "device" && !can {
		return false, wrongf("--views device: %s cannot augment pictures; leave it to the host", b.Name())
	}
	return can && f.Views != "host", nil
}
