package source

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/locorun/locorun/compiler/model"
)

func idxSource(paths ...string) *model.Source { return &model.Source{Kind: "idx", Paths: paths} }

func TestIDXReadsPicturesAndLabels(t *testing.T) {
	images, labels := idxFile(ramp(3*4*5), 3, 4, 5), idxFile([]byte{2, 0, 2}, 3)
	for _, tt := range []struct {
		name  string
		files map[string][]byte
	}{
		{"plain", map[string][]byte{"x": images, "y": labels}},
		{"packed", map[string][]byte{"x": packed(t, images), "y": packed(t, labels)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := mustOpen(t, idxSource("x", "y"), write(t, tt.files))
			if d.Len() != 3 || d.Shape() != (model.Shape{H: 4, W: 5, C: 1}) {
				t.Fatalf("%d pictures of %v", d.Len(), d.Shape())
			}
			if got := d.Classes(); !slices.Equal(got, []string{"0", "1", "2"}) {
				t.Errorf("classes %v", got)
			}
			p, err := d.Picture(1)
			if err != nil || p.H != 4 || p.W != 5 || p.C != 1 || !bytes.Equal(p.Pix, ramp(60)[20:40]) {
				t.Errorf("picture 1 = %v, %v", p, err)
			}
			if d.Label(0) != 2 || d.Label(1) != 0 {
				t.Errorf("labels %d, %d", d.Label(0), d.Label(1))
			}
		})
	}
}

func TestIDXWithoutLabels(t *testing.T) {
	d := mustOpen(t, idxSource("x"), write(t, map[string][]byte{"x": idxFile(ramp(8), 2, 2, 2)}))
	if d.Label(0) != -1 || len(d.Classes()) != 0 {
		t.Errorf("label %d, classes %v", d.Label(0), d.Classes())
	}
}

func TestIDXFingerprint(t *testing.T) {
	print := func(images, labels []byte) string {
		return mustOpen(t, idxSource("x", "y"), write(t, map[string][]byte{"x": images, "y": labels})).Fingerprint()
	}
	images, labels := idxFile(ramp(16), 2, 2, 4), idxFile([]byte{0, 1}, 2)
	base := print(images, labels)
	if print(packed(t, images), packed(t, labels)) != base {
		t.Error("packing changes the fingerprint")
	}
	others := map[string]string{
		"shape": print(idxFile(ramp(16), 2, 4, 2), labels),
		"pixel": print(idxFile(ramp(17)[1:], 2, 2, 4), labels),
		"label": print(images, idxFile([]byte{1, 1}, 2)),
	}
	for name, other := range others {
		if other == base {
			t.Errorf("another %s leaves the fingerprint as it was", name)
		}
	}
}

func TestIDXRefuses(t *testing.T) {
	good, labels := idxFile(ramp(60), 3, 4, 5), idxFile([]byte{2, 0, 2}, 3)
	gz := packed(t, idxFile(make([]byte, 6000), 300, 4, 5))
	badSum := slices.Clone(gz)
	badSum[len(badSum)-8] ^= 1
	tests := []struct {
		name   string
		images []byte
		labels []byte
		texts  []string
	}{
		{"empty", nil, labels, []string{"/x: byte 0: ends before the magic number"}},
		{"short magic", good[:3], labels, []string{"byte 3: ends before the magic number"}},
		{"wrong magic", labels, labels, []string{"byte 0: magic number 00000801, want 00000803 (IDX, bytes, 3 dimensions)"}},
		{"floats", append([]byte{0, 0, 0x0d, 3}, good[4:]...), labels, []string{"magic number 00000d03"}},
		{"short header", good[:9], labels, []string{"byte 9: ends before the header"}},
		{"no pictures", idxFile(nil, 0, 4, 5), labels, []string{"byte 4: dimension 0 is 0"}},
		{"no columns", idxFile(nil, 3, 4, 0), labels, []string{"byte 12: dimension 2 is 0"}},
		{"truncated", good[:50], labels, []string{"byte 4: declares [3 4 5] elements, more than a file of its size holds"}},
		{"trailing", append(slices.Clone(good), 1), labels, []string{"byte 76: more bytes than the header declares"}},
		{"lying count", idxFile(ramp(60), 1<<32-1, 4, 5), labels, []string{"more than the 2147483648 bytes allowed"}},
		{"lying everything", idxFile(ramp(60), 1<<32-1, 1<<32-1, 1<<32-1), labels, []string{"bytes allowed"}},
		{"lying within bounds", idxFile(ramp(60), 1<<20, 32, 32), labels, []string{"more than a file of its size holds"}},
		{"packed lie", packed(t, idxFile(ramp(60), 1<<20, 32, 32)), labels, []string{"more than a file of its size holds"}},
		{"packed truncated inside", packed(t, good[:50]), labels, []string{"record 1, byte 50: ends before the 3 records declared"}},
		{"gzip truncated", gz[:len(gz)-12], labels, []string{"ends before"}},
		{"gzip sum", badSum, labels, []string{"byte 6016: broken before its end: gzip: invalid checksum"}},
		{"gzip header", []byte{0x1f, 0x8b, 7, 7}, labels, []string{"byte 0: broken gzip header"}},
		{"packed trailing", packed(t, append(slices.Clone(good), 9)), labels, []string{"byte 76: more bytes than"}},
		{"fewer labels", good, idxFile([]byte{1, 2}, 2), []string{"/y: holds 2 labels, but ", "/x holds 3 pictures"}},
		{"labels are pictures", good, good, []string{"/y: byte 0: magic number 00000803, want 00000801"}},
		{"labels truncated", good, labels[:10], []string{"/y: byte 4: declares [3] elements"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := write(t, map[string][]byte{"x": tt.images, "y": tt.labels})
			refuses(t, idxSource("x", "y"), dir, tt.texts...)
		})
	}
}

// No length at which a file was cut off is taken for a whole one.
func TestIDXRefusesEveryTruncation(t *testing.T) {
	good := idxFile(ramp(60), 3, 4, 5)
	for _, data := range [][]byte{good, packed(t, good)} {
		for n := range data {
			if _, _, err := parseIDX(bytes.NewReader(data[:n]), "x", int64(n), 3, 1<<20); err == nil {
				t.Fatalf("the first %d of %d bytes are taken", n, len(data))
			}
		}
	}
}

// Of a packed file a flipped bit is either harmless to the contents or an error.
func TestIDXNoticesFlippedBitsWherePacked(t *testing.T) {
	good := idxFile(ramp(6000), 300, 4, 5)
	gz := packed(t, good)
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		bad := slices.Clone(gz)
		bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
		dims, data, err := parseIDX(bytes.NewReader(bad), "x", int64(len(bad)), 3, 1<<20)
		if err == nil && (dims[0] != 300 || !bytes.Equal(data, good[16:])) {
			t.Fatal("silently different data")
		}
	}
}

// Zeros that unpack to a gigabyte cost no memory: the header is believed only
// within the limit, and what follows it is not read.
func TestIDXBomb(t *testing.T) {
	bomb := packed(t, idxFile(make([]byte, 64<<20), 1, 1, 1))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, _, err := parseIDX(bytes.NewReader(bomb), "x", int64(len(bomb)), 3, 1<<30); err == nil {
		t.Error("taken")
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 16<<20 {
		t.Errorf("%d bytes were allocated", got)
	}
	lying := packed(t, idxFile(make([]byte, 1<<20), 1<<10, 32, 1024))
	runtime.ReadMemStats(&before)
	if _, _, err := parseIDX(bytes.NewReader(lying), "x", 1<<20, 3, 1<<30); err == nil {
		t.Error("taken")
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 16<<20 {
		t.Errorf("%d bytes were allocated for a lie", got)
	}
}
