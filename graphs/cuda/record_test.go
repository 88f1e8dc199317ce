package cuda

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cuda/driver"
	"github.com/locorun/locorun/graphs/cuda/emulate"
	"github.com/locorun/locorun/graphs/device"
)

// late opens backends on devices that work late, from a seed.
func late(kept images, seed uint64) opener {
	return emulatedBackend(kept, func(t testing.TB) (driver.Device, driver.Compiler) { return emulate.OpenLate(t, seed) })
}

// TestRecordings is all tests of recordings and times that need kernels.
func TestRecordings(t *testing.T) {
	kept := images{}
	for _, c := range []struct {
		name string
		test func(*laneRig)
	}{
		{"Replayed", testReplayed},
		{"Beside", testRecordedBeside},
		{"Refused", testNotRecorded},
		{"Scratch", testScratchOfRecordings},
		{"Busy", testBusy},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(newLaneRig(t, emulatedBackend(kept, emulate.Open), 100)) })
		t.Run(c.name+"Late", func(t *testing.T) { c.test(newLaneRig(t, late(kept, 0), 100)) })
	}
	t.Run("NotByADeviceWithout", func(t *testing.T) { testNoCapturer(newLaneRig(t, emulatedBackend(kept, emulate.Open), 100)) })
	t.Run("FirstOfALibrary", func(t *testing.T) { testRecordedLibrary(t, kept) })
}

// product is a Call that counts: y [2,k] of x [2,c] and weights.
func (r *laneRig) product() *device.Call {
	x, w, y := r.tensor(), r.tensor(), r.tensor()
	x.Shape, w.Shape, y.Shape = []int{2, 1, 1, 10}, []int{8, 10}, []int{2, 1, 1, 8}
	return &device.Call{Code: op.Dense, In: []device.Tensor{x, w, {}}, Out: []device.Tensor{y}}
}

// testReplayed: nothing is done when Calls are recorded; each replay does them
// again, and counts them.
func testReplayed(r *laneRig) {
	l := r.lane(0).(device.Recorder)
	x, y := r.tensor(), r.tensor()
	c := r.product()
	r.check(errors.Join(l.Write(x, r.all(1)), l.Run(add(x, x, y)), l.Run(c)))
	before := r.b.Counted()
	m := r.marked(l)
	rec, err := l.Record(func() error { return errors.Join(l.Run(add(x, x, y)), l.Run(add(y, x, x)), l.Run(c)) })
	r.check(err)
	if got := r.marked(l); got != m {
		r.Errorf("a recording has moved the mark from %v to %v", m, got)
	}
	if got := r.read(l, x); got != 1 || r.b.Counted() != before {
		r.Errorf("a recording has made %g and counted %d", got, r.b.Counted()-before)
	}
	for i, want := range []float32{3, 9, 27} {
		r.check(l.Replay(rec))
		if got := r.read(r.b, x); got != want {
			r.Errorf("replay %d made %g, not %g", i, got, want)
		}
	}
	if got := r.b.Counted() - before; got != 3*2*2*10*8 {
		r.Errorf("three replays counted %d", got)
	}
	r.check(l.Replay(rec))
	l.Forget(rec)
	l.Forget(rec)
	if got := r.read(l, x); got != 81 {
		r.Errorf("a replay whose recording was let go made %g", got)
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{l.Replay(rec), "cuda: a replay: the recording was let go"},
		{l.Replay(nil), "cuda: a replay: the recording is of another lane"},
		{r.lane(1).(device.Recorder).Replay(rec), "cuda: a replay: the recording is of another lane"},
	} {
		if c.err == nil || c.err.Error() != c.want {
			r.Errorf("got %v, not %s", c.err, c.want)
		}
	}
}

// testRecordedBeside: while a lane records, the backend and other lanes go on, and
// wait for what the lane had queued before. They work on other threads.
func testRecordedBeside(r *laneRig) {
	l, other := r.lane(0).(device.Recorder), r.lane(1)
	x, y, z := r.tensor(), r.tensor(), r.tensor()
	r.check(errors.Join(l.Write(x, r.all(4)), other.Run(add(z, z, z))))
	done := make(chan error)
	rec, err := l.Record(func() error {
		go func() {
			raw := make([]byte, 4*r.n)
			m, err := r.b.Alloc(8)
			if err == nil {
				r.b.Free(m)
			}
			done <- errors.Join(err, r.b.Read(raw, x), r.b.Run(add(x, x, z)), other.Run(add(z, x, z)), r.b.Sync())
		}()
		return errors.Join(l.Run(add(x, x, y)), <-done)
	})
	r.check(err)
	if got := r.read(r.b, z); got != 12 {
		r.Errorf("beside a recording %g were made, not 12", got)
	}
	r.check(l.Replay(rec))
	r.check(other.Wait(r.marked(l)))
	if got := r.read(other, y); got != 8 {
		r.Errorf("behind a replay's mark there are %g, not 8", got)
	}
}

// testNotRecorded: what needs the host is refused, also where the recording goes on
// without it, and the lane works on.
func testNotRecorded(r *laneRig) {
	l := r.lane(0).(device.Recorder)
	x, y := r.tensor(), r.tensor()
	r.check(l.Run(add(x, x, y)))
	timed := l.(device.Timed)
	sgd := &device.Call{Code: op.SGD, In: []device.Tensor{x, y, {}}, Out: []device.Tensor{x, y, {}}, LR: 1}
	r.check(l.Run(sgd))
	relu := &device.Call{Code: op.ReLU, In: []device.Tensor{x}, Out: []device.Tensor{y}}
	for _, c := range []struct {
		name, want string
		do         func() error
	}{
		{"an update", "cuda: sgd: an update: ", func() error { return l.Run(sgd) }},
		{"a first kernel", "cuda: relu: kernel relu: ", func() error { return l.Run(relu) }},
		{"a write", "cuda: a copy from the host: ", func() error { return l.Write(x, r.all(1)) }},
		{"a read", "cuda: a copy to the host: ", func() error { return l.Read(r.all(1), x) }},
		{"a mark", "cuda: a mark: ", func() error { _, err := l.Mark(); return err }},
		{"a wait", "cuda: a wait: ", func() error { return l.Wait(device.Mark{Lane: 1, At: 1}) }},
		{"a recording", "cuda: a recording: ", func() error { _, err := l.Record(func() error { return nil }); return err }},
		{"a replay", "cuda: a replay: ", func() error { return l.Replay(nil) }},
		{"a beginning", "cuda: time of work: ", func() error { return timed.Begin(1) }},
		{"an end", "cuda: time of work: ", timed.End},
	} {
		var inside error
		rec, err := l.Record(func() error { inside = c.do(); return inside })
		if want := c.want + device.ErrNotRecorded.Error(); err == nil || err != inside || err.Error() != want || !errors.Is(err, device.ErrNotRecorded) || rec != nil {
			r.Errorf("%s: %v, inside %v, not %s", c.name, err, inside, want)
		}
		_, err = l.Record(func() error { _ = c.do(); return l.Run(add(x, x, y)) })
		if !errors.Is(err, device.ErrNotRecorded) {
			r.Errorf("%s, where the recording goes on: %v", c.name, err)
		}
		r.check(l.Run(add(x, x, y)))
	}
	own := errors.New("own")
	if _, err := l.Record(func() error { return own }); !errors.Is(err, own) || errors.Is(err, device.ErrNotRecorded) {
		r.Errorf("another error is %v", err)
	}
	if _, err := l.Record(func() error { _ = l.Run(&device.Call{}); return nil }); err == nil || err.Error() != "cuda: a recording: cuda: no kernel for op(0)" {
		r.Errorf("a Call that is refused: %v", err)
	}
	spoilt := func() error { _, err := r.b.dev.Alloc(1); return err }
	if _, err := l.Record(spoilt); !errors.Is(err, device.ErrNotRecorded) || !errors.Is(err, driver.ErrCapture) {
		r.Errorf("what the card refuses: %v", err)
	}
	r.check(l.Run(relu))
	if _, err := l.Record(func() error { return l.Run(relu) }); err != nil {
		r.Errorf("after all that: %v", err)
	}
}

// scratching is a Call that needs scratch memory by its size.
func (r *laneRig) scratching(rows int) *device.Call {
	e, loss, de := r.tensor(), r.tensor(), r.tensor()
	e.Shape, loss.Shape, de.Shape = []int{rows, 1, 1, 4}, []int{1}, []int{rows, 1, 1, 4}
	return &device.Call{Code: op.NTXent, Attr: op.Attr{Temperature: 0.5, Scale: 1}, In: []device.Tensor{e}, Out: []device.Tensor{loss, de}}
}

// testScratchOfRecordings: scratch memory that a recording uses stays where it is as
// long as there are recordings; what would need more is not recorded.
func testScratchOfRecordings(r *laneRig) {
	l := r.lane(0).(device.Recorder)
	small, large := r.scratching(4), r.scratching(16)
	values := make([]float32, r.n)
	for i := range values {
		values[i] = float32(i%7) - 2
	}
	r.check(errors.Join(l.Write(r.whole(small.In[0]), encoded(values)), l.Write(r.whole(large.In[0]), encoded(values)), l.Run(small)))
	want := r.bytes(l, r.whole(small.Out[1]))
	rec, err := l.Record(func() error { return l.Run(small) })
	r.check(err)
	if _, err := l.Record(func() error { return l.Run(large) }); !errors.Is(err, device.ErrNotRecorded) || !strings.Contains(err.Error(), "scratch memory") {
		r.Errorf("more scratch memory: %v", err)
	}
	r.check(l.Run(large))
	own := r.b.known(0)
	if len(own.retired) != 2 {
		r.Errorf("%d pieces are kept for the recording, not 2", len(own.retired))
	}
	r.check(errors.Join(l.Write(r.whole(small.Out[1]), r.all(0)), l.Replay(rec)))
	if got := r.bytes(l, r.whole(small.Out[1])); string(got) != string(want) {
		r.Error("a replay after scratch memory has grown gives other bytes")
	}
	r.check(l.Replay(rec))
	l.Forget(rec)
	if len(own.retired) != 0 {
		r.Errorf("%d pieces are kept for no recording", len(own.retired))
	}
	r.check(l.Run(large))
}

// whole is all of a tensor's buffer.
func (r *laneRig) whole(t device.Tensor) device.Tensor {
	t.Shape = []int{r.n}
	return t
}

func (r *laneRig) bytes(from reader, t device.Tensor) []byte {
	r.Helper()
	raw := make([]byte, 4*r.n)
	r.check(from.Read(raw, t))
	return raw
}

// testBusy: the time of pieces that have come to their end; nothing waits.
func testBusy(r *laneRig) {
	l := r.lane(0)
	d := l.(device.Timed)
	x := r.tensor()
	r.check(l.Run(add(x, x, x)))
	for range 3 {
		r.check(errors.Join(d.Begin(1), l.Run(add(x, x, x)), l.Run(add(x, x, x)), d.End(), l.Run(add(x, x, x))))
	}
	r.check(d.Begin(1))
	r.read(l, x)
	const piece = 3 * time.Microsecond // by the emulator's clock: two kernels and the end
	if got := d.Busy(1); got != 3*piece {
		r.Errorf("busy for %v, not %v", got, 3*piece)
	}
	if got := d.Busy(0); got != 0 {
		r.Errorf("another unit was busy for %v", got)
	}
	again := d.Begin(1)
	r.check(d.End())
	r.read(l, x)
	early := d.End()
	if got := d.Busy(1); got <= 3*piece {
		r.Errorf("busy for %v", got)
	}
	for want, err := range map[string]error{"cuda: time of work: it has begun already": again, "cuda: time of work: it has not begun": early} {
		if err == nil || err.Error() != want {
			r.Errorf("got %v, not %s", err, want)
		}
	}
	if n := len(r.b.known(0).busy.idle); n > 8 {
		r.Errorf("%d timers for 4 pieces", n)
	}
}

// testNoCapturer: a device that keeps no work and no time works all the same.
func testNoCapturer(r *laneRig) {
	r.b.dev = unclocked{r.b.dev}
	l, x := r.lane(0), r.tensor()
	d := l.(device.Timed)
	r.check(errors.Join(d.Begin(1), l.Run(add(x, x, x)), d.End()))
	if got := d.Busy(1); got != 0 {
		r.Errorf("busy for %v", got)
	}
	if _, err := l.(device.Recorder).Record(func() error { return nil }); !errors.Is(err, device.ErrNotRecorded) {
		r.Errorf("got %v", err)
	}
}

// testRecordedLibrary: a choice that was taken from a run is not recorded before it
// has run on the lane, nor where the library fails in a recording.
func testRecordedLibrary(t *testing.T, kept images) {
	b, f := newLibraryBench(t, kept)
	b.check(b.b.SetChoices([]byte(chosen)))
	b.b.dev = &capturing{f.dev, f.dev.Device.(driver.Capturer)}
	x, w, y := b.put(b.numbers(72), 0), b.put(b.numbers(32), 0), b.put(make([]float32, 144), 0)
	record := func() error {
		_, err := b.b.lane.Record(func() error { return b.r.conv(small, x, w, 0, y) })
		return err
	}
	if err := record(); !errors.Is(err, device.ErrNotRecorded) || len(f.ran) > 0 {
		t.Errorf("before it has run: %v, ran %v", err, f.ran)
	}
	b.forward(small)
	_ = record() // these libraries compute on the host, which a capture does not allow
	if n := len(f.ran); n != 2 {
		t.Errorf("once it has run: ran %v", f.ran)
	}
	failed := errors.New("execution failed")
	f.fails["rank 0"] = failed
	if err := record(); !errors.Is(err, device.ErrNotRecorded) || !errors.Is(err, failed) {
		t.Errorf("where it fails while a lane records: %v", err)
	}
	if err := b.r.conv(small, x, w, 0, y); errors.Is(err, device.ErrNotRecorded) || !errors.Is(err, failed) {
		t.Errorf("where it fails: %v", err)
	}
	delete(f.fails, "rank 0")
	b.check(b.b.SetChoices([]byte(chosen)))
	if err := record(); !errors.Is(err, device.ErrNotRecorded) || len(f.ran) != 2 {
		t.Errorf("after other choices: %v, ran %v", err, f.ran)
	}
}

// capturing is a device with a clock that keeps work too.
type capturing struct {
	*clocked
	driver.Capturer
}
