package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/locorun/locorun/runtime/disk"
	"github.com/locorun/locorun/runtime/disk/disktest"
)

// seeds is the number of crashes that are drawn where half of what was not
// synced survives.
func seeds() uint64 {
	if os.Getenv("LOCORUN_LONG") != "" {
		return 500
	}
	return 20
}

// cuts calls found with what a power cut now may leave.
func cuts(m *disktest.Memory, found func(what string, left *disktest.Memory)) {
	found("share 0", m.Crash(0, rand.New(rand.NewPCG(0, 0))))
	for seed := range seeds() {
		found(fmt.Sprintf("share 0.5, seed %d", seed), m.Crash(0.5, rand.New(rand.NewPCG(seed, 1))))
	}
	found("share 1", m.Crash(1, rand.New(rand.NewPCG(0, 0))))
}

// finds says what is wrong with what is left: the newest checkpoint must be of
// one of the steps, whole; a step of -1 stands for none.
func finds(left *disktest.Memory, steps ...int) error {
	var skipped []string
	c, name, err := (&Store{FS: left}).Newest(func(name string, err error) { skipped = append(skipped, err.Error()) })
	switch {
	case len(skipped) > 0:
		return fmt.Errorf("damaged: %q", skipped)
	case errors.Is(err, fs.ErrNotExist) && slices.Contains(steps, -1):
		return nil
	case err != nil:
		return err
	case !slices.Contains(steps, c.Step) || !equal(c, sample(c.Step)):
		return fmt.Errorf("found %s, not whole or not one of %d", name, steps)
	}
	return nil
}

// goesOn says what is wrong with a run that starts from what is left: it sweeps,
// saves and finds that again.
func goesOn(left *disktest.Memory) error {
	s := &Store{FS: left}
	if err := s.Sweep(); err != nil {
		return err
	}
	if _, err := s.Save(sample(50)); err != nil {
		return err
	}
	names, err := left.List(".")
	if err != nil {
		return err
	}
	for _, n := range names {
		if strings.HasSuffix(n, disk.TempSuffix) {
			return fmt.Errorf("%s is left", n)
		}
	}
	return finds(left, 50)
}

// saveAndCut saves steps 1 to 5, keeping two, cuts the power after each
// operation and lists what was found that should not be. lazy spoils the tree.
func saveAndCut(t *testing.T, anyOrder bool, spoil func(disk.FS) disk.FS) (wrong []string, operations int) {
	t.Helper()
	m := disktest.NewMemory()
	m.AnyOrder = anyOrder
	step := 0
	look := func(when string, steps ...int) {
		cuts(m, func(what string, left *disktest.Memory) {
			if err := errors.Join(finds(left, steps...), goesOn(left)); err != nil {
				wrong = append(wrong, fmt.Sprintf("step %d, %s, %s: %v", step, when, what, err))
			}
		})
	}
	old := -1
	m.After = func(op disktest.Op) { look(op.String(), old, step) }
	s := &Store{FS: spoil(m)}
	for step = 1; step <= 5; step++ {
		if _, err := s.Save(sample(step)); err != nil {
			t.Fatal(err)
		}
		look("when it had returned", step)
		old = step
	}
	return wrong, m.Ops()
}

func honest(tree disk.FS) disk.FS { return tree }

// lazy is a tree whose directories are never synced.
type lazy struct{ disk.FS }

func (lazy) SyncDir(string) error { return nil }

// lazyFile is a file that is never synced.
type lazyFile struct{ disk.File }

func (lazyFile) Sync() error { return nil }

// careless is a tree whose files are never synced.
type careless struct{ disk.FS }

func (c careless) Create(name string) (disk.File, error) {
	f, err := c.FS.Create(name)
	return lazyFile{f}, err
}

// TestPowerCuts: after each operation of each save, the removal of older ones
// among them, the loader finds the old checkpoint or the new one, whole, and the
// run goes on from there.
func TestPowerCuts(t *testing.T) {
	for _, anyOrder := range []bool{false, true} {
		wrong, operations := saveAndCut(t, anyOrder, honest)
		for _, w := range wrong {
			t.Errorf("any order %v: %s", anyOrder, w)
		}
		if least := 5*7 + 3; operations < least { // create, write, sync, close, rename, sync, list; three removals
			t.Errorf("%d operations, want %d at least", operations, least)
		}
	}
}

// TestPowerCutsCatch: a disk that does not sync is found out.
func TestPowerCutsCatch(t *testing.T) {
	for name, spoil := range map[string]func(disk.FS) disk.FS{
		"directory": func(tree disk.FS) disk.FS { return lazy{tree} },
		"file":      func(tree disk.FS) disk.FS { return careless{tree} },
	} {
		if wrong, _ := saveAndCut(t, false, spoil); len(wrong) == 0 {
			t.Errorf("the %s was never synced and nothing was found", name)
		}
	}
}

// TestEachOperationFails: each operation of a save in each way. The save says so
// and names the file, the one before it verifies, a later save works, and
// nothing is left half-written after a sweep.
func TestEachOperationFails(t *testing.T) {
	for _, way := range []disktest.Fault{{}, {Forever: true}, {Short: true}, {Late: true}} {
		for _, way.Err = range disktest.Errors() {
			for way.At = 1; failSave(t, way); way.At++ {
			}
			if way.At <= 8 {
				t.Errorf("%+v: a save of %d operations", way, way.At-1)
			}
		}
	}
}

// failSave reports whether the fault was met.
func failSave(t *testing.T, way disktest.Fault) bool {
	t.Helper()
	m := disktest.NewMemory()
	s := &Store{FS: m}
	save(t, s, 1, 2)
	tree := disktest.Fail(m, way)
	s.FS = tree
	_, err := s.Save(sample(3))
	failed := tree.Failed()
	s.FS = m
	if err := failedWell(err, failed, way.Err); err != nil {
		t.Errorf("%+v: %v", way, err)
	}
	if c, err := (&Store{FS: m}).Load(Name(2)); err != nil || !equal(c, sample(2)) {
		t.Errorf("%+v: the one before: %v", way, err)
	}
	if err := finds(m, 2, 3); err != nil {
		t.Errorf("%+v: %v", way, err)
	}
	cuts(m, func(what string, left *disktest.Memory) {
		if err := finds(left, 2, 3); err != nil {
			t.Errorf("%+v, then a power cut, %s: %v", way, what, err)
		}
	})
	if err := s.Sweep(); err != nil {
		t.Error(err)
	}
	save(t, s, 3, 4)
	holds(t, s, 3, 4)
	if names, err := m.List("."); err != nil || len(names) != 2 {
		t.Errorf("%+v: left %v, %v", way, names, err)
	}
	return len(failed) > 0
}

// failedWell says what is wrong with the error of a save of step 3. A list or a
// removal after the save is none.
func failedWell(err error, failed []disktest.Op, cause error) error {
	if len(failed) == 0 || failed[0].Kind == disktest.List || failed[0].Kind == disktest.Remove {
		return err
	}
	if !errors.Is(err, cause) || strings.Count(err.Error(), Name(3)) != 1 || strings.Contains(err.Error(), "\n") {
		return fmt.Errorf("after %v the error is %w", failed[0], err)
	}
	return nil
}

// TestFailedReads: a checkpoint that cannot be read is skipped, by an error that
// names it once and its cause.
func TestFailedReads(t *testing.T) {
	m := disktest.NewMemory()
	save(t, &Store{FS: m}, 1, 2)
	for _, k := range []disktest.Kind{disktest.Open, disktest.Read} {
		tree := disktest.Fail(m, disktest.Fault{At: 1, Kinds: []disktest.Kind{k}})
		var skipped []error
		c, _, err := (&Store{FS: tree}).Newest(func(_ string, err error) { skipped = append(skipped, err) })
		if err != nil || c.Step != 1 || len(skipped) != 1 || strings.Count(skipped[0].Error(), Name(2)) != 1 {
			t.Errorf("%s: %v past %v", k, err, skipped)
		}
	}
}
