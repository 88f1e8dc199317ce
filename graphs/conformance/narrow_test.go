package conformance

import (
	"errors"
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cpu"
	"github.com/locorun/locorun/graphs/device"
)

// defined is a backend that computes by the references, in a processor's memory.
type defined struct{ device.Backend }

func (d defined) Run(c *device.Call) error {
	p := &problem{code: c.Code, attr: c.Attr, lr: c.LR, step: c.Step}
	var err error
	if p.in, err = d.arrays(c.In); err != nil {
		return err
	}
	if p.out, err = d.arrays(c.Out); err != nil {
		return err
	}
	first := p.clone()
	first.refer(first)
	if c.Code == op.ConvNorm {
		first.out[0].round() // z, which the norm is taken of
	}
	p.refer(first)
	return errors.Join(d.write(c.In, p.in), d.write(c.Out, p.out))
}

func (d defined) write(ts []device.Tensor, as []*array) (err error) {
	for i, a := range as {
		if a != nil {
			err = errors.Join(err, d.Write(ts[i], a.encode()))
		}
	}
	return err
}

// arrays are what tensors hold.
func (d defined) arrays(ts []device.Tensor) (as []*array, err error) {
	for _, t := range ts {
		if t.Buffer == nil {
			as = append(as, nil)
			continue
		}
		a, raw := newArray(t.Dtype, t.Shape...), make([]byte, t.Bytes())
		if err := d.Read(raw, t); err != nil {
			return nil, err
		}
		a.decode(raw)
		as = append(as, a)
	}
	return as, nil
}

// scaled makes the elements of a tensor larger, by a fiftieth.
func scaled(b device.Backend, t device.Tensor) error {
	as, err := defined{b}.arrays([]device.Tensor{t})
	if err != nil {
		return err
	}
	for i := range as[0].v {
		as[0].v[i] *= 1.02
	}
	return b.Write(t, as[0].encode())
}

// TestNarrow: in bfloat16 the references, rounded where they are written, lie within
// the tolerances of themselves; what is spoilt, or off by a fiftieth, does not.
func TestNarrow(t *testing.T) {
	host := cpu.New(cpu.Options{Workers: 1})
	defer host.Close()
	good := defined{host}
	faults := map[string]func(b device.Backend, c *device.Call) error{
		"result":   func(b device.Backend, c *device.Call) error { return poke(b, present(c.Out)) },
		"argument": func(b device.Backend, c *device.Call) error { return poke(b, c.In[0]) },
		"scale":    func(b device.Backend, c *device.Call) error { return scaled(b, present(c.Out)) },
		"beside": func(b device.Backend, c *device.Call) error {
			at := present(c.Out)
			at.Offset += at.Bytes()
			return poke(b, at)
		},
	}
	for _, c := range codes(op.BF16) {
		for i := range 7 {
			p, err := newProblem(c, i, op.BF16)
			if err != nil {
				t.Fatal(err)
			}
			if err := compare(good, p, tolerances); err != nil {
				t.Errorf("%v, case %d: %v", c, i, err)
			}
		}
		p, err := newProblem(c, 2, op.BF16)
		if err != nil {
			t.Fatal(err)
		}
		for name, spoil := range faults {
			if compare(faulty{good, spoil}, p, tolerances) == nil {
				t.Errorf("%v: a spoilt %s passes", c, name)
			}
		}
	}
}

// TestNarrowTypes: maps are of two bytes, weights, sums and indices of four, and a
// copy is of what it copies; what has no map is not run.
func TestNarrowTypes(t *testing.T) {
	for _, c := range []op.Code{op.SGD, op.LARS, op.AdamW, op.Pull} {
		for _, run := range codes(op.BF16) {
			if run == c {
				t.Errorf("%v has no map", c)
			}
		}
	}
	if got, want := len(codes(op.BF16)), len(op.Codes())-4; got != want {
		t.Errorf("%d ops, not %d", got, want)
	}
	for _, w := range []struct {
		code    op.Code
		in, out []op.Dtype
	}{
		{op.ConvWeight, []op.Dtype{op.BF16, op.BF16}, []op.Dtype{op.F32}},
		{op.PoolMax, []op.Dtype{op.BF16}, []op.Dtype{op.BF16, op.I32}},
		{op.Norm, []op.Dtype{op.BF16, op.F32, op.F32}, []op.Dtype{op.BF16}},
		{op.NTXent, []op.Dtype{op.BF16}, []op.Dtype{op.F32, op.BF16}},
		{op.Copy, []op.Dtype{op.BF16}, []op.Dtype{op.BF16}},
		{op.Concat, []op.Dtype{op.BF16}, []op.Dtype{op.BF16}},
	} {
		p, err := newProblem(w.code, 3, op.BF16)
		if err != nil {
			t.Fatal(err)
		}
		for i, d := range w.in {
			if p.in[i].dtype != d {
				t.Errorf("%v: argument %d is %v", w.code, i, p.in[i].dtype)
			}
		}
		for i, d := range w.out {
			if p.out[i] != nil && p.out[i].dtype != d {
				t.Errorf("%v: result %d is %v", w.code, i, p.out[i].dtype)
			}
		}
	}
}
