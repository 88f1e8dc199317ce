package op

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// TestNarrow compares with the definition: the nearest of the two neighbours, the
// even one where both are as near.
func TestNarrow(t *testing.T) {
	for _, c := range []struct {
		x    float32
		want uint16
	}{
		{1, 0x3f80}, {-2, 0xc000}, {0, 0}, {float32(math.Copysign(0, -1)), 0x8000},
		{math.Float32frombits(0x3f808000), 0x3f80}, // half way, to even
		{math.Float32frombits(0x3f818000), 0x3f82},
		{math.Float32frombits(0x3f808001), 0x3f81},
		{math.MaxFloat32, 0x7f80}, // beyond the largest: infinity
		{float32(math.Inf(-1)), 0xff80},
		{math.Float32frombits(0x7f800001), 0x7fc0},
	} {
		if got := Narrow(c.x); got != c.want {
			t.Errorf("%g: %#x, not %#x", c.x, got, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.Float32Range(-1e30, 1e30).Draw(t, "x")
		h := Narrow(x)
		off := math.Abs(float64(Widen(h)) - float64(x))
		for _, other := range []uint16{h - 1, h + 1} {
			if next := math.Abs(float64(Widen(other)) - float64(x)); next < off || next == off && h&1 == 1 {
				t.Errorf("%g: %g, though %g is nearer", x, Widen(h), Widen(other))
			}
		}
	})
}
