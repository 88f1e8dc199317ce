package cuda

import (
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/conformance"
	"github.com/locorun/locorun/graphs/cuda/driver"
	"github.com/locorun/locorun/graphs/cuda/emulate"
	"github.com/locorun/locorun/graphs/device"
)

// emulated is a backend whose kernels run on the host. It says what it lacks.
type emulated struct{ *Backend }

// Has implements conformance.Partial.
func (emulated) Has(c op.Code) bool { return table[c] != nil }

// images keeps what was compiled for as long as a test runs.
type images map[string][]byte

func (m images) Get(key string) ([]byte, bool) { image, ok := m[key]; return image, ok }
func (m images) Put(key string, image []byte)  { m[key] = image }

// emulatedBackend gives a function that opens backends on a device of its own.
func emulatedBackend(t *testing.T, kept images, open func(testing.TB) (driver.Device, driver.Compiler)) func() device.Backend {
	return func() device.Backend {
		d, c := open(t)
		b, err := New(Options{Device: d, Compiler: c, Cache: kept})
		if err != nil {
			t.Fatal(err)
		}
		return emulated{b}
	}
}

// TestConformance holds the kernels to the op table.
func TestConformance(t *testing.T) {
	conformance.Run(t, emulatedBackend(t, images{}, emulate.Open), conformance.Tolerances{Rel: 1e-3, Abs: 1e-5})
}

// TestOrderOfThreadsDoesNotShow: results are the same bytes whether threads and
// blocks run forwards or backwards.
func TestOrderOfThreadsDoesNotShow(t *testing.T) {
	kept := images{}
	conformance.Same(t, emulatedBackend(t, kept, emulate.Open), emulatedBackend(t, kept, emulate.OpenBackwards))
}

// TestOpsLacking names the ops that have no kernel yet, and what a Call of one
// says.
func TestOpsLacking(t *testing.T) {
	var lacking []string
	for _, c := range op.Codes() {
		if table[c] != nil {
			continue
		}
		lacking = append(lacking, c.String())
		err := new(Backend).Run(&device.Call{Code: c})
		if want := "cuda: no kernel for " + c.String(); err == nil || err.Error() != want {
			t.Errorf("%v: got %v, not %s", c, err, want)
		}
	}
	t.Logf("%d of %d ops lack a kernel: %s", len(lacking), len(op.Codes()), strings.Join(lacking, ", "))
}
