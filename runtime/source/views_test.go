package source

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/runtime/rng"
	"github.com/locorun/locorun/runtime/source/vector"
)

// noise is an h x w picture of c channels of any bytes.
func noise(h, w, c int, seed uint64) Picture {
	r := rand.New(rand.NewPCG(seed, 1))
	p := Picture{H: h, W: w, C: c, Pix: make([]uint8, h*w*c)}
	for i := range p.Pix {
		p.Pix[i] = uint8(r.IntN(256))
	}
	return p
}

// floats are the values of a picture in [0, 1].
func floats(p Picture) []float32 {
	out := make([]float32, len(p.Pix))
	for i, v := range p.Pix {
		out[i] = float32(v) / 255
	}
	return out
}

// view applies steps and gives the values.
func view(t *testing.T, p Picture, shape model.Shape, k Key, steps ...model.View) []float32 {
	t.Helper()
	v, err := NewViews(steps, shape, Norm{})
	if err != nil {
		t.Fatal(err)
	}
	dst := make([]float32, shape.Elements())
	if err := v.Apply(dst, p, k); err != nil {
		t.Fatal(err)
	}
	return dst
}

func near(t *testing.T, name string, got, want []float32, within float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", name, len(got), len(want))
	}
	for i := range got {
		if math.Abs(float64(got[i]-want[i])) > within {
			t.Fatalf("%s: value %d is %v, want %v", name, i, got[i], want[i])
		}
	}
}

func shapeOf(p Picture) model.Shape { return model.Shape{H: p.H, W: p.W, C: p.C} }

func cropStep(h, w int, lo, hi float64) model.View {
	return model.View{Kind: "crop", H: h, W: w, Scale: [2]float64{lo, hi}, Ratio: [2]float64{0.75, 4.0 / 3}}
}

func TestNoStepsLeaveThePicture(t *testing.T) {
	for _, c := range []int{1, 3} {
		p := noise(5, 7, c, 1)
		near(t, "no steps", view(t, p, shapeOf(p), Key{}), floats(p), 1e-7)
	}
}

// A crop of the whole picture is a resize, and to its own size nothing at all.
func TestCropOfTheWholeIsResize(t *testing.T) {
	whole := model.View{Kind: "crop", H: 6, W: 9, Scale: [2]float64{1, 1}, Ratio: [2]float64{1, 1}}
	p := noise(8, 8, 3, 2)
	to := model.Shape{H: 6, W: 9, C: 3}
	got := view(t, p, to, Key{Seed: 1}, whole)
	near(t, "crop", got, view(t, p, to, Key{}, model.View{Kind: "resize", H: 6, W: 9}), 0)
	whole.H, whole.W = 8, 8
	near(t, "identity", view(t, p, shapeOf(p), Key{}, whole), floats(p), 1e-6)
}

// resizeByHand is the triangle filter straight from its definition, both axes
// at once, in float64.
func resizeByHand(p Picture, win window, h, w int) []float32 {
	weight := func(i, o, n, m int) float64 {
		scale := float64(n) / float64(m)
		centre := (float64(o)+0.5)*scale - 0.5
		return max(0, 1-math.Abs(float64(i)-centre)/max(scale, 1))
	}
	out := make([]float32, 0, h*w*p.C)
	for oy := range h {
		for ox := range w {
			for c := range p.C {
				sum, all := 0.0, 0.0
				for y := range win.h {
					for x := range win.w {
						k := weight(y, oy, win.h, h) * weight(x, ox, win.w, w)
						sum += k * float64(p.Pix[((win.y+y)*p.W+win.x+x)*p.C+c]) / 255
						all += k
					}
				}
				out = append(out, float32(sum/all))
			}
		}
	}
	return out
}

func TestResizeAgainstItsDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 40 {
		h, w, c := 1+r.IntN(20), 1+r.IntN(20), []int{1, 3}[r.IntN(2)]
		p := noise(h, w, c, r.Uint64())
		oh, ow := 1+r.IntN(20), 1+r.IntN(20)
		got := view(t, p, model.Shape{H: oh, W: ow, C: c}, Key{}, model.View{Kind: "resize", H: oh, W: ow})
		near(t, "resize of bytes", got, resizeByHand(p, window{0, 0, h, w}, oh, ow), 2e-6)
		flipped := view(t, p, model.Shape{H: oh, W: ow, C: c}, Key{},
			model.View{Kind: "flip", P: 1}, model.View{Kind: "flip", P: 1}, model.View{Kind: "resize", H: oh, W: ow})
		near(t, "resize of numbers", flipped, got, 2e-6)
	}
}

// Strips are filtered a band at a time, across rows first or last.
func TestResizeOfStrips(t *testing.T) {
	for _, c := range []struct{ h, w, channels, oh, ow int }{
		{3000, 2, 3, 4, 5}, {2500, 1, 1, 3, 40}, {2, 3000, 3, 5, 4}, {700, 60, 3, 33, 31}, {9, 300, 1, 90, 35},
	} {
		p := noise(c.h, c.w, c.channels, 1)
		to, resize := model.Shape{H: c.oh, W: c.ow, C: c.channels}, model.View{Kind: "resize", H: c.oh, W: c.ow}
		want := resizeByHand(p, window{0, 0, c.h, c.w}, c.oh, c.ow)
		near(t, "resize of bytes", view(t, p, to, Key{}, resize), want, 2e-5)
		twice := []model.View{{Kind: "flip", P: 1}, {Kind: "grey"}, {Kind: "flip", P: 1}, {Kind: "jitter", P: 1}, resize}
		near(t, "resize of numbers", view(t, p, to, Key{}, twice...), want, 2e-5)
	}
}

// The window of a crop is found again in the resampled picture.
func TestCropAgainstItsDefinition(t *testing.T) {
	for i := range 60 {
		p := noise(5+i%13, 4+i%17, 3, uint64(i))
		step := cropStep(7, 8, 0.2, 1)
		v, err := NewViews([]model.View{step}, model.Shape{H: 7, W: 8, C: 3}, Norm{})
		if err != nil {
			t.Fatal(err)
		}
		k := Key{Seed: 3, Epoch: 1, Image: i, View: 1}
		r := v.steps[0].purpose.Stream(3, 1, uint64(i), 1)
		win := v.steps[0].cutter.window(p.H, p.W, &r)
		got := make([]float32, 7*8*3)
		if err := v.Apply(got, p, k); err != nil {
			t.Fatal(err)
		}
		near(t, "crop", got, resizeByHand(p, win, 7, 8), 2e-6)
	}
}

func TestCropWindows(t *testing.T) {
	v, err := NewViews([]model.View{cropStep(8, 8, 0.3, 0.6)}, model.Shape{H: 8, W: 8, C: 1}, Norm{})
	if err != nil {
		t.Fatal(err)
	}
	corners := map[[2]int]bool{}
	for i := range 500 {
		r := v.steps[0].purpose.Stream(1, 0, uint64(i), 0)
		w := v.steps[0].cutter.window(100, 100, &r)
		share, ratio := float64(w.h*w.w)/1e4, float64(w.w)/float64(w.h)
		if share < 0.29 || share > 0.61 || ratio < 0.73 || ratio > 1.36 {
			t.Fatalf("window %+v: share %.2f, ratio %.2f", w, share, ratio)
		}
		if w.y < 0 || w.x < 0 || w.y+w.h > 100 || w.x+w.w > 100 {
			t.Fatalf("window %+v leaves the picture", w)
		}
		corners[[2]int{w.y, w.x}] = true
	}
	if len(corners) < 400 {
		t.Errorf("%d different corners of 500", len(corners))
	}
}

// Where no try fits, the middle is taken, as near to the ratio as may be.
func TestCropOfStrips(t *testing.T) {
	tests := []struct {
		h, w int
		want window
	}{
		{1000, 10, window{493, 0, 13, 10}},
		{10, 1000, window{0, 493, 10, 13}},
		{1, 1, window{0, 0, 1, 1}},
	}
	for _, tt := range tests {
		r := rng.For("x").Stream(1)
		if got := newCutter(cropStep(8, 8, 1, 1)).window(tt.h, tt.w, &r); got != tt.want {
			t.Errorf("window of %d x %d = %+v, want %+v", tt.h, tt.w, got, tt.want)
		}
	}
}

func TestCentre(t *testing.T) {
	p := noise(7, 9, 3, 4)
	got := view(t, p, model.Shape{H: 4, W: 3, C: 3}, Key{}, model.View{Kind: "centre", H: 4, W: 3})
	var want []float32
	for y := range 4 {
		want = append(want, floats(p)[3*((1+y)*9+3):][:9]...)
	}
	near(t, "centre", got, want, 1e-6)
}

func TestResizeOfTheShorterSide(t *testing.T) {
	for _, tt := range []struct{ h, w, oh, ow int }{{10, 20, 5, 10}, {20, 10, 10, 5}, {7, 7, 5, 5}, {3, 10, 5, 16}} {
		got := view(t, noise(tt.h, tt.w, 1, 1), model.Shape{H: tt.oh, W: tt.ow, C: 1}, Key{}, model.View{Kind: "resize", H: 5})
		if len(got) != tt.oh*tt.ow {
			t.Errorf("resize 5 of %d x %d: %d values", tt.h, tt.w, len(got))
		}
	}
}

func TestFlip(t *testing.T) {
	p := noise(3, 5, 3, 1)
	flip := model.View{Kind: "flip", P: 1}
	once := view(t, p, shapeOf(p), Key{}, flip)
	for y := range 3 {
		for x := range 5 {
			near(t, "flip", once[3*(y*5+x):][:3], floats(p)[3*(y*5+4-x):][:3], 1e-7)
		}
	}
	near(t, "twice", view(t, p, shapeOf(p), Key{}, flip, flip), floats(p), 1e-7)
	flip.P = 0
	near(t, "never", view(t, p, shapeOf(p), Key{}, flip), floats(p), 1e-7)
}

func TestEveryStepTossesItsOwnCoin(t *testing.T) {
	p := noise(2, 2, 1, 1)
	flip := model.View{Kind: "flip", P: 0.5}
	count := map[bool]int{}
	for i := range 1000 {
		twice := view(t, p, shapeOf(p), Key{Seed: 9, Image: i}, flip, flip)
		count[slices.Equal(twice, view(t, p, shapeOf(p), Key{}))]++
	}
	if min(count[true], count[false]) < 430 {
		t.Errorf("two coins agree %d times of 1000", count[true])
	}
}

func TestJitterOfNoStrengthIsIdentity(t *testing.T) {
	for _, c := range []int{1, 3} {
		p := noise(6, 6, c, 3)
		near(t, "jitter", view(t, p, shapeOf(p), Key{}, model.View{Kind: "jitter", P: 1}), floats(p), 1e-6)
	}
}

func TestJitterPartsAgainstTheirDefinition(t *testing.T) {
	pix := func() []float32 { return []float32{0.2, 0.4, 0.6, 0.8, 0.1, 0.3} }
	grey := func(r, g, b float64) float64 { return 0.299*r + 0.587*g + 0.114*b }
	g1, g2 := grey(0.2, 0.4, 0.6), grey(0.8, 0.1, 0.3)
	mean := (g1 + g2) / 2

	p := onBench(pix())
	p.scale(1.5, 0)
	near(t, "brightness", values(p), []float32{0.3, 0.6, 0.9, 1, 0.15, 0.45}, 1e-6)

	want := pix()
	for i, v := range want {
		want[i] = float32(max(0, min(1, 0.5*float64(v)+0.5*mean)))
	}
	p = onBench(pix())
	p.contrast(0.5)
	near(t, "contrast", values(p), want, 1e-6)

	want = pix()
	for i, v := range want {
		want[i] = float32(max(0, min(1, 2*float64(v)-[]float64{g1, g2}[i/3])))
	}
	p = onBench(pix())
	p.saturate(2)
	near(t, "saturation", values(p), want, 1e-6)

	p = onBench(pix())
	p.turnHue(1.0 / 3) // a third of a turn moves red to green, green to blue
	near(t, "hue", values(p), []float32{0.6, 0.2, 0.4, 0.3, 0.8, 0.1}, 1e-6)
	p.turnHue(-1.0 / 3)
	near(t, "hue back", values(p), pix(), 1e-6)
	p.turnHue(0.5)
	p.turnHue(0.5)
	near(t, "whole turn", values(p), pix(), 1e-6)
}

// onBench is a bench with a row of colours.
func onBench(pix []float32) *bench {
	b := &bench{h: 1, w: len(pix) / 3, c: 3, tier: vector.Best()}
	b.planes.fit(3, 1, vector.Blocks(b.w)*vector.Block)
	for i, v := range pix {
		b.planes.row(i%3, 0)[i/3] = v
	}
	return b
}

// values are the values of a bench, the channels of a pixel side by side.
func values(b *bench) []float32 {
	dst := make([]float32, b.h*b.w*b.c)
	b.write(dst, newNormal(Norm{}))
	return dst
}

func TestJitterStaysInRangeAndReachesAllOrders(t *testing.T) {
	p := noise(4, 4, 3, 8)
	step := model.View{Kind: "jitter", Brightness: 0.8, Contrast: 0.8, Saturation: 0.8, Hue: 0.2, P: 1}
	distinct := map[float32]bool{}
	for i := range 200 {
		got := view(t, p, shapeOf(p), Key{Image: i}, step)
		for _, v := range got {
			if v < -1e-6 || v > 1+1e-6 || v != v {
				t.Fatalf("value %v", v)
			}
		}
		distinct[got[0]] = true
	}
	if len(distinct) < 120 {
		t.Errorf("%d different results of 200", len(distinct))
	}
}

func TestGrey(t *testing.T) {
	p := noise(4, 5, 3, 2)
	got := view(t, p, shapeOf(p), Key{}, model.View{Kind: "grey", P: 1})
	for i := 0; i < len(got); i += 3 {
		in := floats(p)[i:]
		want := 0.299*in[0] + 0.587*in[1] + 0.114*in[2]
		near(t, "grey", got[i:i+3], []float32{want, want, want}, 1e-6)
	}
}

func TestChannels(t *testing.T) {
	grey, colour := noise(3, 3, 1, 1), noise(3, 3, 3, 1)
	three := view(t, grey, model.Shape{H: 3, W: 3, C: 3}, Key{})
	for i, v := range floats(grey) {
		near(t, "grey to three", three[3*i:3*i+3], []float32{v, v, v}, 1e-7)
	}
	one := view(t, colour, model.Shape{H: 3, W: 3, C: 1}, Key{})
	for i := range one {
		in := floats(colour)[3*i:]
		near(t, "three to grey", one[i:i+1], []float32{0.299*in[0] + 0.587*in[1] + 0.114*in[2]}, 1e-6)
	}
	// Whether channels change before or after resampling makes no difference.
	small := view(t, colour, model.Shape{H: 2, W: 2, C: 1}, Key{}, model.View{Kind: "resize", H: 2, W: 2})
	after := view(t, colour, model.Shape{H: 2, W: 2, C: 3}, Key{}, model.View{Kind: "resize", H: 2, W: 2}, model.View{Kind: "grey", P: 1})
	for i, v := range small {
		near(t, "resampled", []float32{v}, after[3*i:3*i+1], 1e-6)
	}
}

// blurByHand is the blur straight from its definition, in float64.
func blurByHand(p Picture, sigma float64) []float32 {
	radius := min(int(math.Ceil(3*sigma)), max(p.H, p.W))
	at := func(y, x, c int) float64 {
		return float64(p.Pix[(mirror(y, p.H)*p.W+mirror(x, p.W))*p.C+c]) / 255
	}
	out := make([]float32, 0, len(p.Pix))
	for y := range p.H {
		for x := range p.W {
			for c := range p.C {
				sum, all := 0.0, 0.0
				for dy := -radius; dy <= radius; dy++ {
					for dx := -radius; dx <= radius; dx++ {
						k := math.Exp(-float64(dx*dx+dy*dy) / (2 * sigma * sigma))
						sum, all = sum+k*at(y+dy, x+dx, c), all+k
					}
				}
				out = append(out, float32(sum/all))
			}
		}
	}
	return out
}

func TestBlurAgainstItsDefinition(t *testing.T) {
	for i, sigma := range []float64{0.1, 0.5, 1, 2.3, 40} {
		p := noise(1+3*i, 6-i, []int{1, 3}[i%2], uint64(i))
		got := view(t, p, shapeOf(p), Key{}, model.View{Kind: "blur", Sigma: [2]float64{sigma, sigma}, P: 1})
		near(t, "blur", got, blurByHand(p, sigma), 3e-6)
	}
}

func TestMirror(t *testing.T) {
	var got []int
	for i := -5; i < 8; i++ {
		got = append(got, mirror(i, 4))
	}
	if want := []int{1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1}; !slices.Equal(got, want) {
		t.Errorf("mirror over 4 = %v, want %v", got, want)
	}
	if mirror(-3, 1) != 0 || mirror(3, 2) != 1 {
		t.Error("mirror of short rows")
	}
}

func TestNormIsAppliedLast(t *testing.T) {
	p := noise(4, 4, 3, 1)
	norm := Norm{Mean: []float32{0.1, 0.2, 0.3}, Std: []float32{0.5, 0.25, 2}}
	v, err := NewViews([]model.View{{Kind: "flip", P: 1}}, shapeOf(p), norm)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]float32, 48)
	if err := v.Apply(got, p, Key{}); err != nil {
		t.Fatal(err)
	}
	want := view(t, p, shapeOf(p), Key{}, model.View{Kind: "flip", P: 1})
	for i := range want {
		want[i] = (want[i] - norm.Mean[i%3]) / norm.Std[i%3]
	}
	near(t, "norm", got, want, 1e-6)
}

func TestViewsRefuse(t *testing.T) {
	shape := model.Shape{H: 4, W: 4, C: 3}
	for name, step := range map[string]model.View{
		"kind":        {Kind: "spin"},
		"crop size":   cropStep(0, 4, 0.5, 1),
		"crop scale":  cropStep(4, 4, 1, 0.5),
		"probability": {Kind: "flip", P: 1.5},
		"no number":   {Kind: "flip", P: math.NaN()},
		"hue":         {Kind: "jitter", Hue: 0.7, P: 1},
		"sigma":       {Kind: "blur", P: 1},
		"resize":      {Kind: "resize"},
		"centre":      {Kind: "centre", H: 3},
	} {
		if _, err := NewViews([]model.View{step}, shape, Norm{}); err == nil {
			t.Errorf("%s: %+v is taken", name, step)
		}
	}
	if _, err := NewViews(nil, model.Shape{H: 4, W: 4, C: 2}, Norm{}); err == nil {
		t.Error("two channels are taken")
	}
	_, err := NewViews(nil, shape, Norm{Mean: []float32{1}, Std: []float32{1}})
	wantTexts(t, err, "normalise has 1 means and 1 deviations for 3 channels")
}

func TestApplyRefusesWhatDoesNotFit(t *testing.T) {
	tests := []struct {
		name  string
		p     Picture
		steps []model.View
		text  string
	}{
		{"size", noise(3, 5, 3, 1), nil, "3 x 5 pixels after the views, want 4 x 4"},
		{"centre", noise(3, 5, 3, 1), []model.View{{Kind: "centre", H: 4, W: 4}},
			"a picture of 3 x 5 is too small for centre 4x4: put a resize before it"},
		{"strip", noise(1, 70_000, 1, 1), []model.View{{Kind: "resize", H: 256}},
			"resize makes 256 x 17920000 pixels of a picture of 1 x 70000, more than the 16777216 allowed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, err := NewViews(tt.steps, model.Shape{H: 4, W: 4, C: 3}, Norm{})
			if err != nil {
				t.Fatal(err)
			}
			wantTexts(t, v.Apply(make([]float32, 48), tt.p, Key{}), tt.text)
		})
	}
}

// A tall strip does not ask for a plane between the two passes.
func TestResampleTakesTheNarrowWay(t *testing.T) {
	b := &bench{kept: new(kept)}
	b.load(noise(100_000, 1, 1, 1), 1, vector.Best())
	b.resample(window{0, 0, 100_000, 1}, 64, 64)
	b.settle()
	if cap(b.middle.pix) > 64*64 || cap(b.band.pix) > bandSize+vector.Room {
		t.Errorf("%d values between the passes, %d of the picture at a time", cap(b.middle.pix), cap(b.band.pix))
	}
}

func allSteps(h, w int) []model.View {
	return []model.View{
		cropStep(h, w, 0.3, 1), {Kind: "flip", P: 0.5},
		{Kind: "jitter", Brightness: 0.4, Contrast: 0.4, Saturation: 0.4, Hue: 0.1, P: 0.8},
		{Kind: "grey", P: 0.2}, {Kind: "blur", Sigma: [2]float64{0.1, 1}, P: 0.5},
	}
}

// A view is a function of its key: whatever came before, on however many
// goroutines.
func TestViewsDependOnTheirKeyAlone(t *testing.T) {
	const n = 1000
	shape := model.Shape{H: 8, W: 8, C: 3}
	pictures := []Picture{noise(12, 9, 3, 1), noise(8, 8, 1, 2), noise(30, 31, 3, 3)}
	keyOf := func(i int) Key { return Key{Seed: 5, Epoch: i % 7, Image: i, View: i % 2} }
	alone := make([][]float32, n)
	for i := range n {
		alone[i] = view(t, pictures[i%3], shape, keyOf(i), allSteps(8, 8)...)
	}
	v, err := NewViews(allSteps(8, 8), shape, Norm{})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for worker := range 16 {
		group.Go(func() {
			dst := make([]float32, shape.Elements())
			for _, i := range rand.New(rand.NewPCG(1, uint64(worker))).Perm(n)[:n/8] {
				if err := v.Apply(dst, pictures[i%3], keyOf(i)); err != nil || !slices.Equal(dst, alone[i]) {
					t.Errorf("view of key %+v differs (%v)", keyOf(i), err)
					return
				}
			}
		})
	}
	group.Wait()
}

func TestEveryPartOfTheKeyCounts(t *testing.T) {
	p := noise(20, 20, 3, 1)
	shape := model.Shape{H: 8, W: 8, C: 3}
	base := view(t, p, shape, Key{1, 1, 1, 0}, cropStep(8, 8, 0.2, 0.8))
	for _, k := range []Key{{2, 1, 1, 0}, {1, 2, 1, 0}, {1, 1, 2, 0}, {1, 1, 1, 1}} {
		if slices.Equal(base, view(t, p, shape, k, cropStep(8, 8, 0.2, 0.8))) {
			t.Errorf("key %+v gives the view of another", k)
		}
	}
}

// A step added does not move the draws of the others.
func TestStepsDrawApart(t *testing.T) {
	p := noise(20, 20, 3, 1)
	shape := model.Shape{H: 8, W: 8, C: 3}
	k := Key{Seed: 4, Image: 3}
	without := view(t, p, shape, k, cropStep(8, 8, 0.2, 0.8))
	with := view(t, p, shape, k, model.View{Kind: "grey", P: 0}, model.View{Kind: "flip", P: 0}, cropStep(8, 8, 0.2, 0.8))
	near(t, "crop", with, without, 2e-6)
}
