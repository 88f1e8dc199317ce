package cuda

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cuda/driver"
	"github.com/locorun/locorun/graphs/cuda/emulate"
	"github.com/locorun/locorun/graphs/device"
)

// launches counts a device's launches, and refuses copies to it with an error.
type launches struct {
	driver.Device
	n       int
	refused error
}

func (l *launches) Upload(to driver.Pointer, src []byte, s driver.Stream) error {
	if l.refused != nil {
		return l.refused
	}
	return l.Device.Upload(to, src, s)
}

func (l *launches) Launch(f driver.Function, grid, block driver.Dim, shared uint32, s driver.Stream, args []uint64) error {
	l.n++
	return l.Device.Launch(f, grid, block, shared, s, args)
}

// updateSizes are below, at and above a chunk.
var updateSizes = []int{1, 3, updateChunk - 1, updateChunk, updateChunk + 1, 3*updateChunk + 7, 64}

// optimisers are updates of a tensor in turn, as a program has them: weights
// decay and adapt, what every third tensor stands for does not.
var optimisers = []struct {
	code     op.Code
	moments  int
	attr     op.Attr
	launches int // of all tensors together
	alone    int // one by one
}{
	{op.SGD, 0, op.Attr{LRFactor: 1, Decay: 1e-2}, 1, 7},
	{op.SGD, 1, op.Attr{LRFactor: 2, Decay: 1e-2, Momentum: 0.9, Nesterov: true}, 1, 7},
	{op.LARS, 1, op.Attr{LRFactor: 1, Decay: 1e-2, Momentum: 0.9, Trust: 0.01, Eps: 1e-6}, 3, 5*3 + 2}, // two do not adapt
	{op.AdamW, 2, op.Attr{LRFactor: 1, Decay: 1e-2, Beta1: 0.9, Beta2: 0.99, Eps: 1e-8}, 1, 7},
}

// updates are those of tensors of all sizes.
func (r *rig) updates(code op.Code, moments int, a op.Attr, step int) (calls []*device.Call) {
	for i, n := range updateSizes {
		in := make([]device.Tensor, len(op.Rows[code].In))
		for k := range 2 + moments {
			in[k] = r.positive(uint32(10*i+k), n)
		}
		own := a
		if i%3 == 2 {
			own.Decay, own.Trust, own.LRFactor = 0, 0, a.LRFactor/2
		}
		calls = append(calls, &device.Call{Code: code, Attr: own, LR: 0.1, Step: step, In: in, Out: in})
	}
	return calls
}

// TestUpdatesTogether: tensors that are updated together get the bytes of those
// that are updated one by one, by few launches.
func TestUpdatesTogether(t *testing.T) {
	kept := images{}
	for _, o := range optimisers {
		t.Run(fmt.Sprintf("%v of %d moments", o.code, o.moments), func(t *testing.T) {
			var results [2][][]byte
			for way := range results {
				b, l, count := joining(t, kept)
				r := &rig{t: t, Backend: b}
				calls := r.updates(o.code, o.moments, o.attr, 1)
				for step := 1; step <= 2; step++ {
					before, want := count.n, o.launches
					all := func() error {
						for _, c := range calls {
							c.Step = step
							if err := l.Run(c); err != nil {
								return err
							}
						}
						return nil
					}
					var err error
					if way == 0 {
						err = l.Join(all)
					} else {
						err, want = all(), o.alone
					}
					if got := count.n - before; err != nil || got != want {
						t.Errorf("way %d, step %d: %d launches, not %d; %v", way, step, got, want, err)
					}
				}
				for _, c := range calls {
					for _, x := range c.In[:2+o.moments] {
						results[way] = append(results[way], r.read(x, nil))
					}
				}
			}
			for i := range results[0] {
				if !bytes.Equal(results[0][i], results[1][i]) {
					t.Errorf("tensor %d differs", i)
				}
			}
		})
	}
}

// TestUpdatesKeepTheirOrder: what reads a weight comes after its update, and two
// updates of a tensor are two.
func TestUpdatesKeepTheirOrder(t *testing.T) {
	b, l, _ := joining(t, images{})
	r := &rig{t: t, Backend: b}
	w, g, copied := r.positive(1, 5), r.numbers(2, 5), r.numbers(3, 5)
	var was [5]float32
	r.read(w, &was)
	in := []device.Tensor{w, g, {}}
	decay := &device.Call{Code: op.SGD, Attr: op.Attr{LRFactor: 1, Decay: 1}, LR: 0.5, In: in, Out: in}
	if err := b.Write(g, make([]byte, g.Bytes())); err != nil {
		t.Fatal(err)
	}
	err := l.Join(func() error {
		for _, c := range []*device.Call{decay, decay, {Code: op.Copy, In: []device.Tensor{w}, Out: []device.Tensor{copied}}} {
			if err := l.Run(c); err != nil {
				return err
			}
		}
		return l.Run(decay)
	})
	if err != nil {
		t.Fatal(err)
	}
	var last [5]float32
	r.read(w, &last)
	var is [5]float32
	r.read(copied, &is)
	for i := range is {
		if is[i] != was[i]/4 {
			t.Errorf("element %d: %g, not a quarter of %g", i, is[i], was[i])
		}
		if last[i] != was[i]/8 {
			t.Errorf("element %d: %g, not an eighth of %g", i, last[i], was[i])
		}
	}
}

// TestManyTablesOfUpdates has more sets of tensors than tables are kept.
func TestManyTablesOfUpdates(t *testing.T) {
	b, l, _ := joining(t, images{})
	r := &rig{t: t, Backend: b}
	for i := range mostTables + 5 {
		in := []device.Tensor{r.numbers(uint32(i), 3), r.numbers(uint32(i+1), 3), {}}
		if err := l.Run(&device.Call{Code: op.SGD, Attr: op.Attr{LRFactor: 1}, LR: 1, In: in, Out: in}); err != nil {
			t.Fatal(err)
		}
		if n := len(l.updates.tables); n > mostTables {
			t.Fatalf("%d tables", n)
		}
	}
}

// TestTableThatDoesNotArrive: a table whose copy to the card failed is not taken for
// one that is there when the updates are tried again.
func TestTableThatDoesNotArrive(t *testing.T) {
	b, l, count := joining(t, images{})
	r := &rig{t: t, Backend: b}
	in := []device.Tensor{r.positive(1, 5), r.positive(2, 5), {}}
	var was, g, is [5]float32
	r.read(in[0], &was)
	r.read(in[1], &g)
	c := &device.Call{Code: op.SGD, Attr: op.Attr{LRFactor: 1}, LR: 0.5, In: in, Out: in}
	count.refused = errors.New("no pinned memory")
	if err := l.Run(c); !errors.Is(err, count.refused) {
		t.Fatalf("%v, not %v", err, count.refused)
	}
	count.refused = nil
	if err := l.Run(c); err != nil {
		t.Fatal(err)
	}
	r.read(in[0], &is)
	for i := range is {
		if want := was[i] - 0.5*g[i]; is[i] != want {
			t.Errorf("element %d: %g, not %g", i, is[i], want)
		}
	}
}

// joining is a backend with a lane, and the count of launches.
func joining(t *testing.T, kept images) (*Backend, *lane, *launches) {
	t.Helper()
	d, c := emulate.Open(t)
	count := &launches{Device: d}
	b, err := New(Options{Device: count, Compiler: c, Cache: kept})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	l, err := b.Lane(0)
	if err != nil {
		t.Fatal(err)
	}
	return b, l.(*lane), count
}
