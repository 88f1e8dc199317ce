package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/locorun/locorun/runtime/disk"
)

// job is a place and what is written there.
type job struct {
	Place
	Options
}

func options(t *testing.T) job {
	return job{Place{Root: filepath.Join(t.TempDir(), "runs"), File: "some/where/fashion-mnist.loco"}, Options{
		Text: []byte("loco 1\r\n// exactly this\n"),
		Plan: "3 units\n",
		About: About{File: "some/where/fashion-mnist.loco", Method: "loco", Define: []Define{{"width", "16"}}, Fingerprint: "f00d", Device: "cpu/portable",
			Version: "v0.1.0", GoVersion: "go1.26"},
		Now:  func() time.Time { return time.Unix(1_700_000_000, 500_000_000) },
		Host: "host",
	}}
}

// start claims a directory and starts a run in it, which has the directory until
// the test ends.
func start(t *testing.T, o job) (*Run, error) {
	t.Helper()
	d, err := Claim(o.Place)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = d.Close() })
	return d.Start(o.Options)
}

func create(t *testing.T, o job) *Run {
	t.Helper()
	r, err := start(t, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func read(t *testing.T, r *Run, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(r.Dir(), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func batch(unit string, step int) Batch {
	return Batch{Epoch: 1, Batch: step, Step: step, Unit: unit, Loss: 4.25, LearningRate: 0.1, EmbeddingStd: 0.75,
		EffectiveRank: Number(math.NaN()), GradientNorm: 1.5, Waits: Waits{Data: 1, Gradient: 0.25},
		Steps: Steps{Forward: 2, Sweep: 4, Update: 0.125}, ImagesPerSecond: 1000}
}

func TestDirectory(t *testing.T) {
	o := options(t)
	o.Imports = []Import{{"blocks.loco", []byte("loco 1\n")}, {"lib/views.loco", []byte("loco 1 // views\n")}}
	r := create(t, o)
	if want := filepath.Join(o.Root, "fashion-mnist-1"); r.Dir() != want {
		t.Errorf("the directory is %s, want %s", r.Dir(), want)
	}
	for name, want := range map[string]string{
		"graph.loco":     string(o.Text),
		"plan.txt":       o.Plan,
		"blocks.loco":    "loco 1\n",
		"lib/views.loco": "loco 1 // views\n",
		"metrics.jsonl":  "",
		"log":            "",
		"run.json": `{
  "file": "some/where/fashion-mnist.loco",
  "data": "",
  "method": "loco",
  "define": [
    {
      "name": "width",
      "value": "16"
    }
  ],
  "fingerprint": "f00d",
  "device": "cpu/portable",
  "version": "v0.1.0",
  "go_version": "go1.26",
  "started": "2023-11-14T22:13:20.5Z"
}
`,
	} {
		if got := read(t, r, name); got != want {
			t.Errorf("%s holds\n%s\nwant\n%s", name, got, want)
		}
	}
	checkModes(t, r.Dir())
}

func checkModes(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", path, got, want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestNextDirectory(t *testing.T) {
	o := options(t)
	for _, there := range []string{"fashion-mnist-7", "fashion-mnist-x", "other-9", "fashion-mnist-99999999999999999999"} {
		if err := os.MkdirAll(filepath.Join(o.Root, there), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"fashion-mnist-8", "fashion-mnist-9"} {
		if r := create(t, o); filepath.Base(r.Dir()) != want {
			t.Errorf("got %s, want %s", r.Dir(), want)
		}
	}
}

func TestRunsAtOnceGetDirectoriesOfTheirOwn(t *testing.T) {
	o := options(t)
	var wg sync.WaitGroup
	var seen sync.Map
	for range 8 {
		wg.Go(func() {
			r, err := start(t, o)
			if err != nil {
				t.Error(err)
				return
			}
			if _, twice := seen.LoadOrStore(r.Dir(), true); twice {
				t.Errorf("%s was given twice", r.Dir())
			}
			_ = r.Close()
		})
	}
	wg.Wait()
}

func TestStem(t *testing.T) {
	for file, want := range map[string]string{"a/b.loco": "b", "x": "x", ".loco": "run", "": "run", "/": "run", "a.b.loco": "a.b"} {
		if got := stem(file); got != want {
			t.Errorf("%q: got %q, want %q", file, got, want)
		}
	}
}

func TestOut(t *testing.T) {
	o := options(t)
	o.Dir = filepath.Join(t.TempDir(), "a", "b")
	create(t, o)
	checkModes(t, o.Dir)
	var locked *disk.Locked
	if _, err := start(t, o); !errors.As(err, &locked) {
		t.Errorf("a directory in use gives %v", err)
	}
	full := options(t)
	full.Dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(full.Dir, "notes"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := start(t, full)
	want := "run directory " + full.Dir + " is not empty: file already exists, and it holds no run; name another with --out, or leave --out out for a new one"
	if err == nil || err.Error() != want || !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v\nwant %s", err, want)
	}
	empty := options(t)
	empty.Dir = t.TempDir()
	create(t, empty)
	file := options(t)
	file.Dir = filepath.Join(o.Dir, "log")
	if _, err := start(t, file); err == nil || !strings.HasPrefix(err.Error(), "run directory: ") {
		t.Errorf("a file is taken as a directory: %v", err)
	}
}

func TestImportsStayInside(t *testing.T) {
	for path, want := range map[string]string{
		"../x.loco":   `run directory: import "../x.loco" is not a relative path to a .loco file`,
		"/x.loco":     `run directory: import "/x.loco" is not a relative path to a .loco file`,
		"a/../x.loco": `run directory: import "a/../x.loco" is not a relative path to a .loco file`,
		"x.txt":       `run directory: import "x.txt" is not a relative path to a .loco file`,
		"graph.loco":  `run directory: the imported "graph.loco" would take the place of the run's own graph.loco; rename it`,
		"log/a.loco":  `run directory: the imported "log/a.loco" would take the place of the run's own log; rename it`,
	} {
		o := options(t)
		o.Imports = []Import{{path, nil}}
		if err := o.Check(); err == nil || err.Error() != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
		if _, err := start(t, o); err == nil || err.Error() != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}

func TestLines(t *testing.T) {
	r := create(t, options(t))
	r.Batch(batch("low", 1), batch("high", 1))
	r.Readout(Readout{Epoch: 1, Step: 1, Readout: "linear", Stage: "s4", Accuracy: 0.5, Random: 0.25, Pixels: Number(math.Inf(1)), Protocol: "mean < pool & sgd"})
	want := `{"kind":"batch","epoch":1,"batch":1,"step":1,"unit":"low","loss":4.25,"lr":0.1,"embedding_std":0.75,"effective_rank":null,"gradient_norm":1.5,` +
		`"wait_seconds":{"data":1,"input":0,"gradient":0.25,"output":0},"step_seconds":{"forward":2,"sweep":4,"update":0.125,"recompute":0},"images_per_second":1000}` + "\n"
	want += strings.Replace(want, `"low"`, `"high"`, 1)
	want += `{"kind":"readout","epoch":1,"step":1,"readout":"linear","stage":"s4","accuracy":0.5,"random_encoder":0.25,"raw_pixels":null,"protocol":"mean < pool & sgd"}` + "\n"
	if got := read(t, r, "metrics.jsonl"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestNumbersReadBack(t *testing.T) {
	for _, v := range []float64{0, math.Copysign(0, -1), 1, -1e-300, 1.0 / 3, math.MaxFloat64, 5e-324, 1e21, 123456789} {
		text, err := json.Marshal(Number(v))
		if err != nil {
			t.Fatal(err)
		}
		var back Number
		if err := json.Unmarshal(text, &back); err != nil || math.Float64bits(float64(back)) != math.Float64bits(v) {
			t.Errorf("%v is written %s and read %v (%v)", v, text, back, err)
		}
	}
	var nan Number
	if err := json.Unmarshal([]byte("null"), &nan); err != nil || !math.IsNaN(float64(nan)) {
		t.Errorf("null is read %v (%v)", nan, err)
	}
}

func TestLog(t *testing.T) {
	r := create(t, options(t))
	fmt.Fprintln(r.Log(), "one")
	fmt.Fprintln(r.Log(), "two")
	if got := read(t, r, "log"); got != "one\ntwo\n" {
		t.Errorf("the log holds %q", got)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := fmt.Fprintln(r.Log(), "late"); n != 5 || err != nil {
		t.Errorf("a late line gives %d, %v", n, err)
	}
	r.Batch(batch("low", 1))
	if err := r.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	if r.Errors() != 0 {
		t.Errorf("%d errors", r.Errors())
	}
}

func TestNilRun(t *testing.T) {
	var r *Run
	r.Batch(batch("low", 1))
	r.Readout(Readout{})
	fmt.Fprintln(r.Log(), "x")
	if r.Dir() != "" || r.Errors() != 0 || r.Close() != nil {
		t.Error("a nil Run does something")
	}
}

// faulty fails the operations whose numbers are listed; a failing write leaves
// half of its bytes behind, as a full disk does.
type faulty struct {
	data  []byte
	fails map[int]error
	n     int
}

func (f *faulty) fail() error {
	f.n++
	return f.fails[f.n-1]
}

func (f *faulty) Write(p []byte) (int, error) {
	if err := f.fail(); err != nil {
		f.data = append(f.data, p[:len(p)/2]...)
		return len(p) / 2, err
	}
	f.data = append(f.data, p...)
	return len(p), nil
}

func (f *faulty) Truncate(size int64) error {
	if err := f.fail(); err != nil {
		return err
	}
	f.data = f.data[:size]
	return nil
}

func (f *faulty) Sync() error  { return f.fail() }
func (f *faulty) Close() error { return f.fail() }

// TestDiskFailures fails each operation of five batches in turn, alone and
// with the next. Every time only whole lines stand in the file, the failure is
// reported once, and the last batch is there again if the disk was.
func TestDiskFailures(t *testing.T) {
	full := errors.New("no space left on device")
	for first := range 5 {
		for run := 1; run <= 3; run++ {
			var told []error
			o := options(t)
			var r *Run
			o.OnError = func(err error) {
				told = append(told, err)
				fmt.Fprintln(r.Log(), err) // whoever hears it may log it
			}
			r = create(t, o)
			f := &faulty{fails: map[int]error{}}
			for i := first; i < first+run; i++ {
				f.fails[i] = full
			}
			_ = r.lines.file.Close()
			r.lines.file = f
			for step := 1; step <= 5; step++ {
				r.Batch(batch("low", step))
			}
			checkWholeLines(t, f, first, run)
			want := "run directory " + r.Dir() + ": metrics.jsonl: no space left on device; training goes on without what cannot be written"
			if len(told) != 1 || told[0].Error() != want || r.Errors() < 1 {
				t.Errorf("failures from %d: told %v (%d counted), want once %s", first, told, r.Errors(), want)
			}
			if got := read(t, r, "log"); got != want+"\n" {
				t.Errorf("the log holds %q", got)
			}
		}
	}
}

// checkWholeLines: what is not torn at the end is whole lines. A file whose
// last cut failed may end in half a line, which the next record cuts off.
func checkWholeLines(t *testing.T, f *faulty, first, run int) {
	t.Helper()
	lines := bytes.SplitAfter(f.data, []byte("\n"))
	for i, l := range lines {
		if len(l) > 0 && !json.Valid(l) && i < len(lines)-1 {
			t.Errorf("failures %d..%d: line %d is torn: %s", first, first+run-1, i+1, l)
		}
	}
	if f.n > first+run && bytes.Count(f.data, []byte("\n")) == 0 {
		t.Errorf("failures %d..%d: nothing was written after the disk came back", first, first+run-1)
	}
}

func TestManyWriters(t *testing.T) {
	r := create(t, options(t))
	var wg sync.WaitGroup
	for _, u := range []string{"low", "mid", "high"} {
		wg.Go(func() {
			for step := range 50 {
				r.Batch(batch(u, step+1))
				fmt.Fprintln(r.Log(), u)
			}
		})
	}
	wg.Wait()
	for _, l := range strings.Split(strings.TrimSpace(read(t, r, "metrics.jsonl")), "\n") {
		if !json.Valid([]byte(l)) {
			t.Errorf("torn line %s", l)
		}
	}
	if got := len(decode(t, []byte(read(t, r, "events.out.tfevents.1700000000.host")))); got != 151 {
		t.Errorf("%d events, want 151", got)
	}
}

// TestContinue goes on after two of four batches: lines of later ones, the
// readout of the very batch, half a line and an overlong one go, the order of
// the rest stays, the log and the start time too, and TensorBoard is told.
func TestContinue(t *testing.T) {
	o := options(t)
	o.Dir = filepath.Join(t.TempDir(), "run")
	d, err := Claim(o.Place)
	if err != nil || !d.Fresh {
		t.Fatal(err, d)
	}
	r, err := d.Start(o.Options)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(r.Log(), "one")
	r.Batch(batch("low", 1), batch("high", 1))
	r.Readout(Readout{Step: 1, Stage: "s1"})
	r.Batch(batch("low", 2), batch("low", 3), batch("high", 2))
	want := read(t, r, "metrics.jsonl")
	want = strings.Replace(want, must(line("batch", batch("low", 3))), "", 1)
	r.Readout(Readout{Step: 2, Stage: "s1"})
	r.Batch(batch("high", 3), batch("low", 4))
	r.Sync()
	if r.Errors() != 0 {
		t.Fatal("syncing fails")
	}
	_ = r.Close()
	_ = d.Close()
	f, err := os.OpenFile(filepath.Join(o.Dir, "metrics.jsonl"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(f, "%s\n{\"kind\":\"batch\",\"step\":1,", strings.Repeat("x", 3*longestLine))
	_ = f.Close()

	d, err = Claim(o.Place)
	if err != nil || d.Fresh || d.About.Method != "loco" {
		t.Fatalf("%v, %+v", err, d)
	}
	t.Cleanup(func() { _ = d.Close() })
	o.Now = func() time.Time { return time.Unix(1_700_000_000, 900_000_000) } // the same second
	o.Text = []byte("loco 1 // again\n")
	r, err = d.Continue(o.Options, 2, "step-00000002.loco-ckpt", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, r, "metrics.jsonl"); got != want {
		t.Errorf("metrics.jsonl holds\n%s\nwant\n%s", got, want)
	}
	r.Batch(batch("low", 3))
	fmt.Fprintln(r.Log(), "two")
	if got := read(t, r, "metrics.jsonl"); got != want+must(line("batch", batch("low", 3))) {
		t.Errorf("metrics.jsonl goes on as\n%s", got)
	}
	if got := read(t, r, "log"); got != "one\ntwo\n" {
		t.Errorf("the log holds %q", got)
	}
	if read(t, r, "graph.loco") != "loco 1 // again\n" {
		t.Error("graph.loco is the old one")
	}
	if about := read(t, r, "run.json"); !strings.Contains(about, `"started": "2023-11-14T22:13:20.5Z"`) ||
		!strings.Contains(about, `"step": 2,`) || !strings.Contains(about, `"from": "step-00000002.loco-ckpt"`) {
		t.Errorf("run.json holds\n%s", about)
	}
	events := decode(t, []byte(read(t, r, "events.out.tfevents.1700000001.host")))
	if len(events) != 3 || !events[1].start || events[1].step != 3 || events[2].step != 3 {
		t.Errorf("the second file of events holds %+v", events)
	}
	_ = r.Close()
}

func must(b []byte, err error) string {
	if err != nil {
		panic(err)
	}
	return string(b)
}

// TestHalfMade takes a directory whose run was killed before run.json was there,
// and goes on in one that has nothing but run.json.
func TestHalfMade(t *testing.T) {
	o := options(t)
	o.Dir = t.TempDir()
	for _, name := range []string{"lock", ".run.json.0.tmp"} {
		if err := os.WriteFile(filepath.Join(o.Dir, name), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, err := Claim(o.Place)
	if err != nil || !d.Fresh {
		t.Fatalf("%v, %+v", err, d)
	}
	_ = d.Close()
	if err := os.WriteFile(filepath.Join(o.Dir, "run.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if d, err = Claim(o.Place); err != nil || d.Fresh {
		t.Fatalf("%v, %+v", err, d)
	}
	r, err := d.Continue(o.Options, 0, "", nil)
	if err != nil || read(t, r, "graph.loco") != string(o.Text) {
		t.Fatal(err)
	}
	_ = r.Close()
	_ = d.Close()
}

// TestDataDir: a relative directory is meant from where the call was made.
func TestDataDir(t *testing.T) {
	base := t.TempDir()
	if err := os.MkdirAll(filepath.Join(base, "some", "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	abs := filepath.Join(base, "elsewhere")
	for _, c := range []struct {
		name  string
		about About
		want  string
	}{
		{"of the file", About{File: filepath.Join("some", "a.loco"), Dir: base}, filepath.Join(base, "some")},
		{"named", About{File: "a.loco", Data: filepath.Join("some", "data"), Dir: base}, filepath.Join(base, "some", "data")},
		{"absolute", About{File: "a.loco", Data: abs, Dir: base}, abs},
		{"moved", About{File: "a.loco", Data: "data", Dir: base}, "data"},
		{"unknown", About{File: filepath.Join("some", "a.loco")}, "some"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.about.DataDir(); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestClaimRefuses: a directory that cannot be opened, and one whose run.json is
// damaged.
func TestClaimRefuses(t *testing.T) {
	o := options(t)
	o.Dir = t.TempDir()
	o.Open = func(dir string) (disk.FS, error) {
		var none *disk.Root
		return none, &fs.PathError{Op: "open", Path: dir, Err: fs.ErrPermission}
	}
	if _, err := Claim(o.Place); err == nil || err.Error() != "run directory "+o.Dir+": open: permission denied" {
		t.Errorf("it cannot be opened: %v", err)
	}
	o.Open = nil
	for _, text := range []string{"", "{", "[]"} {
		if err := os.WriteFile(filepath.Join(o.Dir, "run.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Claim(o.Place)
		if err == nil || !strings.HasPrefix(err.Error(), "run directory "+o.Dir+": run.json: it is damaged (") ||
			!strings.HasSuffix(err.Error(), "; to go on elsewhere name the .loco file, another --out, and with --resume one of the checkpoints") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
