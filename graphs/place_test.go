package graphs

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/graphs/device/devicetest"
)

// scale is a backend that weighs what is allocated and counts copies.
type scale struct {
	device.Backend
	bytes, most   int64
	reads, writes atomic.Int64
	poor          int64 // refuses more than so many bytes; 0: never
}

func (s *scale) Alloc(n int64) (device.Buffer, error) {
	if s.poor > 0 && s.bytes+n > s.poor {
		return nil, errors.New("out of memory")
	}
	s.bytes += n
	s.most = max(s.most, s.bytes)
	return s.Backend.Alloc(n)
}

func (s *scale) Free(b device.Buffer) {
	s.bytes -= b.Size()
	s.Backend.Free(b)
}

func (s *scale) Read(dst []byte, t device.Tensor) error {
	s.reads.Add(1)
	return s.Backend.Read(dst, t)
}

func (s *scale) Write(t device.Tensor, src []byte) error {
	s.writes.Add(1)
	return s.Backend.Write(t, src)
}

// scales are two backends to place units on.
func scales(t testing.TB) (a, b *scale) {
	return &scale{Backend: newSpy(t).Backend}, &scale{Backend: newSpy(t).Backend}
}

// placed places units by name, the others on the first backend.
func placed(t testing.TB, units [][]string, backends ...device.Backend) *device.Placed {
	t.Helper()
	var places []device.Place
	for i, b := range backends {
		places = append(places, device.Place{Device: fmt.Sprintf("cpu:%d", i), Backend: b, Units: units[i]})
	}
	p, err := device.NewPlaced(places)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// placements are ways to place the units of lowered.
func placements() map[string][][]string {
	return map[string][][]string{
		"all on one":       {{"low", "mid", "high"}, nil, nil},
		"each on its own":  {{"low"}, {"mid"}, {"high"}},
		"outer and inner":  {{"low", "high"}, {"mid"}, nil},
		"the top alone":    {nil, {"high"}, nil},
		"none on the base": {nil, {"low"}, {"mid", "high"}},
	}
}

// TestPlacedGivesTheSameBytes trains programs with units on several backends: the
// bytes are those of one.
func TestPlacedGivesTheSameBytes(t *testing.T) {
	const n = 4
	for name, p := range lowered(t) {
		t.Run(name, func(t *testing.T) {
			want := trained(t, p, newSpy(t), n)
			for kind, units := range placements() {
				plain := placed(t, units, newSpy(t), newSpy(t), newSpy(t))
				if trained(t, p, plain, n) != want {
					t.Errorf("%s: other bytes", kind)
				}
				lane := func(o devicetest.Order) device.Backend {
					return late(t, devicetest.Options{Order: o, Records: true})
				}
				laned := placed(t, units, lane(devicetest.Lazy), lane(devicetest.Others), lane(devicetest.Drawn))
				if trained(t, p, laned, n) != want {
					t.Errorf("%s: other bytes on lanes", kind)
				}
				if trained(t, p, placed(t, units, lane(devicetest.Lazy), newSpy(t), lane(devicetest.Drawn)), n) != want {
					t.Errorf("%s: other bytes where one backend has no lanes", kind)
				}
			}
		})
	}
}

// TestPlacedNeedsCopies shows that the comparison sees copies that are left out.
func TestPlacedNeedsCopies(t *testing.T) {
	for name, p := range lowered(t) {
		if name == "encoder" {
			continue // one unit's values are all that there is
		}
		broken := finals(t, p, func(b device.Backend) *Program {
			g, err := Build(p, b)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range g.mirrors.all {
				m.home = &home{make([]atomic.Uint64, len(m.have))}
			}
			return g
		})
		whole := finals(t, p, func(b device.Backend) *Program {
			g, err := Build(p, b)
			if err != nil {
				t.Fatal(err)
			}
			return g
		})
		if slices.Equal(broken, whole) {
			t.Errorf("%s: the same without copies", name)
		}
	}
}

// finals trains two batches on two backends and gives all parameters.
func finals(t *testing.T, p *ir.Program, build func(device.Backend) *Program) (all []float32) {
	t.Helper()
	a, b := scales(t)
	g := build(placed(t, [][]string{{"low"}, {"mid", "high"}}, a, b))
	defer g.Close()
	fill := func(v ir.ValueID, micro, seed int) error {
		return g.Write(v, micro, ramp(device.Tensor{Shape: p.Values[v].Shape}.Elements(), seed))
	}
	for i, q := range p.Params {
		if err := fill(q.Value, 0, i); err != nil {
			t.Fatal(err)
		}
	}
	if err := batches(p, 2, func(m int) error { return fill(p.Units[0].In, m, m) }, g.RunTask); err != nil {
		t.Fatal(err)
	}
	for _, q := range p.Params {
		x, err := g.Read(q.Value, 0)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, x...)
	}
	return all
}

// TestPlacedMemory weighs what each backend holds: what Shares foresees, and not
// everything everywhere.
func TestPlacedMemory(t *testing.T) {
	for name, p := range lowered(t) {
		for kind, units := range placements() {
			var scaled []*scale
			var backends []device.Backend
			for range 3 {
				s := &scale{Backend: newSpy(t).Backend}
				scaled, backends = append(scaled, s), append(backends, s)
			}
			b := placed(t, units, backends...)
			shares := Shares(p, b)
			g, err := Build(p, b)
			if err != nil {
				t.Fatal(err)
			}
			var all int64
			for i, s := range scaled {
				if s.bytes != shares[i].Bytes || shares[i].Device != fmt.Sprint("cpu:", i) {
					t.Errorf("%s, %s: place %d holds %d bytes, %+v foreseen", name, kind, i, s.bytes, shares[i])
				}
				if len(shares[i].Units) == 0 && s.bytes > 0 && name != "encoder" {
					t.Errorf("%s, %s: place %d has no unit and holds %d bytes", name, kind, i, s.bytes)
				}
				all += s.bytes
			}
			if kind == "all on one" && all > p.Bytes() {
				t.Errorf("%s: %d bytes of %d planned", name, all, p.Bytes())
			}
			if kind == "each on its own" && name == "deep" && all >= 2*p.Bytes() {
				t.Errorf("%s: %d bytes on three backends, %d planned for one", name, all, p.Bytes())
			}
			g.Close()
			for i, s := range scaled {
				if s.bytes != 0 {
					t.Errorf("%s, %s: place %d still holds %d bytes", name, kind, i, s.bytes)
				}
			}
		}
	}
	p := lowered(t)["lean"]
	if got := Shares(p, newSpy(t)); len(got) != 1 || got[0].Bytes != p.Bytes() || len(got[0].Units) != 3 {
		t.Errorf("on one backend: %+v", got)
	}
}

// apartOn is crossing with its units on two backends.
func apartOn(t *testing.T, a, b device.Backend) (p *Program, write, read int, x, y ir.ValueID) {
	t.Helper()
	s, write, read, rewrite, x, y := crossing()
	s.Segments[rewrite].Unit = 1
	s.Segments[rewrite].Ops[0].Out = ids(y)
	p = build(t, s, placed(t, [][]string{{"low"}, {"mid"}}, a, b))
	return p, write, read, x, y
}

// TestCopiesOncePerVersion counts copies: one for each new version that is read.
func TestCopiesOncePerVersion(t *testing.T) {
	a, b := scales(t)
	p, w, r, x, y := apartOn(t, a, b)
	copies := func() int64 { return b.writes.Load() }
	run(t, p, r, 0) // nothing was written yet: zeros on both sides
	if copies() != 0 {
		t.Errorf("%d copies before anything is written", copies())
	}
	write(t, p, 0, 0, 1, 2, 3, 4)
	for version := int64(1); version < 4; version++ {
		run(t, p, w, 0)
		for range 3 {
			run(t, p, r, 0)
		}
		if copies() != version {
			t.Errorf("%d copies of %d versions", copies(), version)
		}
	}
	if got := read(t, p, y, 0); !slices.Equal(got, []float32{1, 2, 3, 4}) {
		t.Errorf("y is %v", got)
	}
	write(t, p, x, 0, 9, 8, 7, 6) // the host writes at home
	run(t, p, r, 0)
	if got := read(t, p, y, 0); !slices.Equal(got, []float32{9, 8, 7, 6}) || copies() != 4 {
		t.Errorf("y is %v after %d copies", got, copies())
	}
}

// TestLargeCopies brings what is more than fits at a time.
func TestLargeCopies(t *testing.T) {
	const n = mirrorPart/4*2 + 3
	s := newSketch()
	x, y := s.value("x", ir.Map, op.F32, 2, n), s.f32("y", n)
	s.Values[y].Unit = 1
	seg := s.segment("r", do(op.Copy, op.Attr{}, ids(x), ids(y)))
	a, b := scales(t)
	p := build(t, s, placed(t, [][]string{{"low"}, {"mid"}}, a, b))
	want := ramp(n, 5)
	if err := p.Write(x, 1, want); err != nil {
		t.Fatal(err)
	}
	run(t, p, seg, 1)
	if got := read(t, p, y, 1); !slices.Equal(got, want) || b.writes.Load() != 3 {
		t.Errorf("not the same after %d copies", b.writes.Load())
	}
}

// TestTablesTravel reads a table away from its home.
func TestTablesTravel(t *testing.T) {
	s := newSketch()
	e := s.value("e", ir.Embedding, op.F32, 3, 2, 2)
	all := s.table("all", e)
	y := s.f32("y", 6, 2)
	s.Values[y].Unit = 1
	seg := s.segment("r", do(op.Copy, op.Attr{}, ids(all), ids(y)))
	a, b := scales(t)
	p := build(t, s, placed(t, [][]string{{"low"}, {"mid"}}, a, b))
	for round := range 2 {
		var want []float32
		for micro := range 3 {
			part := ramp(4, 10*round+micro)
			write(t, p, e, micro, part...)
			want = append(want, part...)
		}
		run(t, p, seg, 0)
		if got := read(t, p, y, 0); !slices.Equal(got, want) {
			t.Errorf("round %d: %v, not %v", round, got, want)
		}
	}
}

// TestWatchPlaced finds a number that is not finite on a backend that is not the
// first.
func TestWatchPlaced(t *testing.T) {
	a, b := scales(t)
	p, w, r, _, _ := apartOn(t, a, b)
	p.Watch(true)
	write(t, p, 0, 0, 1, inf, 3, 4)
	want := `unit "low": s3.0.copy (graph.loco:31:5): the input a of copy is not finite (+Inf)`
	if err := p.Run(w, 0, 0, 1); err == nil || err.Error() != want {
		t.Errorf("%v\nnot %s", err, want)
	}
	p.Watch(false)
	run(t, p, w, 0)
	p.Watch(true)
	want = `unit "mid": s3.0.relu (graph.loco:31:5): the input x of relu is not finite (+Inf)`
	if err := p.Run(r, 0, 0, 1); err == nil || err.Error() != want {
		t.Errorf("%v\nnot %s", err, want)
	}
}

// mute is a backend that does not read.
type mute struct{ *scale }

func (mute) Read([]byte, device.Tensor) error { return errors.New("the card is gone") }

func TestPlacedFails(t *testing.T) {
	a, b := scales(t)
	p, w, r, _, _ := apartOn(t, mute{a}, b)
	run(t, p, w, 0)
	want := `unit "mid": r.forward: copying x: the card is gone`
	if err := p.Run(r, 0, 0, 1); err == nil || err.Error() != want {
		t.Errorf("%v\nnot %s", err, want)
	}
	for name, c := range map[string]struct {
		poor int64
		want string
	}{
		"no memory":            {1, "graphs of sketch: 128 bytes for the space arena on cpu:1: out of memory"},
		"no memory for copies": {128, "graphs of sketch: 64 bytes for a copy of x on cpu:1: out of memory"},
	} {
		s, _, _, rewrite, _, y := crossing()
		s.Segments[rewrite].Ops[0].Out = ids(y)
		a, b := scales(t)
		b.poor = c.poor
		_, err := Build(s.Program, placed(t, [][]string{{"low"}, {"mid"}}, a, b))
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: %v\nnot %s", name, err, c.want)
		}
		if a.bytes != 0 || b.bytes != 0 {
			t.Errorf("%s: %d and %d bytes are not freed", name, a.bytes, b.bytes)
		}
	}
	s, _, _, _, _, _ := crossing()
	a, b = scales(t)
	_, err := Build(s.Program, placed(t, [][]string{{"low"}, {"mid"}}, a, b))
	if want := "graphs of sketch: v.forward writes x, which lies on cpu:0"; err == nil || err.Error() != want {
		t.Errorf("%v\nnot %s", err, want)
	}
}
