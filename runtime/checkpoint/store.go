package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/locorun/locorun/runtime/disk"
)

const (
	prefix = "step-"
	suffix = ".loco-ckpt"
)

// leastKeep is the fewest checkpoints that are kept: one may turn out damaged.
const leastKeep = 2

// Name is the file name of the checkpoint of a step.
func Name(step int) string { return fmt.Sprintf("%s%08d%s", prefix, step, suffix) }

// StepOf reads a step from a name that Name made.
func StepOf(name string) (step int, ok bool) {
	digits := strings.TrimSuffix(strings.TrimPrefix(name, prefix), suffix)
	step, err := strconv.Atoi(digits)
	return step, err == nil && step >= 0 && Name(step) == name
}

// Store is a directory of checkpoints. One goroutine uses it at a time, and one
// process at a time saves into it.
type Store struct {
	FS   disk.FS // the directory; names lie in its root
	Keep int     // how many that are known to be good are kept; below 2 is 2
	// Hold, where set, names steps whose checkpoints are kept beside those.
	Hold func(step int) bool

	good map[string]bool // saved or verified by this Store
}

// Save writes the checkpoint of c.Step, durably, in the place of one of the same
// step. Then those older than the newest Keep that are known to be good are
// removed; a removal that fails is tried again by the next Save. After an error
// the one that was there is there, or the new one, whole; the error names the
// file.
func (s *Store) Save(c *Content) (name string, err error) {
	name = Name(c.Step)
	delete(s.good, name)
	if err := disk.WriteFile(s.FS, name, func(w io.Writer) error { return Write(w, c) }); err != nil {
		return name, named(name, err)
	}
	s.know(name)
	s.Retain()
	return name, nil
}

func named(name string, err error) error { return fmt.Errorf("checkpoint %s: %w", name, err) }

func (s *Store) know(name string) {
	if s.good == nil {
		s.good = map[string]bool{}
	}
	s.good[name] = true
}

// Retain removes what is older than the newest Keep that are known to be good, as
// Save does when it has saved.
func (s *Store) Retain() {
	names, err := s.List()
	if err != nil {
		return // the next Save lists again
	}
	keep := max(s.Keep, leastKeep)
	for i := len(names) - 1; i >= 0; i-- {
		if keep == 0 {
			s.remove(names[:i+1])
			return
		}
		if s.good[names[i]] {
			keep--
		}
	}
}

func (s *Store) remove(names []string) {
	for _, n := range names {
		if step, _ := StepOf(n); s.Hold != nil && s.Hold(step) {
			continue
		}
		if s.FS.Remove(n) == nil { // one that stays is met again by the next Save
			delete(s.good, n)
		}
	}
}

// Newest loads the newest checkpoint that verifies, and its name. Each newer one
// that does not is handed to skipped, which may be nil, with an error that names
// it. Where none verifies the error wraps fs.ErrNotExist.
func (s *Store) Newest(skipped func(name string, err error)) (*Content, string, error) {
	names, err := s.List()
	if err != nil {
		return nil, "", err
	}
	for _, name := range slices.Backward(names) {
		c, err := s.Load(name)
		if err == nil {
			return c, name, nil
		}
		if skipped != nil {
			skipped(name, err)
		}
	}
	if len(names) > 0 {
		return nil, "", fmt.Errorf("none of %d checkpoints verifies: %w", len(names), fs.ErrNotExist)
	}
	return nil, "", fmt.Errorf("no checkpoint: %w", fs.ErrNotExist)
}

// Load reads and verifies the checkpoint of a name. The error names it.
func (s *Store) Load(name string) (*Content, error) {
	delete(s.good, name)
	c, err := s.load(name)
	if err != nil {
		return nil, named(name, err)
	}
	s.know(name)
	return c, nil
}

func (s *Store) load(name string) (*Content, error) {
	step, ok := StepOf(name)
	if !ok {
		return nil, errors.New("checkpoints are called " + prefix + "NNNNNNNN" + suffix + ", by the number of batches")
	}
	f, err := s.FS.Open(name)
	if err != nil {
		return nil, disk.Cause(err)
	}
	defer f.Close() // nothing was written
	c, _, err := Read(nameless{f}, f.Size())
	if err != nil {
		return nil, err
	}
	if c.Step != step {
		return nil, fmt.Errorf("it is of step %d", c.Step)
	}
	return c, nil
}

// nameless takes the file's name out of a reader's errors.
type nameless struct{ r io.ReaderAt }

func (n nameless) ReadAt(p []byte, off int64) (int, error) {
	k, err := n.r.ReadAt(p, off)
	return k, disk.Cause(err)
}

// List names the checkpoints by step, ascending. Other names are not looked at.
func (s *Store) List() ([]string, error) {
	all, err := s.FS.List(".")
	if err != nil {
		return nil, fmt.Errorf("list of the checkpoints: %w", disk.Cause(err))
	}
	names := slices.DeleteFunc(all, func(n string) bool { _, ok := StepOf(n); return !ok })
	slices.SortFunc(names, func(a, b string) int {
		x, _ := StepOf(a)
		y, _ := StepOf(b)
		return cmp.Compare(x, y)
	})
	return names, nil
}

// Sweep removes what a killed process left half-written.
func (s *Store) Sweep() error {
	all, err := s.FS.List(".")
	if err != nil {
		return fmt.Errorf("list of the checkpoints: %w", disk.Cause(err))
	}
	var errs []error
	for _, n := range all {
		target, temp := disk.Target(n)
		if _, ours := StepOf(target); !temp || !ours {
			continue
		}
		if err := s.FS.Remove(n); err != nil {
			errs = append(errs, fmt.Errorf("left over %s: %w", n, disk.Cause(err)))
		}
	}
	return errors.Join(errs...)
}
