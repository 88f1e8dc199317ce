package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// WritePath is WriteFile for a path of the operating system, wherever it leads.
// The error names the path, once. A path that is there and is not a plain file
// is refused: renaming over /dev/null would replace it.
func WritePath(path string, write func(io.Writer) error) error {
	if err := writePath(path, write); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func writePath(path string, write func(io.Writer) error) error {
	if err := replaceable(path); err != nil {
		return err
	}
	tree, err := Open(filepath.Dir(path))
	if err != nil {
		return Cause(err)
	}
	defer tree.Close() // nothing is written through it any more
	return WriteFile(tree, filepath.Base(path), write)
}

// replaceable refuses what is there and is no plain file.
func replaceable(path string) error {
	s, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return Cause(err)
	}
	if !s.Mode().IsRegular() {
		return errors.New("it is there and not a plain file")
	}
	return nil
}
