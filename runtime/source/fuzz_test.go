package source

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/model"
)

// counter counts what is read of it.
type counter struct {
	io.Reader
	n int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

// Whatever bytes come: an error that names file and place, or exactly the
// elements declared, within the limit and in no more memory than they need.
func FuzzIDX(f *testing.F) {
	good := idxFile(ramp(60), 3, 4, 5)
	f.Add(good)
	f.Add(good[:50])
	f.Add(append([]byte{0, 0, 8, 3}, bytes.Repeat([]byte{0xff}, 12)...))
	f.Add(packed(f, good))
	f.Add(packed(f, idxFile(make([]byte, 4096), 1<<20, 64, 64)))
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 1 << 22
		in := &counter{Reader: bytes.NewReader(data)}
		dims, elements, err := parseIDX(in, "dir/x", int64(len(data)), 3, limit)
		if err != nil {
			if text := err.Error(); !strings.HasPrefix(text, "dir/x: ") || !strings.Contains(text, "byte ") {
				t.Errorf("the error names no file or no place: %s", text)
			}
			return
		}
		if dims[0]*dims[1]*dims[2] != len(elements) || len(elements) > limit || cap(elements) > 2*len(elements)+4096 {
			t.Errorf("%v declared, %d read into %d bytes", dims, len(elements), cap(elements))
		}
		if in.n != len(data) {
			t.Errorf("%d of %d bytes were read and the rest goes unnoticed", in.n, len(data))
		}
	})
}

// Whatever bytes come: an error, or labels below ten and pictures whose bytes
// are the file's.
func FuzzCIFAR(f *testing.F) {
	f.Add(cifarRecords(2, 1, 10))
	f.Add(cifarRecords(1, 1, 10)[:3000])
	f.Add([]byte{})
	f.Add(append(cifarRecords(1, 1, 10), 11))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, "test_batch.bin"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := Open(&model.Source{Kind: "cifar10", Paths: []string{"."}, Part: "test"}, Options{FileDir: dir})
		if err != nil {
			if !strings.Contains(err.Error(), "test_batch.bin: ") {
				t.Errorf("the error names no file: %v", err)
			}
			return
		}
		defer d.Close()
		if d.Len()*3073 != len(data) {
			t.Fatalf("%d records of %d bytes", d.Len(), len(data))
		}
		last := d.Len() - 1
		p, err := d.Picture(last)
		if err != nil {
			t.Fatal(err)
		}
		if d.Label(last) > 9 || p.Pix[0] != data[last*3073+1] {
			t.Errorf("label %d, first byte %d", d.Label(last), p.Pix[0])
		}
	})
}

// Whatever bytes come: an error, or a picture within the limit.
func FuzzImage(f *testing.F) {
	f.Add(pngOf(f, painted(5, 6)))
	f.Add(jpegOf(f, painted(5, 6)))
	f.Add(pngClaim(65535, 65535))
	f.Add(jpegClaim(f, 65535, 65535))
	f.Add(gifOf(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 1 << 16
		p, err := decodePicture(bytes.NewReader(data), int64(len(data)), limit)
		if err == nil && (p.C != 3 || p.H < 1 || p.W < 1 || p.H*p.W > limit || len(p.Pix) != 3*p.H*p.W) {
			t.Errorf("a picture of %d x %d x %d in %d bytes", p.H, p.W, p.C, len(p.Pix))
		}
	})
}
