package cli

import "github.com/locorun/locorun/graphs/cpu"

// tierFlag chooses the kernels. Tiers round differently: it is part of a run's
// identity, unlike what chooses memory.
type tierFlag struct {
	Tier string `default:"auto" placeholder:"TIER" help:"Kernels to use: avx512, avx2, portable, or auto: the fastest that the processor has."`
}

// tier is the tier asked for; one that does not exist here is the call's fault.
func (f tierFlag) tier() (cpu.Tier, error) {
	name := f.Tier
	if name == "auto" {
		name = ""
	}
	t, err := cpu.TierNamed(name)
	if err != nil {
		return t, wrongf("--tier: %w", err)
	}
	return t, nil
}

// backend starts a backend of the tier, with a worker for each processor.
func (f tierFlag) backend() (*cpu.Backend, error) {
	t, err := f.tier()
	if err != nil {
		return nil, err
	}
	return cpu.New(cpu.Options{Tier: t}), nil
}
