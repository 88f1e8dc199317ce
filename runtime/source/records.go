package source

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// recordFile is an open file of records of one size, read where asked for.
type recordFile struct {
	f     *os.File
	path  string
	size  int // bytes of a record
	count int
	spare sync.Pool // of *[]byte, a record long
}

// borrow gives memory for a record, of any content, until giveBack.
func (r *recordFile) borrow() *[]byte {
	if buf, ok := r.spare.Get().(*[]byte); ok {
		return buf
	}
	buf := make([]byte, r.size)
	return &buf
}

func (r *recordFile) giveBack(buf *[]byte) { r.spare.Put(buf) }

// openRecords opens a file of records of size bytes; a file that is empty or
// ends within a record is refused.
func openRecords(path string, size int) (*recordFile, error) {
	f, bytes, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	r := &recordFile{f: f, path: path, size: size, count: int(bytes / int64(size))}
	switch left := bytes % int64(size); {
	case bytes == 0:
		err = wrong(path, "is empty")
	case left != 0:
		err = wrongRecord(path, r.count, bytes-left, "ends within a record: %d of its %d bytes are there", left, size)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return r, nil
}

// read fills buf, a record long, with record i.
func (r *recordFile) read(i int, buf []byte) error {
	at := int64(i) * int64(r.size)
	n, err := r.f.ReadAt(buf, at)
	if n == len(buf) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return wrongRecord(r.path, i, at+int64(n), "the file shrank to %d bytes while in use", fileSize(r.f))
	}
	return wrongRecord(r.path, i, at+int64(n), "%w", cause(err))
}

func closeAll(files []*recordFile) error {
	var errs []error
	for _, r := range files {
		errs = append(errs, r.f.Close())
	}
	return errors.Join(errs...)
}

// findDir gives dir, or its subfolder of the name its archive unpacks to,
// whichever holds the file.
func findDir(dir, unpacked, file string) string {
	if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
		return dir
	}
	sub := filepath.Join(dir, unpacked)
	if info, err := os.Stat(sub); err == nil && info.IsDir() {
		return sub
	}
	return dir
}

// maxNames bounds a file of class names, in bytes.
const maxNames = 1 << 16

// classNames reads one name a line. Where the file is not there the names are
// the given ones; where it is, it must name as many.
func classNames(path string, names []string) ([]string, error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return names, nil
	}
	f, size, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > maxNames {
		return nil, wrong(path, "%d bytes of class names, more than the %d allowed", size, maxNames)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxNames))
	if err != nil {
		return nil, wrong(path, "%w", cause(err))
	}
	read := strings.Fields(string(text))
	if len(read) != len(names) {
		return nil, wrong(path, "names %d classes, want %d", len(read), len(names))
	}
	return slices.Clip(read), nil
}
