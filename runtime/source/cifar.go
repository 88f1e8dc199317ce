package source

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"path/filepath"
	"strconv"

	"github.com/locorun/locorun/compiler/model"
)

// The binary CIFAR formats: records of one (CIFAR-10) or two (CIFAR-100,
// coarse then fine) label bytes, then 1024 bytes each of red, green and blue,
// row by row.
const (
	cifarSide  = 32
	cifarPlane = cifarSide * cifarSide
)

// cifarKind is what tells the two apart.
type cifarKind struct {
	unpacked    string // folder that the published archive unpacks to
	train, test []string
	names       string // file of class names, need not be there
	head        int    // label bytes; the last one counts
	classes     int
}

func cifarKindOf(kind string) cifarKind {
	if kind == "cifar100" {
		return cifarKind{"cifar-100-binary", []string{"train.bin"}, []string{"test.bin"}, "fine_label_names.txt", 2, 100}
	}
	train := make([]string, 5)
	for i := range train {
		train[i] = fmt.Sprintf("data_batch_%d.bin", i+1)
	}
	return cifarKind{"cifar-10-batches-bin", train, []string{"test_batch.bin"}, "batches.meta.txt", 1, 10}
}

// cifar is a CIFAR directory. Labels are read and checked at once, pictures
// when asked for. Its Fingerprint is the SHA-256 of its files.
type cifar struct {
	kind    cifarKind
	files   []*recordFile
	file    []uint16 // of each record: index into files
	first   []int    // of each file: index of its first record
	labels  []uint8
	classes []string
	print   string
}

func openCIFAR(s *model.Source, opt Options) (Dataset, error) {
	if len(s.Paths) != 1 {
		return nil, fmt.Errorf("%s takes one directory, not %d paths", s.Kind, len(s.Paths))
	}
	dir, err := opt.locate(s.Paths[0])
	if err != nil {
		return nil, err
	}
	d := &cifar{kind: cifarKindOf(s.Kind)}
	names := d.kind.train
	if s.Part == "test" {
		names = d.kind.test
	}
	if err := d.open(findDir(dir, d.kind.unpacked, names[0]), names, s.Kind); err != nil {
		closeAll(d.files)
		return nil, err
	}
	return d, nil
}

func (d *cifar) open(dir string, names []string, kind string) (err error) {
	sum := sha256.New()
	for _, name := range names {
		if err := d.add(filepath.Join(dir, name), sum); err != nil {
			return err
		}
	}
	d.print = fmt.Sprintf("%s:%x", kind, sum.Sum(nil))
	d.classes, err = classNames(filepath.Join(dir, d.kind.names), numbered(d.kind.classes))
	return err
}

// add opens one file and reads its labels, hashing it on the way.
func (d *cifar) add(path string, sum hash.Hash) error {
	r, err := openRecords(path, d.kind.head+3*cifarPlane)
	if err != nil {
		return err
	}
	d.files = append(d.files, r)
	d.first = append(d.first, len(d.labels))
	in := bufio.NewReaderSize(io.NewSectionReader(r.f, 0, int64(r.count)*int64(r.size)), 1<<20)
	buf := make([]byte, r.size)
	for i := range r.count {
		if n, err := io.ReadFull(in, buf); err != nil {
			return wrongRecord(path, i, int64(i)*int64(r.size)+int64(n), "%w", cause(err))
		}
		at := d.kind.head - 1
		if int(buf[at]) >= d.kind.classes {
			return wrongRecord(path, i, int64(i)*int64(r.size)+int64(at), "label %d, want 0 to %d", buf[at], d.kind.classes-1)
		}
		sum.Write(buf)
		d.labels = append(d.labels, buf[at])
		d.file = append(d.file, uint16(len(d.files)-1))
	}
	return nil
}

func (d *cifar) Len() int            { return len(d.labels) }
func (d *cifar) Shape() model.Shape  { return model.Shape{H: cifarSide, W: cifarSide, C: 3} }
func (d *cifar) Classes() []string   { return d.classes }
func (d *cifar) Label(i int) int     { return int(d.labels[i]) }
func (d *cifar) Fingerprint() string { return d.print }
func (d *cifar) Close() error        { return closeAll(d.files) }

var errLabelChanged = errors.New("the label changed while the file was in use")

func (d *cifar) Picture(i int) (Picture, error) {
	r, record := d.files[d.file[i]], i-d.first[d.file[i]]
	buf := r.borrow()
	defer r.giveBack(buf)
	if err := r.read(record, *buf); err != nil {
		return Picture{}, err
	}
	if (*buf)[d.kind.head-1] != d.labels[i] {
		return Picture{}, wrongRecord(r.path, record, int64(record)*int64(r.size), "%w", errLabelChanged)
	}
	p := Picture{H: cifarSide, W: cifarSide, C: 3, Pix: make([]uint8, 3*cifarPlane)}
	planes := (*buf)[d.kind.head:][:3*cifarPlane]
	red, green, blue := planes[:cifarPlane], planes[cifarPlane:][:cifarPlane], planes[2*cifarPlane:][:cifarPlane]
	for k, v := range red {
		px := p.Pix[3*k:][:3]
		px[0], px[1], px[2] = v, green[k], blue[k]
	}
	return p, nil
}

// numbered gives the names "0" to n-1.
func numbered(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = strconv.Itoa(i)
	}
	return names
}
