package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/locorun/locorun/runtime/disk"
)

// DefaultRoot is where run directories are made unless told otherwise.
const DefaultRoot = "runs"

// lockFile is what disk.Lock leaves in a directory.
const lockFile = "lock"

// maxAbout bounds what is read of run.json, in bytes.
const maxAbout = 64 << 20

// Place says which directory is meant.
type Place struct {
	Dir  string // empty: the next free one under Root
	Root string // default: DefaultRoot
	File string // the program's path; gives a directory under Root its name
	// Open opens the directory for writing; default: disk.Open.
	Open func(dir string) (disk.FS, error)
}

// Directory is a run directory that this process has to itself until Close.
type Directory struct {
	Path  string
	FS    disk.FS
	Fresh bool  // no run is in it
	About About // of the run that is in it

	lock io.Closer
}

// Claim makes the directory, or takes one that is empty or holds a run. Another
// process that has it is a *disk.Locked error; other files in it are refused.
func Claim(p Place) (*Directory, error) {
	path := p.Dir
	err := error(nil)
	if path == "" {
		path, err = next(p.Root, stem(p.File))
	} else {
		err = os.MkdirAll(path, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	d := &Directory{Path: path}
	if err := d.open(p.Open); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Directory) open(open func(string) (disk.FS, error)) (err error) {
	if open == nil {
		open = func(dir string) (disk.FS, error) { return disk.Open(dir) }
	}
	tree, err := open(d.Path)
	if err != nil { // and tree may hold a nil pointer, which is no nil FS
		return fmt.Errorf("run directory %s: %w", d.Path, disk.Cause(err))
	}
	d.FS = tree
	if d.lock, err = disk.Lock(d.Path); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return d.look()
}

// look finds out what is in the directory.
func (d *Directory) look() error {
	names, err := d.FS.List(".")
	if err != nil {
		return fmt.Errorf("run directory %s: %w", d.Path, disk.Cause(err))
	}
	if slices.Contains(names, aboutFile) {
		d.About, err = readAbout(d.FS)
		if err != nil {
			return fmt.Errorf("run directory %s: %s: %w", d.Path, aboutFile, err)
		}
		return nil
	}
	d.Fresh = true
	for _, n := range names {
		if target, temp := disk.Target(n); n != lockFile && !(temp && target == aboutFile) {
			return fmt.Errorf("run directory %s is not empty: %w, and it holds no run; name another with --out, or leave --out out for a new one", d.Path, fs.ErrExist)
		}
	}
	return nil
}

// ReadAbout reads what a run directory says of its run, without claiming it.
func ReadAbout(dir string) (About, error) {
	tree, err := disk.Open(dir)
	if err != nil {
		return About{}, disk.Cause(err)
	}
	defer tree.Close() // nothing is written
	about, err := readAbout(tree)
	if err != nil {
		return About{}, fmt.Errorf("%s: %w", aboutFile, err)
	}
	return about, nil
}

// DataDir is the directory that the data's paths lie under: the one that was
// named, else that of the file. A relative one is meant from where the call was
// made; where that is gone, as after a move, from here.
func (a *About) DataDir() string {
	named := a.Data
	if named == "" {
		named = filepath.Dir(a.File)
	}
	if a.Dir == "" || filepath.IsAbs(named) {
		return named
	}
	there := filepath.Join(a.Dir, named)
	if info, err := os.Stat(there); err != nil || !info.IsDir() {
		return named
	}
	return there
}

func readAbout(tree disk.FS) (about About, err error) {
	f, err := tree.Open(aboutFile)
	if err != nil {
		return about, disk.Cause(err)
	}
	defer f.Close() // nothing was written
	if f.Size() > maxAbout {
		return about, fmt.Errorf("%d bytes; at most %d", f.Size(), maxAbout)
	}
	text, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	if err != nil {
		return about, disk.Cause(err)
	}
	if err := json.Unmarshal(text, &about); err != nil {
		return about, fmt.Errorf("it is damaged (%w); to go on elsewhere name the .loco file, another --out, and with --resume one of the checkpoints", err)
	}
	return about, nil
}

// Close lets other processes have the directory.
func (d *Directory) Close() error {
	if d == nil {
		return nil
	}
	var all []error
	if d.lock != nil {
		all = append(all, d.lock.Close())
	}
	if d.FS != nil {
		all = append(all, d.FS.Close())
	}
	d.lock, d.FS = nil, nil
	return errors.Join(all...)
}

// next makes root/<stem>-<n> for an n above all that are there. Making is what
// claims it, so two runs that start at once get two directories.
func next(root, stem string) (string, error) {
	if root == "" {
		root = DefaultRoot
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return "", err
	}
	n, err := highest(root, stem)
	if err != nil {
		return "", err
	}
	for {
		n++
		dir := filepath.Join(root, stem+"-"+strconv.Itoa(n))
		err := os.Mkdir(dir, 0o700)
		if err == nil || !errors.Is(err, fs.ErrExist) {
			return dir, err
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
