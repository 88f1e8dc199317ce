package export

import (
	"slices"
	"testing"
)

func TestLayouts(t *testing.T) {
	const o, kh, kw, in = 2, 3, 2, 5
	w := make([]float32, o*kh*kw*in)
	for i := range w {
		w[i] = float32(i)
	}
	torch := OHWIToOIHW(w, o, kh, kw, in)
	for a := range o {
		for y := range kh {
			for x := range kw {
				for c := range in {
					ours, theirs := w[((a*kh+y)*kw+x)*in+c], torch[((a*in+c)*kh+y)*kw+x]
					if ours != theirs {
						t.Fatalf("out %d, y %d, x %d, in %d: %g, want %g", a, y, x, c, theirs, ours)
					}
				}
			}
		}
	}
	if back := OIHWToOHWI(torch, o, in, kh, kw); !slices.Equal(back, w) {
		t.Errorf("there and back: %v", back)
	}
	if nchw := NHWCToNCHW(w, o, kh, kw, in); !slices.Equal(nchw, torch) {
		t.Errorf("pictures: %v", nchw)
	}
}

func TestLayoutOfWrongLengthPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	OHWIToOIHW(make([]float32, 5), 2, 1, 1, 3)
}
