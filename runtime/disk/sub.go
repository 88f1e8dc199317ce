package disk

import "path"

// Sub is a directory of a tree as a tree of its own. Closing it does nothing.
func Sub(tree FS, dir string) FS { return sub{tree, dir} }

type sub struct {
	tree FS
	dir  string
}

// Create implements FS.
func (s sub) Create(name string) (File, error) { return s.tree.Create(path.Join(s.dir, name)) }

// Append implements FS.
func (s sub) Append(name string) (File, error) { return s.tree.Append(path.Join(s.dir, name)) }

// Open implements FS.
func (s sub) Open(name string) (ReadFile, error) { return s.tree.Open(path.Join(s.dir, name)) }

// Rename implements FS.
func (s sub) Rename(from, to string) error {
	return s.tree.Rename(path.Join(s.dir, from), path.Join(s.dir, to))
}

// Remove implements FS.
func (s sub) Remove(name string) error { return s.tree.Remove(path.Join(s.dir, name)) }

// Mkdir implements FS.
func (s sub) Mkdir(name string) error { return s.tree.Mkdir(path.Join(s.dir, name)) }

// List implements FS.
func (s sub) List(dir string) ([]string, error) { return s.tree.List(path.Join(s.dir, dir)) }

// SyncDir implements FS.
func (s sub) SyncDir(dir string) error { return s.tree.SyncDir(path.Join(s.dir, dir)) }

// Close implements FS.
func (s sub) Close() error { return nil }
