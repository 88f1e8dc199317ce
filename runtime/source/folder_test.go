package source

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/locorun/locorun/compiler/model"
)

// painted is an h x w image whose pixel (x, y) is (10x, 10y, 77).
func painted(h, w int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.SetNRGBA(x, y, color.NRGBA{uint8(10 * x), uint8(10 * y), 77, 255})
		}
	}
	return m
}

func pngOf(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func jpegOf(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: 95}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func folderSource() *model.Source { return &model.Source{Kind: "folder", Paths: []string{"."}} }

func TestFolderListsClassesAndPictures(t *testing.T) {
	dir := write(t, map[string][]byte{
		"dog/2.png": pngOf(t, painted(3, 4)), "dog/10.PNG": pngOf(t, painted(5, 2)),
		"cat/a.jpeg": jpegOf(t, painted(8, 8)), "cat/b.jpg": jpegOf(t, painted(9, 7)),
		"cat/.hidden.png": nil, "cat/notes.txt": []byte("x"), "readme.md": nil, ".git/x/y.png": nil,
	})
	d := mustOpen(t, folderSource(), dir)
	if got := d.Classes(); !slices.Equal(got, []string{"cat", "dog"}) {
		t.Fatalf("classes %q", got)
	}
	var names []string
	for i := range d.Len() {
		rel, _ := filepath.Rel(dir, nameOf(d, i))
		names = append(names, filepath.ToSlash(rel))
	}
	if want := []string{"cat/a.jpeg", "cat/b.jpg", "dog/10.PNG", "dog/2.png"}; !slices.Equal(names, want) {
		t.Errorf("pictures %q, want %q", names, want)
	}
	if d.Shape() != (model.Shape{C: 3}) || d.Label(1) != 0 || d.Label(2) != 1 {
		t.Errorf("shape %v, labels %d, %d", d.Shape(), d.Label(1), d.Label(2))
	}
	p, err := d.Picture(3)
	if err != nil || p.H != 3 || p.W != 4 || p.C != 3 {
		t.Fatalf("picture %d x %d x %d, %v", p.H, p.W, p.C, err)
	}
	if got := p.Pix[3*(2*4+1):][:3]; !bytes.Equal(got, []byte{10, 20, 77}) {
		t.Errorf("pixel = %v", got)
	}
	j, err := d.Picture(0)
	if err != nil || j.H != 8 || max(j.Pix[0], 8)-8 > 8 || j.Pix[2] < 60 {
		t.Errorf("JPEG of %d rows begins with %v, %v", j.H, j.Pix[:3], err)
	}
}

func TestFolderWithoutClassesIsUnlabelled(t *testing.T) {
	d := mustOpen(t, folderSource(), write(t, map[string][]byte{"b.png": pngOf(t, painted(2, 2)), "a.png": pngOf(t, painted(1, 3))}))
	if d.Len() != 2 || d.Label(0) != -1 || len(d.Classes()) != 0 {
		t.Errorf("%d pictures, label %d, classes %v", d.Len(), d.Label(0), d.Classes())
	}
}

func TestFolderFingerprintCoversNamesAndSizes(t *testing.T) {
	print := func(files map[string][]byte) string {
		return mustOpen(t, folderSource(), write(t, files)).Fingerprint()
	}
	base := print(map[string][]byte{"a/x.png": {1, 2}})
	if print(map[string][]byte{"a/x.png": {3, 4}}) != base {
		t.Error("not a function of names and sizes")
	}
	if print(map[string][]byte{"a/x.png": {1}}) == base || print(map[string][]byte{"b/x.png": {1, 2}}) == base {
		t.Error("another name or size goes unnoticed")
	}
}

func TestFolderRefuses(t *testing.T) {
	x := []byte("x")
	tests := []struct {
		name  string
		files map[string][]byte
		texts []string
	}{
		{"nothing", map[string][]byte{"notes.txt": x}, []string{"holds no class folders and no .png, .jpg or .jpeg pictures"}},
		{"both", map[string][]byte{"a.png": x, "c/b.png": x}, []string{`holds the picture "a.png" beside the folder "c"`}},
		{"deep", map[string][]byte{"c/d/b.png": x, "c/a.png": x}, []string{`/c: holds the folder "d": pictures lie at class/picture, no deeper`}},
		{"empty class", map[string][]byte{"c/x.txt": x, "d/a.png": x}, []string{"/c: holds no .png"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			refuses(t, folderSource(), write(t, tt.files), tt.texts...)
		})
	}
	refuses(t, &model.Source{Kind: "folder", Paths: []string{"none"}}, t.TempDir(), "none: no such file")
	refuses(t, &model.Source{Kind: "folder", Paths: []string{"f"}}, write(t, map[string][]byte{"f": x}), "f: not a directory")
}

func TestFolderDoesNotFollowLinksOut(t *testing.T) {
	outside := write(t, map[string][]byte{"x.png": pngOf(t, painted(2, 2))})
	dir := write(t, map[string][]byte{"c/a.png": pngOf(t, painted(2, 2))})
	if err := os.Symlink(filepath.Join(outside, "x.png"), filepath.Join(dir, "c", "b.png")); err != nil {
		t.Skip(err)
	}
	refuses(t, folderSource(), dir, "c/b.png: path escapes from parent")
	if err := os.Remove(filepath.Join(dir, "c", "b.png")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a.png", filepath.Join(dir, "c", "b.png")); err != nil {
		t.Fatal(err)
	}
	d := mustOpen(t, folderSource(), dir)
	if _, err := d.Picture(1); d.Len() != 2 || err != nil {
		t.Errorf("a link that stays inside: %d pictures, %v", d.Len(), err)
	}
}

func TestFolderPictureThatVanishes(t *testing.T) {
	dir := write(t, map[string][]byte{"c/a.png": pngOf(t, painted(2, 2))})
	d := mustOpen(t, folderSource(), dir)
	if err := os.Remove(filepath.Join(dir, "c", "a.png")); err != nil {
		t.Fatal(err)
	}
	_, err := d.Picture(0)
	wantTexts(t, err, filepath.Join("c", "a.png")+": no such file or directory")
	if err := os.Mkdir(filepath.Join(dir, "c", "a.png"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err = d.Picture(0)
	wantTexts(t, err, "a.png: is a directory, not a file")
}

// chunk is a PNG chunk.
func chunk(kind string, data []byte) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	out = append(append(out, kind...), data...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out[4:]))
}

// pngClaim is a PNG that declares w x h pixels of eight-bit colour and ends.
func pngClaim(w, h uint32) []byte {
	head := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, w), h)
	return slices.Concat([]byte("\x89PNG\r\n\x1a\n"), chunk("IHDR", append(head, 8, 2, 0, 0, 0)), chunk("IDAT", nil))
}

// jpegClaim is a real JPEG whose frame header declares w x h.
func jpegClaim(t testing.TB, w, h uint16) []byte {
	data := jpegOf(t, painted(16, 16))
	at := bytes.Index(data, []byte{0xff, 0xc0})
	binary.BigEndian.PutUint16(data[at+5:], h)
	binary.BigEndian.PutUint16(data[at+7:], w)
	return data
}

func gifOf(t testing.TB) []byte {
	var b bytes.Buffer
	if err := gif.Encode(&b, painted(4, 4), nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// What a header claims is refused before anything of its size is made.
func TestPictureBombs(t *testing.T) {
	scans := jpegClaim(t, 4000, 4000)
	comment := append([]byte{0xff, 0xfe, 0x20, 0x02}, bytes.Repeat([]byte{0xff, 0xda}, 0x1000)...)
	scans = slices.Concat(scans[:2], comment, scans[2:])
	good := pngOf(t, painted(20, 20))
	tests := []struct {
		name string
		data []byte
		text string
	}{
		{"empty", nil, "is empty"},
		{"text", []byte("hello world"), "is neither PNG nor JPEG: it begins with 68656c6c6f20776f"},
		{"GIF", gifOf(t), "is neither PNG nor JPEG"},
		{"PNG of 2^31 columns", pngClaim(1<<31-1, 1<<31-1), "broken PNG header"},
		{"PNG of 65535 squared", pngClaim(65535, 65535), "declares 65535 x 65535 pixels, more than the 16777216 allowed"},
		{"PNG of one column", pngClaim(1, 1<<30), "more than the 16777216 allowed"},
		{"PNG that is too small", pngClaim(4000, 4000), "declares 4000 x 4000 pixels, more than 45 bytes of PNG hold"},
		{"PNG without columns", pngClaim(0, 5), "broken PNG header"},
		{"JPEG of 65535 squared", jpegClaim(t, 65535, 65535), "declares 65535 x 65535 pixels"},
		{"JPEG without rows", jpegClaim(t, 5, 0), ""},
		{"JPEG of many scans", scans, "JPEG with 4097 scans of 4000 x 4000 pixels"},
		{"PNG truncated", good[:len(good)-20], "broken PNG"},
		{"JPEG header only", jpegOf(t, painted(4, 4))[:30], "broken JPEG header"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := decodePicture(bytes.NewReader(tt.data), int64(len(tt.data)), defaultMaxPixels)
			runtime.ReadMemStats(&after)
			wantTexts(t, err, tt.text)
			if got := after.TotalAlloc - before.TotalAlloc; got > 16<<20 {
				t.Errorf("%d bytes were allocated", got)
			}
		})
	}
}

func TestFolderRefusesLargeFiles(t *testing.T) {
	dir := write(t, map[string][]byte{"c/a.png": pngOf(t, painted(20, 20))})
	d, err := Open(folderSource(), Options{FileDir: dir, MaxFile: 50})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	_, err = d.Picture(0)
	wantTexts(t, err, filepath.Join("c", "a.png"), "more than the 50 allowed")
}

// A truncated picture is never a picture.
func TestTruncatedPictures(t *testing.T) {
	for name, data := range map[string][]byte{"PNG": pngOf(t, painted(20, 20)), "JPEG": jpegOf(t, painted(20, 20))} {
		for n := range len(data) - 14 { // the last bytes of either carry no pixels
			if _, err := decodePicture(bytes.NewReader(data[:n]), int64(n), 1<<20); err == nil {
				t.Fatalf("%s: the first %d of %d bytes are a picture", name, n, len(data))
			}
		}
	}
}

// Flipped bits give an error or a picture of a size allowed, never more. PNG
// has sums, so that there the pixels are the old ones.
func TestFlippedBits(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	data := pngOf(t, painted(20, 20))
	want := toRGB(painted(20, 20))
	for range 2000 {
		bad := slices.Clone(data)
		bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
		p, err := decodePicture(bytes.NewReader(bad), int64(len(bad)), 1<<20)
		if err == nil && (p.H != 20 || !bytes.Equal(p.Pix, want.Pix)) {
			t.Fatal("silently different pixels")
		}
	}
	data = jpegOf(t, painted(20, 20))
	for range 2000 {
		bad := slices.Clone(data)
		bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
		p, err := decodePicture(bytes.NewReader(bad), int64(len(bad)), 1<<20)
		if err == nil && (p.H*p.W > 1<<20 || len(p.Pix) != 3*p.H*p.W) {
			t.Fatalf("a picture of %d x %d with %d bytes", p.H, p.W, len(p.Pix))
		}
	}
}

func TestColourModels(t *testing.T) {
	const h, w = 2, 3
	rect := image.Rect(0, 0, w, h)
	fill := func(m interface{ Set(x, y int, c color.Color) }) {
		for y := range h {
			for x := range w {
				m.Set(x, y, color.NRGBA{200, 200, 200, 255})
			}
		}
	}
	grey, deep, rgba, deepGrey := image.NewGray(rect), image.NewNRGBA64(rect), image.NewRGBA(rect), image.NewGray16(rect)
	table := image.NewPaletted(rect, color.Palette{color.Black, color.NRGBA{200, 200, 200, 255}})
	offset := image.NewNRGBA(image.Rect(0, 0, 9, 9))
	for name, m := range map[string]interface {
		image.Image
		Set(x, y int, c color.Color)
	}{"grey": grey, "sixteen bits": deep, "RGBA": rgba, "grey of sixteen bits": deepGrey, "table": table, "NRGBA": offset} {
		fill(m)
		var of image.Image = m
		if name == "NRGBA" {
			of = offset.SubImage(image.Rect(0, 0, w, h))
		}
		p, err := decodePicture(bytes.NewReader(pngOf(t, of)), 1<<20, 1<<20)
		if err == nil {
			t.Errorf("%s: a size beyond the file's is taken", name)
		}
		data := pngOf(t, of)
		p, err = decodePicture(bytes.NewReader(data), int64(len(data)), 1<<20)
		if err != nil || p.H != h || p.W != w || p.C != 3 {
			t.Fatalf("%s: %d x %d x %d, %v", name, p.H, p.W, p.C, err)
		}
		for i, v := range p.Pix {
			if v != 200 {
				t.Fatalf("%s: value %d is %d, want 200", name, i, v)
			}
		}
	}
}
