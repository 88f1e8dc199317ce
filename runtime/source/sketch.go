package source

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Sketch is an image whose views have been drawn and are still to be made.
type Sketch struct {
	Picture Picture
	Views   [perImage]Recipe
	// Made, where it is not nil, is the views themselves, in place of all else: both,
	// one after the other, H x W x C float32, little-endian.
	Made []byte
}

// Bounds say of which pictures views are made elsewhere; of others the loader makes
// them. Which they are depends on the picture and on what was drawn for it alone.
// A picture also has to fit into the place of its views, as float32s.
type Bounds struct {
	Side   int // largest height or width, before, after and between actions
	Values int // H x W x 3 after each, and the larger sides of before and after
}

// hold reports whether a picture and what is done to it keep within the bounds.
func (o Bounds) hold(p Picture, r *Recipe) bool {
	if max(p.H, p.W) > o.Side {
		return false
	}
	if len(r.Actions) == 0 || r.Actions[0].Kind != Resample { // then all of it is made numbers
		if 3*p.H*p.W > o.Values {
			return false
		}
	}
	for i := range r.Actions {
		a := &r.Actions[i]
		if a.Kind == Resample && (max(a.H, a.W) > o.Side || 3*max(a.H, a.CutH)*max(a.W, a.CutW) > o.Values) {
			return false
		}
	}
	return true
}

// room is the bytes that an image has in a tray of sketches: those of its views.
func (l *Loader) room() int { return 4 * l.values() }

// sketch draws the views of image number i of a tray, and makes them only where
// they are to be made here.
func (l *Loader) sketch(t *tray, i int) error {
	ds, key := l.cfg.Dataset, l.key(t, i)
	p, err := ds.Picture(key.Image)
	if err != nil {
		return err
	}
	s := &t.sketches[i]
	fits := p.H*p.W*p.C <= l.room()
	for key.View = range s.Views {
		r := &s.Views[key.View]
		if err := l.views.Recipe(r, p.H, p.W, key); err != nil {
			return fmt.Errorf("%s: %w", nameOf(ds, key.Image), err)
		}
		fits = fits && l.cfg.Sketches.hold(p, r)
	}
	room := t.bytes[i*l.room():][:l.room():l.room()]
	if !fits {
		s.Picture, s.Made = Picture{}, room
		l.make(room, p, s.Views[:])
		return nil
	}
	s.Picture, s.Made = p, nil
	s.Picture.Pix = room[:copy(room, p.Pix[:p.H*p.W*p.C])]
	return nil
}

// make makes views, one after another.
func (l *Loader) make(dst []byte, p Picture, recipes []Recipe) {
	values := make([]float32, l.cfg.Shape.Elements()) // rare, and short beside the work
	for i := range recipes {
		l.views.Make(values, p, &recipes[i])
		for _, v := range values {
			binary.LittleEndian.PutUint32(dst, math.Float32bits(v))
			dst = dst[4:]
		}
	}
}
