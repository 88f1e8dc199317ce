package export

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile makes path hold what write wrote, durably, or leaves it as it was:
//
//	temporary file beside it -> write -> fsync -> close -> rename -> fsync of the folder
//
// After a crash path is the old file or the new one, whole. An error names path
// and removes the temporary file. The file is for its owner only (0600). A path
// that is there and is not a plain file is refused: renaming over /dev/null
// would replace it.
func WriteFile(path string, write func(io.Writer) error) error {
	return writeFile(osDisk{}, path, write)
}

// disk is what WriteFile asks of the file system, so that tests can fail it.
type disk interface {
	create(dir, pattern string) (diskFile, error)
	rename(from, to string) error
	remove(path string) error
	syncDir(dir string) error
}

type diskFile interface {
	io.WriteCloser
	Name() string
	Sync() error
}

type osDisk struct{}

func (osDisk) create(dir, pattern string) (diskFile, error) { return os.CreateTemp(dir, pattern) }
func (osDisk) rename(from, to string) error                 { return os.Rename(from, to) }
func (osDisk) remove(path string) error                     { return os.Remove(path) }

func (osDisk) syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func writeFile(d disk, path string, write func(io.Writer) error) error {
	if err := replaceable(path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	dir := filepath.Dir(path)
	f, err := d.create(dir, "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	err = fill(f, write)
	if err == nil {
		err = d.rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, d.remove(f.Name())))
	}
	if err := d.syncDir(dir); err != nil {
		return fmt.Errorf("write %s: it is there but may not outlive a power cut: %w", path, err)
	}
	return nil
}

// replaceable refuses what is there and is no plain file.
func replaceable(path string) error {
	s, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !s.Mode().IsRegular() {
		return errors.New("it is there and not a plain file")
	}
	return nil
}

// fill writes, syncs and closes f; it is closed whatever happens.
func fill(f diskFile, write func(io.Writer) error) error {
	w := bufio.NewWriterSize(f, 1<<18)
	err := write(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
