package driver

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
)

// kept is the graph of some work on two places of memory: what p has goes to q, p
// becomes ones, and a kernel is launched.
func kept(t *testing.T, d *card, s Stream, p, q Pointer) func() error {
	t.Helper()
	k := must(d.Function(must(d.Load([]byte("fake none0")))(t), "none0"))(t)
	return func() error {
		return errors.Join(
			d.Copy(q, p, 8, s), d.Fill(p, '1', 8, s),
			d.Launch(k, Dim{1, 1, 1}, Dim{1, 1, 1}, 0, s, nil))
	}
}

// TestCapture keeps work, which is done when it is queued again, each time.
func TestCapture(t *testing.T) {
	f := newFake(t)
	d := f.device()
	s := must(d.NewStream())(t)
	p, q := must(d.Alloc(8))(t), must(d.Alloc(8))(t)
	ok(t, d.Upload(p, []byte("the text"), s))
	ok(t, d.Fill(q, '-', 8, s))
	g := must(d.Capture(s, kept(t, d, s, p, q)))(t)
	read := func(at Pointer) string {
		b := make([]byte, 8)
		ok(t, d.Download(b, at, s))
		return string(b)
	}
	if got := read(p) + read(q); got != "the text--------" {
		t.Errorf("after the capture: %q", got)
	}
	ok(t, d.Replay(g, s))
	if got := read(p) + read(q); got != "11111111the text" {
		t.Errorf("after the first time: %q", got)
	}
	ok(t, d.Replay(g, s))
	ok(t, d.Drop(g)) // what is queued stays
	if got := read(p) + read(q); got != "1111111111111111" {
		t.Errorf("after the second time: %q", got)
	}
	if got := f.launches(); strings.Count(got, "graph of 3\n") != 2 {
		t.Errorf("launched %q", got)
	}
	if n := f.live(liveGraphs); n != 0 {
		t.Errorf("%d graphs are left", n)
	}
	if err := d.Drop(g); err == nil || !strings.Contains(err.Error(), "was not made here, or is freed") {
		t.Errorf("dropped twice: %v", err)
	}
	must(d.Capture(s, kept(t, d, s, p, q)))(t) // Close drops it
}

// TestCaptureRefuses: what cannot be captured is ErrCapture, spoils the capture, and
// the stream is as before.
func TestCaptureRefuses(t *testing.T) {
	f := newFake(t)
	d := f.device()
	s := must(d.NewStream())(t)
	e := must(d.NewEvent())(t)
	p, q := must(d.Alloc(8))(t), must(d.Alloc(8))(t)
	for name, do := range map[string]func() error{
		"memory":   func() error { _, err := d.Alloc(1); return err },
		"freeing":  func() error { return d.Free(p) },
		"waiting":  func() error { return d.Sync(s) },
		"events":   func() error { return d.Wait(s, e) },
		"marks":    func() error { return d.Record(e, s) },
		"asking":   func() error { _, err := d.Reached(e); return err },
		"upload":   func() error { return d.Upload(p, []byte("text"), s) },
		"download": func() error { return d.Download(make([]byte, 4), p, s) },
		"module":   func() error { _, err := d.Load([]byte("fake none0")); return err },
		"twice":    func() error { _, err := d.Capture(s, func() error { return nil }); return err },
		"replay":   func() error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			for _, told := range []bool{true, false} {
				var inside error
				_, err := d.Capture(s, func() error {
					if inside = do(); told {
						return inside
					}
					return nil
				})
				if name == "replay" || name == "twice" && !told {
					ok(t, err) // nothing was spoilt
					continue
				}
				if !errors.Is(inside, ErrCapture) || !errors.Is(err, ErrCapture) {
					t.Errorf("inside %v, then %v", inside, err)
				}
			}
			ok(t, around(d, s, content(1, 100)))
		})
	}
	ok(t, d.Free(q))
	ok(t, d.Free(p))
}

// TestCaptureFails: where a call fails, or f, nothing is left, and the next capture
// is as if nothing had been.
func TestCaptureFails(t *testing.T) {
	f := newFake(t)
	d := f.device()
	s := must(d.NewStream())(t)
	p, q := must(d.Alloc(8))(t), must(d.Alloc(8))(t)
	work := kept(t, d, s, p, q)
	whole := func() error {
		g, err := d.Capture(s, work)
		if err != nil {
			return err
		}
		return errors.Join(d.Replay(g, s), d.Drop(g))
	}
	for _, function := range []string{"cuStreamBeginCapture_v2", "cuMemcpyDtoDAsync_v2", "cuLaunchKernel", "cuStreamEndCapture", "cuGraphInstantiateWithFlags", "cuGraphLaunch", "cuGraphExecDestroy"} {
		t.Run(function, func(t *testing.T) {
			f.fail(function, 719, 0)
			if err := whole(); err == nil || !strings.HasPrefix(err.Error(), function+": CUDA_ERROR_LAUNCH_FAILED") {
				t.Errorf("got %v", err)
			}
			ok(t, whole())
			for r := range d.live {
				if r.free == cuGraphExecDestroy {
					ok(t, d.Drop(Graph(r.at)))
				}
			}
			if n := f.live(liveGraphs); n != 0 {
				t.Errorf("%d graphs are left", n)
			}
		})
	}
	own := errors.New("own")
	if _, err := d.Capture(s, func() error { return own }); err != own {
		t.Errorf("f's error came back as %v", err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_, _ = d.Capture(s, func() error { panic("f's") })
	}()
	ok(t, whole())
}

// TestCapturesSideBySide captures on some streams while others work.
func TestCapturesSideBySide(t *testing.T) {
	d := newFake(t).device()
	var all sync.WaitGroup
	for n := range 6 {
		s := must(d.NewStream())(t)
		p, q := must(d.Alloc(8))(t), must(d.Alloc(8))(t)
		work := kept(t, d, s, p, q)
		all.Go(func() {
			for range 30 {
				if n%2 == 0 {
					g, err := d.Capture(s, work)
					if err == nil {
						err = errors.Join(d.Replay(g, s), d.Drop(g))
					}
					if err != nil {
						t.Errorf("stream %d: %v", n, err)
					}
				} else if err := around(d, s, content(uint64(n), 40)); err != nil {
					t.Errorf("stream %d: %v", n, err)
				}
			}
		})
	}
	all.Wait()
}

// TestReached asks for events without waiting.
func TestReached(t *testing.T) {
	f := newFake(t)
	d := f.device()
	s := must(d.NewStream())(t)
	e := must(d.NewTimer())(t)
	var got []bool
	ask := func() { got = append(got, must(d.Reached(e))(t)) }
	ask()
	ok(t, d.Record(e, s))
	ask()
	ok(t, d.Sync(s))
	ask()
	if want := []bool{true, false, true}; !slices.Equal(got, want) {
		t.Errorf("reached: %v, not %v", got, want)
	}
	f.fail("cuEventQuery", 719, 0)
	if _, err := d.Reached(e); err == nil || !strings.HasPrefix(err.Error(), "cuEventQuery: CUDA_ERROR_LAUNCH_FAILED") {
		t.Errorf("got %v", err)
	}
}
