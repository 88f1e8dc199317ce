// Package conformance holds a backend to the op table. In comes a function
// that opens a backend; out come failed tests.
//
//	cases (random, by number) --> backend ----> results --.
//	          '-----------------> reference --> wanted ----+--> compare
//
// In bfloat16 the reference rounds what the op table's types make a backend round
// on the way, and nothing else; see narrow.go.
//
// Run compares every op with simple loops in float64, and results made over an
// argument, where the table allows that, with those made apart; Gradients compares the
// gradient ops with central differences, Same compares backends that must
// agree to the byte.
//
// What always holds: a row of the op table without a case fails, a case is the
// same on every machine, a byte written outside a result is found, and so is a
// changed argument.
package conformance

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// casesPerOp is how many random shapes each op is run on.
const casesPerOp = 24

// Tolerances says how far a result may lie from the reference: an element may
// differ by Abs + Rel times the largest magnitude of its tensor. Indices must
// be equal. Ops holds the relative tolerance of single ops, where it differs.
// Maps of bfloat16 may differ by narrowRel times that magnitude instead.
type Tolerances struct {
	Rel, Abs float64
	Ops      map[op.Code]float64
}

// narrowRel is how far an element of a narrow map may be off. To round it once is
// to be off by 2^-9 of itself at most. A factor that lies next to the middle of two
// numbers may be rounded to the other one than in the reference, off by 2^-8 of
// itself; that is seen where it is the only one of a sum.
const narrowRel = 1.5 / 256

func (t Tolerances) of(c op.Code, dtype op.Dtype) float64 {
	if dtype == op.BF16 {
		return max(t.Rel, narrowRel)
	}
	if rel, ok := t.Ops[c]; ok {
		return rel
	}
	return t.Rel
}

// Partial is a backend that does not have all ops yet: tests of those it lacks
// are skipped.
type Partial interface {
	Has(op.Code) bool
}

// skipLacking skips the test where the backend lacks the op.
func skipLacking(t *testing.T, b device.Backend, c op.Code) {
	t.Helper()
	if p, ok := b.(Partial); ok && !p.Has(c) {
		t.Skipf("%s lacks %v", b.Name(), c)
	}
}

// Run runs every op in float32 on random shapes and compares the results with
// the reference.
func Run(t *testing.T, open func() device.Backend, tol Tolerances) {
	RunAs(t, open, op.F32, tol)
}

// RunAs is Run in the given type. BF16 is that of maps and of what is copied, all
// else is float32; ops without either are not run.
func RunAs(t *testing.T, open func() device.Backend, dtype op.Dtype, tol Tolerances) {
	b := opened(t, open)
	for _, c := range codes(dtype) {
		t.Run(c.String(), func(t *testing.T) {
			skipLacking(t, b, c)
			for i := range casesPerOp {
				p, err := newProblem(c, i, dtype)
				if err != nil {
					t.Fatal(err)
				}
				if err := compare(b, p, tol); err != nil {
					t.Errorf("case %d: %v\n%s", i, err, p)
				}
				if err := inPlace(b, p); err != nil {
					t.Errorf("case %d: %v\n%s", i, err, p)
				}
			}
		})
	}
}

// codes are the ops that can be run in a type.
func codes(dtype op.Dtype) []op.Code {
	return slices.DeleteFunc(op.Codes(), func(c op.Code) bool { return dtype == op.BF16 && !takesNarrow(c) })
}

// opened opens a backend for as long as the test runs.
func opened(t *testing.T, open func() device.Backend) device.Backend {
	t.Helper()
	b := open()
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// compare runs p on b and on the reference.
func compare(b device.Backend, p *problem, tol Tolerances) error {
	got := p.clone()
	if err := got.run(b); err != nil {
		return err
	}
	want := p.clone()
	want.refer(got)
	row := op.Rows[p.code]
	for i, a := range got.in {
		allowed := tol
		if a != nil && want.in[i].equal(p.in[i]) {
			allowed = Tolerances{} // the op does not change it
		}
		if err := a.near(want.in[i], allowed, p.code); err != nil {
			return fmt.Errorf("argument %s: %w", row.In[min(i, len(row.In)-1)].Name, err)
		}
	}
	for i, a := range got.out {
		if err := a.near(want.out[i], tol, p.code); err != nil {
			return fmt.Errorf("result %s: %w", row.Out[min(i, len(row.Out)-1)].Name, err)
		}
	}
	return nil
}

// near compares a with the reference; absent arrays are equal.
func (a *array) near(want *array, tol Tolerances, c op.Code) error {
	if a == nil {
		return nil
	}
	limit := 0.0
	if a.dtype != op.I32 {
		for _, v := range want.v {
			limit = max(limit, math.Abs(v))
		}
		limit = tol.Abs + tol.of(c, a.dtype)*limit
	}
	for i, v := range a.v {
		if d := math.Abs(v - want.v[i]); !(d <= limit) {
			return fmt.Errorf("element %d of %v is %g, not %g: off by %.3g, allowed %.3g", i, a.shape, v, want.v[i], d, limit)
		}
	}
	return nil
}

// Same runs every op on the backends and fails where a byte of a result
// differs from the first one's.
func Same(t *testing.T, opens ...func() device.Backend) {
	SameAs(t, op.F32, opens...)
}

// SameAs is Same in the given type, as RunAs has it.
func SameAs(t *testing.T, dtype op.Dtype, opens ...func() device.Backend) {
	var bs []device.Backend
	for _, o := range opens {
		bs = append(bs, opened(t, o))
	}
	for _, c := range codes(dtype) {
		t.Run(c.String(), func(t *testing.T) {
			for _, b := range bs {
				skipLacking(t, b, c)
			}
			for i := range casesPerOp {
				if err := sameCase(bs, c, i, dtype); err != nil {
					t.Errorf("case %d: %v", i, err)
				}
			}
		})
	}
}

func sameCase(bs []device.Backend, c op.Code, i int, dtype op.Dtype) error {
	p, err := newProblem(c, i, dtype)
	if err != nil {
		return err
	}
	var first *problem
	for _, b := range bs {
		q := p.clone()
		if err := q.run(b); err != nil {
			return err
		}
		if first == nil {
			first = q
			continue
		}
		for k, a := range append(append([]*array{}, q.in...), q.out...) {
			want := append(append([]*array{}, first.in...), first.out...)[k]
			if a != nil && !a.equal(want) {
				return fmt.Errorf("operand %d differs between backends %s and %s\n%s", k, bs[0].Name(), b.Name(), p)
			}
		}
	}
	return nil
}
