package emulate

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/locorun/locorun/graphs/cuda/driver"
)

// late opens devices that work late.
func late(seed uint64) func(testing.TB) (driver.Device, driver.Compiler) {
	return func(t testing.TB) (driver.Device, driver.Compiler) { return OpenLate(t, seed) }
}

// must is a result that has no error.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		check(t, err)
		return v
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// handed lets one stream read what another wrote, behind its event or not, and is
// what it read.
func handed(t *testing.T, d driver.Device, waits bool) byte {
	t.Helper()
	s, u, e := must(d.NewStream())(t), must(d.NewStream())(t), must(d.NewEvent())(t)
	p, q := must(d.Alloc(1))(t), must(d.Alloc(1))(t)
	check(t, d.Fill(p, 1, 1, s))
	check(t, d.Record(e, s))
	check(t, d.Fill(p, 2, 1, s)) // behind the event
	if waits {
		check(t, d.Wait(u, e))
	}
	check(t, d.Copy(q, p, 1, u))
	var got [1]byte
	check(t, d.Download(got[:], q, u))
	return got[0]
}

// TestLateWork: what another stream has not been told to wait for has not happened;
// what it was told to wait for has, and no more of it than that. Chance may do more,
// or let a stream go first that nobody waits for.
func TestLateWork(t *testing.T) {
	d, _ := OpenLate(t, 0)
	if got := handed(t, d, false); got != 0xff {
		t.Errorf("without a Wait the second stream has read %d", got)
	}
	if got := handed(t, d, true); got != 1 {
		t.Errorf("behind the event the second stream has read %d", got)
	}
	with, without := map[byte]bool{}, map[byte]bool{}
	for seed := range uint64(40) {
		d, _ := OpenLate(t, seed+1)
		with[handed(t, d, true)] = true
		without[handed(t, d, false)] = true
	}
	if len(with) != 2 || !with[1] || !with[2] {
		t.Errorf("by chance, behind the event, the second stream has read %v", with)
	}
	if len(without) != 3 || !without[0xff] {
		t.Errorf("by chance the second stream has read %v", without)
	}
}

// TestLateOverwrites: a stream that overwrites what another still has to read does
// so before it.
func TestLateOverwrites(t *testing.T) {
	d, _ := OpenLate(t, 0)
	s, u := must(d.NewStream())(t), must(d.NewStream())(t)
	p, q := must(d.Alloc(1))(t), must(d.Alloc(1))(t)
	check(t, d.Upload(p, []byte{1}, s))
	check(t, d.Sync(s))
	check(t, d.Copy(q, p, 1, s))
	check(t, d.Upload(p, []byte{2}, u))
	check(t, d.Sync(u))
	var got [1]byte
	check(t, d.Download(got[:], q, s))
	if got[0] != 2 {
		t.Errorf("the first stream has copied %d", got[0])
	}
}

// TestLateEvents: an event that nobody recorded holds nothing up, one that is
// recorded again stands for what it was when a stream was told to wait.
func TestLateEvents(t *testing.T) {
	r := newRig(t, late(0))
	d := r.Device.(*device)
	s, u, e := must(d.NewStream())(t), must(d.NewStream())(t), must(d.NewTimer())(t)
	check(t, d.Wait(u, e))
	check(t, d.Sync(u))
	p := must(d.Alloc(2))(t)
	check(t, d.Fill(p, 1, 1, s))
	check(t, d.Record(e, s))
	check(t, d.Wait(u, e))
	check(t, d.Fill(p, 2, 1, s))
	check(t, d.Record(e, s))
	if reached := must(d.Reached(e))(t); reached {
		t.Error("an event has been reached although nobody waited")
	}
	check(t, d.Copy(p+1, p, 1, u))
	var got [1]byte
	check(t, d.Download(got[:], p+1, u))
	if got[0] != 1 {
		t.Errorf("the second stream has copied %d", got[0])
	}
	from := must(d.NewTimer())(t)
	check(t, d.Record(from, s))
	check(t, d.Fill(p, 3, 1, s))
	check(t, d.Record(e, s))
	if took := must(d.Elapsed(from, e))(t); took != 2*tick {
		t.Errorf("a fill and a record took %v", took)
	}
	if reached := must(d.Reached(e))(t); !reached {
		t.Error("an event has not been reached although somebody waited")
	}
	_, err := d.Elapsed(from, must(d.NewEvent())(t))
	if err == nil || !strings.Contains(err.Error(), "keeps no time") {
		t.Errorf("an event without a time: %v", err)
	}
}

// TestLateFailures: what fails late is told to whoever waits, once; memory that was
// given back too early is a failure.
func TestLateFailures(t *testing.T) {
	r := newRig(t, late(0))
	p := r.memory(4)
	check(t, r.Sync(r.stream))
	check(t, r.Fill(p, 1, 16, r.stream))
	check(t, r.Free(p))
	if err := r.Sync(r.stream); err == nil || !strings.Contains(err.Error(), "lies in no allocation") {
		t.Errorf("got %v", err)
	}
	check(t, r.Sync(r.stream))
	check(t, r.launch("beside", line(1), line(1), 0, 1<<20, 0))
	if err := r.Sync(r.stream); err == nil || !strings.Contains(err.Error(), "kernel beside: argument 0") {
		t.Errorf("got %v", err)
	}
}

// TestCaptures keeps launches, and does them again.
func TestCaptures(t *testing.T) {
	for name, open := range map[string]func(testing.TB) (driver.Device, driver.Compiler){"at once": Open, "late": late(0), "by chance": late(9)} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, open)
			d := r.Device.(*device)
			x := r.memory(2, 1, 3)
			double := func() error {
				return errors.Join(r.launch("scale", line(1), line(2), 0, uint64(x), uint64(x), 0x40000000, 2), r.Fill(x+4, 0, 4, r.stream))
			}
			g := must(d.Capture(r.stream, double))(t)
			var got [2]float32
			if r.read(x, &got); got != [2]float32{1, 3} {
				t.Errorf("after the capture: %v", got)
			}
			check(t, d.Replay(g, r.stream))
			check(t, d.Replay(g, r.stream))
			check(t, d.Drop(g))
			if r.read(x, &got); got != [2]float32{4, 0} {
				t.Errorf("after two replays: %v", got)
			}
			for _, err := range []error{d.Replay(g, r.stream), d.Drop(g), d.Replay(0, r.stream)} {
				if err == nil || !strings.Contains(err.Error(), "is no graph") {
					t.Errorf("got %v", err)
				}
			}
		})
	}
}

// TestCapturesRefuse: what a card refuses while a thread captures; other goroutines
// may do it, but not to the stream.
func TestCapturesRefuse(t *testing.T) {
	r := newRig(t, Open)
	d := r.Device.(*device)
	p, other, e := r.memory(1), must(d.NewStream())(t), must(d.NewTimer())(t)
	for name, c := range map[string]struct {
		do     func(driver.Stream) error
		always bool // refused on any stream
	}{
		"Alloc":    {func(driver.Stream) error { _, err := d.Alloc(1); return err }, true},
		"Free":     {func(driver.Stream) error { return d.Free(1) }, true},
		"Load":     {func(driver.Stream) error { _, err := d.Load(nil); return err }, true},
		"Sync":     {d.Sync, true},
		"Upload":   {func(s driver.Stream) error { return d.Upload(p, []byte{1}, s) }, true},
		"Download": {func(s driver.Stream) error { return d.Download([]byte{1}, p, s) }, true},
		"Reached":  {func(driver.Stream) error { _, err := d.Reached(e); return err }, true},
		"Elapsed":  {func(driver.Stream) error { _, err := d.Elapsed(e, e); return err }, true},
		"Record":   {func(s driver.Stream) error { return d.Record(e, s) }, false},
		"Wait":     {func(s driver.Stream) error { return d.Wait(s, e) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, s := range []driver.Stream{r.stream, other} {
				var inside error
				_, err := d.Capture(r.stream, func() error { inside = c.do(s); return nil })
				if !c.always && s == other {
					check(t, errors.Join(inside, err))
					continue
				}
				want := fmt.Sprintf("emulate: %s while stream %d is captured: %v", name, r.stream, driver.ErrCapture)
				if inside == nil || inside.Error() != want || err != inside {
					t.Errorf("on stream %d: %v, then %v", s, inside, err)
				}
			}
		})
	}
	g := must(d.Capture(other, func() error { return nil }))(t)
	_, err := d.Capture(r.stream, func() error { return d.Replay(g, r.stream) })
	_, twice := d.Capture(r.stream, func() error { _, err := d.Capture(other, func() error { return nil }); return err })
	own := errors.New("own")
	_, told := d.Capture(r.stream, func() error { return own })
	if !errors.Is(err, driver.ErrCapture) || !errors.Is(twice, driver.ErrCapture) || told != own {
		t.Errorf("replayed inside: %v; captured inside: %v; its own: %v", err, twice, told)
	}
	var beside error
	_, err = d.Capture(r.stream, func() error {
		var wait sync.WaitGroup
		wait.Go(func() {
			q, err := d.Alloc(4)
			beside = errors.Join(err, d.Upload(q, []byte("text"), other), d.Sync(other), d.Free(q))
		})
		wait.Wait()
		return nil
	})
	check(t, errors.Join(err, beside))
	check(t, d.Sync(r.stream)) // nothing is left of all that
	if d.now < time.Microsecond {
		t.Error("the clock stands")
	}
}
