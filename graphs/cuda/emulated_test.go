package cuda

import (
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

// opener opens backends whose kernels run on the host, for a test.
type opener func(t *testing.T) device.Backend

// emulatedBackend gives what opens backends on a device of their own. What is
// compiled is kept, as it takes seconds.
func emulatedBackend(kept images, open func(testing.TB) (driver.Device, driver.Compiler)) opener {
	return func(t *testing.T) device.Backend {
		t.Helper()
		d, c := open(t)
		b, err := New(Options{Device: d, Compiler: c, Cache: kept})
		if err != nil {
			t.Fatal(err)
		}
		return emulated{b}
	}
}

// TestEmulated is all tests of kernels.
func TestEmulated(t *testing.T) {
	kept := images{}
	forwards, backwards := emulatedBackend(kept, emulate.Open), emulatedBackend(kept, emulate.OpenBackwards)
	t.Run("Conformance", func(t *testing.T) {
		conformance.Run(t, func() device.Backend { return forwards(t) }, conformance.Tolerances{Rel: 1e-3, Abs: 1e-5})
	})
	t.Run("ConformanceInBF16", func(t *testing.T) {
		conformance.RunAs(t, func() device.Backend { return forwards(t) }, op.BF16, conformance.Tolerances{Rel: 1e-3, Abs: 1e-5})
	})
	// Results are the same bytes whether threads and blocks run forwards or
	// backwards.
	t.Run("OrderOfThreadsDoesNotShow", func(t *testing.T) {
		conformance.Same(t, func() device.Backend { return forwards(t) }, func() device.Backend { return backwards(t) })
	})
	t.Run("OrderOfThreadsDoesNotShowInViews", func(t *testing.T) { testViewsGiveTheSameBytes(t, forwards, backwards) })
	for _, c := range []struct {
		name string
		test func(*testing.T, opener)
	}{
		{"WideMaps", testWideMaps},
		{"NaNsStay", testNaNsStay},
		{"Rounding", testRounding},
		{"WideNarrowMaps", testWideNarrowMaps},
		{"Refusals", testRefusals},
		{"NarrowRefusals", testNarrowRefusals},
		{"UpdateRefusals", testUpdateRefusals},
		{"ConvNormGradRefusals", testConvNormGradRefusals},
		{"ViewsByDefinition", testViewsByDefinition},
		{"ViewsStandAlone", testViewsStandAlone},
		{"ViewRefusals", testViewRefusals},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, forwards) })
	}
}

// TestOpsLacking names the ops that have no kernel yet, and what a Call of one
// says.
func TestOpsLacking(t *testing.T) {
	lacking := []op.Code{op.Invalid}
	for _, c := range op.Codes() {
		if table[c] == nil {
			lacking = append(lacking, c)
		}
	}
	for _, c := range lacking {
		err := new(Backend).Run(&device.Call{Code: c})
		if want := "cuda: no kernel for " + c.String(); err == nil || err.Error() != want {
			t.Errorf("%v: got %v, not %s", c, err, want)
		}
	}
	t.Logf("%d of %d ops lack a kernel: %v", len(lacking)-1, len(op.Codes()), lacking[1:])
}
