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
