// Package source turns files, or nothing at all, into pictures, and pictures
// into the rows of numbers that units read.
//
// In: the data, views and readout parts of a model.Net, and files whose bytes
// nobody vouches for. Out: microbatches in the order of the run, batches in the
// order of the source, sheets of augmented pictures for the eye.
//
//	model.Source --Open--> Dataset --Picture(i)--> uint8, H x W x C
//	                                                  |
//	                        Views: crop, flip, ... <--+-- key (seed, epoch, image, view)
//	                                                  |
//	                                                  v
//	  Loader --Next--> Microbatch          float32, [image, view] x H x W x C; or
//	                                       sketches, whose pixels a device makes
//	  Batches -------> Batch               float32, image x H x W x C, labels
//	  Grid ----------> PNG
//
// What always holds:
//
//   - A picture and a view of it are functions of their key: not of what was
//     read before, nor of the number of workers, nor of a clock.
//   - Nothing a file claims is believed before it was checked against the
//     file's own size and against Options; memory follows what is there, not
//     what is declared.
//   - What cannot be read is an *Error that names the file, and where there is
//     one the record and the byte offset. Nothing is skipped, nothing is
//     guessed.
//   - Datasets, Views and what they return are safe for use by many goroutines;
//     a Picture's pixels are never written to.
package source

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/locorun/locorun/compiler/model"
)

// Picture is H x W pixels of C channels (1 grey, 3 red-green-blue), row by
// row, the channels of a pixel side by side. Pix may be shared: read it only,
// and append nothing to it.
type Picture struct {
	H, W, C int
	Pix     []uint8
}

// Dataset is a row of pictures with labels. All methods are safe for use by
// several goroutines.
type Dataset interface {
	// Len is the number of pictures, at least 1.
	Len() int
	// Shape is the shape every picture has. H and W are 0 where they vary from
	// picture to picture; C never does.
	Shape() model.Shape
	// Classes are the names of the labels; none where nothing is labelled.
	Classes() []string
	// Label is the class of picture i, an index into Classes, or -1.
	Label(i int) int
	// Picture is picture i. An error names the file and the place in it.
	Picture(i int) (Picture, error)
	// Fingerprint tells data sets apart: equal for equal data, and as good as
	// never equal for others. What each kind puts into it stands at its type.
	Fingerprint() string
	// Close lets go of open files. No other method may be called afterwards.
	Close() error
}

// Options say where files lie and how much of them is borne. Zero limits stand
// for the defaults.
type Options struct {
	DataDir string // paths lie under it where it is set
	FileDir string // else under this, the directory of the .loco file

	MaxPixels   int64 // of one picture, width times height; default 16 Mi
	MaxFile     int64 // bytes of one picture's file; default 32 MiB
	MaxInflated int64 // bytes held in memory for one packed or IDX file; default 2 GiB
}

const (
	defaultMaxPixels   = 16 << 20
	defaultMaxFile     = 32 << 20
	defaultMaxInflated = 2 << 30
)

func (o Options) withDefaults() Options {
	set := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	set(&o.MaxPixels, defaultMaxPixels)
	set(&o.MaxFile, defaultMaxFile)
	set(&o.MaxInflated, defaultMaxInflated)
	return o
}

// locate gives the place of a path of the program in the file system.
func (o Options) locate(path string) (string, error) {
	if !filepath.IsLocal(path) {
		return "", fmt.Errorf("%q leads out of the data directory: paths lie under --data, else beside the .loco file", path)
	}
	dir := o.FileDir
	if o.DataDir != "" {
		dir = o.DataDir
	}
	return filepath.Join(dir, filepath.FromSlash(path)), nil
}

// Error is what is wrong with a file of a source.
type Error struct {
	File   string
	Record int   // of the file, from 0; below 0 where no record is meant
	Offset int64 // in bytes, after unpacking where packed; below 0 where none
	Err    error
}

// Error gives "file: record 3, byte 2368: what is wrong".
func (e *Error) Error() string {
	where := []string{}
	if e.Record >= 0 {
		where = append(where, fmt.Sprintf("record %d", e.Record))
	}
	if e.Offset >= 0 {
		where = append(where, fmt.Sprintf("byte %d", e.Offset))
	}
	if len(where) == 0 {
		return fmt.Sprintf("%s: %v", e.File, e.Err)
	}
	return fmt.Sprintf("%s: %s: %v", e.File, strings.Join(where, ", "), e.Err)
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// wrong makes an Error about a whole file.
func wrong(file, format string, args ...any) *Error {
	return &Error{File: file, Record: -1, Offset: -1, Err: fmt.Errorf(format, args...)}
}

// wrongAt makes an Error about a byte of a file.
func wrongAt(file string, offset int64, format string, args ...any) *Error {
	return &Error{File: file, Record: -1, Offset: offset, Err: fmt.Errorf(format, args...)}
}

// wrongRecord makes an Error about a record of a file.
func wrongRecord(file string, record int, offset int64, format string, args ...any) *Error {
	return &Error{File: file, Record: record, Offset: offset, Err: fmt.Errorf(format, args...)}
}

// Open opens a source: its headers, sizes and labels are checked, its pictures
// are read when asked for.
func Open(s *model.Source, opt Options) (Dataset, error) {
	opt = opt.withDefaults()
	switch s.Kind {
	case "idx":
		return openIDX(s, opt)
	case "cifar10", "cifar100":
		return openCIFAR(s, opt)
	case "stl10":
		return openSTL10(s, opt)
	case "folder":
		return openFolder(s, opt)
	case "synthetic":
		return openShapes(s, opt)
	case "split":
		return openSplit(s, opt)
	}
	return nil, fmt.Errorf("no source is called %q", s.Kind)
}

// openRegular opens a file for reading and gives its size. Anything but a
// regular file is refused before it is opened: opening a pipe would wait for
// its writer.
func openRegular(path string) (*os.File, int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, wrong(path, "%w", cause(err))
	}
	if err := regular(info); err != nil {
		return nil, 0, wrong(path, "%w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, wrong(path, "%w", cause(err))
	}
	return f, info.Size(), nil
}

func regular(info os.FileInfo) error {
	switch {
	case info.IsDir():
		return fmt.Errorf("is a directory, not a file")
	case !info.Mode().IsRegular():
		return fmt.Errorf("is not a regular file")
	}
	return nil
}

// cause strips the path that package os puts in front: an Error has one.
func cause(err error) error {
	if e, ok := err.(*os.PathError); ok {
		return e.Err
	}
	return err
}
