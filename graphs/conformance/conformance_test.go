package conformance

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cpu"
	"github.com/locorun/locorun/graphs/device"
)

var tolerances = Tolerances{Rel: 5e-6, Abs: 1e-6}

// faulty is a backend that spoils the memory of a Call after running it.
type faulty struct {
	device.Backend
	spoil func(b device.Backend, c *device.Call) error
}

func (f faulty) Run(c *device.Call) error {
	if err := f.Backend.Run(c); err != nil {
		return err
	}
	return f.spoil(f.Backend, c)
}

// poke changes a bit of a tensor's first element, so that 0 becomes 2.
func poke(b device.Backend, t device.Tensor) error {
	t.Shape = []int{1}
	old := make([]byte, t.Dtype.Size())
	if err := b.Read(old, t); err != nil {
		return err
	}
	old[len(old)-1] ^= 0x40
	return b.Write(t, old)
}

// present is the first tensor that is there.
func present(ts []device.Tensor) device.Tensor {
	i := slices.IndexFunc(ts, func(t device.Tensor) bool { return t.Buffer != nil })
	return ts[i]
}

// TestFaultsAreFound: for every op, a changed result, a changed argument and a
// byte beside a result make the comparison fail.
func TestFaultsAreFound(t *testing.T) {
	faults := map[string]func(b device.Backend, c *device.Call) error{
		"result":   func(b device.Backend, c *device.Call) error { return poke(b, present(c.Out)) },
		"argument": func(b device.Backend, c *device.Call) error { return poke(b, c.In[0]) },
		"beside": func(b device.Backend, c *device.Call) error {
			at := present(c.Out)
			at.Offset += at.Bytes()
			return poke(b, at)
		},
	}
	good := cpu.New(cpu.Options{Workers: 1})
	defer good.Close()
	for name, spoil := range faults {
		for _, c := range op.Codes() {
			p, err := newProblem(c, 2, op.F32)
			if err != nil {
				t.Fatal(err)
			}
			if compare(faulty{good, spoil}, p, tolerances) == nil {
				t.Errorf("%v: a spoilt %s passes", c, name)
			}
		}
	}
}

func TestRowWithoutCaseIsAnError(t *testing.T) {
	_, err := newProblem(op.Invalid, 0, op.F32)
	if err == nil || !strings.Contains(err.Error(), "has no case or no reference") {
		t.Errorf("got %v", err)
	}
}

func TestCasesDoNotChange(t *testing.T) {
	for _, c := range op.Codes() {
		a, errA := newProblem(c, 5, op.F32)
		b, errB := newProblem(c, 5, op.F32)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		for i := range a.in {
			if a.in[i] != nil && !a.in[i].equal(b.in[i]) {
				t.Errorf("%v: argument %d differs", c, i)
			}
		}
	}
}

func TestCasesCoverCorners(t *testing.T) {
	strides, pads, groups := map[int]bool{}, map[int]bool{}, map[string]bool{}
	batchOne, oneChannel, oblong := false, false, false
	for i := range casesPerOp {
		p, err := newProblem(op.Conv, i, op.F32)
		if err != nil {
			t.Fatal(err)
		}
		x, w := p.in[0].shape, p.in[1].shape
		strides[p.attr.Stride], pads[p.attr.Pad] = true, true
		batchOne = batchOne || x[0] == 1
		oneChannel = oneChannel || x[3] == 1
		oblong = oblong || x[1] != x[2]
		switch {
		case p.attr.Groups > 1 && w[3] == 1 && w[0] == x[3]:
			groups["depthwise"] = true
		case p.attr.Groups > 1:
			groups["grouped"] = true
		default:
			groups["dense"] = true
		}
	}
	if len(strides) < 3 || len(pads) < 4 || len(groups) < 3 || !batchOne || !oneChannel || !oblong {
		t.Errorf("strides %v, pads %v, groups %v, batch 1 %v, one channel %v, oblong %v", strides, pads, groups, batchOne, oneChannel, oblong)
	}
}

// TestCasesCoverFusedGradients: what the kernels of conv_norm_grad tell apart.
func TestCasesCoverFusedGradients(t *testing.T) {
	seen := map[string]int{}
	note := func(what string, yes bool) {
		if yes {
			seen[what]++
		} else {
			seen["not "+what]++
		}
	}
	for i := range casesPerOp {
		p, err := newProblem(op.ConvNormGrad, i, op.F32)
		if err != nil {
			t.Fatal(err)
		}
		note("relu", p.attr.ReLU)
		note("residual gradient", p.out[1] != nil)
		note("group norm", p.attr.NormGroups > 0)
		note("grouped", p.attr.Groups > 1)
		note("strided", p.attr.Stride > 1)
		note("input gradient", p.out[0] != nil)
		note("weight gradients", p.attr.Weights)
		note("more", p.in[8] != nil)
		note("both gradients and more", p.in[8] != nil && p.attr.Weights)
		note("mask made again", p.in[9] != nil)
		note("read through a norm", p.in[10] != nil && p.attr.Weights)
		note("read through a relu", p.attr.InReLU)
		note("read through a group norm", p.attr.InGroups > 0)
		for _, k := range []int{1, 3, 7} {
			note(fmt.Sprintf("%dx%d", k, k), p.attr.KH == k && p.attr.KW == k)
		}
	}
	for what, n := range seen {
		if n == casesPerOp {
			t.Errorf("all cases are %s", what)
		}
	}
}
