//go:build unix

package source

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/locorun/locorun/compiler/model"
)

// Whatever stands where a file should: an error that names it, at once.
func TestThingsThatAreNoFiles(t *testing.T) {
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(filepath.Join(dir, "dir"), 0o700))
	must(syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	must(os.Symlink("loop", filepath.Join(dir, "loop")))
	for name, want := range map[string]string{
		"dir":  "is a directory, not a file",
		"pipe": "is not a regular file",
		"loop": "too many levels of symbolic links",
		"none": "no such file or directory",
	} {
		t.Run(name, func(t *testing.T) {
			within(t, 5*time.Second, func() {
				refuses(t, &model.Source{Kind: "idx", Paths: []string{name}}, dir, filepath.Join(dir, name), want)
			})
		})
	}
}

func TestThingsInAFolderThatAreNoPictures(t *testing.T) {
	for name, want := range map[string]string{
		"pipe.png": "pipe.png: is not a regular file",
		"loop.png": "loop.png: too many levels of symbolic links",
	} {
		t.Run(name, func(t *testing.T) {
			dir := write(t, map[string][]byte{"c/a.png": pngOf(t, painted(2, 2))})
			path := filepath.Join(dir, "c", name)
			make := func() error { return os.Symlink(name, path) }
			if name == "pipe.png" {
				make = func() error { return syscall.Mkfifo(path, 0o600) }
			}
			if err := make(); err != nil {
				t.Fatal(err)
			}
			within(t, 5*time.Second, func() { refuses(t, folderSource(), dir, want) })
		})
	}
}

// A pipe that takes a picture's place while it is in use is not waited for.
func TestPictureThatBecomesAPipe(t *testing.T) {
	dir := write(t, map[string][]byte{"c/a.png": pngOf(t, painted(2, 2))})
	d := mustOpen(t, folderSource(), dir)
	path := filepath.Join(dir, "c", "a.png")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	within(t, 5*time.Second, func() {
		_, err := d.Picture(0)
		wantTexts(t, err, "a.png: is not a regular file")
	})
}
