package source

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"io"
)

// decodePicture decodes a PNG or JPEG file of size bytes to three channels.
// The header is read first and its claim held against maxPixels, the file's
// size and the number of scans, so that a small file cannot ask for much
// memory or time. Alpha is dropped, sixteen bits are cut to eight, a rotation
// noted in a JPEG's EXIF data is not carried out.
//
// A decoder that panics is an error here: what it reads comes from outside.
func decodePicture(f io.ReadSeeker, size, maxPixels int64) (p Picture, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the decoder failed: %v", r)
		}
	}()
	c, err := readHeader(f)
	if err != nil {
		return Picture{}, err
	}
	if err := c.plausible(size, maxPixels); err != nil {
		return Picture{}, err
	}
	data := make([]byte, size)
	if n, err := io.ReadFull(f, data); err != nil {
		return Picture{}, fmt.Errorf("%d of its %d bytes could be read: %w", n, size, err)
	}
	if err := c.scansBounded(data); err != nil {
		return Picture{}, err
	}
	img, err := c.format.decode(bytes.NewReader(data))
	if err != nil {
		return Picture{}, fmt.Errorf("broken %s: %w", c.format.name, err)
	}
	return toRGB(img), nil
}

// pictureFormat is a format with its decoder. The registry of package image is
// not asked: it would take whatever formats some package registered.
type pictureFormat struct {
	name   string
	magic  string
	config func(io.Reader) (image.Config, error)
	decode func(io.Reader) (image.Image, error)
}

func formatOf(head []byte) (pictureFormat, bool) {
	for _, f := range [...]pictureFormat{
		{"PNG", "\x89PNG\r\n\x1a\n", png.DecodeConfig, png.Decode},
		{"JPEG", "\xff\xd8", jpeg.DecodeConfig, jpeg.Decode},
	} {
		if bytes.HasPrefix(head, []byte(f.magic)) {
			return f, true
		}
	}
	return pictureFormat{}, false
}

// claim is what a header says.
type claim struct {
	format pictureFormat
	image.Config
}

// readHeader reads the header and goes back to the start.
func readHeader(f io.ReadSeeker) (c claim, err error) {
	in := bufio.NewReader(f)
	head, err := in.Peek(8)
	if len(head) == 0 {
		if errors.Is(err, io.EOF) {
			err = errors.New("is empty")
		}
		return c, err
	}
	var ok bool
	if c.format, ok = formatOf(head); !ok {
		return c, fmt.Errorf("is neither PNG nor JPEG: it begins with %x", head)
	}
	if c.Config, err = c.format.config(in); err != nil {
		return c, fmt.Errorf("broken %s header: %w", c.format.name, err)
	}
	_, err = f.Seek(0, io.SeekStart)
	return c, err
}

// plausible holds the declared size against the limit and the file's size.
func (c claim) plausible(size, maxPixels int64) error {
	pixels := int64(c.Width) * int64(c.Height)
	switch {
	case c.Width < 1 || c.Height < 1:
		return fmt.Errorf("declares %d x %d pixels", c.Width, c.Height)
	case pixels > maxPixels:
		return fmt.Errorf("declares %d x %d pixels, more than the %d allowed", c.Width, c.Height, maxPixels)
	case c.format.name == "PNG" && pixels/8 > deflateRatio*size: // one bit a pixel at least
		return fmt.Errorf("declares %d x %d pixels, more than %d bytes of PNG hold", c.Width, c.Height, size)
	}
	return nil
}

// A progressive JPEG may go over all its pixels again with every scan of a few
// bytes. Cameras and encoders make about ten.
const (
	freeScans    = 32
	scannedLimit = 1 << 30 // pixels times scans, beyond that
)

// scansBounded counts the markers that begin a scan; within a scan's own data
// those two bytes do not occur.
func (c claim) scansBounded(data []byte) error {
	if c.format.name != "JPEG" {
		return nil
	}
	scans := int64(bytes.Count(data, []byte{0xff, 0xda}))
	if scans > freeScans && scans*int64(c.Width)*int64(c.Height) > scannedLimit {
		return fmt.Errorf("JPEG with %d scans of %d x %d pixels", scans, c.Width, c.Height)
	}
	return nil
}
