package source

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/locorun/locorun/compiler/model"
)

// rounds is n, or many where LOCORUN_LONG asks for the long versions.
func rounds(n, many int) int {
	if os.Getenv("LOCORUN_LONG") != "" {
		return many
	}
	return n
}

// whole reads every picture and label of a data set.
func whole(d Dataset) (pixels, labels []byte, err error) {
	for i := range d.Len() {
		p, err := d.Picture(i)
		if err != nil {
			return nil, nil, err
		}
		pixels = append(pixels, p.Pix...)
		labels = append(labels, byte(d.Label(i)))
	}
	return pixels, labels, nil
}

// victim is a data set one of whose files is damaged.
type victim struct {
	name   string
	source *model.Source
	files  map[string][]byte
	file   string
	// sums is set where the file has sums, so that no flip goes unnoticed.
	sums bool
	// lead is the length of a header of which no flip goes unnoticed; record is
	// that of a record behind it, that begins with head bytes of a label.
	lead, record, head int
}

func victims(t *testing.T) []victim {
	images := idxFile(ramp(40*6*6), 40, 6, 6)
	labels := idxFile(bytes.Repeat([]byte{0, 1, 2, 3}, 10), 40)
	cifar := func() map[string][]byte { return map[string][]byte{"test_batch.bin": cifarRecords(5, 1, 10)} }
	stl := func() map[string][]byte { return stlFilesOf(3) }
	picture := func(data []byte) map[string][]byte {
		return map[string][]byte{"a/1.png": pngOf(t, painted(9, 9)), "b/x": nil, "b/2.jpg": data, "b/3.png": pngOf(t, painted(20, 20))}
	}
	return []victim{
		{name: "IDX images", source: idxSource("x", "y"), files: map[string][]byte{"x": images, "y": labels}, file: "x", lead: 16},
		{name: "IDX labels", source: idxSource("x", "y"), files: map[string][]byte{"x": images, "y": labels}, file: "y", lead: 8},
		{name: "IDX packed", source: idxSource("x", "y"), files: map[string][]byte{"x": packed(t, images), "y": labels}, file: "x", sums: true},
		{name: "CIFAR-10", source: &model.Source{Kind: "cifar10", Paths: []string{"."}, Part: "test"}, files: cifar(), file: "test_batch.bin", record: 3073, head: 1},
		{name: "STL-10 pictures", source: &model.Source{Kind: "stl10", Paths: []string{"."}, Part: "train"}, files: stl(), file: "stl10_binary/train_X.bin", record: 3 * stlPlane},
		{name: "STL-10 labels", source: &model.Source{Kind: "stl10", Paths: []string{"."}, Part: "train"}, files: stl(), file: "stl10_binary/train_y.bin", record: 1, head: 1},
		{name: "JPEG", source: folderSource(), files: picture(jpegOf(t, painted(20, 20))), file: "b/2.jpg"},
		{name: "PNG", source: folderSource(), files: picture(jpegOf(t, painted(20, 20))), file: "b/3.png", sums: true},
	}
}

// damaged opens and reads the data set with other bytes in its file.
func (v victim) damaged(t *testing.T, dir string, data []byte) (pixels, labels []byte, err error) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(v.file)), data, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(v.source, Options{FileDir: dir})
	if err != nil {
		return nil, nil, err
	}
	defer d.Close()
	return whole(d)
}

// TestEveryTruncation cuts a file of each format at random lengths: an error that
// names it, never fewer pictures or other ones. Two cuts are none: CIFAR files
// have no header, so that one that ends behind a record is a whole file of fewer
// records; and what stands behind a picture's end in its file is nothing of it.
func TestEveryTruncation(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for _, v := range victims(t) {
		t.Run(v.name, func(t *testing.T) {
			dir := write(t, v.files)
			good := v.files[v.file]
			pixels, labels, err := v.damaged(t, dir, good)
			if err != nil {
				t.Fatal(err)
			}
			for range rounds(60, 2000) {
				n := r.IntN(len(good))
				gotPixels, gotLabels, err := v.damaged(t, dir, good[:n])
				switch {
				case err != nil:
					wantTexts(t, err, filepath.Base(v.file))
				case v.name == "CIFAR-10" && n%v.record == 0 && bytes.HasPrefix(pixels, gotPixels) && len(gotLabels) == n/v.record:
				case !strings.HasSuffix(v.file, "g") || !bytes.Equal(gotPixels, pixels) || !bytes.Equal(gotLabels, labels):
					t.Fatalf("the first %d of %d bytes are taken for whole", n, len(good))
				}
			}
		})
	}
}

// TestEveryFlip flips bits at random: an error, or the same number of pictures
// of the same size; where a format has sums, or for its header, the same
// pictures.
func TestEveryFlip(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for _, v := range victims(t) {
		t.Run(v.name, func(t *testing.T) {
			dir := write(t, v.files)
			good := v.files[v.file]
			pixels, labels, err := v.damaged(t, dir, good)
			if err != nil {
				t.Fatal(err)
			}
			noticed, harmless := 0, 0
			for range rounds(150, 10_000) {
				bad := slices.Clone(good)
				at := r.IntN(len(bad))
				bad[at] ^= 1 << r.IntN(8)
				gotPixels, gotLabels, err := v.damaged(t, dir, bad)
				switch {
				case err != nil:
					noticed++
					wantTexts(t, err, filepath.Base(v.file))
				case bytes.Equal(gotPixels, pixels) && bytes.Equal(gotLabels, labels):
					harmless++
				case v.sums || at < v.lead:
					t.Fatalf("a flip in byte %d goes unnoticed and changes the data", at)
				case v.lead+v.record > 0:
					v.checkFlip(t, at, pixels, labels, gotPixels, gotLabels)
				}
			}
			t.Logf("%d noticed, %d without effect", noticed, harmless)
		})
	}
}

// checkFlip wants one byte changed, in what the flipped byte stands for.
func (v victim) checkFlip(t *testing.T, at int, pixels, labels, gotPixels, gotLabels []byte) {
	t.Helper()
	if len(gotPixels) != len(pixels) || len(gotLabels) != len(labels) {
		t.Fatalf("a flip in byte %d changes the size of the data", at)
	}
	n, m := differing(pixels, gotPixels), differing(labels, gotLabels)
	isLabel := v.record > 0 && at%v.record < v.head || v.file == "y"
	if isLabel && (n != 0 || m != 1) || !isLabel && (n != 1 || m != 0) {
		t.Fatalf("a flip in byte %d changes %d pixels and %d labels", at, n, m)
	}
}

func differing(a, b []byte) (n int) {
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

// TestUnreadableFiles reads what cannot be read: an error that names it, soon.
func TestUnreadableFiles(t *testing.T) {
	for _, v := range victims(t) {
		for name, make := range map[string]func(path string) error{
			"empty":     func(path string) error { return os.WriteFile(path, nil, 0o600) },
			"directory": func(path string) error { return os.Mkdir(path, 0o700) },
			"locked":    func(path string) error { return os.WriteFile(path, []byte("x"), 0) },
			"loop":      func(path string) error { return os.Symlink(filepath.Base(path), path) },
			"nowhere":   func(path string) error { return os.Symlink("nowhere", path) },
		} {
			if name == "locked" && os.Geteuid() == 0 {
				continue // who may read everything is not kept from it; it is short instead
			}
			if name == "directory" && strings.HasSuffix(v.file, "g") {
				continue // a folder in a class is told otherwise
			}
			t.Run(v.name+", "+name, func(t *testing.T) {
				dir := write(t, v.files)
				path := filepath.Join(dir, filepath.FromSlash(v.file))
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				if err := make(path); err != nil {
					t.Skip(err)
				}
				within(t, 5*time.Second, func() {
					d, err := Open(v.source, Options{FileDir: dir})
					if err == nil {
						defer d.Close()
						_, _, err = whole(d)
					}
					wantTexts(t, err, filepath.Base(v.file))
				})
			})
		}
	}
}

// TestFileThatChangesSize replaces a picture by a larger and a smaller one
// between two epochs.
func TestFileThatChangesSize(t *testing.T) {
	for name, other := range map[string][]byte{"grows": pngOf(t, painted(12, 30)), "shrinks": pngOf(t, painted(1, 1))} {
		t.Run(name, func(t *testing.T) {
			dir := write(t, map[string][]byte{"c/a.png": pngOf(t, painted(6, 6))})
			d := mustOpen(t, folderSource(), dir)
			if _, err := d.Picture(0); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "c", "a.png"), other, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := d.Picture(0)
			wantTexts(t, err, filepath.Join("c", "a.png")+": the file went from ", " bytes while in use")
		})
	}
}

// TestFileThatGrows adds a record to a file in use, and one to a file that is
// opened: the former is not seen, the latter is.
func TestFileThatGrows(t *testing.T) {
	dir := write(t, map[string][]byte{"test_batch.bin": cifarRecords(3, 1, 10)})
	s := &model.Source{Kind: "cifar10", Paths: []string{"."}, Part: "test"}
	d := mustOpen(t, s, dir)
	before, _, err := whole(d)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "test_batch.bin"), cifarRecords(5, 1, 10), 0o600); err != nil {
		t.Fatal(err)
	}
	after, _, err := whole(d)
	if err != nil || !bytes.Equal(after, before) {
		t.Errorf("pictures that are in use changed; %v", err)
	}
	if again := mustOpen(t, s, dir); again.Len() != 5 || again.Fingerprint() == d.Fingerprint() {
		t.Errorf("%d pictures, fingerprint %s", again.Len(), again.Fingerprint())
	}
}

// pngChunk is a chunk of a PNG file with its sum.
func pngChunk(kind string, data []byte) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	out = append(append(out, kind...), data...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out[4:]))
}

// TestBombs opens small files that ask for much: all are refused, for less than
// 16 MiB.
func TestBombs(t *testing.T) {
	gif := append([]byte("GIF89a\xff\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\xff\xff\xff\xff\x00"), "\x02\x02\x4c\x01\x00;"...)
	zeros := packed(t, make([]byte, 32<<20))
	text := slices.Concat([]byte("\x89PNG\r\n\x1a\n"), pngClaim(4, 4)[8:33],
		pngChunk("zTXt", append([]byte("comment\x00\x00"), zeros...)), pngChunk("IEND", nil))
	for _, c := range []struct {
		name   string
		source *model.Source
		file   string
		data   []byte
		text   string
	}{
		{"GIF called PNG", folderSource(), "c/a.png", gif[:34], "is neither PNG nor JPEG"},
		{"GIF called JPEG", folderSource(), "c/a.jpg", gif, "is neither PNG nor JPEG"},
		{"PNG of 255 x 1.6e9", folderSource(), "c/a.png", pngClaim(255, 1_600_000_000), "more than the 16777216 allowed"},
		{"PNG of 1.6e9 x 255", folderSource(), "c/a.png", pngClaim(1_600_000_000, 255), "more than the 16777216 allowed"},
		{"JPEG of 65535 squared", folderSource(), "c/a.jpg", jpegClaim(t, 65535, 65535), "declares 65535 x 65535 pixels"},
		{"PNG with a packed comment", folderSource(), "c/a.png", text, "broken PNG"},
		{"gzip in gzip", idxSource("x"), "x", packed(t, zeros), "magic number 1f8b"},
		{"gzip of a lie", idxSource("x"), "x", packed(t, append(idxFile(nil, 1<<10, 1<<10, 1<<10), make([]byte, 32<<20)...)), "more than a file of its size holds"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := write(t, map[string][]byte{c.file: c.data})
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			d, err := Open(c.source, Options{FileDir: dir})
			if err == nil {
				_, err = d.Picture(0)
				d.Close()
			}
			runtime.ReadMemStats(&after)
			wantTexts(t, err, filepath.Base(c.file), c.text)
			if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 {
				t.Errorf("%d bytes were allocated for a file of %d", n, len(c.data))
			}
		})
	}
}
