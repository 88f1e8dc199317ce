package disktest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/locorun/locorun/runtime/disk"
)

// ways is the number of crashes that are drawn where a share leaves a choice.
const ways = 20

// crashes calls found with the trees that a power cut now may leave.
func crashes(m *Memory, found func(share float64, left *Memory)) {
	for _, share := range []float64{0, 0.5, 1} {
		for seed := range uint64(ways) {
			found(share, m.Crash(share, rand.New(rand.NewPCG(seed, 1))))
			if share != 0.5 {
				break
			}
		}
	}
}

func read(tree disk.FS, name string) (string, error) {
	f, err := tree.Open(name)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	return string(b), errors.Join(err, f.Close())
}

func put(text string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}
}

var (
	before = strings.Repeat("old.", 100)
	after  = strings.Repeat("new", 300)
)

// judge replaces the text of one file by another with save, cuts the power
// after each operation, and says what was found that should not be.
func judge(t *testing.T, anyOrder bool, save func(tree disk.FS, name, text string) error) (wrong []string) {
	t.Helper()
	m := NewMemory()
	m.AnyOrder = anyOrder
	if err := errors.Join(m.Mkdir("d"), m.SyncDir(".")); err != nil {
		t.Fatal(err)
	}
	if err := disk.WriteFile(m, "d/x", put(before)); err != nil {
		t.Fatal(err)
	}
	look := func(when string, want ...string) {
		crashes(m, func(share float64, left *Memory) {
			text, err := read(left, "d/x")
			if err != nil || !slices.Contains(want, text) {
				wrong = append(wrong, fmt.Sprintf("%s, share %g: %.20q of %d bytes, %v", when, share, text, len(text), err))
			}
		})
	}
	m.After = func(op Op) { look(op.String(), before, after) }
	if err := save(m, "d/x", after); err != nil {
		t.Fatal(err)
	}
	m.After = nil
	look("when it had returned", after)
	return wrong
}

// pieces writes a text in several writes.
func pieces(f disk.File, text string) error {
	for chunk := range slices.Chunk([]byte(text), 100) {
		if _, err := f.Write(chunk); err != nil {
			return err
		}
	}
	return nil
}

// replace is a save of which steps can be left out.
func replace(syncFile, syncDir bool) func(disk.FS, string, string) error {
	return func(tree disk.FS, name, text string) error {
		f, err := tree.Create(name + ".tmp")
		if err != nil {
			return err
		}
		err = pieces(f, text)
		if syncFile {
			err = errors.Join(err, f.Sync())
		}
		err = errors.Join(err, f.Close(), tree.Rename(name+".tmp", name))
		if syncDir {
			err = errors.Join(err, tree.SyncDir(path.Dir(name)))
		}
		return err
	}
}

// inPlace writes over the file.
func inPlace(tree disk.FS, name, text string) error {
	f, err := tree.Append(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(0), pieces(f, text), f.Sync(), f.Close())
}

// removeFirst takes the old file away before the new one has its name.
func removeFirst(tree disk.FS, name, text string) error {
	f, err := tree.Create(name + ".tmp")
	if err != nil {
		return err
	}
	return errors.Join(pieces(f, text), f.Sync(), f.Close(),
		tree.Remove(name), tree.Rename(name+".tmp", name), tree.SyncDir(path.Dir(name)))
}

// TestCrashesCatch: the writer that we use survives every power cut, and each
// usual mistake is found.
func TestCrashesCatch(t *testing.T) {
	writeFile := func(tree disk.FS, name, text string) error {
		return disk.WriteFile(tree, name, func(w io.Writer) error { return put(text)(w) })
	}
	for _, c := range []struct {
		name   string
		save   func(disk.FS, string, string) error
		caught bool
	}{
		{"disk.WriteFile", writeFile, false},
		{"all steps", replace(true, true), false},
		{"no sync of the file", replace(false, true), true},
		{"no sync of the directory", replace(true, false), true},
		{"no sync", replace(false, false), true},
		{"in place", inPlace, true},
		{"removed first", removeFirst, true},
	} {
		for _, anyOrder := range []bool{false, true} {
			wrong := judge(t, anyOrder, c.save)
			if (len(wrong) > 0) != c.caught {
				t.Errorf("%s, any order %v: found %d, %v", c.name, anyOrder, len(wrong), wrong)
			}
		}
	}
}

// TestCrashLosesWhatAFailedSyncLost: a sync that failed and is tried again
// succeeds, and the bytes are not on the disk.
func TestCrashLosesWhatAFailedSyncLost(t *testing.T) {
	m := NewMemory()
	tree := Fail(m, Fault{At: 1, Kinds: []Kind{Sync}})
	f, err := tree.Create("x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("lost")); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("the first sync: %v", err)
	}
	if _, err := f.Write([]byte("kept")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close(), tree.SyncDir(".")); err != nil {
		t.Fatal(err)
	}
	if text, err := read(m, "x"); err != nil || text != "lostkept" {
		t.Errorf("while the power is on: %q, %v", text, err)
	}
	crashes(m, func(_ float64, left *Memory) {
		if text, err := read(left, "x"); err != nil || text != "\x00\x00\x00\x00kept" {
			t.Errorf("after a power cut: %q, %v", text, err)
		}
	})
}

// TestCrashOfNames: what a directory may look like, in order and out of it.
func TestCrashOfNames(t *testing.T) {
	for _, anyOrder := range []bool{false, true} {
		m := NewMemory()
		m.AnyOrder = anyOrder
		for _, name := range []string{"a", "b"} {
			f, err := m.Create(name)
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
		}
		seen := map[string]bool{}
		for seed := range uint64(200) {
			names, err := m.Crash(0.5, rand.New(rand.NewPCG(seed, 2))).List(".")
			if err != nil {
				t.Fatal(err)
			}
			seen[strings.Join(names, "")] = true
		}
		if seen["b"] != anyOrder || !seen[""] || !seen["a"] || !seen["ab"] {
			t.Errorf("any order %v: saw %v", anyOrder, seen)
		}
	}
}

// TestCrashOfBytes: a write that was not synced is whole, torn, zeros or gone.
func TestCrashOfBytes(t *testing.T) {
	m := NewMemory()
	f, err := m.Create("x")
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write([]byte("abcd"))
	if err := errors.Join(err, m.SyncDir(".")); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for seed := range uint64(400) {
		text, err := read(m.Crash(0.5, rand.New(rand.NewPCG(seed, 3))), "x")
		if err != nil {
			t.Fatal(err)
		}
		seen[text] = true
	}
	for _, want := range []string{"", "a", "ab", "abc", "abcd", "\x00\x00\x00\x00"} {
		if !seen[want] {
			t.Errorf("%q was never left", want)
		}
	}
	if len(seen) != 6 {
		t.Errorf("left %d texts", len(seen))
	}
}

// TestCrashOfDirectories: one that is not durable takes along what is in it,
// though that was synced.
func TestCrashOfDirectories(t *testing.T) {
	m := NewMemory()
	if err := m.Mkdir("d"); err != nil {
		t.Fatal(err)
	}
	if err := disk.WriteFile(m, "d/x", put("x")); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	if _, err := m.Crash(0, rng).List("d"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("not synced: %v", err)
	}
	if err := m.SyncDir("."); err != nil {
		t.Fatal(err)
	}
	left := m.Crash(0, rng)
	if text, err := read(left, "d/x"); err != nil || text != "x" {
		t.Errorf("synced: %q, %v", text, err)
	}
	if err := disk.WriteFile(left, "d/x", put("y")); err != nil {
		t.Errorf("a tree that was found again: %v", err)
	}
	if text, err := read(m, "d/x"); err != nil || text != "x" {
		t.Errorf("the first tree changed with the second: %q, %v", text, err)
	}
}

// TestMemoryIsLikeRoot does the same to both and compares.
func TestMemoryIsLikeRoot(t *testing.T) {
	root, err := disk.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	real, fake := script(root), script(NewMemory())
	if real != fake {
		t.Errorf("the operating system:\n%s\nin memory:\n%s", real, fake)
	}
}

// script tells what a tree answers.
func script(tree disk.FS) string {
	var b bytes.Buffer
	say := func(what string, err error) {
		for _, kind := range []error{fs.ErrExist, fs.ErrNotExist, fs.ErrClosed} {
			if errors.Is(err, kind) {
				err = kind
			}
		}
		if err != nil && !slices.Contains([]error{fs.ErrExist, fs.ErrNotExist, fs.ErrClosed}, err) {
			err = errors.New("refused")
		}
		fmt.Fprintln(&b, what, err)
	}
	write := func(name string, open func(string) (disk.File, error), text string) {
		f, err := open(name)
		say("open "+name, err)
		if err != nil {
			return
		}
		_, err = f.Write([]byte(text))
		say("write", errors.Join(err, f.Sync(), f.Close()))
		_, err = f.Write([]byte(text))
		say("write to a closed one", err)
	}
	look := func(name string) {
		text, err := read(tree, name)
		say("read "+name+" "+text, err)
	}
	list := func(dir string) {
		names, err := tree.List(dir)
		say(fmt.Sprintf("list %s %q", dir, names), err)
	}
	say("mkdir", tree.Mkdir("d"))
	say("mkdir again", tree.Mkdir("d"))
	say("mkdir in nothing", tree.Mkdir("none/d"))
	write("d/x", tree.Create, "one")
	write("d/x", tree.Create, "again")
	write("d/x", tree.Append, "two")
	write("y", tree.Append, "three")
	write("d", tree.Create, "")
	write("none/x", tree.Create, "")
	write("../x", tree.Create, "")
	write("d", tree.Append, "")
	look("d/x")
	look("d")
	look("none")
	list(".")
	list("d")
	list("none")
	list("y")
	say("rename", tree.Rename("d/x", "z"))
	say("rename over", tree.Rename("z", "y"))
	say("rename onto itself", tree.Rename("y", "y"))
	say("rename nothing", tree.Rename("none", "y"))
	say("rename onto a directory", tree.Rename("y", "d"))
	say("rename into nothing", tree.Rename("y", "none/y"))
	look("y")
	if f, err := tree.Append("y"); err == nil {
		say("truncate", errors.Join(f.Truncate(2), f.Truncate(4)))
		_, err := f.Write([]byte("!"))
		say("write after it", errors.Join(err, f.Close()))
		say("close again", f.Close())
	}
	look("y")
	say("remove", tree.Remove("y"))
	say("remove again", tree.Remove("y"))
	say("sync", tree.SyncDir("d"))
	say("sync of nothing", tree.SyncDir("none"))
	list(".")
	return b.String()
}

// TestMemoryReadsPast: a reader keeps the file that it opened, at the size it
// had.
func TestMemoryReadsPast(t *testing.T) {
	m := NewMemory()
	if err := disk.WriteFile(m, "x", put("old")); err != nil {
		t.Fatal(err)
	}
	f, err := m.Open("x")
	if err != nil {
		t.Fatal(err)
	}
	if err := disk.WriteFile(m, "x", put("newer")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 3)
	if _, err := f.ReadAt(b, 0); err != nil || string(b) != "old" || f.Size() != 3 {
		t.Errorf("%q, %v", b, err)
	}
	if n, err := f.ReadAt(b, 2); n != 1 || err != io.EOF {
		t.Errorf("past the end: %d, %v", n, err)
	}
	if err := errors.Join(f.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadAt(b, 0); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// TestHooks: each operation is met before and after, in order, with its number.
func TestHooks(t *testing.T) {
	m := NewMemory()
	var met []string
	m.Before = func(op Op) { met = append(met, "before "+op.String()) }
	m.After = func(op Op) { met = append(met, "after "+op.String()) }
	if err := disk.WriteFile(m, "x", put("text")); err != nil {
		t.Fatal(err)
	}
	ops := []string{"create .x.0.tmp", "write .x.0.tmp", "sync .x.0.tmp", "close .x.0.tmp", "rename x", "syncdir ."}
	var want []string
	for i, op := range ops {
		for _, when := range []string{"before", "after"} {
			want = append(want, fmt.Sprintf("%s operation %d (%s)", when, i+1, op))
		}
	}
	if !slices.Equal(met, want) || m.Ops() != len(ops) {
		t.Errorf("met %q, want %q", met, want)
	}
}

// TestWriteFileFailsAtEveryOperation fails the first, the second ... operation,
// each way, until a write meets none that fails.
func TestWriteFileFailsAtEveryOperation(t *testing.T) {
	for _, way := range []Fault{{}, {Forever: true}, {Short: true}, {Late: true}} {
		for _, way.Err = range Errors() {
			failEach(t, way)
		}
	}
}

func failEach(t *testing.T, way Fault) {
	const rename, all = 5, 6 // create, write, sync, close, rename, sync of the directory
	for way.At = 1; ; way.At++ {
		m := NewMemory()
		if err := disk.WriteFile(m, "w", put("old")); err != nil {
			t.Fatal(err)
		}
		tree := Fail(m, way)
		err := disk.WriteFile(tree, "w", put("new"))
		text, reading := read(m, "w")
		if reading != nil {
			t.Fatal(reading)
		}
		if len(tree.Failed()) == 0 {
			if err != nil || text != "new" || way.At != all+1 {
				t.Errorf("%+v: wrote %q, %v", way, text, err)
			}
			return
		}
		if !errors.Is(err, way.Err) || strings.Contains(err.Error(), ".w.") {
			t.Errorf("%+v: %v", way, err)
		}
		want := "old"
		if way.At == all || way.Late && way.At == rename {
			want = "new" // only its outliving a power cut is in doubt
		}
		names, listing := m.List(".")
		if listing != nil {
			t.Fatal(listing)
		}
		mayStay := way.Late && way.At == 1 || way.Forever && way.At > 1 // made unseen, or the removal fails too
		if text != want || len(names) != 1 && !mayStay {
			t.Errorf("%+v: %q is there, want %q, in %v", way, text, want, names)
		}
	}
}

// TestFailingReads: reads, opens and lists fail too, and by kind.
func TestFailingReads(t *testing.T) {
	m := NewMemory()
	if err := disk.WriteFile(m, "x", put("text")); err != nil {
		t.Fatal(err)
	}
	for _, k := range []Kind{Open, Read, Close} {
		tree := Fail(m, Fault{At: 1, Kinds: []Kind{k}})
		if _, err := read(tree, "x"); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: %v", k, err)
		}
		if text, err := read(tree, "x"); err != nil || text != "text" {
			t.Errorf("%s, the second time: %q, %v", k, text, err)
		}
	}
	tree := Fail(m, Fault{At: 2, Kinds: []Kind{List}, Forever: true})
	for n := range 4 {
		if _, err := tree.List("."); (err != nil) != (n > 0) {
			t.Errorf("list %d: %v", n+1, err)
		}
	}
	if got := len(tree.Failed()); got != 3 {
		t.Errorf("%d failed", got)
	}
}

func TestFailingShortWrite(t *testing.T) {
	m := NewMemory()
	tree := Fail(m, Fault{At: 1, Kinds: []Kind{Write}, Short: true, Err: syscall.ENOSPC})
	f, err := tree.Create("x")
	if err != nil {
		t.Fatal(err)
	}
	n, err := f.Write([]byte("abcd"))
	if n != 2 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("wrote %d, %v", n, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if text, err := read(m, "x"); err != nil || text != "ab" {
		t.Errorf("%q, %v", text, err)
	}
}
