package cuda

import (
	"os"
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/conformance"
	"github.com/locorun/locorun/graphs/cuda/driver"
	"github.com/locorun/locorun/graphs/device"
)

// TestOnCard is TestEmulated on a card, which it asks for: with
// LOCORUN_TEST_CARD=1 it fails where there is none.
func TestOnCard(t *testing.T) {
	if os.Getenv("LOCORUN_TEST_CARD") != "1" {
		t.Skip("LOCORUN_TEST_CARD is not 1")
	}
	kept := images{}
	open := cardBackend(kept, false)
	t.Run("Conformance", func(t *testing.T) {
		conformance.Run(t, func() device.Backend { return open(t) }, conformance.Tolerances{Rel: 1e-3, Abs: 1e-5})
	})
	t.Run("ConformanceOfLibraries", func(t *testing.T) {
		b := cardBackend(kept, true)
		conformance.Run(t, func() device.Backend { return b(t) }, conformance.Tolerances{Rel: 1e-3, Abs: 1e-5})
	})
	t.Run("ConformanceInBF16", func(t *testing.T) {
		conformance.RunAs(t, func() device.Backend { return open(t) }, op.BF16, conformance.Tolerances{Rel: 1e-3, Abs: 1e-5})
	})
	t.Run("TwoBackendsGiveTheSameViews", func(t *testing.T) { testViewsGiveTheSameBytes(t, open, open) })
	t.Run("ConformanceOfLibrariesInBF16", func(t *testing.T) {
		b := cardBackend(kept, true)
		conformance.RunAs(t, func() device.Backend { return b(t) }, op.BF16, throughNarrow)
	})
	for _, dtype := range []op.Dtype{op.F32, op.BF16} {
		t.Run("TwoBackendsGiveTheSameBytesIn/"+dtype.String(), func(t *testing.T) {
			conformance.SameAs(t, dtype, func() device.Backend { return open(t) }, func() device.Backend { return open(t) })
		})
	}
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
		t.Run(c.name, func(t *testing.T) { c.test(t, open) })
	}
	for _, c := range []struct {
		name string
		test func(*bench)
	}{
		{"TilesGiveTheSameBytes", tilesGiveTheSameBytes},
		{"WeightTiles", weightTiles},
		{"ReadThroughNorm", readThroughNorm},
		{"NTXentOfLargeAndSmall", ntxentOfLargeAndSmall},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := open(t).(emulated).Backend
			t.Cleanup(func() {
				if err := b.Close(); err != nil {
					t.Error(err)
				}
			})
			c.test(&bench{T: t, b: b, r: run{b: b, lane: b.lane}, seed: 1})
		})
	}
}

// cardBackend gives what opens backends on the first card. Kernels are compiled
// for it once. With libraries, NVIDIA's compute where they are faster.
func cardBackend(kept images, libraries bool) opener {
	return func(t *testing.T) device.Backend {
		t.Helper()
		c, err := driver.NewCompiler()
		if err != nil {
			t.Fatal(err)
		}
		d, err := driver.Open(0)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("on %s", d.Name())
		o := Options{Device: d, Compiler: c, Cache: kept}
		if libraries {
			if o.BLAS, err = driver.NewBLAS(d); err != nil {
				t.Fatal(err)
			}
			if o.DNN, err = driver.NewDNN(d); err != nil {
				t.Fatal(err)
			}
		}
		b, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		return emulated{b}
	}
}
