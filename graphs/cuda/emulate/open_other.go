//go:build !linux

package emulate

import (
	"testing"

	"github.com/locorun/locorun/graphs/cuda/driver"
)

func open(t testing.TB, _ bool) (driver.Device, driver.Compiler) {
	t.Helper()
	t.Skip("kernels are emulated on Linux only")
	return nil, nil
}

func openLate(t testing.TB, _ uint64) (driver.Device, driver.Compiler) { return open(t, false) }
