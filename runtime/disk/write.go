package disk

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
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
		return Cause(err)
	}
	err = fill(f, write)
	if err == nil {
		err = Cause(tree.Rename(temp, name))
	}
	if err != nil {
		return discard(tree, temp, err)
	}
	if err := tree.SyncDir(path.Dir(name)); err != nil {
		return fmt.Errorf("it is there but may not outlive a power cut: %w", Cause(err))
	}
	return nil
}

// discard removes a temporary file after an error.
func discard(tree FS, temp string, err error) error {
	if more := tree.Remove(temp); more != nil {
		return fmt.Errorf("%w; removing the half-written file: %w", err, Cause(more))
	}
	return err
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

// Target is the name that WriteFile was writing under a temporary one. Both lie
// in one directory and are given without it.
func Target(temp string) (name string, ok bool) {
	name, ok = strings.CutSuffix(temp, TempSuffix)
	if !ok || !strings.HasPrefix(name, ".") {
		return "", false
	}
	dot := strings.LastIndexByte(name, '.')
	if n, err := strconv.Atoi(name[dot+1:]); dot < 2 || err != nil || n < 0 || strconv.Itoa(n) != name[dot+1:] {
		return "", false
	}
	return name[1:dot], true
}

// fill writes, syncs and closes f; it is closed whatever happens.
func fill(f File, write func(io.Writer) error) error {
	w := bufio.NewWriterSize(nameless{f}, 1<<18)
	err := write(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = Cause(f.Sync())
	}
	if more := f.Close(); err == nil {
		err = Cause(more)
	}
	return err
}

// nameless takes the file's name out of a writer's errors, before somebody
// wraps them.
type nameless struct{ w io.Writer }

func (n nameless) Write(p []byte) (int, error) {
	k, err := n.w.Write(p)
	return k, Cause(err)
}

// Cause is an error of the operating system without the file's name in its
// text, for a caller that names the file itself. It unwraps to err. Other
// errors are returned as they are.
func Cause(err error) error {
	switch e := err.(type) {
	case *fs.PathError:
		return cause{e.Op + ": " + e.Err.Error(), err}
	case *os.LinkError:
		return cause{e.Op + ": " + e.Err.Error(), err}
	}
	return err
}

type cause struct {
	text string
	err  error
}

func (c cause) Error() string { return c.text }
func (c cause) Unwrap() error { return c.err }
