package cli

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/locorun/locorun/runtime/checkpoint"
	"github.com/locorun/locorun/runtime/disk"
	"github.com/locorun/locorun/runtime/disk/disktest"
)

// thorough says that tests may take minutes.
func thorough() bool { return os.Getenv("LOCORUN_LONG") != "" }

// written is what a run leaves behind, as far as it must not depend on what
// happened to it.
type written struct {
	checkpoint string // the newest, with the hash of its bytes
	lines      []string
}

// wrote reads what is in a tree.
func wrote(t *testing.T, tree disk.FS) (w written) {
	t.Helper()
	names, err := tree.List("checkpoints")
	if err != nil || len(names) == 0 {
		t.Fatalf("no checkpoints: %v", err)
	}
	w.checkpoint = fmt.Sprintf("%s %x", slices.Max(names), sha256.Sum256(content(t, tree, "checkpoints/"+slices.Max(names))))
	for line := range bytes.Lines(content(t, tree, "metrics.jsonl")) {
		var r struct {
			Kind, Unit, Stage, Data string
			Step                    int
			Loss, Accuracy          float64
		}
		if err := json.Unmarshal(line, &r); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		w.lines = append(w.lines, fmt.Sprint(r))
	}
	slices.Sort(w.lines)
	return w
}

func content(t *testing.T, tree disk.FS, name string) []byte {
	t.Helper()
	f, err := tree.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (w written) equal(o written) bool {
	return w.checkpoint == o.checkpoint && slices.Equal(w.lines, o.lines)
}

// trainOn runs the small program in a directory whose files are in tree.
func trainOn(t *testing.T, tree disk.FS, dir string) (code int, stderr string) {
	t.Helper()
	env := Env{Disk: func(string) (disk.FS, error) { return open{tree}, nil }}
	code, _, stderr = call(env, "--listen", "off", "--checkpoint-every", "3", "--out", dir, filepath.Join("..", "..", "testdata", "script", "tiny.loco"))
	return code, stderr
}

// open is a tree that stays open.
type open struct{ disk.FS }

func (open) Close() error { return nil }

// TestPowerCut cuts the power after each file operation of a whole run, with
// none, some and all of what was not synced kept. Whatever is found then goes on
// to the same bytes: it is the old state or the new one, never a mixture.
func TestPowerCut(t *testing.T) {
	whole := disktest.NewMemory()
	if code, errs := trainOn(t, whole, t.TempDir()); code != 0 {
		t.Fatal(errs)
	}
	want, operations := wrote(t, whole), whole.Ops()
	for at := 1; at <= operations; at++ {
		for i, share := range []float64{0, 0.5, 1} {
			if !thorough() && (at%5 != 0 || i != at%3) {
				continue
			}
			var found *disktest.Memory
			m := disktest.NewMemory()
			m.AnyOrder = at%2 == 0
			var what disktest.Op
			m.After = func(op disktest.Op) {
				if op.N == at {
					found, what = m.Crash(share, rand.New(rand.NewPCG(uint64(at), uint64(i)))), op
				}
			}
			if code, errs := trainOn(t, m, t.TempDir()); code != 0 {
				t.Fatal(errs)
			}
			if found == nil {
				continue // this run took fewer operations
			}
			if code, errs := trainOn(t, found, t.TempDir()); code != 0 {
				t.Fatalf("after %v, %v kept: exit %d\n%s", what, share, code, errs)
			}
			if got := wrote(t, found); !got.equal(want) {
				t.Errorf("after %v, %v kept: it ends with %s and %d lines, want %s and %d", what, share, got.checkpoint, len(got.lines), want.checkpoint, len(want.lines))
			}
		}
	}
	t.Logf("%d operations", operations)
}

// TestDiskFails fails each file operation of a whole run, once or from then on.
// The run is refused before it begins, or it trains to its end; where the last
// checkpoint could not be saved it says so. A later call goes on to the same
// bytes.
func TestDiskFails(t *testing.T) {
	whole := disktest.NewMemory()
	if code, errs := trainOn(t, whole, t.TempDir()); code != 0 {
		t.Fatal(errs)
	}
	want, operations := wrote(t, whole), whole.Ops()
	refused, unsaved, ended := 0, 0, 0
	for at := 1; at <= operations; at++ {
		for i, err := range []error{syscall.EIO, syscall.ENOSPC} {
			for j, forever := range []bool{false, true} {
				if !thorough() && (at%4 != 0 || 2*i+j != at/4%4) {
					continue
				}
				m := disktest.NewMemory()
				dir := t.TempDir()
				f := disktest.Fail(m, disktest.Fault{At: at, Err: err, Forever: forever, Short: at%2 == 0})
				code, errs := trainOn(t, f, dir)
				switch {
				case code == 0:
					ended++
				case strings.Contains(errs, "are not saved: "):
					unsaved++
				default:
					refused++
					if !strings.Contains(errs, "run directory") || strings.Contains(errs, "epoch 1/2") {
						t.Errorf("operation %d, %v: exit %d\n%s", at, err, code, errs)
					}
				}
				if failed := f.Failed(); code != 0 && len(failed) > 0 && !strings.Contains(errs, err.Error()) && !strings.Contains(errs, "input/output error") {
					t.Errorf("operation %v, %v: exit %d without the cause\n%s", failed[0], err, code, errs)
				}
				if code, errs = trainOn(t, m, dir); code != 0 {
					t.Errorf("operation %d, %v: afterwards exit %d\n%s", at, err, code, errs)
					continue
				}
				if got := wrote(t, m); got.checkpoint != want.checkpoint {
					t.Errorf("operation %d, %v, forever %v: it ends with %s, want %s", at, err, forever, got.checkpoint, want.checkpoint)
				}
			}
		}
	}
	t.Logf("%d operations: %d calls were refused, %d lost the last checkpoint, %d ended well", operations, refused, unsaved, ended)
	if min(refused, unsaved, ended) == 0 {
		t.Error("not all ways were taken")
	}
}

// TestFailuresAreCounted: a checkpoint that cannot be saved is a metric and a
// line of the log, and the next one is saved.
func TestFailuresAreCounted(t *testing.T) {
	m := disktest.NewMemory()
	f := &oneSave{FS: m, fail: "checkpoints/.step-00000003"}
	code, errs := trainOn(t, f, t.TempDir())
	if code != 0 || f.failed != 1 {
		t.Fatalf("exit %d, %d failures\n%s", code, f.failed, errs)
	}
	if !strings.Contains(errs, "a checkpoint could not be saved; training goes on") || !strings.Contains(errs, "no space left on device") {
		t.Errorf("it says\n%s", errs)
	}
	if names, err := m.List("checkpoints"); err != nil || !slices.Equal(names, []string{"step-00000006.loco-ckpt", "step-00000008.loco-ckpt"}) {
		t.Errorf("saved are %v, %v", names, err)
	}
}

// oneSave fails to make the files whose names begin with a text.
type oneSave struct {
	disk.FS
	fail   string
	failed int
}

func (o *oneSave) Create(name string) (disk.File, error) {
	if strings.HasPrefix(name, o.fail) {
		o.failed++
		return nil, errors.Join(syscall.ENOSPC)
	}
	return o.FS.Create(name)
}

// TestOtherVersion goes on from a checkpoint of another version, with a warning.
func TestOtherVersion(t *testing.T) {
	m, dir := disktest.NewMemory(), t.TempDir()
	if code, errs := trainOn(t, m, dir); code != 0 || strings.Contains(errs, "warning") {
		t.Fatalf("exit %d\n%s", code, errs)
	}
	store := checkpoint.Store{FS: disk.Sub(m, "checkpoints")}
	c, _, err := store.Newest(nil)
	if err != nil {
		t.Fatal(err)
	}
	c.About["version"] = "v0.0.1"
	if _, err := store.Save(c); err != nil {
		t.Fatal(err)
	}
	code, errs := trainOn(t, m, dir)
	if code != 0 || !strings.Contains(errs, "was made by locorun v0.0.1 and this is ") {
		t.Errorf("exit %d\n%s", code, errs)
	}
}
