package export

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func put(text string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}
}

func contents(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// alone checks that a folder holds the one file.
func alone(t *testing.T, path string) {
	t.Helper()
	list, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].Name() != filepath.Base(path) {
		t.Errorf("the folder holds %v", list)
	}
}

func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.safetensors")
	for _, text := range []string{"first", "second", ""} {
		if err := WriteFile(path, put(text)); err != nil {
			t.Fatal(err)
		}
		if got := contents(t, path); got != text {
			t.Errorf("got %q, want %q", got, text)
		}
		alone(t, path)
	}
	s, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if s.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", s.Mode())
	}
}

func TestWriteFileKeepsTheOldOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w")
	if err := WriteFile(path, put("old")); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	err := WriteFile(path, func(w io.Writer) error {
		_, _ = io.WriteString(w, strings.Repeat("new", 1<<20))
		return boom
	})
	if !errors.Is(err, boom) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
	if got := contents(t, path); got != "old" {
		t.Errorf("got %.10q", got)
	}
	alone(t, path)
}

func TestWriteFileRefuses(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink("/dev/null", link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, os.DevNull, link} {
		err := WriteFile(path, put("x"))
		if err == nil || !strings.Contains(err.Error(), "not a plain file") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := WriteFile(filepath.Join(dir, "none", "f"), put("x")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}

// failing is a file system whose n-th operation fails.
type failing struct {
	osDisk
	left *int
}

var errDisk = errors.New("no space left")

func (d failing) step() error {
	*d.left--
	if *d.left == 0 {
		return errDisk
	}
	return nil
}

type failingFile struct {
	diskFile
	d failing
}

func (d failing) create(dir, pattern string) (diskFile, error) {
	if err := d.step(); err != nil {
		return nil, err
	}
	f, err := d.osDisk.create(dir, pattern)
	return failingFile{f, d}, err
}

func (d failing) rename(from, to string) error {
	return errors.Join(d.step(), skipIf(*d.left == 0, func() error { return d.osDisk.rename(from, to) }))
}

func (d failing) syncDir(dir string) error { return d.step() }

func (f failingFile) Write(p []byte) (int, error) {
	if err := f.d.step(); err != nil {
		n, _ := f.diskFile.Write(p[:len(p)/2])
		return n, err
	}
	return f.diskFile.Write(p)
}

func (f failingFile) Sync() error { return f.d.step() }

func (f failingFile) Close() error { return errors.Join(f.d.step(), f.diskFile.Close()) }

func skipIf(skip bool, do func() error) error {
	if skip {
		return nil
	}
	return do()
}

// TestWriteFileFailsAtEveryOperation fails the first, the second ... operation
// until a write meets none that fails.
func TestWriteFileFailsAtEveryOperation(t *testing.T) {
	const operations = 6 // create, write, sync, close, rename, sync of the folder
	for n := 1; ; n++ {
		path := filepath.Join(t.TempDir(), "w")
		if err := WriteFile(path, put("old")); err != nil {
			t.Fatal(err)
		}
		left := n
		err := writeFile(failing{left: &left}, path, put("new"))
		alone(t, path)
		if err == nil {
			if n != operations+1 || contents(t, path) != "new" {
				t.Errorf("wrote %q after %d operations", contents(t, path), n-1)
			}
			return
		}
		if !errors.Is(err, errDisk) || !strings.Contains(err.Error(), path) {
			t.Errorf("operation %d: %v", n, err)
		}
		want := "old"
		if n == operations {
			want = "new" // renamed; only its outliving a power cut is in doubt
		}
		if got := contents(t, path); got != want {
			t.Errorf("operation %d: %q is there, want %q", n, got, want)
		}
	}
}
