package cpu

import (
	"fmt"
	"strings"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cpu/vector"
)

// Tier is a set of kernels: plain Go, or assembly for an instruction set. Tiers
// round differently, so a tier is part of a run's identity. The zero Tier is
// the fastest that the processor has.
type Tier struct {
	name string
	set  *vector.Set // nil: plain Go
}

// Name is "avx512", "avx2" or "portable".
func (t Tier) Name() string { return t.name }

// Tiers lists the tiers that this processor can run, fastest first. The last
// is portable.
func Tiers() []Tier {
	var tiers []Tier
	for _, s := range vector.Sets() {
		tiers = append(tiers, Tier{s.Name, s})
	}
	return append(tiers, Tier{name: "portable"})
}

// TierNamed is the tier of that name; "" is the fastest.
func TierNamed(name string) (Tier, error) {
	var names []string
	for _, t := range Tiers() {
		if t.name == name || name == "" {
			return t, nil
		}
		names = append(names, t.name)
	}
	return Tier{}, fmt.Errorf("this processor has no tier %q; it has %s", name, strings.Join(names, ", "))
}

// kernels is the table of a tier. Kernels for float64 are plain Go in all.
func (t Tier) kernels() [len(op.Rows)]kernel {
	table := portable()
	if t.set == nil {
		return table
	}
	for code, k := range fast() {
		table[code].f32 = k
	}
	return table
}

// fast lists the kernels that a vector tier has of its own.
func fast() map[op.Code]func(*run) error {
	return map[op.Code]func(*run) error{
		op.Conv:         convDirect,
		op.Dense:        convDirect,
		op.ConvNorm:     convNormDirect,
		op.ConvNormGrad: convNormGradDirect,
		op.ReLU:         reluFast,
		op.ReLUGrad:     reluGradFast,
		op.Add:          addFast,
		op.Copy:         duplicate[float32], // copy is made of vectors already
		op.Pull:         pullFast,
		op.SGD:          sgdFast,
		op.LARS:         larsFast,
		op.AdamW:        adamwFast,
		op.Norm:         normFast,
		op.NormGrad:     normGradFast,
		op.ConvInput:    convInputDirect,
		op.DenseInput:   convInputDirect,
		op.ConvWeight:   convWeightDirect,
		op.NTXent:       ntxentFast,
		op.DenseWeight:  convWeightDirect,
		op.PoolMax:      poolMax32,
		op.PoolMaxGrad:  poolMaxGrad32,
		op.PoolMean:     poolMean32,
		op.PoolMeanGrad: poolMeanGrad32,
		op.Mean:         mean32,
		op.MeanGrad:     meanGrad32,
		op.Resize:       resize32,
		op.ResizeGrad:   resizeGrad32,
		op.Shuffle:      shuffle32,
	}
}
