package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/graphs/cpu"
	"github.com/locorun/locorun/graphs/cuda"
	"github.com/locorun/locorun/graphs/cuda/driver"
	"github.com/locorun/locorun/graphs/device"
)

// backend starts the backends that --device and --place name, for a program.
func (c *runCmd) backend(env *Env, net *model.Net) (device.Backend, error) {
	return c.backends(net, c.Device, c.device, env.opener(net.Train.Precision, c.tierFlag.backend))
}

// opener starts backends for a precision.
func (e *Env) opener(in model.Precision, host func() (*cpu.Backend, error)) opener {
	if e.Device != nil {
		return e.Device
	}
	return func(name string) (device.Backend, error) { return onDevice(name, in, host) }
}

// deviceOf takes a device's name apart: cpu, or cuda with the card's number.
func deviceOf(name string) (kind string, index int, ok bool) {
	kind, number, numbered := strings.Cut(name, ":")
	index, err := strconv.Atoi(number)
	switch {
	case kind == "cpu":
		return kind, 0, !numbered
	case kind == "cuda" && !numbered:
		return kind, 0, true
	}
	return kind, index, kind == "cuda" && err == nil && index >= 0
}

// isDevice reports whether a name is that of a device.
func isDevice(name string) bool {
	_, _, ok := deviceOf(name)
	return ok
}

// canonical is the one name of a device: a card's with its number.
func canonical(name string) string {
	if kind, index, ok := deviceOf(name); ok && kind == "cuda" {
		return fmt.Sprintf("cuda:%d", index)
	}
	return name
}

// onDevice starts the backend that a --device names, for a precision; host starts
// that of the processor.
func onDevice(name string, in model.Precision, host func() (*cpu.Backend, error)) (device.Backend, error) {
	kind, index, ok := deviceOf(name)
	switch {
	case !ok:
		return nil, wrongf("--device %s: write cpu, cuda, or cuda:N for card N", name)
	case kind == "cuda":
		return onCard(index, in)
	case in != model.F32:
		return nil, wrongf("precision %s is a card's: a processor computes in f32; run with --device cuda, or write precision f32", in)
	}
	b, err := host()
	if err != nil {
		return nil, err // a nil *cpu.Backend is no nil Backend
	}
	return b, nil
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
