package source

import (
	"bytes"
	"image/png"
	"math"
	"slices"
	"testing"

	"github.com/locorun/locorun/compiler/model"
)

func TestMeanStdAgainstItsDefinition(t *testing.T) {
	d := &fake{n: 30}
	for _, channels := range []int{1, 3} {
		mean, std, err := MeanStd(d, channels, 20)
		if err != nil {
			t.Fatal(err)
		}
		for c := range channels {
			var all []float64
			for i := range 20 {
				p := view(t, noise(6, 6, 3, uint64(i)), model.Shape{H: 6, W: 6, C: channels}, Key{})
				for k := c; k < len(p); k += channels {
					all = append(all, float64(p[k]))
				}
			}
			var m, v float64
			for _, x := range all {
				m += x / float64(len(all))
			}
			for _, x := range all {
				v += (x - m) * (x - m) / float64(len(all))
			}
			if math.Abs(mean[c]-m) > 1e-6 || math.Abs(std[c]-math.Sqrt(v)) > 1e-6 {
				t.Errorf("channel %d of %d: %v, %v; want %v, %v", c, channels, mean[c], std[c], m, math.Sqrt(v))
			}
		}
		again, _, err := MeanStd(d, channels, 20)
		if err != nil || !slices.Equal(mean, again) {
			t.Errorf("a second look gives %v, %v", again, err)
		}
	}
}

func TestMeanStdOfGreyInThreeChannels(t *testing.T) {
	d := mustOpen(t, idxSource("x"), write(t, map[string][]byte{"x": idxFile(ramp(5*16), 5, 4, 4)}))
	mean, std, err := MeanStd(d, 3, 100)
	if err != nil || mean[0] != mean[1] || mean[1] != mean[2] || std[0] != std[2] {
		t.Errorf("%v, %v, %v", mean, std, err)
	}
}

func TestNormOf(t *testing.T) {
	d := mustOpen(t, idxSource("x"), write(t, map[string][]byte{"x": idxFile(make([]byte, 32), 2, 4, 4)}))
	n, err := NormOf(model.Normalise{Kind: "auto"}, d, 1)
	if err != nil || n.Mean[0] != 0 || n.Std[0] != float32(1.0/255) {
		t.Errorf("black pictures: %v, %v", n, err)
	}
	n, err = NormOf(model.Normalise{Kind: "given", Mean: []float64{0.5}, Std: []float64{0.25}}, d, 1)
	if err != nil || n.Mean[0] != 0.5 || n.Std[0] != 0.25 {
		t.Errorf("given: %v, %v", n, err)
	}
	if n, err = NormOf(model.Normalise{Kind: "none"}, d, 1); err != nil || n.Mean != nil {
		t.Errorf("none: %v, %v", n, err)
	}
	_, err = NormOf(model.Normalise{Kind: "given", Mean: []float64{1}, Std: []float64{1}}, d, 3)
	wantTexts(t, err, "normalise gives 1 means and 1 deviations for 3 channels")
	_, err = NormOf(model.Normalise{Kind: "odd"}, d, 3)
	wantTexts(t, err, `no way to normalise is called "odd"`)
	_, err = NormOf(model.Normalise{Kind: "auto"}, &fake{n: 30, bad: []int{21, 20, 29}}, 3)
	wantTexts(t, err, "fake.bin: record 20")
}

func TestGrid(t *testing.T) {
	d := &fake{n: 20}
	cfg := GridConfig{Dataset: d, Views: []model.View{{Kind: "flip", P: 1}}, Shape: d.Shape(), Images: []int{3, 5, 7}, Columns: 2, Cell: 12, Seed: 1}
	var b bytes.Buffer
	if err := Grid(&b, cfg); err != nil {
		t.Fatal(err)
	}
	m, err := png.Decode(bytes.NewReader(b.Bytes()))
	if err != nil || m.Bounds().Dx() != 3*16+4 || m.Bounds().Dy() != 3*16+4 {
		t.Fatalf("%v, %v", m.Bounds(), err)
	}
	p := noise(6, 6, 3, 5) // second row
	for _, at := range []struct{ x, y, want int }{{4, 20, 0}, {5, 21, 0}, {15, 20, 5}, {20 + 11, 20, 0}, {20, 20 + 2, 6 + 5}} {
		r, g, bl, _ := m.At(at.x, at.y).RGBA()
		got := []byte{uint8(r >> 8), uint8(g >> 8), uint8(bl >> 8)}
		if want := p.Pix[3*at.want:][:3]; !bytes.Equal(got, want) {
			t.Errorf("pixel (%d, %d) is %v, want %v", at.x, at.y, got, want)
		}
	}
	b.Reset()
	if err := Grid(&b, GridConfig{Dataset: d, Shape: d.Shape()}); err != nil {
		t.Errorf("defaults: %v", err)
	}
}

func TestGridRefuses(t *testing.T) {
	d := &fake{n: 20, bad: []int{1}}
	cfg := GridConfig{Dataset: d, Shape: d.Shape(), Images: []int{20}}
	wantTexts(t, Grid(&bytes.Buffer{}, cfg), "no picture 20: the source has 20")
	cfg.Images = []int{0, 1}
	wantTexts(t, Grid(&bytes.Buffer{}, cfg), "fake.bin: record 1")
	cfg.Cell = 10_000
	wantTexts(t, Grid(&bytes.Buffer{}, cfg), "more than the 16777216 allowed")
	cfg.Cell, cfg.Shape = 0, model.Shape{H: 3, W: 3, C: 3}
	wantTexts(t, Grid(&bytes.Buffer{}, cfg), "picture 0: 6 x 6 pixels after the views")
}
