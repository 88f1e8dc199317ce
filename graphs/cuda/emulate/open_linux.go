package emulate

import (
	"os"
	"os/exec"
	"testing"

	"github.com/locorun/locorun/graphs/cuda/driver"
)

func open(t testing.TB, backwards bool) (driver.Device, driver.Compiler) {
	t.Helper()
	path, err := exec.LookPath("g++")
	if err != nil {
		t.Skip("kernels are emulated by g++, which is missing: ", err)
	}
	folder, err := os.MkdirTemp("", "locorun-emulate-")
	if err != nil {
		t.Fatal(err)
	}
	d := newDevice(folder, backwards)
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
