package readout

import (
	"math"
	"testing"

	"github.com/locorun/locorun/runtime/rng"
)

func TestPixelShape(t *testing.T) {
	for _, c := range []struct{ h, w, oh, ow int }{
		{28, 28, 28, 28}, {32, 32, 32, 32}, {1, 32, 1, 32}, {33, 33, 32, 32}, {96, 96, 32, 32},
		{224, 112, 32, 16}, {48, 64, 24, 32}, {100, 33, 32, 11}, {5000, 2, 32, 1}, {40, 31, 32, 25},
	} {
		if oh, ow := PixelShape(c.h, c.w); oh != c.oh || ow != c.ow {
			t.Errorf("%dx%d: %dx%d, want %dx%d", c.h, c.w, oh, ow, c.oh, c.ow)
		}
	}
}

func shrink(picture []float32, h, w, c int) []float32 {
	oh, ow := PixelShape(h, w)
	dst := make([]float32, oh*ow*c)
	Pixels(dst, picture, h, w, c)
	return dst
}

func TestPixelsSmallPicturesStay(t *testing.T) {
	picture := []float32{1, 2, 3, 4, 5, 6}
	for i, v := range shrink(picture, 1, 2, 3) {
		if v != picture[i] {
			t.Errorf("value %d: %v", i, v)
		}
	}
}

func TestPixelsAverages(t *testing.T) {
	const n = 64 // every new pixel is the mean of four
	picture := make([]float32, n*n*2)
	for y := range n {
		for x := range n {
			picture[(y*n+x)*2] = float32(y*n + x)
			picture[(y*n+x)*2+1] = 7
		}
	}
	got := shrink(picture, n, n, 2)
	for y := range 32 {
		for x := range 32 {
			want := float32(2*y*n+2*x) + (n+1)/2.0
			at := (y*32 + x) * 2
			if got[at] != want || got[at+1] != 7 {
				t.Fatalf("(%d, %d): %v, want %v and 7", y, x, got[at:at+2], want)
			}
		}
	}
}

// TestPixelsAgainstNaive measures each overlap of areas on its own, and checks
// that the mean of the picture stays.
func TestPixelsAgainstNaive(t *testing.T) {
	for _, size := range [][2]int{{33, 50}, {97, 40}, {224, 224}, {500, 3}} {
		h, w := size[0], size[1]
		s := rng.New(1, "picture")
		picture := make([]float32, h*w)
		for i := range picture {
			picture[i] = float32(s.Normal())
		}
		oh, ow := PixelShape(h, w)
		got := shrink(picture, h, w, 1)
		sy, sx := float64(h)/float64(oh), float64(w)/float64(ow)
		for y := range oh {
			for x := range ow {
				want := 0.0
				for i := range h {
					for j := range w {
						want += float64(picture[i*w+j]) * shared(y, sy, i) * shared(x, sx, j) / (sy * sx)
					}
				}
				if math.Abs(float64(got[y*ow+x])-want) > 1e-5 {
					t.Fatalf("%dx%d at (%d, %d): %v, want %v", h, w, y, x, got[y*ow+x], want)
				}
			}
		}
	}
}

// shared is the length that new pixel i, of the given size, has in common with
// old pixel j.
func shared(i int, size float64, j int) float64 {
	return max(0, min(float64(i+1)*size, float64(j+1))-max(float64(i)*size, float64(j)))
}

func TestPixelsWrongLengthPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	Pixels(make([]float32, 3), make([]float32, 4), 2, 2, 1)
}
