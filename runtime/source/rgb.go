package source

import (
	"image"
	"image/color"
)

// toRGB converts a decoded image; the kinds that decoders return most have ways
// of their own.
func toRGB(img image.Image) Picture {
	b := img.Bounds()
	p := Picture{H: b.Dy(), W: b.Dx(), C: 3, Pix: make([]uint8, 3*b.Dx()*b.Dy())}
	row := rowOf(img)
	for y := range p.H {
		row(p.Pix[3*y*p.W:][:3*p.W], b.Min.X, b.Min.Y+y)
	}
	return p
}

// rowOf gives what converts the row from x, y on.
func rowOf(img image.Image) func(dst []uint8, x, y int) {
	switch m := img.(type) {
	case *image.YCbCr:
		return func(dst []uint8, x, y int) { rowOfYCbCr(dst, m, x, y) }
	case *image.Gray:
		return func(dst []uint8, x, y int) {
			for i, v := range m.Pix[m.PixOffset(x, y):][:len(dst)/3] {
				dst[3*i], dst[3*i+1], dst[3*i+2] = v, v, v
			}
		}
	case *image.NRGBA:
		return func(dst []uint8, x, y int) { rowOfFour(dst, m.Pix[m.PixOffset(x, y):]) }
	case *image.RGBA:
		if m.Opaque() { // else its colours are not as they were
			return func(dst []uint8, x, y int) { rowOfFour(dst, m.Pix[m.PixOffset(x, y):]) }
		}
	case *image.Paletted:
		return rowsOfPaletted(m)
	}
	return func(dst []uint8, x, y int) {
		for i := 0; i < len(dst); i, x = i+3, x+1 {
			c := color.NRGBAModel.Convert(img.At(x, y)).(color.NRGBA)
			dst[i], dst[i+1], dst[i+2] = c.R, c.G, c.B
		}
	}
}

// rowOfFour drops every fourth byte.
func rowOfFour(dst, src []uint8) {
	for len(dst) >= 3 && len(src) >= 4 {
		dst[0], dst[1], dst[2] = src[0], src[1], src[2]
		dst, src = dst[3:], src[4:]
	}
}

func rowsOfPaletted(m *image.Paletted) func(dst []uint8, x, y int) {
	var table [256][3]uint8
	for i, c := range m.Palette {
		n := color.NRGBAModel.Convert(c).(color.NRGBA)
		table[i] = [3]uint8{n.R, n.G, n.B}
	}
	return func(dst []uint8, x, y int) {
		for i, v := range m.Pix[m.PixOffset(x, y):][:len(dst)/3] {
			copy(dst[3*i:], table[v][:])
		}
	}
}

// rowOfYCbCr converts a row; neighbours share their colour where it is
// subsampled.
func rowOfYCbCr(dst []uint8, m *image.YCbCr, x, y int) {
	shift := 0
	switch m.SubsampleRatio {
	case image.YCbCrSubsampleRatio422, image.YCbCrSubsampleRatio420:
		shift = 1
	case image.YCbCrSubsampleRatio411, image.YCbCrSubsampleRatio410:
		shift = 2
	}
	light := m.Y[m.YOffset(x, y):][:len(dst)/3]
	at := m.COffset(x, y) - x>>shift
	for i, v := range light {
		j := at + (x+i)>>shift
		px := dst[3*i:][:3]
		px[0], px[1], px[2] = color.YCbCrToRGB(v, m.Cb[j], m.Cr[j])
	}
}
