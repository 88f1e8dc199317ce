package source

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/locorun/locorun/compiler/model"
)

// write puts files under a new directory and gives it.
func write(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func mustOpen(t *testing.T, s *model.Source, dir string) Dataset {
	t.Helper()
	d, err := Open(s, Options{FileDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// refuses opens a source and wants an error that holds each text.
func refuses(t *testing.T, s *model.Source, dir string, texts ...string) {
	t.Helper()
	d, err := Open(s, Options{FileDir: dir})
	if err == nil {
		d.Close()
		t.Fatalf("opened, want an error with %q", texts)
	}
	wantTexts(t, err, texts...)
}

func wantTexts(t *testing.T, err error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", texts)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q does not say %q", err, text)
		}
	}
}

// idxFile is an IDX file of bytes.
func idxFile(data []byte, dims ...uint32) []byte {
	out := []byte{0, 0, 8, byte(len(dims))}
	for _, d := range dims {
		out = binary.BigEndian.AppendUint32(out, d)
	}
	return append(out, data...)
}

func packed(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// ramp is n bytes that differ from their neighbours.
func ramp(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i/256)
	}
	return b
}

func TestPathsStayUnderTheDataDirectory(t *testing.T) {
	opt := Options{DataDir: "/data", FileDir: "/home"}
	if got, err := opt.locate("a/b"); err != nil || got != filepath.Join("/data", "a", "b") {
		t.Errorf("locate = %q, %v", got, err)
	}
	opt.DataDir = ""
	if got, err := opt.locate("a"); err != nil || got != filepath.Join("/home", "a") {
		t.Errorf("locate = %q, %v", got, err)
	}
	for _, path := range []string{"../a", "/etc/passwd", "a/../../b", ""} {
		if _, err := opt.locate(path); err == nil {
			t.Errorf("locate(%q) is allowed", path)
		} else {
			wantTexts(t, err, "leads out of the data directory", "--data")
		}
	}
	for _, kind := range []string{"idx", "cifar10", "cifar100", "stl10", "folder"} {
		refuses(t, &model.Source{Kind: kind, Paths: []string{"../x"}}, t.TempDir(), "leads out of the data directory")
	}
}

func TestUnknownKindsAndWrongNumbersOfPaths(t *testing.T) {
	refuses(t, &model.Source{Kind: "tar"}, "", `no source is called "tar"`)
	refuses(t, &model.Source{Kind: "idx"}, "", "idx takes a file of pictures and a file of labels, not 0 paths")
	for _, kind := range []string{"cifar10", "stl10", "folder"} {
		refuses(t, &model.Source{Kind: kind}, "", kind+" takes one directory, not 0 paths")
	}
}

func TestErrorNamesThePlace(t *testing.T) {
	tests := map[string]*Error{
		"f: bad":                    wrong("f", "bad"),
		"f: byte 4: bad":            wrongAt("f", 4, "bad"),
		"f: record 2, byte 40: bad": wrongRecord("f", 2, 40, "bad"),
	}
	for want, e := range tests {
		if e.Error() != want {
			t.Errorf("Error = %q, want %q", e, want)
		}
	}
	if !errors.Is(wrong("f", "%w", os.ErrNotExist), os.ErrNotExist) {
		t.Error("an Error hides its cause")
	}
}

// within fails the test where f has not returned in time.
func within(t *testing.T, limit time.Duration, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(limit):
		t.Fatalf("still busy after %v", limit)
	}
}
