//go:build unix

package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
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

// alone checks that a directory holds the one file.
func alone(t *testing.T, path string) {
	t.Helper()
	list, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].Name() != filepath.Base(path) {
		t.Errorf("the directory holds %v", list)
	}
}

func openRoot(t *testing.T) (*Root, string) {
	t.Helper()
	dir := t.TempDir()
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r, dir
}

func write(t *testing.T, f File, err error, text string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.WriteString(f, text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, tree FS, name string) string {
	t.Helper()
	f, err := tree.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRoot(t *testing.T) {
	r, dir := openRoot(t)
	if err := r.Mkdir("a"); err != nil {
		t.Fatal(err)
	}
	f, err := r.Create("a/x")
	write(t, f, err, "one")
	f, err = r.Append("a/x")
	write(t, f, err, " two")
	f, err = r.Append("a/y")
	write(t, f, err, "new")
	if got := read(t, r, "a/x"); got != "one two" {
		t.Errorf("read %q", got)
	}
	if err := errors.Join(r.Rename("a/x", "a/y"), r.SyncDir("a"), r.SyncDir(".")); err != nil {
		t.Fatal(err)
	}
	if names, err := r.List("a"); err != nil || !slices.Equal(names, []string{"y"}) {
		t.Errorf("a holds %v, %v", names, err)
	}
	f, err = r.Append("a/y")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(3), f.Close()); err != nil || contents(t, filepath.Join(dir, "a", "y")) != "one" {
		t.Errorf("truncated: %q, %v", contents(t, filepath.Join(dir, "a", "y")), err)
	}
	if err := r.Remove("a/y"); err != nil {
		t.Fatal(err)
	}
	if names, err := r.List("a"); err != nil || len(names) != 0 {
		t.Errorf("a holds %v, %v", names, err)
	}
}

func TestRootModes(t *testing.T) {
	r, dir := openRoot(t)
	if err := r.Mkdir("a"); err != nil {
		t.Fatal(err)
	}
	f, err := r.Create("a/x")
	write(t, f, err, "")
	f, err = r.Append("a/y")
	write(t, f, err, "")
	for name, want := range map[string]fs.FileMode{"a": fs.ModeDir | 0o700, "a/x": 0o600, "a/y": 0o600} {
		if s, err := os.Stat(filepath.Join(dir, name)); err != nil || s.Mode() != want {
			t.Errorf("%s: %v, %v", name, s.Mode(), err)
		}
	}
}

// TestRootRefuses: what is not there, what is there, what is no file and what
// lies outside.
func TestRootRefuses(t *testing.T) {
	r, dir := openRoot(t)
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o600),
		os.Mkdir(filepath.Join(dir, "dir"), 0o700),
		os.Symlink(t.TempDir(), filepath.Join(dir, "out")),
		os.Symlink(os.DevNull, filepath.Join(dir, "null")),
		syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	create := func(name string) error { _, err := r.Create(name); return err }
	adds := func(name string) error { _, err := r.Append(name); return err }
	open := func(name string) error { _, err := r.Open(name); return err }
	list := func(name string) error { _, err := r.List(name); return err }
	for _, c := range []struct {
		name string
		err  error
		want error // nil: any
	}{
		{"create again", create("file"), fs.ErrExist},
		{"create outside", create("../x"), nil},
		{"create by a link", create("out/x"), nil},
		{"create absolute", create(filepath.Join(dir, "x")), nil},
		{"create in nothing", create("none/x"), fs.ErrNotExist},
		{"append by a link", adds("out/x"), nil},
		{"append to a directory", adds("dir"), nil},
		{"open nothing", open("none"), fs.ErrNotExist},
		{"open a directory", open("dir"), nil},
		{"open a pipe", open("pipe"), nil},
		{"open a device outside", open("null"), nil},
		{"rename outside", r.Rename("file", "../x"), nil},
		{"rename by a link", r.Rename("file", "out/x"), nil},
		{"rename onto a directory", r.Rename("file", "dir"), nil},
		{"rename nothing", r.Rename("none", "x"), fs.ErrNotExist},
		{"remove nothing", r.Remove("none"), fs.ErrNotExist},
		{"remove outside", r.Remove("out/x"), nil},
		{"mkdir again", r.Mkdir("dir"), fs.ErrExist},
		{"mkdir in nothing", r.Mkdir("none/x"), fs.ErrNotExist},
		{"list outside", list(".."), nil},
		{"sync of nothing", r.SyncDir("none"), fs.ErrNotExist},
	} {
		if c.err == nil || c.want != nil && !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v", c.name, c.err)
		}
	}
	if got := contents(t, filepath.Join(dir, "file")); got != "x" {
		t.Errorf("file holds %q", got)
	}
	if _, err := Open(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open of no directory: %v", err)
	}
}

func TestWriteFile(t *testing.T) {
	r, dir := openRoot(t)
	path := filepath.Join(dir, "w")
	for _, text := range []string{"first", "second", "", strings.Repeat("long", 1<<18)} {
		if err := WriteFile(r, "w", put(text)); err != nil {
			t.Fatal(err)
		}
		if got := contents(t, path); got != text {
			t.Errorf("got %.10q, want %.10q", got, text)
		}
		alone(t, path)
	}
	if s, err := os.Stat(path); err != nil || s.Mode() != 0o600 {
		t.Errorf("mode %v, %v", s.Mode(), err)
	}
}

// TestWriteFileBesideALeftover: a temporary file of a killed process is neither
// used nor in the way, and is recognised.
func TestWriteFileBesideALeftover(t *testing.T) {
	r, dir := openRoot(t)
	for n := range 2 {
		f, err := r.Create(fmt.Sprintf(".w.%d%s", n, TempSuffix))
		write(t, f, err, "half")
	}
	if err := WriteFile(r, "w", put("whole")); err != nil || contents(t, filepath.Join(dir, "w")) != "whole" {
		t.Fatal(err)
	}
	names, err := r.List(".")
	if err != nil || !slices.Equal(names, []string{".w.0.tmp", ".w.1.tmp", "w"}) {
		t.Errorf("%v, %v", names, err)
	}
}

func TestTarget(t *testing.T) {
	for temp, want := range map[string]string{
		".w.0.tmp": "w", ".a.b.12.tmp": "a.b", "..w.3.tmp": ".w",
		"w.0.tmp": "", ".w.tmp": "", ".w.0": "", "..0.tmp": "", ".w.01.tmp": "", ".w.-1.tmp": "", ".w.x.tmp": "", ".tmp": "", "": "",
	} {
		if got, ok := Target(temp); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v; want %q", temp, got, ok, want)
		}
	}
}

func TestWritePathKeepsTheOldOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w")
	if err := WritePath(path, put("old")); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	err := WritePath(path, func(w io.Writer) error {
		_, _ = io.WriteString(w, strings.Repeat("new", 1<<20))
		return boom
	})
	if !errors.Is(err, boom) || err.Error() != "write "+path+": boom" {
		t.Errorf("got %v", err)
	}
	if got := contents(t, path); got != "old" {
		t.Errorf("got %.10q", got)
	}
	alone(t, path)
}

func TestWritePathRefuses(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(os.DevNull, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, os.DevNull, link} {
		err := WritePath(path, put("x"))
		if err == nil || err.Error() != "write "+path+": it is there and not a plain file" {
			t.Errorf("%s: %v", path, err)
		}
	}
	path := filepath.Join(dir, "none", "f")
	if err := WritePath(path, put("x")); !errors.Is(err, fs.ErrNotExist) || err.Error() != "write "+path+": open: no such file or directory" {
		t.Errorf("no directory: %v", err)
	}
}

// TestCauseNamesNoFile: the text loses the name, the chain keeps the error.
func TestCauseNamesNoFile(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{&fs.PathError{Op: "write", Path: "secret", Err: syscall.ENOSPC}, "write: no space left on device"},
		{&os.LinkError{Op: "renameat", Old: "secret", New: "secret", Err: syscall.EIO}, "renameat: input/output error"},
		{io.ErrShortWrite, "short write"},
	} {
		if got := Cause(c.err); got.Error() != c.want || !errors.Is(got, c.err) {
			t.Errorf("%v: %v", c.err, got)
		}
	}
	if Cause(nil) != nil {
		t.Error("an error of nothing")
	}
}
