package check

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFiles reads what may be imported, and refuses what may not.
func TestFiles(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	write := func(path string, size int) {
		t.Helper()
		if err := os.WriteFile(path, []byte(strings.Repeat("a", size)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(outside, "secret.loco"), 3)
	write(filepath.Join(dir, "good.loco"), maxFileBytes)
	write(filepath.Join(dir, "large.loco"), maxFileBytes+1)
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"in.loco": "good.loco", "out.loco": filepath.Join(outside, "secret.loco")} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Skip("no symbolic links here: ", err)
		}
	}
	read := Files(dir)
	for _, path := range []string{"good.loco", "sub/../good.loco", "in.loco"} {
		if b, err := read(path); err != nil || len(b) != maxFileBytes {
			t.Errorf("%s: %d bytes, %v", path, len(b), err)
		}
	}
	for path, want := range map[string]string{
		"sub": "it is a directory", "large.loco": "it has more than 1 MiB",
		"out.loco": "path escapes from parent", "../x": "path escapes from parent",
	} {
		if _, err := read(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if _, err := read("none.loco"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}
