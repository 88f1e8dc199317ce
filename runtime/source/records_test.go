package source

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/model"
)

// cifarRecords is n records of head label bytes, the last of them i modulo
// classes.
func cifarRecords(n, head, classes int) []byte {
	var out []byte
	for i := range n {
		record := make([]byte, head+3072)
		record[head-1] = byte(i % classes)
		copy(record[head:], ramp(3072 + i)[i:])
		out = append(out, record...)
	}
	return out
}

func cifar10Files(under string) map[string][]byte {
	files := map[string][]byte{under + "test_batch.bin": cifarRecords(2, 1, 10)}
	for _, b := range "12345" {
		files[under+"data_batch_"+string(b)+".bin"] = cifarRecords(3, 1, 10)
	}
	return files
}

func TestCIFAR10(t *testing.T) {
	for _, under := range []string{"", "cifar-10-batches-bin/"} {
		dir := write(t, cifar10Files(under))
		d := mustOpen(t, &model.Source{Kind: "cifar10", Paths: []string{"."}}, dir)
		if d.Len() != 15 || d.Shape() != (model.Shape{H: 32, W: 32, C: 3}) || len(d.Classes()) != 10 {
			t.Fatalf("%d pictures of %v, %d classes", d.Len(), d.Shape(), len(d.Classes()))
		}
		p, err := d.Picture(7) // record 1 of the third file
		if err != nil {
			t.Fatal(err)
		}
		planes := ramp(3073)[1:]
		for _, at := range []int{0, 1, 33, 1023} {
			want := []byte{planes[at], planes[1024+at], planes[2048+at]}
			if got := p.Pix[3*at : 3*at+3]; !bytes.Equal(got, want) {
				t.Errorf("pixel %d = %v, want %v", at, got, want)
			}
		}
		if d.Label(7) != 1 {
			t.Errorf("label %d", d.Label(7))
		}
		test := mustOpen(t, &model.Source{Kind: "cifar10", Paths: []string{"."}, Part: "test"}, dir)
		if test.Len() != 2 {
			t.Errorf("test part of %d", test.Len())
		}
	}
}

func TestCIFAR100TakesTheFineLabel(t *testing.T) {
	names := strings.Repeat("name\n", 100)
	dir := write(t, map[string][]byte{"train.bin": cifarRecords(120, 2, 100), "fine_label_names.txt": []byte(names)})
	d := mustOpen(t, &model.Source{Kind: "cifar100", Paths: []string{"."}}, dir)
	if d.Label(99) != 99 || d.Label(101) != 1 || d.Classes()[5] != "name" {
		t.Errorf("labels %d, %d; class %q", d.Label(99), d.Label(101), d.Classes()[5])
	}
}

func TestCIFARRefuses(t *testing.T) {
	good := cifarRecords(3, 1, 10)
	badLabel := slices.Clone(good)
	badLabel[2*3073] = 10
	tests := []struct {
		name   string
		change func(map[string][]byte)
		texts  []string
	}{
		{"missing file", func(f map[string][]byte) { delete(f, "data_batch_4.bin") }, []string{"data_batch_4.bin: no such file"}},
		{"empty file", func(f map[string][]byte) { f["data_batch_2.bin"] = nil }, []string{"data_batch_2.bin: is empty"}},
		{"within a record", func(f map[string][]byte) { f["data_batch_5.bin"] = good[:7000] },
			[]string{"data_batch_5.bin: record 2, byte 6146: ends within a record: 854 of its 3073 bytes are there"}},
		{"a byte too many", func(f map[string][]byte) { f["data_batch_5.bin"] = append(slices.Clone(good), 0) },
			[]string{"record 3, byte 9219: ends within a record: 1 of its 3073"}},
		{"label", func(f map[string][]byte) { f["data_batch_3.bin"] = badLabel },
			[]string{"data_batch_3.bin: record 2, byte 6146: label 10, want 0 to 9"}},
		{"names", func(f map[string][]byte) { f["batches.meta.txt"] = []byte("cat dog") },
			[]string{"batches.meta.txt: names 2 classes, want 10"}},
		{"many names", func(f map[string][]byte) { f["batches.meta.txt"] = make([]byte, 1<<17) },
			[]string{"batches.meta.txt: 131072 bytes of class names"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := cifar10Files("")
			tt.change(files)
			refuses(t, &model.Source{Kind: "cifar10", Paths: []string{"."}}, write(t, files), tt.texts...)
		})
	}
}

// A file that changes under a run is noticed when its picture is read.
func TestFilesThatChangeInUse(t *testing.T) {
	dir := write(t, map[string][]byte{"test.bin": cifarRecords(4, 2, 100)})
	d := mustOpen(t, &model.Source{Kind: "cifar100", Paths: []string{"."}, Part: "test"}, dir)
	path := filepath.Join(dir, "test.bin")
	if err := os.Truncate(path, 3*3074+100); err != nil {
		t.Fatal(err)
	}
	_, err := d.Picture(3)
	wantTexts(t, err, "test.bin: record 3, byte 9322: the file shrank to 9322 bytes while in use")
	if _, err := d.Picture(2); err != nil {
		t.Errorf("a record that is still there: %v", err)
	}
	other := cifarRecords(4, 2, 100)
	other[1] = 50
	if err := os.WriteFile(path, other, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = d.Picture(0)
	wantTexts(t, err, "record 0, byte 0: the label changed while the file was in use")
}

func stlFilesOf(n int) map[string][]byte {
	labels := make([]byte, n)
	for i := range labels {
		labels[i] = byte(i%10 + 1)
	}
	return map[string][]byte{
		"stl10_binary/train_X.bin":     ramp(n * 27648),
		"stl10_binary/train_y.bin":     labels,
		"stl10_binary/unlabeled_X.bin": ramp(2 * 27648),
	}
}

func TestSTL10(t *testing.T) {
	dir := write(t, stlFilesOf(3))
	d := mustOpen(t, &model.Source{Kind: "stl10", Paths: []string{"."}, Part: "train"}, dir)
	if d.Len() != 3 || d.Shape() != (model.Shape{H: 96, W: 96, C: 3}) || d.Label(2) != 2 || len(d.Classes()) != 10 {
		t.Fatalf("%d pictures of %v, label %d", d.Len(), d.Shape(), d.Label(2))
	}
	p, err := d.Picture(1)
	if err != nil {
		t.Fatal(err)
	}
	raw := ramp(3 * 27648)[27648:]
	for _, at := range []struct{ y, x, c int }{{0, 0, 0}, {5, 2, 1}, {95, 90, 2}} {
		want := raw[at.c*9216+at.x*96+at.y] // column by column
		if got := p.Pix[3*(at.y*96+at.x)+at.c]; got != want {
			t.Errorf("pixel %v = %d, want %d", at, got, want)
		}
	}
	un := mustOpen(t, &model.Source{Kind: "stl10", Paths: []string{"."}, Part: "unlabelled"}, dir)
	if un.Len() != 2 || un.Label(0) != -1 || len(un.Classes()) != 0 {
		t.Errorf("unlabelled: %d pictures, label %d", un.Len(), un.Label(0))
	}
	if un.Fingerprint() == d.Fingerprint() {
		t.Error("two parts have one fingerprint")
	}
}

func TestSTL10Refuses(t *testing.T) {
	tests := []struct {
		name   string
		part   string
		change func(map[string][]byte)
		texts  []string
	}{
		{"part", "dev", nil, []string{`stl10 has no part "dev": train, test or unlabelled`}},
		{"missing", "test", nil, []string{"test_X.bin: no such file"}},
		{"within a picture", "train", func(f map[string][]byte) { f["stl10_binary/train_X.bin"] = ramp(30000) },
			[]string{"train_X.bin: record 1, byte 27648: ends within a record: 2352 of its 27648"}},
		{"label count", "train", func(f map[string][]byte) { f["stl10_binary/train_y.bin"] = []byte{1, 2} },
			[]string{"train_y.bin: holds 2 labels, but ", "train_X.bin holds 3 pictures"}},
		{"label", "train", func(f map[string][]byte) { f["stl10_binary/train_y.bin"] = []byte{1, 2, 0} },
			[]string{"train_y.bin: record 2, byte 2: label 0, want 1 to 10"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := stlFilesOf(3)
			if tt.change != nil {
				tt.change(files)
			}
			refuses(t, &model.Source{Kind: "stl10", Paths: []string{"."}, Part: tt.part}, write(t, files), tt.texts...)
		})
	}
}

func TestSplit(t *testing.T) {
	whole := &model.Source{Kind: "synthetic", N: 50, Classes: 3, Size: [2]int{8, 8}}
	open := func(part string, seed uint64) Dataset {
		return mustOpen(t, &model.Source{Kind: "split", Of: whole, Fraction: 0.2, Part: part, Seed: seed}, "")
	}
	held, rest := open("held", 0), open("rest", 0)
	if held.Len() != 10 || rest.Len() != 40 {
		t.Fatalf("held %d, rest %d of 50", held.Len(), rest.Len())
	}
	seen := map[string]bool{}
	for _, d := range []Dataset{held, rest} {
		for i := range d.Len() {
			p, err := d.Picture(i)
			if err != nil {
				t.Fatal(err)
			}
			seen[string(p.Pix)] = true
		}
	}
	if len(seen) != 50 {
		t.Errorf("%d different pictures on the two sides of 50", len(seen))
	}
	kept := func(d Dataset) []int { return d.(*split).kept }
	if !slices.IsSorted(kept(held)) || !slices.Equal(kept(held), kept(open("held", 0))) {
		t.Error("a side is not in order, or not the same twice")
	}
	if slices.Equal(kept(held), kept(open("held", 1))) || held.Fingerprint() == rest.Fingerprint() {
		t.Error("seed or side make no difference")
	}
	if got, want := held.Label(0), kept(held)[0]%3; got != want {
		t.Errorf("label %d, want %d", got, want)
	}
}

func TestSplitRefuses(t *testing.T) {
	whole := &model.Source{Kind: "synthetic", N: 5, Classes: 2, Size: [2]int{8, 8}}
	refuses(t, &model.Source{Kind: "split", Of: whole, Fraction: 0.05}, "", "split: a share of 0.05 leaves one side of the 5 pictures empty")
	refuses(t, &model.Source{Kind: "split", Of: whole, Fraction: 0.99}, "", "leaves one side")
	refuses(t, &model.Source{Kind: "split", Of: whole, Fraction: 1}, "", "a share between 0 and 1")
	refuses(t, &model.Source{Kind: "split", Fraction: 0.5}, "", "split takes a source")
	refuses(t, &model.Source{Kind: "split", Of: whole, Fraction: 0.5, Part: "dev"}, "", `split has no part "dev"`)
	refuses(t, &model.Source{Kind: "split", Of: &model.Source{Kind: "tar"}, Fraction: 0.5}, "", "tar")
}
