package runtime

import (
	"flag"
	"testing"

	"github.com/locorun/locorun/graphs/cpu"
)

var tierName = flag.String("tier", "", "tier of the cpu backend to test, such as avx2; default: the fastest")

// testedTier is the tier under test.
func testedTier() cpu.Tier {
	tier, err := cpu.TierNamed(*tierName)
	if err != nil {
		panic(err)
	}
	return tier
}

// onCPU opens a cpu backend of the tier under test.
func onCPU(t testing.TB, o cpu.Options) *cpu.Backend {
	t.Helper()
	o.Tier = testedTier()
	return cpu.New(o)
}
