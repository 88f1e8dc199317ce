package cli

import (
	"strconv"
	"strings"

	"github.com/locorun/locorun/graphs/cpu"
	"github.com/locorun/locorun/graphs/cuda"
	"github.com/locorun/locorun/graphs/cuda/driver"
	"github.com/locorun/locorun/graphs/device"
)

// backend starts the backend that --device names.
func (c *runCmd) backend() (device.Backend, error) {
	return onDevice(c.Device, c.tierFlag.backend)
}

// onDevice starts the backend that a --device names; host starts that of the
// processor.
func onDevice(name string, host func() (*cpu.Backend, error)) (device.Backend, error) {
	kind, number, numbered := strings.Cut(name, ":")
	index, err := strconv.Atoi(number)
	switch {
	case kind == "cpu" && !numbered:
		b, err := host()
		if err != nil {
			return nil, err // a nil *cpu.Backend is no nil Backend
		}
		return b, nil
	case kind == "cuda" && (!numbered || err == nil && index >= 0):
		return onCard(index)
	}
	return nil, wrongf("--device %s: write cpu, cuda, or cuda:N for card N", name)
}

// onCard starts a card.
func onCard(index int) (device.Backend, error) {
	refuse := func(err error) error {
		return wrongf("--device cuda: %w; `locorun version --devices` says what was found", err)
	}
	compiler, err := driver.NewCompiler()
	if err != nil {
		return nil, refuse(err)
	}
	card, err := driver.Open(index)
	if err != nil {
		return nil, refuse(err)
	}
	o := cuda.Options{Device: card, Compiler: compiler}
	if images, err := driver.OpenImages(); err == nil { // without a folder kernels are compiled at every start
		o.Cache = images
	}
	b, err := cuda.New(o)
	if err != nil {
		return nil, refuse(err)
	}
	return b, nil
}
