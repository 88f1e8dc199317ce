package disktest

import (
	"slices"
	"sync"
	"syscall"

	"github.com/locorun/locorun/runtime/disk"
)

// Fault says which operation fails, and how.
type Fault struct {
	// At is the number of the operation, from 1. Reads and lists count.
	At int
	// Forever fails every operation from At on, not only that one.
	Forever bool
	// Err is what it fails with; nil is EIO.
	Err error
	// Kinds are those that fail; none is all. At counts only these.
	Kinds []Kind
	// Short lets a write do half of its work before it fails.
	Short bool
	// Late does the operation and then says that it failed.
	Late bool
}

// Errors is what a disk fails with, for tests that try each.
func Errors() []error { return []error{syscall.EIO, syscall.ENOSPC, syscall.EACCES} }

// Failing passes operations on to a tree but for those that fail. A sync that
// failed has lost the bytes: over a Memory, a second sync succeeds and they are
// not durable all the same. A close that fails closes.
type Failing struct {
	fs    disk.FS
	fault Fault

	mu     sync.Mutex
	count  int
	failed []Op
}

var _ disk.FS = (*Failing)(nil)

// Fail wraps a tree.
func Fail(tree disk.FS, f Fault) *Failing {
	if f.Err == nil {
		f.Err = syscall.EIO
	}
	return &Failing{fs: tree, fault: f}
}

// Failed are the operations that failed so far.
func (f *Failing) Failed() []Op {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}

// fails counts an operation and says whether it fails.
func (f *Failing) fails(kind Kind, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.fault.has(kind) {
		return nil
	}
	f.count++
	if f.count < f.fault.At || f.count > f.fault.At && !f.fault.Forever {
		return nil
	}
	f.failed = append(f.failed, Op{f.count, kind, name})
	return fail(kind, name, f.fault.Err)
}

func (f *Fault) has(kind Kind) bool {
	return len(f.Kinds) == 0 || slices.Contains(f.Kinds, kind)
}

// do passes an operation on, or fails it.
func (f *Failing) do(kind Kind, name string, run func() error) error {
	err := f.fails(kind, name)
	if err != nil && !f.fault.Late {
		return err
	}
	return first(err, run())
}

// first is the first error: joined, it would be no *fs.PathError any more.
func first(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// Create implements disk.FS.
func (f *Failing) Create(name string) (disk.File, error) {
	return f.file(Create, name, f.fs.Create)
}

// Append implements disk.FS.
func (f *Failing) Append(name string) (disk.File, error) {
	return f.file(Append, name, f.fs.Append)
}

func (f *Failing) file(kind Kind, name string, open func(string) (disk.File, error)) (disk.File, error) {
	var inner disk.File
	err := f.do(kind, name, func() (err error) {
		inner, err = open(name)
		return err
	})
	if err == nil {
		return &failingFile{f, inner, name}, nil
	}
	if inner != nil { // late: it was made, and nobody else will close it
		err = first(err, inner.Close())
	}
	return nil, err
}

// Open implements disk.FS.
func (f *Failing) Open(name string) (disk.ReadFile, error) {
	if err := f.fails(Open, name); err != nil {
		return nil, err
	}
	inner, err := f.fs.Open(name)
	if err != nil {
		return nil, err
	}
	return &failingReader{f, inner, name}, nil
}

// Rename implements disk.FS.
func (f *Failing) Rename(from, to string) error {
	return f.do(Rename, to, func() error { return f.fs.Rename(from, to) })
}

// Remove implements disk.FS.
func (f *Failing) Remove(name string) error {
	return f.do(Remove, name, func() error { return f.fs.Remove(name) })
}

// Mkdir implements disk.FS.
func (f *Failing) Mkdir(name string) error {
	return f.do(Mkdir, name, func() error { return f.fs.Mkdir(name) })
}

// List implements disk.FS.
func (f *Failing) List(dir string) ([]string, error) {
	if err := f.fails(List, dir); err != nil {
		return nil, err
	}
	return f.fs.List(dir)
}

// SyncDir implements disk.FS.
func (f *Failing) SyncDir(dir string) error {
	return f.do(SyncDir, dir, func() error { return f.fs.SyncDir(dir) })
}

// Close implements disk.FS.
func (f *Failing) Close() error { return f.fs.Close() }

type failingFile struct {
	f     *Failing
	inner disk.File
	name  string
}

// Write implements disk.File.
func (w *failingFile) Write(p []byte) (int, error) {
	err := w.f.fails(Write, w.name)
	if err == nil {
		return w.inner.Write(p)
	}
	n := 0
	switch {
	case w.f.fault.Late:
		n, _ = w.inner.Write(p)
	case w.f.fault.Short:
		n, _ = w.inner.Write(p[:len(p)/2])
	}
	return n, err
}

// Sync implements disk.File.
func (w *failingFile) Sync() error {
	err := w.f.fails(Sync, w.name)
	if err == nil || w.f.fault.Late {
		return first(err, w.inner.Sync())
	}
	if m, ok := w.inner.(interface{ forget() }); ok {
		m.forget()
	}
	return err
}

// Truncate implements disk.File.
func (w *failingFile) Truncate(size int64) error {
	return w.f.do(Truncate, w.name, func() error { return w.inner.Truncate(size) })
}

// Close implements disk.File.
func (w *failingFile) Close() error {
	return first(w.f.fails(Close, w.name), w.inner.Close())
}

type failingReader struct {
	f     *Failing
	inner disk.ReadFile
	name  string
}

// Size implements disk.ReadFile.
func (r *failingReader) Size() int64 { return r.inner.Size() }

// ReadAt implements disk.ReadFile.
func (r *failingReader) ReadAt(p []byte, off int64) (int, error) {
	if err := r.f.fails(Read, r.name); err != nil {
		return 0, err
	}
	return r.inner.ReadAt(p, off)
}

// Close implements disk.ReadFile.
func (r *failingReader) Close() error {
	return first(r.f.fails(Close, r.name), r.inner.Close())
}
