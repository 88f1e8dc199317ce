package check

import (
	"errors"
	"io"
	"os"
)

// maxFileBytes is what a file of the language has at most; dsl.Parse holds the
// root file to it.
const maxFileBytes = 1 << 20

// Files reads the files under a directory, for Options.Read: ordinary files of
// at most 1 MiB, by slash-separated paths that never leave the directory, not
// even through symbolic links.
func Files(dir string) func(path string) ([]byte, error) {
	return func(path string) ([]byte, error) {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return nil, err
		}
		defer root.Close()
		info, err := root.Stat(path) // before it is opened: a pipe would wait for its writer
		switch {
		case err != nil:
			return nil, err
		case info.IsDir():
			return nil, errors.New("it is a directory")
		case !info.Mode().IsRegular():
			return nil, errors.New("it is no ordinary file")
		case info.Size() > maxFileBytes:
			return nil, errors.New("it has more than 1 MiB")
		}
		f, err := root.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	}
}
