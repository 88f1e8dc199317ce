package source

import (
	"fmt"
	"hash"
	"io"
	"path/filepath"

	"github.com/locorun/locorun/compiler/model"
)

// The binary STL-10 format: X files of 96 x 96 pictures, each the planes red,
// green, blue, each plane column by column; y files of one byte a picture,
// classes from 1 to 10.
const (
	stlSide    = 96
	stlPlane   = stlSide * stlSide
	stlClasses = 10
)

// stl10 is one part of an STL-10 directory, read picture by picture. Its
// Fingerprint covers the sizes, all labels and 64 pictures spread evenly: the
// unlabelled part is 2.6 GB.
type stl10 struct {
	x       *recordFile
	labels  []uint8 // from 0; empty for the unlabelled part
	classes []string
	print   string
}

func openSTL10(s *model.Source, opt Options) (Dataset, error) {
	if len(s.Paths) != 1 {
		return nil, fmt.Errorf("stl10 takes one directory, not %d paths", len(s.Paths))
	}
	dir, err := opt.locate(s.Paths[0])
	if err != nil {
		return nil, err
	}
	x, y, err := stlFiles(s.Part)
	if err != nil {
		return nil, err
	}
	dir = findDir(dir, "stl10_binary", x)
	d := &stl10{}
	if d.x, err = openRecords(filepath.Join(dir, x), 3*stlPlane); err != nil {
		return nil, err
	}
	if err := d.open(dir, y); err != nil {
		d.x.f.Close()
		return nil, err
	}
	return d, nil
}

func stlFiles(part string) (x, y string, err error) {
	switch part {
	case "train", "":
		return "train_X.bin", "train_y.bin", nil
	case "test":
		return "test_X.bin", "test_y.bin", nil
	case "unlabelled":
		return "unlabeled_X.bin", "", nil
	}
	return "", "", fmt.Errorf("stl10 has no part %q: train, test or unlabelled", part)
}

func (d *stl10) open(dir, y string) (err error) {
	if y != "" {
		if err := d.readLabels(filepath.Join(dir, y)); err != nil {
			return err
		}
		if d.classes, err = classNames(filepath.Join(dir, "class_names.txt"), numbered(stlClasses)); err != nil {
			return err
		}
	}
	d.print, err = d.fingerprint()
	return err
}

func (d *stl10) readLabels(path string) error {
	f, size, err := openRegular(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if size != int64(d.x.count) {
		return wrong(path, "holds %d labels, but %s holds %d pictures", size, d.x.path, d.x.count)
	}
	d.labels = make([]uint8, size)
	if n, err := io.ReadFull(f, d.labels); err != nil {
		return wrongRecord(path, n, int64(n), "%w", cause(err))
	}
	for i, l := range d.labels {
		if l < 1 || l > stlClasses {
			return wrongRecord(path, i, int64(i), "label %d, want 1 to %d", l, stlClasses)
		}
		d.labels[i] = l - 1
	}
	return nil
}

func (d *stl10) fingerprint() (string, error) {
	const samples = 64
	var failed error
	print := digest("stl10", func(h hash.Hash) {
		fmt.Fprintln(h, d.x.count)
		h.Write(d.labels)
		buf := make([]byte, d.x.size)
		for i := range min(samples, d.x.count) {
			if err := d.x.read(i*d.x.count/min(samples, d.x.count), buf); err != nil {
				failed = err
				return
			}
			h.Write(buf)
		}
	})
	return print, failed
}

func (d *stl10) Len() int            { return d.x.count }
func (d *stl10) Shape() model.Shape  { return model.Shape{H: stlSide, W: stlSide, C: 3} }
func (d *stl10) Classes() []string   { return d.classes }
func (d *stl10) Fingerprint() string { return d.print }
func (d *stl10) Close() error        { return d.x.f.Close() }

func (d *stl10) Label(i int) int {
	if len(d.labels) == 0 {
		return -1
	}
	return int(d.labels[i])
}

func (d *stl10) Picture(i int) (Picture, error) {
	buf := d.x.borrow()
	defer d.x.giveBack(buf)
	if err := d.x.read(i, *buf); err != nil {
		return Picture{}, err
	}
	p := Picture{H: stlSide, W: stlSide, C: 3, Pix: make([]uint8, 3*stlPlane)}
	for c := range 3 {
		for x := range stlSide {
			column := (*buf)[c*stlPlane+x*stlSide:][:stlSide]
			for y, v := range column {
				p.Pix[3*(y*stlSide+x)+c] = v
			}
		}
	}
	return p, nil
}
