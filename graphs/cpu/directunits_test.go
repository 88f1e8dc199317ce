package cpu

import (
	"testing"
	"unsafe"
)

// TestSegmentsCoverTheBatch: every unit is in exactly one segment, no segment is
// empty, and where units are many the last segments are the shortest.
func TestSegmentsCoverTheBatch(t *testing.T) {
	for units := 1; units <= 300; units++ {
		for segments := 1; segments <= min(weightParts, units); segments++ {
			c := &weightGrad{units: units, segments: segments}
			next := 0
			for i := range segments {
				from, to := c.segment(i)
				if from != next || to <= from {
					t.Fatalf("%d units, segment %d of %d is [%d,%d), after %d", units, i, segments, from, to, next)
				}
				next = to
			}
			if next != units {
				t.Fatalf("%d units: %d segments end at %d", units, segments, next)
			}
		}
	}
	first, last := (&weightGrad{units: 256, segments: 16}), 15
	a, b := first.segment(0)
	c, d := first.segment(last)
	if b-a <= d-c {
		t.Errorf("the first segment has %d units, the last %d", b-a, d-c)
	}
}

// TestBandsCoverTheOutputs: bands are the output rows in order, and leave out
// only rows of windows that lie outside the picture.
func TestBandsCoverTheOutputs(t *testing.T) {
	for _, s := range []stencil{
		{rows: 3, oh: 8, step: 1, top: 1, bottom: 9},
		{rows: 7, oh: 4, step: 2, top: 3, bottom: 10},
		{rows: 1, oh: 5, step: 3, top: 0, bottom: 13},
		{rows: 5, oh: 1, step: 1, top: 2, bottom: 3},
		{rows: 2, oh: 6, step: 1, first: 0, top: 4, bottom: 6}, // windows of nothing but zeros
	} {
		next := 0
		s.eachBand(func(b band) {
			if b.from != next || b.to <= b.from || b.a0 >= b.a1 || b.a0 < 0 || b.a1 > s.rows {
				t.Fatalf("%+v: band %+v after row %d", s, b, next)
			}
			for i := b.from; i < b.to; i++ {
				for a := range s.rows {
					row := s.first + i*s.step + a
					if inside := row >= s.top && row < s.bottom; inside && (a < b.a0 || a >= b.a1) {
						t.Errorf("%+v: output row %d misses row %d of its window", s, i, a)
					}
				}
			}
			next = b.to
		})
		if next != s.oh {
			t.Errorf("%+v: bands end at row %d", s, next)
		}
	}
}

// TestAhead walks through what is needed in the order of adding, and ends.
func TestAhead(t *testing.T) {
	var a ahead
	x, y := make([]float32, 64), make([]float32, 16)
	a.none().add(x)
	a.add(nil)
	a.add(y)
	near := unsafe.Pointer(&a)
	at, step := a.before(near)
	if at != uintptr(first(x)) || step != line {
		t.Fatalf("begins at %#x by %d", at, step)
	}
	a.after(at+3*line, step)
	if at, _ = a.before(near); at != uintptr(first(x))+3*line {
		t.Errorf("goes on at %#x", at)
	}
	a.after(at+2*line, line) // a little too far
	if at, _ = a.before(near); at != uintptr(first(y)) {
		t.Errorf("the second begins at %#x", at)
	}
	a.after(at+line, line)
	if at, step = a.before(near); at != uintptr(near) || step != 0 {
		t.Errorf("does not end: %#x by %d", at, step)
	}
	a.after(at, step)
	if at, step = (*ahead)(nil).before(near); at != uintptr(near) || step != 0 {
		t.Errorf("nothing is needed, but %#x by %d", at, step)
	}
}
