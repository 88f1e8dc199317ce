package source

import (
	"bufio"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"

	"github.com/locorun/locorun/compiler/model"
)

// GridConfig says what a sheet of pictures shows. Zero numbers stand for the
// defaults.
type GridConfig struct {
	Dataset Dataset
	Views   []model.View
	Shape   model.Shape // of one view
	Images  []int       // which pictures; default: the first eight
	Columns int         // views of each; default 6
	Cell    int         // side of a cell in pixels; default 96, or the view's where that is more
	Seed    uint64
	Epoch   int
}

// gap is the white between two cells, in pixels.
const gap = 4

func (c GridConfig) withDefaults() GridConfig {
	if len(c.Images) == 0 {
		for i := range min(8, c.Dataset.Len()) {
			c.Images = append(c.Images, i)
		}
	}
	if c.Columns == 0 {
		c.Columns = 6
	}
	if c.Cell == 0 {
		c.Cell = max(96, c.Shape.H, c.Shape.W)
	}
	return c
}

// Grid writes a PNG: a row for each picture, at its left the picture itself,
// then Columns views of it, numbers 0, 1, ... of Epoch, so that the first two
// are the pair that training sees. Normalising is left out. Each is brought to
// its cell by taking the nearest pixel, so that pixels stay visible.
func Grid(w io.Writer, cfg GridConfig) error {
	cfg = cfg.withDefaults()
	views, err := NewViews(cfg.Views, cfg.Shape, Norm{})
	if err != nil {
		return err
	}
	step := int64(cfg.Cell + gap)
	width, height := step*int64(cfg.Columns+1)+gap, step*int64(len(cfg.Images))+gap
	if cfg.Columns < 1 || cfg.Cell < 1 || width > defaultMaxPixels/height {
		return fmt.Errorf("a sheet of %d x %d pixels is more than the %d allowed", width, height, defaultMaxPixels)
	}
	sheet := image.NewRGBA(image.Rect(0, 0, int(width), int(height)))
	for i := range sheet.Pix {
		sheet.Pix[i] = 255
	}
	for row, i := range cfg.Images {
		if err := gridRow(sheet, row, i, views, cfg); err != nil {
			return err
		}
	}
	out := bufio.NewWriter(w)
	if err := png.Encode(out, sheet); err != nil {
		return err
	}
	return out.Flush()
}

func gridRow(sheet *image.RGBA, row, i int, views *Views, cfg GridConfig) error {
	if i < 0 || i >= cfg.Dataset.Len() {
		return fmt.Errorf("no picture %d: the source has %d", i, cfg.Dataset.Len())
	}
	p, err := cfg.Dataset.Picture(i)
	if err != nil {
		return err
	}
	paste(sheet, row, 0, cfg.Cell, p)
	values := make([]float32, cfg.Shape.Elements())
	for k := range cfg.Columns {
		if err := views.Apply(values, p, Key{Seed: cfg.Seed, Epoch: cfg.Epoch, Image: i, View: k}); err != nil {
			return fmt.Errorf("%s: %w", nameOf(cfg.Dataset, i), err)
		}
		paste(sheet, row, k+1, cfg.Cell, pictureOf(values, cfg.Shape))
	}
	return nil
}

// pictureOf rounds values in [0, 1] to bytes.
func pictureOf(values []float32, s model.Shape) Picture {
	p := Picture{H: s.H, W: s.W, C: s.C, Pix: make([]uint8, len(values))}
	for i, v := range values {
		p.Pix[i] = uint8(clamp01(v)*255 + 0.5)
	}
	return p
}

// paste puts p into a cell of the sheet, as large as fits, its shape kept.
func paste(sheet *image.RGBA, row, column, cell int, p Picture) {
	longest := max(p.H, p.W)
	h, w := max(1, p.H*cell/longest), max(1, p.W*cell/longest)
	left, top := gap+column*(cell+gap), gap+row*(cell+gap)
	for y := range h {
		for x := range w {
			px := p.Pix[((y*p.H/h)*p.W+x*p.W/w)*p.C:]
			c := color.RGBA{px[0], px[0], px[0], 255}
			if p.C == 3 {
				c.G, c.B = px[1], px[2]
			}
			sheet.SetRGBA(left+x, top+y, c)
		}
	}
}
