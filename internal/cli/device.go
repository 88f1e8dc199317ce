package cli

import (
	"strconv"
	"strings"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/graphs/cpu"
	"github.com/locorun/locorun/graphs/cuda"
	"github.com/locorun/locorun/graphs/cuda/driver"
	"github.com/locorun/locorun/graphs/device"
)

// backend starts the backend that --device names, for a program.
func (c *runCmd) backend(net *model.Net) (device.Backend, error) {
	return onDevice(c.Device, net.Train.TF32, c.tierFlag.backend)
}

// onDevice starts the backend that a --device names, in TF32 or not; host starts
// that of the processor.
func onDevice(name string, tf32 bool, host func() (*cpu.Backend, error)) (device.Backend, error) {
	kind, number, numbered := strings.Cut(name, ":")
	index, err := strconv.Atoi(number)
	switch {
	case kind == "cpu" && !numbered && tf32:
		return nil, wrongf("precision tf32 is a card's: a processor computes in f32; run with --device cuda, or write precision f32")
	case kind == "cpu" && !numbered:
		b, err := host()
		if err != nil {
			return nil, err // a nil *cpu.Backend is no nil Backend
		}
		return b, nil
	case kind == "cuda" && (!numbered || err == nil && index >= 0):
		return onCard(index, tf32)
	}
	return nil, wrongf("--device %s: write cpu, cuda, or cuda:N for card N", name)
}

// onCard starts a card.
func onCard(index int, tf32 bool) (device.Backend, error) {
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
	o := cuda.Options{Device: card, Compiler: compiler, TF32: tf32}
	if blas, err := driver.NewBLAS(card); err == nil { // without it our kernels compute
		o.BLAS = blas
	}
	if dnn, err := driver.NewDNN(card); err == nil {
		o.DNN = dnn
	}
	if images, err := driver.OpenImages(); err == nil { // without a folder kernels are compiled at every start
		o.Cache = images
	}
	b, err := cuda.New(o)
	if err != nil {
		return nil, refuse(err)
	}
	return b, nil
}
