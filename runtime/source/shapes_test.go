package source

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/runtime/rng"
)

func shapesSource(n, classes, h, w int, seed uint64) *model.Source {
	return &model.Source{Kind: "synthetic", N: n, Classes: classes, Size: [2]int{h, w}, Seed: seed}
}

func TestShapesAreFunctionsOfSeedAndIndex(t *testing.T) {
	a, b := mustOpen(t, shapesSource(50, 10, 32, 24, 1), ""), mustOpen(t, shapesSource(60, 10, 32, 24, 1), "")
	if a.Len() != 50 || a.Shape() != (model.Shape{H: 32, W: 24, C: 3}) || len(a.Classes()) != 10 {
		t.Fatalf("%d pictures of %v, classes %v", a.Len(), a.Shape(), a.Classes())
	}
	for i := 49; i >= 0; i-- { // another order, another length
		p, err := a.Picture(i)
		if err != nil || p.H != 32 || p.W != 24 || p.C != 3 || len(p.Pix) != 32*24*3 {
			t.Fatalf("picture %d: %d x %d x %d, %v", i, p.H, p.W, p.C, err)
		}
		q, _ := b.Picture(i)
		if !bytes.Equal(p.Pix, q.Pix) || a.Label(i) != i%10 {
			t.Fatalf("picture %d differs, or has label %d", i, a.Label(i))
		}
	}
	if a.Fingerprint() == b.Fingerprint() {
		t.Error("two settings have one fingerprint")
	}
}

// A picture that is kept is the one that is drawn; too many are not kept.
func TestShapesAreKeptWhileTheyAreFew(t *testing.T) {
	few := mustOpen(t, shapesSource(20, 5, 16, 16, 1), "").(*shapes)
	many := mustOpen(t, shapesSource(keptShapes/(16*16*3)+1, 5, 16, 16, 1), "").(*shapes)
	for i := range few.Len() {
		first, _ := few.Picture(i)
		second, _ := few.Picture(i)
		fresh, _ := many.Picture(i)
		if &first.Pix[0] != &second.Pix[0] || !bytes.Equal(first.Pix, fresh.Pix) {
			t.Errorf("picture %d was drawn twice, or differs", i)
		}
	}
	if len(many.drawn) != 0 {
		t.Errorf("%d pictures are kept", len(many.drawn))
	}
}

// Two seeds, as of train and test, share no picture.
func TestShapesOfTwoSeedsNeverMeet(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(2) {
		d := mustOpen(t, shapesSource(2000, 10, 16, 16, seed), "")
		for i := range d.Len() {
			p, _ := d.Picture(i)
			seen[string(p.Pix)] = true
		}
	}
	if len(seen) != 4000 {
		t.Errorf("%d different pictures of 4000", len(seen))
	}
}

func TestShapesOfEverySizeAndClass(t *testing.T) {
	for _, s := range [][3]int{{8, 8, 2}, {8, 200, 80}, {61, 9, 21}, {96, 96, 20}} {
		d := mustOpen(t, shapesSource(160, s[2], s[0], s[1], 3), "")
		names := slices.Clone(d.Classes())
		slices.Sort(names)
		if len(slices.Compact(names)) != s[2] {
			t.Errorf("%d classes have %d names", s[2], len(slices.Compact(names)))
		}
		for i := range d.Len() {
			if _, err := d.Picture(i); err != nil {
				t.Fatal(err)
			}
		}
	}
	d := mustOpen(t, shapesSource(1, 80, 8, 8, 3), "")
	if got := d.Classes()[25]; got != "star stripes" {
		t.Errorf("class 25 is %q", got)
	}
}

func TestShapesRefuse(t *testing.T) {
	refuses(t, shapesSource(0, 10, 32, 32, 1), "", "synthetic(shapes) of 0 pictures")
	refuses(t, shapesSource(10, 1, 32, 32, 1), "", "synthetic(shapes) has 2 to 80 classes, not 1")
	refuses(t, shapesSource(10, 81, 32, 32, 1), "", "not 81")
	refuses(t, shapesSource(10, 10, 7, 32, 1), "", "synthetic(shapes) of 7x32 pixels: sides are 8 to 1024")
	refuses(t, shapesSource(10, 10, 32, 1025, 1), "", "sides are 8 to 1024")
}

// Distances are below 0 somewhere near the middle, above it outside a circle
// that draw's reach covers, and never grow faster than the way to the edge, so
// that edges are no harder than a pixel.
func TestOutlinesAreDistances(t *testing.T) {
	for _, o := range outlines {
		inside := 0
		const step = 0.02
		for y := -1.5; y < 1.5; y += step {
			for x := -1.5; x < 1.5; x += step {
				d := o.distance(x, y)
				if d < 0 {
					inside++
				}
				if math.Hypot(x, y) > 1.4 && d < 0 {
					t.Fatalf("%s reaches out to (%.2f, %.2f)", o.name, x, y)
				}
				if math.Abs(o.distance(x+step, y)-d) > 1.12*step+1e-9 {
					t.Fatalf("%s: distance jumps near (%.2f, %.2f)", o.name, x, y)
				}
			}
		}
		if area := float64(inside) * step * step; area < 0.6 || area > 2.6 {
			t.Errorf("%s covers %.2f", o.name, area)
		}
	}
}

func TestTonesAreInRange(t *testing.T) {
	for i := range 2000 {
		r := rng.New(uint64(i), "shapes")
		s := newScene(&r, 8, 8)
		for _, v := range slices.Concat(s.back.rgb[:], s.fore.rgb[:]) {
			if v < -1e-6 || v > 1+1e-6 {
				t.Fatalf("tone %v, %v", s.back, s.fore)
			}
		}
		if apart := math.Abs(s.back.luma - s.fore.luma); apart < 0.14 {
			t.Fatalf("figure and ground are %.2f apart", apart)
		}
		if l := luma(s.fore.rgb[0], s.fore.rgb[1], s.fore.rgb[2]); math.Abs(float64(l)-s.fore.luma) > 1e-4 {
			t.Fatalf("brightness %v, want %v", l, s.fore.luma)
		}
	}
}

// A pixel says little about the class: the nearest mean picture is right not
// much more often than by chance.
func TestMeanPicturesSayLittle(t *testing.T) {
	const classes, n = 10, 2000
	train, test := mustOpen(t, shapesSource(n, classes, 16, 16, 1), ""), mustOpen(t, shapesSource(n/2, classes, 16, 16, 2), "")
	var means [classes][16 * 16 * 3]float64
	for i := range n {
		p, _ := train.Picture(i)
		for k, v := range p.Pix {
			means[i%classes][k] += float64(v) / (n / classes)
		}
	}
	right := 0
	for i := range test.Len() {
		p, _ := test.Picture(i)
		best, least := -1, math.Inf(1)
		for c := range classes {
			sum := 0.0
			for k, v := range p.Pix {
				sum += (float64(v) - means[c][k]) * (float64(v) - means[c][k])
			}
			if sum < least {
				best, least = c, sum
			}
		}
		if best == test.Label(i) {
			right++
		}
	}
	if share := float64(right) / float64(test.Len()); share > 0.25 {
		t.Errorf("the nearest mean picture is right in %.0f %%", 100*share)
	}
}

func TestOutlineNamesAreDistinct(t *testing.T) {
	seen := map[string]bool{}
	for _, o := range outlines {
		if seen[o.name] || strings.ToLower(o.name) != o.name {
			t.Errorf("outline %q", o.name)
		}
		seen[o.name] = true
	}
}
