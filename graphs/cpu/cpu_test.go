package cpu

import (
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/conformance"
	"github.com/locorun/locorun/graphs/device"
)

func opener(workers int) func() device.Backend {
	return func() device.Backend { return New(Options{Workers: workers}) }
}

func TestConformanceFloat64(t *testing.T) {
	conformance.RunAs(t, opener(2), op.F64, conformance.Tolerances{Rel: 1e-11, Abs: 1e-11})
}

func TestWorkersChangeNoByte(t *testing.T) {
	conformance.Same(t, opener(1), opener(2), opener(4))
}

func TestGradients(t *testing.T) {
	conformance.Gradients(t, opener(1))
}
