package disk

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
)

// TempSuffix ends the names of files that are being written by WriteFile. One
// that is found at a start was left by a process that was killed.
const TempSuffix = ".tmp"

// WriteFile makes name hold what write wrote, durably, or leaves it as it was:
//
//	temporary file beside it -> write -> fsync -> close -> rename -> fsync of the directory
//
// After a crash name is the old file or the new one, whole. An error wraps its
// cause once and names no file; the temporary file is gone, unless removing it
// failed too.
func WriteFile(tree FS, name string, write func(io.Writer) error) error {
	temp, f, err := createTemp(tree, name)
	if err != nil {
		return err
	}
	err = fill(f, write)
	if err == nil {
		err = tree.Rename(temp, name)
	}
	if err != nil {
		return errors.Join(err, tree.Remove(temp))
	}
	if err := tree.SyncDir(path.Dir(name)); err != nil {
		return fmt.Errorf("it is there but may not outlive a power cut: %w", err)
	}
	return nil
}

// createTemp makes a file beside name whose own name is not taken.
func createTemp(tree FS, name string) (temp string, f File, err error) {
	dir, base := path.Split(name)
	for n := range 1000 {
		temp = fmt.Sprintf("%s.%s.%d%s", dir, base, n, TempSuffix)
		if f, err = tree.Create(temp); err == nil || !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	return temp, f, err
}

// fill writes, syncs and closes f; it is closed whatever happens.
func fill(f File, write func(io.Writer) error) error {
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
