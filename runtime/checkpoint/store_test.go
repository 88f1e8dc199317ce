package checkpoint

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/locorun/locorun/runtime/disk"
	"github.com/locorun/locorun/runtime/disk/disktest"
)

func save(t *testing.T, s *Store, steps ...int) {
	t.Helper()
	for _, step := range steps {
		if name, err := s.Save(sample(step)); err != nil || name != Name(step) {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

// holds checks which checkpoints are there.
func holds(t *testing.T, s *Store, steps ...int) {
	t.Helper()
	var want []string
	for _, step := range steps {
		want = append(want, Name(step))
	}
	if got, err := s.List(); err != nil || !slices.Equal(got, want) {
		t.Fatalf("there are %v, want %v, %v", got, want, err)
	}
}

// TestStoreOnDisk is the way things go, on a real disk.
func TestStoreOnDisk(t *testing.T) {
	root, err := disk.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	s := &Store{FS: root}
	save(t, s, 0, 1, 2, 3, 4)
	holds(t, s, 3, 4)
	c, name, err := (&Store{FS: root}).Newest(nil)
	if err != nil || name != Name(4) || !equal(c, sample(4)) {
		t.Errorf("newest %v, %s, %v", c, name, err)
	}
	if c, err := s.Load(Name(3)); err != nil || !equal(c, sample(3)) {
		t.Errorf("load: %v, %v", c, err)
	}
}

func TestKeep(t *testing.T) {
	for _, c := range []struct {
		keep int
		want []int
	}{{-1, []int{8, 9}}, {0, []int{8, 9}}, {1, []int{8, 9}}, {2, []int{8, 9}}, {3, []int{7, 8, 9}}, {5, []int{5, 6, 7, 8, 9}}} {
		s := &Store{FS: disktest.NewMemory(), Keep: c.keep}
		save(t, s, 1, 2, 3, 4, 5, 6, 7, 8, 9)
		holds(t, s, c.want...)
	}
}

// TestKeepsWhatIsKnownToBeGood: files of a former run count only once they were
// verified, so a store that knows one good checkpoint removes nothing.
func TestKeepsWhatIsKnownToBeGood(t *testing.T) {
	m := disktest.NewMemory()
	save(t, &Store{FS: m, Keep: 9}, 1, 2, 3, 4)
	s := &Store{FS: m}
	save(t, s, 5)
	holds(t, s, 1, 2, 3, 4, 5)
	if _, err := s.Load(Name(2)); err != nil {
		t.Fatal(err)
	}
	save(t, s, 5) // 2 and 5 are known
	holds(t, s, 2, 3, 4, 5)
	lay(t, s, Name(5), []byte("damaged"))
	if _, err := s.Load(Name(5)); err == nil {
		t.Fatal("a damaged checkpoint was loaded")
	}
	save(t, s, 6) // 2 and 6; 5 no more
	holds(t, s, 2, 3, 4, 5, 6)
	save(t, s, 7)
	holds(t, s, 6, 7)
}

// TestResumeFromAnOlderOne: newer ones of the same run are left, and do not make
// the store remove what it goes on from.
func TestResumeFromAnOlderOne(t *testing.T) {
	m := disktest.NewMemory()
	save(t, &Store{FS: m, Keep: 9}, 1, 5, 9)
	s := &Store{FS: m}
	if _, err := s.Load(Name(1)); err != nil {
		t.Fatal(err)
	}
	save(t, s, 2)
	holds(t, s, 1, 2, 5, 9)
	save(t, s, 3)
	holds(t, s, 2, 3, 5, 9)
}

func TestSaveReplaces(t *testing.T) {
	s := &Store{FS: disktest.NewMemory()}
	save(t, s, 1, 2)
	c := sample(2)
	c.About["again"] = "yes"
	if _, err := s.Save(c); err != nil {
		t.Fatal(err)
	}
	holds(t, s, 1, 2)
	if got, _, err := s.Newest(nil); err != nil || !equal(got, c) {
		t.Errorf("%v, %v", got, err)
	}
}

// TestNames: steps of any size sort by number; other names are not looked at.
func TestNames(t *testing.T) {
	m := disktest.NewMemory()
	for _, name := range []string{"step-1.loco-ckpt", "step-000000001.loco-ckpt", "step--0000001.loco-ckpt", "step-+0000001.loco-ckpt",
		"step-00000001.loco-ckpt.bak", "x", ".step-00000001.loco-ckpt", "step-99999999999999999999.loco-ckpt", "step-.loco-ckpt"} {
		f, err := m.Create(name)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Mkdir("step-abcdefgh.loco-ckpt"); err != nil {
		t.Fatal(err)
	}
	s := &Store{FS: m, Keep: 3}
	save(t, s, 1_000_000_000, 99_999_999, 5)
	holds(t, s, 5, 99_999_999, 1_000_000_000)
	if c, _, err := s.Newest(nil); err != nil || c.Step != 1_000_000_000 {
		t.Errorf("%v", err)
	}
}

func TestLoadRefuses(t *testing.T) {
	m := disktest.NewMemory()
	s := &Store{FS: m}
	save(t, s, 1)
	if err := m.Rename(Name(1), Name(7)); err != nil {
		t.Fatal(err)
	}
	if err := m.Mkdir(Name(8)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		Name(7):         "checkpoint step-00000007.loco-ckpt: it is of step 1",
		Name(8):         "checkpoint step-00000008.loco-ckpt: open: is not an ordinary file",
		Name(9):         "checkpoint step-00000009.loco-ckpt: open: file does not exist",
		"../" + Name(1): "checkpoint ../step-00000001.loco-ckpt: checkpoints are called step-NNNNNNNN.loco-ckpt, by the number of batches",
		"":              "checkpoint : checkpoints are called step-NNNNNNNN.loco-ckpt, by the number of batches",
	} {
		if _, err := s.Load(name); err == nil || err.Error() != want {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := s.Load(Name(9)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of nothing: %v", err)
	}
	skipped := 0
	_, _, err := s.Newest(func(string, error) { skipped++ })
	if !errors.Is(err, fs.ErrNotExist) || skipped != 2 || err.Error() != "none of 2 checkpoints verifies: file does not exist" {
		t.Errorf("skipped %d, %v", skipped, err)
	}
}

func TestNewestOfNothing(t *testing.T) {
	s := &Store{FS: disktest.NewMemory()}
	if _, _, err := s.Newest(nil); !errors.Is(err, fs.ErrNotExist) || err.Error() != "no checkpoint: file does not exist" {
		t.Errorf("%v", err)
	}
	s.FS = disktest.Fail(s.FS, disktest.Fault{At: 1, Forever: true})
	if _, _, err := s.Newest(nil); !errors.Is(err, syscall.EIO) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory that cannot be read: %v", err)
	}
}

// TestSweep removes what WriteFile leaves of a checkpoint and nothing else.
func TestSweep(t *testing.T) {
	m := disktest.NewMemory()
	s := &Store{FS: m}
	save(t, s, 1)
	left := []string{".step-00000001.loco-ckpt.0.tmp", ".step-00000002.loco-ckpt.12.tmp"}
	others := []string{".step-00000002.loco-ckpt.x.tmp", ".other.0.tmp", "step-00000002.loco-ckpt.tmp", "x"}
	for _, name := range slices.Concat(left, others) {
		f, err := m.Create(name)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	s.FS = disktest.Fail(m, disktest.Fault{At: 1, Kinds: []disktest.Kind{disktest.Remove}, Err: syscall.EACCES})
	want := "left over .step-00000001.loco-ckpt.0.tmp: remove: permission denied"
	if err := s.Sweep(); !errors.Is(err, syscall.EACCES) || err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
	s.FS = m
	if err := s.Sweep(); err != nil {
		t.Fatal(err)
	}
	want = strings.Join(append(others, Name(1)), " ")
	names, err := m.List(".")
	if err != nil {
		t.Fatal(err)
	}
	wanted := strings.Fields(want)
	slices.Sort(wanted)
	if !slices.Equal(names, wanted) {
		t.Errorf("there are %v, want %v", names, wanted)
	}
}

// TestSaveErrorNamesTheFileOnce, also where the content is at fault.
func TestSaveErrorNamesTheFileOnce(t *testing.T) {
	s := &Store{FS: disktest.NewMemory()}
	c := sample(3)
	c.About["step"] = "4"
	want := `checkpoint step-00000003.loco-ckpt: about: the key "step" is the checkpoint's own`
	if _, err := s.Save(c); err == nil || err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
	s.FS = disktest.Fail(s.FS, disktest.Fault{At: 1, Kinds: []disktest.Kind{disktest.Write}, Err: syscall.ENOSPC})
	want = "checkpoint step-00000003.loco-ckpt: write: no space left on device"
	if _, err := s.Save(sample(3)); !errors.Is(err, syscall.ENOSPC) || err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
}

// TestHold keeps checkpoints beyond Keep for as long as somebody wants them.
func TestHold(t *testing.T) {
	held := map[int]bool{1: true, 3: true}
	s := Store{FS: disktest.NewMemory(), Hold: func(step int) bool { return held[step] }}
	for step := 1; step <= 6; step++ {
		if _, err := s.Save(&Content{Step: step}); err != nil {
			t.Fatal(err)
		}
	}
	want := func(names ...string) {
		t.Helper()
		if got, err := s.List(); err != nil || !slices.Equal(got, names) {
			t.Errorf("there are %v, %v; want %v", got, err, names)
		}
	}
	want(Name(1), Name(3), Name(5), Name(6))
	delete(held, 1)
	s.Retain()
	want(Name(3), Name(5), Name(6))
}
