package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// DefaultRoot is where run directories are made unless told otherwise.
const DefaultRoot = "runs"

// make makes the run directory and opens it.
func (o Options) directory() (dir string, root *os.Root, err error) {
	if o.Dir != "" {
		dir, err = o.Dir, claim(o.Dir)
	} else {
		dir, err = next(o.Root, stem(o.File))
	}
	if err != nil {
		return "", nil, err
	}
	root, err = os.OpenRoot(dir)
	if err != nil {
		return "", nil, fmt.Errorf("run directory: %w", err)
	}
	return dir, root, nil
}

// claim makes a directory that was asked for, or takes it if it is empty.
func claim(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	defer f.Close()
	names, err := f.Readdirnames(1)
	if len(names) > 0 {
		return fmt.Errorf("run directory %s is not empty: %w; name another with --out, or leave --out out for a new one", dir, fs.ErrExist)
	}
	if !errors.Is(err, io.EOF) {
		return fmt.Errorf("run directory: %w", err)
	}
	return nil
}

// next makes root/<stem>-<n> for an n above all that are there. Making is what
// claims it, so two runs that start at once get two directories.
func next(root, stem string) (string, error) {
	if root == "" {
		root = DefaultRoot
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return "", fmt.Errorf("run directory: %w", err)
	}
	n, err := highest(root, stem)
	if err != nil {
		return "", fmt.Errorf("run directory: %w", err)
	}
	for {
		n++
		dir := filepath.Join(root, stem+"-"+strconv.Itoa(n))
		err := os.Mkdir(dir, 0o700)
		if err == nil {
			return dir, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("run directory: %w", err)
		}
	}
}

func highest(root, stem string) (int, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return 0, err
	}
	most := 0
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), stem+"-")
		if n, err := strconv.Atoi(rest); ok && err == nil && n > most && n < 1<<30 {
			most = n
		}
	}
	return most, nil
}

// stem is a file's name without directories and ".loco"; "run" if nothing is
// left.
func stem(file string) string {
	s := strings.TrimSuffix(filepath.Base(file), ".loco")
	if s == "" || s == "." || s == string(filepath.Separator) {
		return "run"
	}
	return s
}
