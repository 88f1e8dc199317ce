package emulate

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"

	"github.com/locorun/locorun/graphs/cuda/driver"
)

func openLate(t testing.TB, seed uint64) (driver.Device, driver.Compiler) {
	p := pace{late: true}
	if seed != 0 {
		p.draw = rand.New(rand.NewPCG(seed, 0))
	}
	return openAs(t, false, p)
}

func open(t testing.TB, backwards bool) (driver.Device, driver.Compiler) {
	t.Helper()
	return openAs(t, backwards, pace{})
}

func openAs(t testing.TB, backwards bool, p pace) (driver.Device, driver.Compiler) {
	t.Helper()
	path, err := exec.LookPath("g++")
	if err != nil {
		t.Skip("kernels are emulated by g++, which is missing: ", err)
	}
	folder, err := os.MkdirTemp("", "locorun-emulate-")
	if err != nil {
		t.Fatal(err)
	}
	d := newDevice(folder, backwards, p)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(folder); err != nil {
			t.Error(err)
		}
	})
	return d, &compiler{path: path, folder: folder}
}
