package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// LockFile is the file of a directory that its lock is on.
const LockFile = "lock"

// Locked is the refusal of a directory that another process, or another part of
// this one, holds.
type Locked struct {
	Dir string
	PID int // of the holder, as it wrote it down; 0 where that cannot be read
}

// Error says who holds the directory and what to do.
func (l *Locked) Error() string {
	who := "another run"
	if l.PID > 0 {
		who = fmt.Sprintf("process %d", l.PID)
	}
	return fmt.Sprintf("%s is in use by %s: wait until it has ended, or name another directory with --out", l.Dir, who)
}

// Lock takes the exclusive lock of a directory that is there, or refuses with a
// *Locked at once. Closing gives it back. The operating system keeps the lock
// on the open file <dir>/lock, so that it vanishes with a killed process; the
// file itself, which holds the process's number, stays and means nothing alone.
// Where directories can be locked too, the directory is: then removing the file
// frees nothing.
// Whoever drops what Lock gave, unclosed, drops the lock sooner or later.
// Where the system or the file system has no such locks the error wraps
// errors.ErrUnsupported.
func Lock(dir string) (io.Closer, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("lock of %s: %w", dir, Cause(err))
	}
	defer root.Close() // nothing was written through it
	f, err := lock(root)
	if errors.Is(err, errHeld) {
		return nil, &Locked{Dir: dir, PID: holder(root)}
	}
	if err != nil {
		return nil, fmt.Errorf("lock of %s: %w", dir, Cause(err))
	}
	return f, nil
}

// errHeld is tryLock's answer while somebody else holds the lock.
var errHeld = errors.New("disk: held")

// pair is the two locks of a directory.
type pair struct{ dir, file *os.File }

// Close gives both back.
func (p *pair) Close() error {
	err := p.file.Close()
	if p.dir != nil {
		err = errors.Join(err, p.dir.Close())
	}
	return err
}

// lock takes both locks, or that of the file alone where directories have none.
func lock(root *os.Root) (*pair, error) {
	dir, err := lockDir(root)
	if err != nil {
		return nil, err
	}
	f, err := lockFile(root)
	if err != nil {
		if dir != nil {
			err = errors.Join(err, dir.Close())
		}
		return nil, err
	}
	return &pair{dir, f}, nil
}

// lockDir locks the directory itself; nil where that is not possible.
func lockDir(root *os.Root) (*os.File, error) {
	d, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	if err := tryLock(d); err != nil {
		_ = d.Close() // nothing was written
		if errors.Is(err, errHeld) {
			return nil, err
		}
		return nil, nil // the file has to do
	}
	return d, nil
}

// lockFile opens the file and takes its lock.
func lockFile(root *os.Root) (*os.File, error) {
	if s, err := root.Lstat(LockFile); err == nil && !s.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is there and not a plain file", LockFile)
	}
	f, err := root.OpenFile(LockFile, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := tryLock(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	sign(f)
	return f, nil
}

// sign writes down who holds the lock. It is a courtesy to whoever is refused:
// on a full disk the lock holds all the same.
func sign(f *os.File) {
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
}

// holder reads what sign wrote; 0 where that is no number.
func holder(root *os.Root) int {
	f, err := root.Open(LockFile)
	if err != nil {
		return 0
	}
	defer f.Close() // nothing was written
	text, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}
