package source

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"slices"
	"testing"

	"github.com/locorun/locorun/compiler/model"
)

// sized is pictures whose sizes vary from one to the next.
type sized struct{ fake }

func (d *sized) Picture(i int) (Picture, error) {
	if p, err := d.fake.Picture(i); err != nil {
		return p, err
	}
	return noise(1+i%9, 1+i%7, 3, uint64(i)), nil
}

// pixelsOf makes the views of a microbatch of sketches, and counts those that
// came made.
func pixelsOf(t *testing.T, v *Views, m *Microbatch) (pixels []float32, made int) {
	t.Helper()
	for i := range m.Sketches {
		s := &m.Sketches[i]
		if s.Made != nil {
			made++
			for at := 0; at < len(s.Made); at += 4 {
				pixels = append(pixels, math.Float32frombits(binary.LittleEndian.Uint32(s.Made[at:])))
			}
			continue
		}
		for k := range s.Views {
			row := make([]float32, v.shape.Elements())
			v.Make(row, s.Picture, &s.Views[k])
			pixels = append(pixels, row...)
		}
	}
	return pixels, made
}

// drainSketches reads a loader of sketches to its end, and makes their views.
func drainSketches(t *testing.T, cfg LoaderConfig) (all []Microbatch, made int) {
	t.Helper()
	l := mustLoader(t, cfg)
	for {
		m, err := l.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return all, made
		}
		if err != nil {
			t.Fatal(err)
		}
		kept := *m
		pixels, n := pixelsOf(t, l.views, m)
		made += n
		kept.Images, kept.Pixels, kept.Sketches, kept.tray = slices.Clone(m.Images), pixels, nil, nil
		all = append(all, kept)
		l.Release(m)
	}
}

// Views that are made of sketches are those that a loader makes, to the bit,
// whichever of them it has made itself, and however many workers there are.
func TestSketchesAreTheViews(t *testing.T) {
	steps := append([]model.View{{Kind: "flip", P: 0.5}, {Kind: "resize", H: 5}}, allSteps(4, 4)...)
	for _, c := range []struct {
		name   string
		bounds Bounds
		none   bool // is made by the loader
	}{
		{"all within the bounds", Bounds{100, 1000}, true},
		{"sides beyond them", Bounds{7, 1000}, false},
		{"values beyond them", Bounds{100, 5 * 7 * 3}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config(&sized{fake{n: 24}})
			cfg.Views, cfg.Recompute = steps, true
			want := byDefinition(t, cfg)
			cfg.Sketches = &c.bounds
			counts := map[int]bool{}
			for _, cfg.Workers = range []int{0, 3} {
				got, made := drainSketches(t, cfg)
				sameMicrobatches(t, got, want)
				counts[made] = true
				if c.none != (made == 0) || made == len(got)*4 {
					t.Errorf("%d pictures of %d came made", made, len(got)*4)
				}
			}
			if len(counts) != 1 {
				t.Errorf("how many come made depends on the workers: %v", counts)
			}
		})
	}
}

// A picture that does not fit into the place of its views comes made, and no
// memory is taken for it.
func TestLargePicturesComeMade(t *testing.T) {
	for side, made := range map[int]bool{6: true, 7: false} { // pictures are 6 x 6 x 3
		cfg := config(&fake{n: 8})
		cfg.Shape, cfg.Views, cfg.Norm = model.Shape{H: side, W: 2, C: 1}, allSteps(side, 2), Norm{}
		cfg.Sketches = &Bounds{100, 1000}
		m, err := mustLoader(t, cfg).Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for i := range m.Sketches {
			if got := m.Sketches[i].Made != nil; got != made {
				t.Errorf("views of %d x 2 values: made is %v", side, got)
			}
		}
		if got, want := int64(len(m.tray.bytes)*cfg.Buffers()), cfg.BufferBytes(); got != want || len(m.Pixels) > 0 {
			t.Errorf("a loader of sketches holds %d bytes and %d numbers, want %d", got, len(m.Pixels), want)
		}
	}
}

// A picture that cannot be read, or has no views, is the error that it is where
// views are made here.
func TestSketchesFailAsViewsDo(t *testing.T) {
	for _, c := range []struct {
		name  string
		data  *fake
		steps []model.View
		texts []string
	}{
		{"a broken picture", &fake{n: 8, bad: []int{3}}, allSteps(4, 4), []string{"fake.bin: record 3, byte 300: broken"}},
		{"a small one", &fake{n: 8}, []model.View{{Kind: "centre", H: 7, W: 7}}, []string{"too small for centre 7x7", "picture "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config(c.data)
			cfg.Views, cfg.Sketches = c.steps, &Bounds{100, 1000}
			l := mustLoader(t, cfg)
			var err error
			for err == nil {
				_, err = l.Next(context.Background())
			}
			wantTexts(t, err, c.texts...)
		})
	}
}

// Drawing recipes into one that is used again takes no memory.
func TestRecipesAllocateNothing(t *testing.T) {
	v, err := NewViews(allSteps(8, 8), model.Shape{H: 8, W: 8, C: 3}, Norm{})
	if err != nil {
		t.Fatal(err)
	}
	var r Recipe
	draw := func(i int) {
		if err := v.Recipe(&r, 20, 30, Key{Image: i}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 50 {
		draw(i)
	}
	i := 0
	if n := testing.AllocsPerRun(100, func() { draw(i % 50); i++ }); n > 0 {
		t.Errorf("%v allocations a recipe", n)
	}
}
