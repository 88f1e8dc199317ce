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
	return onDevice(c.Device, net.Train.Precision, c.tierFlag.backend)
}

// onDevice starts the backend that a --device names, for a precision; host starts
// that of the processor.
func onDevice(name string, in model.Precision, host func() (*cpu.Backend, error)) (device.Backend, error) {
	kind, number, numbered := strings.Cut(name, ":")
	index, err := strconv.Atoi(number)
	switch {
	case kind == "cpu" && !numbered && in != model.F32:
		return nil, wrongf("precision %s is a card's: a processor computes in f32; run with --device cuda, or write precision f32", in)
	case kind == "cpu" && !numbered:
		b, err := host()
		if err != nil {
			return nil, err // a nil *cpu.Backend is no nil Backend
		}
		return b, nil
	case kind == "cuda" && (!numbered || err == nil && index >= 0):
		return onCard(index, in)
	}
	return nil, wrongf("--device %s: write cpu, cuda, or cuda:N for card N", name)
}

// onCard starts a card. Where maps are narrow, what is left in float32 may be
// rounded to TF32, which is finer.
func onCard(index int, in model.Precision) (device.Backend, error) {
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
	o := cuda.Options{Device: card, Compiler: compiler, TF32: in != model.F32, BF16: in == model.BF16}
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
