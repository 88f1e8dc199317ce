// Package cudatest opens the CUDA backend for tests of other packages: on a card
// where there is one, else on kernels that run on the host. It says which.
package cudatest

import (
	"testing"

	"github.com/locorun/locorun/graphs/cuda"
	"github.com/locorun/locorun/graphs/cuda/driver"
	"github.com/locorun/locorun/graphs/cuda/emulate"
	"github.com/locorun/locorun/graphs/device"
)

// Open opens a backend for as long as the test runs. Without a card and without
// what the emulator needs, the test is skipped.
func Open(t testing.TB) device.Backend {
	t.Helper()
	return opened(t, options(t))
}

// OpenLate opens a backend whose kernels run on the host, on a device that works
// late, or by chance: emulate.OpenLate says how. Lanes that do not wait for each
// other where they should give other bytes on it.
func OpenLate(t testing.TB, seed uint64) device.Backend {
	t.Helper()
	d, c := emulate.OpenLate(t, seed)
	return opened(t, cuda.Options{Device: d, Compiler: c})
}

func opened(t testing.TB, o cuda.Options) device.Backend {
	t.Helper()
	b, err := cuda.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func options(t testing.TB) cuda.Options {
	t.Helper()
	if len(driver.Find().Cards) == 0 {
		d, c := emulate.Open(t)
		t.Log("no card: kernels run on the host")
		return cuda.Options{Device: d, Compiler: c}
	}
	c, err := driver.NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	d, err := driver.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("on %s", d.Name())
	return cuda.Options{Device: d, Compiler: c}
}
