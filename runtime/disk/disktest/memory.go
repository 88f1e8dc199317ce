package disktest

import (
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/locorun/locorun/runtime/disk"
)

// Memory is a tree in memory. Several goroutines may use it.
type Memory struct {
	// Before and After, where set, are called around each operation, outside the
	// lock: they may call Crash. A panic in one is the way to stop there.
	Before, After func(Op)
	// AnyOrder lets Crash keep a name operation though it loses an earlier one
	// in the same directory, as a file system without a journal may.
	AnyOrder bool

	mu    sync.Mutex
	count int
	root  *dir
}

var _ disk.FS = (*Memory)(nil)

// NewMemory is an empty tree.
func NewMemory() *Memory { return &Memory{root: newDir()} }

// entry is what a name stands for: a *dir or a *file.
type entry any

// dir is a directory: the names that a reader sees, those that are durable, and
// the operations that lead from these to those.
type dir struct {
	now, durable map[string]entry
	log          []nameOp
}

// nameOp sets names at once; nil takes one away.
type nameOp map[string]entry

func newDir() *dir { return &dir{now: map[string]entry{}, durable: map[string]entry{}} }

// apply does an operation that is not durable yet.
func (d *dir) apply(op nameOp) {
	op.on(d.now)
	d.log = append(d.log, op)
}

func (op nameOp) on(names map[string]entry) {
	for n, e := range op {
		if e == nil {
			delete(names, n)
		} else {
			names[n] = e
		}
	}
}

func (d *dir) sync() {
	d.durable, d.log = maps.Clone(d.now), nil
}

// do runs one operation between the hooks.
func (m *Memory) do(kind Kind, name string, run func() error) error {
	m.mu.Lock()
	m.count++
	op := Op{m.count, kind, name}
	m.mu.Unlock()
	if m.Before != nil {
		m.Before(op)
	}
	err := m.locked(run)
	if m.After != nil {
		m.After(op)
	}
	return err
}

func (m *Memory) locked(run func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return run()
}

// Ops is the number of operations so far.
func (m *Memory) Ops() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.count
}

// fail is the error of an operation on a name.
func fail(kind Kind, name string, err error) error {
	return &fs.PathError{Op: string(kind), Path: name, Err: err}
}

var (
	errNoFile = errors.New("is not an ordinary file")
	errNoDir  = errors.New("is not a directory")
)

// directory finds a directory.
func (m *Memory) directory(name string) (*dir, error) {
	if !fs.ValidPath(name) {
		return nil, fs.ErrInvalid
	}
	d := m.root
	if name == "." {
		return d, nil
	}
	for part := range strings.SplitSeq(name, "/") {
		e, ok := d.now[part]
		if !ok {
			return nil, fs.ErrNotExist
		}
		if d, ok = e.(*dir); !ok {
			return nil, errNoDir
		}
	}
	return d, nil
}

// parent finds the directory that a name lies in, and the name's last part.
func (m *Memory) parent(name string) (*dir, string, error) {
	if name == "." {
		return nil, "", fs.ErrInvalid
	}
	d, err := m.directory(path.Dir(name))
	if err == nil && !fs.ValidPath(name) {
		err = fs.ErrInvalid
	}
	return d, path.Base(name), err
}

// ordinary finds a file that is there.
func (m *Memory) ordinary(name string) (*dir, string, *file, error) {
	d, base, err := m.parent(name)
	if err != nil {
		return nil, "", nil, err
	}
	e, ok := d.now[base]
	if !ok {
		return d, base, nil, fs.ErrNotExist
	}
	f, ok := e.(*file)
	if !ok {
		return d, base, nil, errNoFile
	}
	return d, base, f, nil
}

// Create implements disk.FS.
func (m *Memory) Create(name string) (disk.File, error) {
	return m.open(Create, name, func(there error) (bool, error) {
		if there == nil || errors.Is(there, errNoFile) {
			return false, fs.ErrExist
		}
		return errors.Is(there, fs.ErrNotExist), there
	})
}

// Append implements disk.FS.
func (m *Memory) Append(name string) (disk.File, error) {
	return m.open(Append, name, func(there error) (bool, error) {
		return errors.Is(there, fs.ErrNotExist), there
	})
}

// open opens a file for writing. make is told whether one is there (nil) and
// says whether to make one, or else what is wrong.
func (m *Memory) open(kind Kind, name string, make func(there error) (bool, error)) (disk.File, error) {
	var h *handle
	err := m.do(kind, name, func() error {
		d, base, f, there := m.ordinary(name)
		fresh, err := make(there)
		switch {
		case fresh && d != nil:
			f = &file{}
			d.apply(nameOp{base: f})
		case err != nil:
			return fail(kind, name, err)
		}
		h = &handle{m: m, f: f, name: name}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return h, nil
}

// Open implements disk.FS.
func (m *Memory) Open(name string) (disk.ReadFile, error) {
	var r *reader
	err := m.do(Open, name, func() error {
		_, _, f, err := m.ordinary(name)
		if err != nil {
			return fail(Open, name, err)
		}
		r = &reader{m: m, f: f, name: name, size: int64(len(f.now))}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Rename implements disk.FS. Within a directory it is one operation; between
// two it is one in each, and a crash may keep either.
func (m *Memory) Rename(from, to string) error {
	return m.do(Rename, to, func() error {
		a, old, f, err := m.ordinary(from)
		if err != nil {
			return fail(Rename, from, err)
		}
		b, base, _, err := m.ordinary(to)
		if errors.Is(err, errNoFile) {
			err = fs.ErrExist
		}
		if err != nil && (b == nil || !errors.Is(err, fs.ErrNotExist)) {
			return fail(Rename, to, err)
		}
		switch {
		case a == b && old == base:
		case a == b:
			a.apply(nameOp{old: nil, base: f})
		default:
			b.apply(nameOp{base: f})
			a.apply(nameOp{old: nil})
		}
		return nil
	})
}

// Remove implements disk.FS.
func (m *Memory) Remove(name string) error {
	return m.do(Remove, name, func() error {
		d, base, _, err := m.ordinary(name)
		if err != nil {
			return fail(Remove, name, err)
		}
		d.apply(nameOp{base: nil})
		return nil
	})
}

// Mkdir implements disk.FS.
func (m *Memory) Mkdir(name string) error {
	return m.do(Mkdir, name, func() error {
		d, base, err := m.parent(name)
		if err != nil {
			return fail(Mkdir, name, err)
		}
		if _, ok := d.now[base]; ok {
			return fail(Mkdir, name, fs.ErrExist)
		}
		d.apply(nameOp{base: newDir()})
		return nil
	})
}

// List implements disk.FS.
func (m *Memory) List(name string) (names []string, err error) {
	err = m.do(List, name, func() error {
		d, err := m.directory(name)
		if err != nil {
			return fail(List, name, err)
		}
		names = slices.Sorted(maps.Keys(d.now))
		return nil
	})
	return names, err
}

// SyncDir implements disk.FS.
func (m *Memory) SyncDir(name string) error {
	return m.do(SyncDir, name, func() error {
		d, err := m.directory(name)
		if err != nil {
			return fail(SyncDir, name, err)
		}
		d.sync()
		return nil
	})
}

// Close implements disk.FS.
func (m *Memory) Close() error { return nil }
