package conformance

import (
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cpu"
	"github.com/locorun/locorun/graphs/device"
)

// TestFaultsInPlaceAreFound: a backend whose results are wrong only where they
// lie over an argument fails, for each op that may work so.
func TestFaultsInPlaceAreFound(t *testing.T) {
	good := cpu.New(cpu.Options{Workers: 1})
	defer good.Close()
	bad := faulty{good, func(b device.Backend, c *device.Call) error {
		for _, y := range c.Out {
			for _, x := range c.In {
				if y.Buffer != nil && x.Buffer == y.Buffer {
					return poke(b, y)
				}
			}
		}
		return nil
	}}
	seen := map[op.Code]int{}
	for _, c := range op.Codes() {
		for i := range casesPerOp {
			p, err := newProblem(c, i, op.F32)
			if err != nil {
				t.Fatal(err)
			}
			if len(p.overlays()) == 0 {
				continue
			}
			seen[c]++
			if inPlace(bad, p) == nil {
				t.Errorf("%v, case %d: a spoilt result passes", c, i)
			}
		}
	}
	for _, c := range []op.Code{op.ReLU, op.Add, op.NormGrad, op.ConvNormGrad, op.ReLUGrad} {
		if seen[c] == 0 {
			t.Errorf("no case of %v has a result over an argument", c)
		}
	}
}

// TestCasesCoverBothInPlace: cases of conv_norm_grad have both results over
// arguments at a time, on kernels of all kinds.
func TestCasesCoverBothInPlace(t *testing.T) {
	both, depthwise, strided := 0, 0, 0
	for i := range casesPerOp {
		p, err := newProblem(op.ConvNormGrad, i, op.F32)
		if err != nil {
			t.Fatal(err)
		}
		if ways := p.overlays(); len(ways) == 3 {
			both++
		}
		if p.in[8] != nil && p.attr.Stride > 1 {
			strided++
		}
		if w := p.in[7].shape; p.in[8] != nil && p.attr.Groups > 1 && w[0] == p.attr.Groups && w[3] == 1 {
			depthwise++
		}
	}
	if both == 0 || depthwise == 0 || strided == 0 {
		t.Errorf("%d cases with both, %d depthwise, %d strided", both, depthwise, strided)
	}
}
