package source

import (
	"image"
	"image/color"
	"math/rand/v2"
	"testing"
)

// Every kind of image converts as its pixels do one by one, a part of one too.
func TestToRGBPixelByPixel(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	whole := image.Rect(0, 0, 23, 17)
	fill := func(pix []uint8) {
		for i := range pix {
			pix[i] = uint8(r.IntN(256))
		}
	}
	type part interface {
		image.Image
		SubImage(image.Rectangle) image.Image
	}
	images := map[string]part{}
	for ratio := image.YCbCrSubsampleRatio444; ratio <= image.YCbCrSubsampleRatio410; ratio++ {
		m := image.NewYCbCr(whole, ratio)
		fill(m.Y)
		fill(m.Cb)
		fill(m.Cr)
		images[ratio.String()] = m
	}
	grey, plain, clear, opaque := image.NewGray(whole), image.NewNRGBA(whole), image.NewRGBA(whole), image.NewRGBA(whole)
	table := image.NewPaletted(whole, color.Palette{color.Black, color.NRGBA{10, 20, 30, 255}, color.NRGBA{200, 100, 50, 128}})
	for _, pix := range [][]uint8{grey.Pix, plain.Pix, opaque.Pix} {
		fill(pix)
	}
	for i := range table.Pix {
		table.Pix[i] = uint8(r.IntN(3))
	}
	for y := range 17 {
		for x := range 23 {
			opaque.Pix[opaque.PixOffset(x, y)+3] = 255
			clear.Set(x, y, color.NRGBA{uint8(r.IntN(256)), 40, 50, uint8(r.IntN(256))})
		}
	}
	images["grey"], images["NRGBA"], images["RGBA"], images["opaque"], images["table"] = grey, plain, clear, opaque, table
	for name, m := range images {
		for _, img := range []image.Image{m, m.SubImage(image.Rect(3, 5, 20, 16))} {
			p, b := toRGB(img), img.Bounds()
			for i := range p.H * p.W {
				x, y := b.Min.X+i%p.W, b.Min.Y+i/p.W
				want := [3]uint8{}
				if ycc, ok := img.At(x, y).(color.YCbCr); ok {
					want[0], want[1], want[2] = color.YCbCrToRGB(ycc.Y, ycc.Cb, ycc.Cr)
				} else {
					c := color.NRGBAModel.Convert(img.At(x, y)).(color.NRGBA)
					want = [3]uint8{c.R, c.G, c.B}
				}
				if got := [3]uint8(p.Pix[3*i:]); got != want {
					t.Fatalf("%s: pixel %d, %d of %v is %v, want %v", name, x, y, b, got, want)
				}
			}
		}
	}
}
