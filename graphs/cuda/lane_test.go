package cuda

import (
	"cmp"
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cuda/emulate"
	"github.com/locorun/locorun/graphs/device"
)

// laneRig is a backend with some tensors of one size, for tests of lanes.
type laneRig struct {
	*testing.T
	b *Backend
	n int
}

func newLaneRig(t *testing.T, open opener, n int) *laneRig {
	t.Helper()
	b := open(t).(emulated).Backend
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return &laneRig{t, b, n}
}

func (r *laneRig) check(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *laneRig) lane(n int) device.Lane {
	r.Helper()
	l, err := r.b.Lane(n)
	r.check(err)
	return l
}

// tensor is n elements, all zero.
func (r *laneRig) tensor() device.Tensor {
	r.Helper()
	m, err := r.b.Alloc(int64(4 * r.n))
	r.check(err)
	return device.Tensor{Buffer: m, Shape: []int{r.n}, Dtype: op.F32}
}

// all is n elements of a value.
func (r *laneRig) all(v float32) []byte { return encoded(slices.Repeat([]float32{v}, r.n)) }

// reader is what reads: a lane or the backend.
type reader interface {
	Read(dst []byte, t device.Tensor) error
}

// read is the value of all elements of a tensor.
func (r *laneRig) read(from reader, t device.Tensor) float32 {
	r.Helper()
	raw, v := make([]byte, 4*r.n), make([]float32, r.n)
	r.check(from.Read(raw, t))
	_, err := binary.Decode(raw, binary.LittleEndian, v)
	r.check(err)
	for _, x := range v {
		if x != v[0] {
			r.Fatalf("elements are %g and %g", v[0], x)
		}
	}
	return v[0]
}

// add is a Call y = a + b.
func add(a, b, y device.Tensor) *device.Call {
	return &device.Call{Code: op.Add, In: []device.Tensor{a, b}, Out: []device.Tensor{y}}
}

// marked is the point behind what a lane has queued.
func (r *laneRig) marked(l device.Lane) device.Mark {
	r.Helper()
	m, err := l.Mark()
	r.check(err)
	return m
}

// TestLanes is all tests of lanes that need kernels.
func TestLanes(t *testing.T) {
	open := emulatedBackend(images{}, emulate.Open)
	for _, c := range []struct {
		name string
		test func(*laneRig)
	}{
		{"OneAfterAnother", testLanesInOrder},
		{"Marks", testMarks},
		{"OldMarks", testOldMarks},
		{"Refused", testLanesRefuse},
		{"SideBySide", testLanesSideBySide},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(newLaneRig(t, open, 100)) })
	}
}

// testLanesInOrder: one lane reads what another wrote, and the backend what both did.
func testLanesInOrder(r *laneRig) {
	a, b := r.lane(0), r.lane(1)
	x, y := r.tensor(), r.tensor()
	r.check(a.Write(x, r.all(3)))
	r.check(b.Wait(r.marked(a)))
	r.check(b.Run(add(x, x, y)))
	if got := r.read(b, y); got != 6 {
		r.Errorf("the second lane made %g of 3, not 6", got)
	}
	r.check(b.Run(add(y, y, x)))
	r.check(r.b.Run(add(x, y, y)))
	if got := r.read(r.b, y); got != 18 {
		r.Errorf("the backend made %g, not 18", got)
	}
	r.check(a.Run(add(y, y, x)))
	if got := r.read(a, x); got != 36 {
		r.Errorf("the first lane made %g of what the backend made, not 36", got)
	}
}

// testMarks: marks count up, the same one where nothing is queued between.
func testMarks(r *laneRig) {
	a, b, x := r.lane(4), r.lane(7), r.tensor()
	if got := r.marked(a); got != (device.Mark{Lane: 4}) {
		r.Errorf("the mark of an empty lane is %v", got)
	}
	for want := uint64(1); want < 4; want++ {
		r.check(a.Run(add(x, x, x)))
		for range 2 {
			if got := r.marked(a); got != (device.Mark{Lane: 4, At: want}) {
				r.Errorf("mark %v, not %d", got, want)
			}
		}
	}
	r.check(b.Wait(device.Mark{}))
	r.check(b.Wait(r.marked(a)))
	if got := r.marked(b); got.At != 1 {
		r.Errorf("a mark behind a wait is %v", got)
	}
	again, err := r.b.Lane(4)
	if err != nil || r.marked(again) != (device.Mark{Lane: 4, At: 3}) {
		r.Errorf("the lane that was asked for twice is at %v, %v", r.marked(again), err)
	}
}

// testOldMarks waits for marks of which the events have gone on.
func testOldMarks(r *laneRig) {
	a, b, x := r.lane(0), r.lane(1), r.tensor()
	var made []device.Mark
	for range 3*ringMarks + 5 {
		r.check(a.Write(x, r.all(1)))
		made = append(made, r.marked(a))
	}
	first := r.b.known(0)
	for _, at := range []uint64{1, 5, 2*ringMarks + 5, 2*ringMarks + 6, 3*ringMarks + 5} {
		e, stands := first.marks.event(at)
		if want := max(at, 2*ringMarks+6); stands != want || e != first.marks.events[(want-1)%ringMarks] {
			r.Errorf("mark %d is waited for by %d, not %d", at, stands, want)
		}
	}
	for _, m := range made {
		r.check(b.Wait(m))
	}
	if got := r.b.known(1).waited[first]; got != made[len(made)-1].At {
		r.Errorf("waited for %d", got)
	}
}

// testLanesRefuse holds errors to their text.
func testLanesRefuse(r *laneRig) {
	a, x := r.lane(0), r.tensor()
	_, below := r.b.Lane(-1)
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"a number below", below, "cuda: there is no lane -1"},
		{"no lane", a.Wait(device.Mark{Lane: 3, At: 1}), "cuda: there is no lane 3 to wait for"},
		{"no mark", r.lane(1).Wait(device.Mark{Lane: 0, At: 9}), "cuda: a wait: lane 0 has no mark 9"},
		{"no kernel", a.Run(&device.Call{}), "cuda: no kernel for op(0)"},
		{"shapes", a.Run(add(x, device.Tensor{}, x)), "cuda: add: b is absent"},
		{"bytes written", a.Write(x, make([]byte, 4)), "cuda: 4 bytes for a tensor of 400"},
		{"bytes read", a.Read(make([]byte, 4), x), "cuda: 4 bytes for a tensor of 400"},
	} {
		if c.err == nil || c.err.Error() != c.want {
			r.Errorf("%s: %v", c.name, c.err)
		}
	}
}

// testLanesSideBySide uses lanes from goroutines, each of which waits for the next
// one's marks, and the backend beside.
func testLanesSideBySide(r *laneRig) {
	const rounds = 50
	one := r.tensor()
	r.check(r.b.Write(one, r.all(1)))
	var marks [4]atomic.Uint64
	var all sync.WaitGroup
	var sums [len(marks)]device.Tensor
	for n := range marks {
		sums[n] = r.tensor()
		l, next, beside := r.lane(n), (n+1)%len(marks), r.tensor()
		all.Go(func() {
			for range rounds {
				m, err := l.Mark()
				marks[n].Store(m.At)
				err = cmp.Or(err, l.Run(add(sums[n], one, sums[n])), l.Wait(device.Mark{Lane: next, At: marks[next].Load()}))
				if err != nil {
					r.Errorf("lane %d: %v", n, err)
				}
			}
		})
		all.Go(func() {
			raw := make([]byte, 4*r.n)
			for range rounds {
				if err := cmp.Or(r.b.Read(raw, one), r.b.Run(add(one, one, beside))); err != nil {
					r.Error(err)
				}
			}
		})
	}
	all.Wait()
	for n, s := range sums {
		if got := r.read(r.b, s); got != rounds {
			r.Errorf("lane %d counted to %g, not %d", n, got, rounds)
		}
	}
}
