// Package disk is the seam through which a run writes: an interface for a
// directory tree, the operating system's implementation of it, and the one way
// in which a file is put in place.
//
//	journal, checkpoint, export --FS--> Root (the operating system's)
//	                                    in tests: one that loses power, one that fails
//
// What always holds:
//
//   - Names are relative, with slashes, and stay inside the tree; symbolic links
//     that lead out of it are refused.
//   - Files are made with mode 0600, directories with 0700.
//   - WriteFile leaves the old file or the new one, whole, whatever happens, and
//     when it returns without an error the new one outlives a power cut.
package disk

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
)

// FS is a directory tree that is read and written. What an implementation does
// to the disk, and no more, is what its methods say: nothing is durable before
// Sync for a file's bytes and SyncDir for the names in a directory.
type FS interface {
	// Create makes a file for writing; one that is there is fs.ErrExist.
	Create(name string) (File, error)
	// Append opens an ordinary file for writing at its end, and makes it if need
	// be; another kind is refused before it is opened.
	Append(name string) (File, error)
	// Open opens an ordinary file for reading; another kind is refused before
	// it is opened.
	Open(name string) (ReadFile, error)
	// Rename puts a file in the place of another, or of nothing.
	Rename(from, to string) error
	// Remove removes a file.
	Remove(name string) error
	// Mkdir makes a directory; its parent must be there, itself not
	// (fs.ErrExist).
	Mkdir(name string) error
	// List names what a directory holds, sorted; "." is the root.
	List(dir string) ([]string, error)
	// SyncDir makes the names in a directory durable.
	SyncDir(dir string) error
	// Close lets the tree go. Open files stay open.
	Close() error
}

// File is a file that is written.
type File interface {
	io.Writer
	// Sync makes the file's bytes durable. After it failed the file is to be
	// taken for lost: a second call may succeed though bytes are gone.
	Sync() error
	Truncate(size int64) error
	Close() error
}

// ReadFile is a file that is read.
type ReadFile interface {
	io.ReaderAt
	io.Closer
	Size() int64 // when it was opened
}

// Root is a directory of the operating system, and what lies below it.
type Root struct{ root *os.Root }

var _ FS = (*Root)(nil)

// Open opens a directory that is there.
func Open(dir string) (*Root, error) {
	r, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &Root{r}, nil
}

// Create implements FS.
func (r *Root) Create(name string) (File, error) {
	return r.open(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY)
}

// Append implements FS.
func (r *Root) Append(name string) (File, error) {
	if info, err := r.root.Stat(filepath.FromSlash(name)); err == nil && !info.Mode().IsRegular() {
		return nil, notOrdinary(name)
	}
	return r.open(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND)
}

func (r *Root) open(name string, flag int) (File, error) {
	f, err := r.root.OpenFile(filepath.FromSlash(name), flag, 0o600)
	if err != nil {
		return nil, err // a nil *os.File would not be a nil File
	}
	return f, nil
}

// Open implements FS.
func (r *Root) Open(name string) (ReadFile, error) {
	local := filepath.FromSlash(name)
	info, err := r.root.Stat(local)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, notOrdinary(name)
	}
	f, err := r.root.Open(local)
	if err != nil {
		return nil, err
	}
	return readFile{f, info.Size()}, nil
}

// notOrdinary is the refusal of a directory, a device, or a pipe, whose opening
// would wait for its other end.
func notOrdinary(name string) error {
	return &os.PathError{Op: "open", Path: name, Err: errors.New("is not an ordinary file")}
}

type readFile struct {
	*os.File
	size int64
}

// Size implements ReadFile.
func (f readFile) Size() int64 { return f.size }

// Rename implements FS.
func (r *Root) Rename(from, to string) error {
	return r.root.Rename(filepath.FromSlash(from), filepath.FromSlash(to))
}

// Remove implements FS.
func (r *Root) Remove(name string) error { return r.root.Remove(filepath.FromSlash(name)) }

// Mkdir implements FS.
func (r *Root) Mkdir(name string) error { return r.root.Mkdir(filepath.FromSlash(name), 0o700) }

// List implements FS.
func (r *Root) List(dir string) ([]string, error) {
	d, err := r.root.Open(filepath.FromSlash(dir))
	if err != nil {
		return nil, err
	}
	names, err := d.Readdirnames(-1)
	slices.Sort(names)
	return names, errors.Join(err, d.Close())
}

// SyncDir implements FS. Windows has no such call: its file system writes names
// down by itself.
func (r *Root) SyncDir(dir string) error {
	d, err := r.root.Open(filepath.FromSlash(dir))
	if err != nil {
		return err
	}
	if runtime.GOOS == "windows" {
		return d.Close()
	}
	return errors.Join(d.Sync(), d.Close())
}

// Close implements FS.
func (r *Root) Close() error { return r.root.Close() }
