package source

import (
	"bytes"
	"context"
	"image/jpeg"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/runtime/source/vector"
)

// Views of one picture, kind by kind and as pipelines; bytes a second are those
// of the pictures that come in.
func BenchmarkViews(b *testing.B) {
	grey, colour, photo := noise(28, 28, 1, 1), noise(32, 32, 3, 2), noise(256, 256, 3, 3)
	jitter := func(strength, p float64) model.View {
		return model.View{Kind: "jitter", Brightness: strength, Contrast: strength, Saturation: strength, Hue: strength / 4, P: p}
	}
	blur := func(p float64) model.View { return model.View{Kind: "blur", Sigma: [2]float64{0.1, 2}, P: p} }
	centre := model.View{Kind: "centre", H: 224, W: 224}
	with := func(steps ...model.View) []model.View { return steps }
	for _, c := range []struct {
		name  string
		p     Picture
		side  int
		steps []model.View
	}{
		{"28x28x1/none", grey, 28, nil},
		{"28x28x1/crop", grey, 28, with(cropStep(28, 28, 0.3, 1))},
		{"28x28x1/flip", grey, 28, with(model.View{Kind: "flip", P: 1})},
		{"28x28x1/jitter", grey, 28, with(jitter(0.4, 1))},
		{"28x28x1/blur", grey, 28, with(blur(1))},
		{"28x28x1/all", grey, 28, fashionViews()},
		{"32x32x3/none", colour, 32, nil},
		{"32x32x3/crop", colour, 32, with(cropStep(32, 32, 0.08, 1))},
		{"32x32x3/flip", colour, 32, with(model.View{Kind: "flip", P: 1})},
		{"32x32x3/jitter", colour, 32, with(jitter(0.4, 1))},
		{"32x32x3/grey", colour, 32, with(model.View{Kind: "grey", P: 1})},
		{"32x32x3/blur", colour, 32, with(blur(1))},
		{"32x32x3/all", colour, 32, with(cropStep(32, 32, 0.08, 1), model.View{Kind: "flip", P: 0.5},
			jitter(0.4, 0.8), model.View{Kind: "grey", P: 0.2})},
		{"224x224x3/centre", photo, 224, with(centre)},
		{"224x224x3/resize", photo, 224, with(model.View{Kind: "resize", H: 224})},
		{"224x224x3/crop", photo, 224, with(cropStep(224, 224, 0.08, 1))},
		{"224x224x3/jitter", photo, 224, with(centre, jitter(0.8, 1))},
		{"224x224x3/blur", photo, 224, with(centre, blur(1))},
		{"224x224x3/all", photo, 224, with(cropStep(224, 224, 0.08, 1), model.View{Kind: "flip", P: 0.5},
			jitter(0.8, 0.8), model.View{Kind: "grey", P: 0.2}, blur(0.5))},
	} {
		b.Run(c.name, func(b *testing.B) { benchViews(b, c.p, c.side, c.steps, vector.Best()) })
		if strings.HasSuffix(c.name, "/all") {
			for _, tier := range vector.Tiers() {
				b.Run(c.name+"-"+tier.String(), func(b *testing.B) { benchViews(b, c.p, c.side, c.steps, tier) })
			}
		}
	}
}

func benchViews(b *testing.B, p Picture, side int, steps []model.View, tier vector.Tier) {
	shape := model.Shape{H: side, W: side, C: p.C}
	norm := Norm{Mean: []float32{0.5, 0.5, 0.5}[:p.C], Std: []float32{0.2, 0.2, 0.2}[:p.C]}
	v, err := NewViews(steps, shape, norm)
	if err != nil {
		b.Fatal(err)
	}
	v.tier = tier
	dst := make([]float32, shape.Elements())
	b.SetBytes(int64(len(p.Pix)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := v.Apply(dst, p, Key{Seed: 1, Image: i / 2 % 60_000, View: i % 2}); err != nil {
			b.Fatal(err)
		}
	}
}

// still is n pictures that cost nothing to read.
type still struct {
	fake
	p Picture
}

func (d *still) Picture(int) (Picture, error) { return d.p, nil }

// A loader of one worker, for each picture: first with next to no views, which
// leaves what the loader itself costs, then with two views of each.
func BenchmarkLoader(b *testing.B) {
	b.Run("bare", func(b *testing.B) { benchLoader(b, noise(4, 4, 1, 1), 4, nil) })
	b.Run("28x28x1", func(b *testing.B) { benchLoader(b, noise(28, 28, 1, 1), 28, fashionViews()) })
}

// fashionViews are those of the Fashion-MNIST example.
func fashionViews() []model.View {
	return []model.View{
		cropStep(28, 28, 0.3, 1), {Kind: "flip", P: 0.5},
		{Kind: "jitter", Brightness: 0.4, Contrast: 0.4, P: 0.8},
	}
}

func benchLoader(b *testing.B, p Picture, side int, steps []model.View) {
	cfg := LoaderConfig{
		Dataset: &still{fake{n: 60_000}, p}, Views: steps, Shape: model.Shape{H: side, W: side, C: 1}, Seed: 7,
		Batch: 128, Microbatch: 128, Epochs: 1 << 30, Workers: 1,
	}
	l, err := NewLoader(cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	for i := 0; b.Loop(); i++ {
		if i%cfg.Microbatch != 0 {
			continue
		}
		m, err := l.Next(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		l.Release(m)
	}
}

// Decoding the file of a picture of 256 x 256.
func BenchmarkDecode(b *testing.B) {
	files := map[string][]byte{"png": pngOf(b, painted(256, 256)), "jpeg": jpegOf(b, painted(256, 256))}
	for name, file := range files {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(file)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := decodePicture(bytes.NewReader(file), int64(len(file)), defaultMaxPixels); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	img, err := jpeg.Decode(bytes.NewReader(files["jpeg"]))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("rgb", func(b *testing.B) {
		for b.Loop() {
			toRGB(img)
		}
	})
}
