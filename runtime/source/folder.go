package source

import (
	"errors"
	"fmt"
	"hash"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/locorun/locorun/compiler/model"
)

// folder is root/class/picture.png or .jpg or .jpeg, classes and pictures in
// the order of their names; where the pictures lie in root itself they have no
// label. Files of other names, and names that begin with a dot, are passed
// over; a folder within a class is refused. Everything is opened below root
// through os.Root, so that neither a name nor a link leads out of it. Pictures
// are decoded when asked for, always to three channels. A file whose size is not
// what it was is an error; one whose bytes changed is not noticed, for a folder
// has no sums.
//
// Its Fingerprint is the SHA-256 of names and sizes, taken when first asked
// for: the contents of a large folder would take hours to read.
type folder struct {
	dir     string
	root    *os.Root
	opt     Options
	classes []string
	files   []folderFile
	sizes   []atomic.Int64 // of each file when first asked, plus 1; 0 before
	print   func() string
}

type folderFile struct {
	name  string // below the class
	class int    // -1: the picture lies in root
}

func openFolder(s *model.Source, opt Options) (Dataset, error) {
	if len(s.Paths) != 1 {
		return nil, fmt.Errorf("folder takes one directory, not %d paths", len(s.Paths))
	}
	dir, err := opt.locate(s.Paths[0])
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, wrong(dir, "%w", cause(err))
	}
	d := &folder{dir: dir, root: root, opt: opt}
	if err := d.list(); err != nil {
		root.Close()
		return nil, err
	}
	d.sizes = make([]atomic.Int64, len(d.files))
	d.print = sync.OnceValue(d.fingerprint)
	return d, nil
}

func (d *folder) list() error {
	loose, below, err := d.read(".")
	if err != nil {
		return err
	}
	switch {
	case len(loose) > 0 && len(below) > 0:
		return wrong(d.dir, "holds the picture %q beside the folder %q: either all pictures lie in class folders or none", loose[0], below[0])
	case len(loose) == 0 && len(below) == 0:
		return wrong(d.dir, "holds no class folders and no .png, .jpg or .jpeg pictures")
	}
	for _, name := range loose {
		d.files = append(d.files, folderFile{name, -1})
	}
	for _, class := range below {
		if err := d.listClass(class); err != nil {
			return err
		}
	}
	return nil
}

func (d *folder) listClass(class string) error {
	names, below, err := d.read(class)
	if err != nil {
		return err
	}
	switch where := filepath.Join(d.dir, class); {
	case len(below) > 0:
		return wrong(where, "holds the folder %q: pictures lie at class/picture, no deeper", below[0])
	case len(names) == 0:
		return wrong(where, "holds no .png, .jpg or .jpeg pictures")
	}
	for _, name := range names {
		d.files = append(d.files, folderFile{name, len(d.classes)})
	}
	d.classes = append(d.classes, class)
	return nil
}

// read gives the pictures and the folders of one directory, sorted.
func (d *folder) read(name string) (pictures, folders []string, err error) {
	where := filepath.Join(d.dir, name)
	f, err := d.root.Open(name)
	if err != nil {
		return nil, nil, wrong(where, "%w", cause(err))
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, nil, wrong(where, "%w", cause(err))
	}
	for _, e := range entries {
		switch mode, err := d.typeOf(name, e); {
		case err != nil:
			return nil, nil, wrong(filepath.Join(where, e.Name()), "%w", err)
		case mode.IsDir():
			folders = append(folders, e.Name())
		case mode.IsRegular():
			pictures = append(pictures, e.Name())
		}
	}
	slices.Sort(pictures)
	slices.Sort(folders)
	return pictures, folders, nil
}

// typeOf tells what an entry is, following links; passed-over entries are
// os.ModeIrregular.
func (d *folder) typeOf(dir string, e os.DirEntry) (os.FileMode, error) {
	name, mode := e.Name(), e.Type()
	if strings.HasPrefix(name, ".") {
		return os.ModeIrregular, nil
	}
	if mode&os.ModeSymlink != 0 {
		info, err := d.root.Stat(path.Join(dir, name))
		if err != nil {
			return 0, cause(err)
		}
		mode = info.Mode().Type()
	}
	switch {
	case mode.IsDir():
		return mode, nil
	case !isPicture(name):
		return os.ModeIrregular, nil
	case !mode.IsRegular():
		return 0, errors.New("is not a regular file")
	}
	return mode, nil
}

func isPicture(name string) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".png", ".jpg", ".jpeg":
		return true
	}
	return false
}

// path is the place of picture i below root.
func (d *folder) path(i int) string {
	f := d.files[i]
	if f.class < 0 {
		return f.name
	}
	return path.Join(d.classes[f.class], f.name)
}

func (d *folder) fingerprint() string {
	return digest("folder", func(h hash.Hash) {
		for i := range d.files {
			size := int64(-1) // unreadable: reading the picture will tell why
			if info, err := d.root.Stat(d.path(i)); err == nil {
				size = d.settled(i, info.Size())
			}
			fmt.Fprintf(h, "%q %d\n", d.path(i), size)
		}
	})
}

// Name is the file of picture i.
func (d *folder) Name(i int) string { return filepath.Join(d.dir, filepath.FromSlash(d.path(i))) }

func (d *folder) Len() int            { return len(d.files) }
func (d *folder) Shape() model.Shape  { return model.Shape{C: 3} }
func (d *folder) Classes() []string   { return d.classes }
func (d *folder) Label(i int) int     { return d.files[i].class }
func (d *folder) Fingerprint() string { return d.print() }
func (d *folder) Close() error        { return d.root.Close() }

func (d *folder) Picture(i int) (Picture, error) {
	p, err := d.decode(i)
	if err != nil {
		return Picture{}, wrong(d.Name(i), "%w", cause(err))
	}
	return p, nil
}

// settled is the size of file i that holds for the run: the first one seen.
func (d *folder) settled(i int, size int64) int64 {
	if d.sizes[i].CompareAndSwap(0, size+1) {
		return size
	}
	return d.sizes[i].Load() - 1
}

func (d *folder) decode(i int) (Picture, error) {
	name := d.path(i)
	info, err := d.root.Stat(name) // before opening: a pipe would make Open wait
	if err != nil {
		return Picture{}, err
	}
	if err := regular(info); err != nil {
		return Picture{}, err
	}
	if info.Size() > d.opt.MaxFile {
		return Picture{}, fmt.Errorf("%d bytes, more than the %d allowed", info.Size(), d.opt.MaxFile)
	}
	if first := d.settled(i, info.Size()); first != info.Size() {
		return Picture{}, fmt.Errorf("the file went from %d to %d bytes while in use", first, info.Size())
	}
	f, err := d.root.Open(name)
	if err != nil {
		return Picture{}, err
	}
	defer f.Close()
	return decodePicture(f, info.Size(), d.opt.MaxPixels)
}
