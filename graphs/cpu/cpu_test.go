package cpu

import (
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/conformance"
	"github.com/locorun/locorun/graphs/device"
)

func opener(workers int, tier Tier) func() device.Backend {
	return func() device.Backend { return New(Options{Workers: workers, Tier: tier}) }
}

// eachTier runs a test on every tier of this processor.
func eachTier(t *testing.T, do func(t *testing.T, tier Tier)) {
	for _, tier := range Tiers() {
		t.Run(tier.Name(), func(t *testing.T) { do(t, tier) })
	}
}

func TestConformanceFloat64(t *testing.T) {
	conformance.RunAs(t, opener(2, Tier{}), op.F64, conformance.Tolerances{Rel: 1e-11, Abs: 1e-11})
}

func TestWorkersChangeNoByte(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) {
		conformance.Same(t, opener(1, tier), opener(2, tier), opener(4, tier))
	})
}

func TestGradients(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) { conformance.Gradients(t, opener(1, tier)) })
}
