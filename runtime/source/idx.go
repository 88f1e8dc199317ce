package source

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strconv"

	"github.com/locorun/locorun/compiler/model"
)

// The format IDX, all numbers big-endian:
//
//	0  0  type  rank | size of each dimension, 4 bytes each | elements
//
// Type 8 is unsigned bytes, the only one read here. Pictures have rank 3
// (count, rows, columns), labels rank 1 (count). The file may be a gzip
// stream, told by its first two bytes.
const (
	idxBytes      = 0x08
	idxImagesRank = 3
	idxLabelsRank = 1
)

// deflateRatio is the most that a byte of a deflate stream can unpack to.
const deflateRatio = 1032

// idx is a pair of IDX files held in memory. Its Fingerprint is the SHA-256 of
// shape, pixels and labels.
type idx struct {
	shape   model.Shape
	pixels  []uint8
	labels  []uint8 // empty where unlabelled
	classes []string
	print   string
}

func openIDX(s *model.Source, opt Options) (Dataset, error) {
	if len(s.Paths) < 1 || len(s.Paths) > 2 {
		return nil, fmt.Errorf("idx takes a file of pictures and a file of labels, not %d paths", len(s.Paths))
	}
	path, err := opt.locate(s.Paths[0])
	if err != nil {
		return nil, err
	}
	dims, pixels, err := readIDX(path, idxImagesRank, opt)
	if err != nil {
		return nil, err
	}
	d := &idx{shape: model.Shape{H: dims[1], W: dims[2], C: 1}, pixels: pixels}
	if len(s.Paths) == 2 {
		if err := d.readLabels(path, s.Paths[1], opt); err != nil {
			return nil, err
		}
	}
	d.print = digest("idx", func(h hash.Hash) {
		fmt.Fprintln(h, d.shape)
		h.Write(d.pixels)
		h.Write(d.labels)
	})
	return d, nil
}

func (d *idx) readLabels(images, labels string, opt Options) error {
	path, err := opt.locate(labels)
	if err != nil {
		return err
	}
	dims, data, err := readIDX(path, idxLabelsRank, opt)
	if err != nil {
		return err
	}
	if dims[0] != d.Len() {
		return wrong(path, "holds %d labels, but %s holds %d pictures", dims[0], images, d.Len())
	}
	d.labels = data
	for _, l := range data {
		for len(d.classes) <= int(l) {
			d.classes = append(d.classes, strconv.Itoa(len(d.classes)))
		}
	}
	return nil
}

func (d *idx) Len() int            { return len(d.pixels) / d.shape.Elements() }
func (d *idx) Shape() model.Shape  { return d.shape }
func (d *idx) Classes() []string   { return d.classes }
func (d *idx) Fingerprint() string { return d.print }
func (d *idx) Close() error        { return nil }

func (d *idx) Label(i int) int {
	if len(d.labels) == 0 {
		return -1
	}
	return int(d.labels[i])
}

func (d *idx) Picture(i int) (Picture, error) {
	n := d.shape.Elements()
	return Picture{H: d.shape.H, W: d.shape.W, C: 1, Pix: d.pixels[i*n : (i+1)*n]}, nil
}

// readIDX reads one file of the given rank: its dimensions and its elements.
func readIDX(path string, rank int, opt Options) ([]int, []uint8, error) {
	f, size, err := openRegular(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	return parseIDX(f, path, size, rank, opt.MaxInflated)
}

// parseIDX reads a stream of size bytes, packed or plain. The name is for
// errors.
func parseIDX(r io.Reader, name string, size int64, rank int, limit int64) ([]int, []uint8, error) {
	in := bufio.NewReaderSize(r, 1<<16)
	x := &idxReader{in: in, name: name, fits: size}
	if magic, _ := in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, nil, wrongAt(name, 0, "broken gzip header: %w", err)
		}
		x.in, x.fits = z, deflateRatio*size
	}
	dims, err := x.header(rank)
	if err != nil {
		return nil, nil, err
	}
	data, err := x.elements(dims, limit)
	return dims, data, err
}

// idxReader reads one stream, unpacked.
type idxReader struct {
	in   io.Reader
	name string
	at   int64 // bytes read so far
	fits int64 // no stream of the file's size holds more bytes
}

func (x *idxReader) header(rank int) ([]int, error) {
	head := make([]byte, 4+4*rank)
	n, err := io.ReadFull(x.in, head[:4])
	if err != nil {
		return nil, x.ended(int64(n), err, "the magic number")
	}
	if want := []byte{0, 0, idxBytes, byte(rank)}; !bytes.Equal(head[:4], want) {
		return nil, wrongAt(x.name, 0, "magic number %x, want %x (IDX, bytes, %d dimensions)", head[:4], want, rank)
	}
	n, err = io.ReadFull(x.in, head[4:])
	if err != nil {
		return nil, x.ended(4+int64(n), err, "the header")
	}
	x.at = int64(len(head))
	dims := make([]int, rank)
	for i := range dims {
		dims[i] = int(binary.BigEndian.Uint32(head[4+4*i:]))
		if dims[i] == 0 {
			return nil, wrongAt(x.name, int64(4+4*i), "dimension %d is 0", i)
		}
	}
	return dims, nil
}

// elements reads the product of dims bytes and sees that nothing follows.
func (x *idxReader) elements(dims []int, limit int64) ([]uint8, error) {
	need := int64(1)
	for _, d := range dims {
		if need > limit/int64(d) {
			return nil, wrongAt(x.name, 4, "declares %v elements, more than the %d bytes allowed", dims, limit)
		}
		need *= int64(d)
	}
	if x.at+need > x.fits {
		return nil, wrongAt(x.name, 4, "declares %v elements, more than a file of its size holds", dims)
	}
	data, err := readGrowing(x.in, need)
	if err != nil {
		record := need / int64(dims[0])
		e := x.ended(x.at+int64(len(data)), err, fmt.Sprintf("the %d records declared", dims[0]))
		e.Record = int(int64(len(data)) / record)
		return nil, e
	}
	x.at += need
	return data, x.end()
}

// end sees that the stream ends here. For a packed one this also checks its
// sum.
func (x *idxReader) end() error {
	switch n, err := io.ReadFull(x.in, make([]byte, 1)); {
	case n > 0:
		return wrongAt(x.name, x.at, "more bytes than the header declares")
	case err != io.EOF:
		return x.ended(x.at, err, "its end")
	}
	return nil
}

// ended makes an Error about a stream that stopped before what.
func (x *idxReader) ended(at int64, err error, what string) *Error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return wrongAt(x.name, at, "ends before %s", what)
	}
	return wrongAt(x.name, at, "broken before %s: %w", what, err)
}

// readGrowing reads n bytes into memory that grows with what arrives, so that
// a stream shorter than declared costs no more than twice its length. With an
// error come the bytes before it.
func readGrowing(r io.Reader, n int64) ([]byte, error) {
	buf := make([]byte, 0, min(n, 1<<20))
	for int64(len(buf)) < n {
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), min(n, 2*int64(cap(buf))))
			copy(grown, buf)
			buf = grown
		}
		got, err := io.ReadFull(r, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+got]
		if err != nil {
			return buf, err
		}
	}
	return buf, nil
}

// digest is a fingerprint: the kind and a SHA-256 of what write writes.
func digest(kind string, write func(hash.Hash)) string {
	h := sha256.New()
	write(h)
	return fmt.Sprintf("%s:%x", kind, h.Sum(nil))
}

// fileSize is the size of an open file, for errors about ones that shrank.
func fileSize(f *os.File) int64 {
	info, err := f.Stat()
	if err != nil {
		return -1
	}
	return info.Size()
}
