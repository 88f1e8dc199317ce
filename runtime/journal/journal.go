package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/locorun/locorun/runtime/disk"
)

// Import is a file that the program imports, by its path relative to the
// program, with slashes.
type Import struct {
	Path string
	Text []byte
}

// Define is one -D of the command line.
type Define struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// About is run.json: what, besides the text, makes the run what it is.
type About struct {
	File        string          `json:"file"`          // as it was named on the command line
	Data        string          `json:"data"`          // directory of the data, as named; "" is that of the file
	Dir         string          `json:"dir,omitempty"` // in which the call was made, absolute; "" is unknown
	Method      string          `json:"method"`        // loco, gim or e2e
	Define      []Define        `json:"define"`
	Fingerprint string          `json:"fingerprint"`       // of Meaning
	Meaning     json.RawMessage `json:"meaning,omitempty"` // what decides the weights; not this package's business
	Device      string          `json:"device"`
	Version     string          `json:"version"`
	GoVersion   string          `json:"go_version"`
	Started     time.Time       `json:"started"`
	Resumed     *Resumed        `json:"resumed,omitempty"` // the last time
}

// Resumed says when and where a run went on.
type Resumed struct {
	At   time.Time `json:"at"`
	Step int       `json:"step"` // batches applied before
	From string    `json:"from"` // the checkpoint
}

// Options says what to write.
type Options struct {
	Text []byte // the program's text, exactly
	// Imports are copied beside graph.loco, so that the directory can be run
	// again; those of the built-in library need not be.
	Imports []Import
	Plan    string // what `plan` prints
	About   About  // Started, and when a run goes on Resumed.At, are filled in
	// OnError hears the first failure of each file. It may be called from any
	// goroutine that calls a method; nil: nobody hears.
	OnError func(error)
	Now     func() time.Time // default: time.Now
	Host    string           // default: os.Hostname
}

// Run is an open run directory. Its methods may be called from any goroutine,
// also on a nil Run, which writes nothing.
type Run struct {
	dir     string
	now     func() time.Time
	onError func(error)

	mu     sync.Mutex
	lines  *appender
	events *appender
	log    *appender
	failed map[string]bool // files whose first failure was reported
	errors int
	untold []error // first failures, told when the lock is free again
	closed bool
}

// Start writes what is known at a run's start. An error here is the last that
// stops a run: a directory that cannot be written at all is better known before
// the training than after.
func (d *Directory) Start(o Options) (*Run, error) {
	o = o.withDefaults()
	o.About.Started, o.About.Resumed = o.Now().UTC(), nil
	return d.write(o, func(*Run) error { return nil })
}

// Continue goes on with the run that is in the directory, after a number of
// batches: what was written of later ones is cut out of metrics.jsonl, as are
// the readouts of that very batch and of those in again, which are made again,
// and TensorBoard is told
// to forget them. The program's files are written anew.
func (d *Directory) Continue(o Options, step int, from string, again []int) (*Run, error) {
	o = o.withDefaults()
	o.About.Started, o.About.Resumed = d.About.Started, &Resumed{o.Now().UTC(), step, from}
	return d.write(o, func(r *Run) error {
		if err := cutLines(d.FS, step, again); err != nil {
			return fmt.Errorf("%s: %w", linesFile, err)
		}
		return nil
	})
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// write writes the start files and opens those that grow, after prepare.
func (d *Directory) write(o Options, prepare func(*Run) error) (*Run, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	r := &Run{dir: d.Path, now: o.Now, onError: o.OnError, failed: map[string]bool{}}
	err := o.writeStart(d.FS)
	if err == nil {
		err = prepare(r)
	}
	if err != nil {
		return nil, fmt.Errorf("run directory %s: %w", d.Path, err)
	}
	if err := r.open(d.FS, o); err != nil {
		return nil, errors.Join(fmt.Errorf("run directory %s: %w", d.Path, err), r.Close())
	}
	return r, nil
}

// Check refuses imports whose paths would not stay in the directory or would
// take the place of a file of ours.
func (o Options) Check() error {
	for _, i := range o.Imports {
		local := filepath.FromSlash(i.Path)
		if !filepath.IsLocal(local) || path.Clean(i.Path) != i.Path || !strings.HasSuffix(i.Path, ".loco") {
			return fmt.Errorf("run directory: import %q is not a relative path to a .loco file", i.Path)
		}
		first, _, _ := strings.Cut(i.Path, "/")
		if slices.Contains([]string{graphFile, aboutFile, planFile, linesFile, logFile, lockFile, CheckpointsDir}, first) {
			return fmt.Errorf("run directory: the imported %q would take the place of the run's own %s; rename it", i.Path, first)
		}
	}
	return nil
}

// The names of the files.
const (
	graphFile = "graph.loco"
	aboutFile = "run.json"
	planFile  = "plan.txt"
	linesFile = "metrics.jsonl"
	logFile   = "log"
)

// CheckpointsDir is the directory of checkpoints within a run's.
const CheckpointsDir = "checkpoints"

// writeStart writes the files that say what the run is. The first of them makes
// the directory a run's, whatever happens to the others: they are written again
// when it goes on.
func (o Options) writeStart(tree disk.FS) error {
	if o.About.Define == nil {
		o.About.Define = []Define{}
	}
	text, err := json.MarshalIndent(o.About, "", "  ")
	if err != nil {
		return fmt.Errorf("%s: %w", aboutFile, err)
	}
	files := []Import{{aboutFile, append(text, '\n')}, {graphFile, o.Text}, {planFile, []byte(o.Plan)}}
	for _, f := range append(files, o.Imports...) {
		if err := mkdirs(tree, path.Dir(f.Path)); err != nil {
			return fmt.Errorf("%s: %w", f.Path, disk.Cause(err))
		}
		if err := disk.WriteFile(tree, f.Path, func(w io.Writer) error { _, err := w.Write(f.Text); return err }); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	return nil
}

// mkdirs makes a directory and its parents where they are missing.
func mkdirs(tree disk.FS, dir string) error {
	if dir == "." {
		return nil
	}
	if err := mkdirs(tree, path.Dir(dir)); err != nil {
		return err
	}
	if err := tree.Mkdir(dir); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	return tree.SyncDir(path.Dir(dir))
}

func (r *Run) open(tree disk.FS, o Options) (err error) {
	if r.lines, err = openAppender(tree, linesFile); err != nil {
		return err
	}
	if r.log, err = openAppender(tree, logFile); err != nil {
		return err
	}
	if r.events, err = openAppender(tree, o.eventsFile(tree)); err != nil {
		return err
	}
	if err := r.events.add(frame(versionEvent(r.seconds()))); err != nil {
		return err
	}
	if o.About.Resumed == nil {
		return nil
	}
	return r.events.add(frame(sessionEvent(r.seconds(), o.About.Resumed.Step+1)))
}

// openAppender opens a file at its end, and cuts off there what a write that
// fails leaves.
func openAppender(tree disk.FS, name string) (*appender, error) {
	size := int64(0)
	if f, err := tree.Open(name); err == nil {
		size = f.Size()
		_ = f.Close() // nothing was written
	}
	f, err := tree.Append(name)
	if err != nil {
		return nil, err
	}
	return &appender{name: name, file: f, size: size}, nil
}

// eventsFile is the name by which TensorBoard knows an event file, of one that
// is not there.
func (o Options) eventsFile(tree disk.FS) string {
	names, _ := tree.List(".") // where they cannot be told a name that is taken grows, which does no harm
	at := o.Now().Unix()
	for slices.Contains(names, o.eventsName(at)) {
		at++
	}
	return o.eventsName(at)
}

func (o Options) eventsName(at int64) string {
	host := o.Host
	if host == "" {
		host, _ = os.Hostname() // a name for people; without one "localhost" does
	}
	host = strings.Map(func(c rune) rune {
		if strings.ContainsRune(`/\:`, c) || c <= ' ' {
			return '_'
		}
		return c
	}, host)
	if host == "" {
		host = "localhost"
	}
	return fmt.Sprintf("events.out.tfevents.%d.%s", at, host)
}

// Dir is the run directory's path.
func (r *Run) Dir() string {
	if r == nil {
		return ""
	}
	return r.dir
}

// Batch writes a line and an event per value.
func (r *Run) Batch(bs ...Batch) {
	if r == nil {
		return
	}
	r.exclusive(func() {
		var text, events []byte
		for _, b := range bs {
			text = r.append(text, "batch", b)
			events = append(events, frame(scalarEvent(r.seconds(), b.Step, batchPoints(b)))...)
		}
		r.add(r.lines, text)
		r.add(r.events, events)
	})
}

// Readout writes a line and an event per value.
func (r *Run) Readout(rs ...Readout) {
	if r == nil {
		return
	}
	r.exclusive(func() {
		var text, events []byte
		for _, x := range rs {
			text = r.append(text, "readout", x)
			events = append(events, frame(scalarEvent(r.seconds(), x.Step, readoutPoints(x)))...)
		}
		r.add(r.lines, text)
		r.add(r.events, events)
	})
}

// exclusive runs do alone and then tells of the failures it met: without the
// lock, because whoever hears of one will want to write it to the log.
func (r *Run) exclusive(do func()) {
	r.mu.Lock()
	do()
	untold := r.untold
	r.untold = nil
	r.mu.Unlock()
	if r.onError == nil {
		return
	}
	for _, err := range untold {
		r.onError(err)
	}
}

func (r *Run) append(text []byte, kind string, record any) []byte {
	one, err := line(kind, record)
	if err != nil {
		r.fail(linesFile, err)
		return text
	}
	return append(text, one...)
}

// add is called with the lock held.
func (r *Run) add(a *appender, record []byte) {
	if r.closed || len(record) == 0 {
		return
	}
	if err := a.add(record); err != nil {
		r.fail(a.name, err)
	}
}

// fail counts a failure and notes a file's first.
func (r *Run) fail(name string, err error) {
	r.errors++
	if r.failed[name] {
		return
	}
	r.failed[name] = true
	r.untold = append(r.untold, fmt.Errorf("run directory %s: %w; training goes on without what cannot be written", r.dir, err))
}

// Errors is the number of failures so far.
func (r *Run) Errors() int {
	if r == nil {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.errors
}

// Log is the log file, for a slog handler. Writing to it always succeeds: a
// failure is reported and counted like any other.
func (r *Run) Log() io.Writer { return logWriter{r} }

type logWriter struct{ r *Run }

func (w logWriter) Write(p []byte) (int, error) {
	if w.r == nil {
		return len(p), nil
	}
	w.r.exclusive(func() { w.r.add(w.r.log, p) })
	return len(p), nil
}

// Sync makes the lines of all batches so far durable.
func (r *Run) Sync() {
	if r == nil {
		return
	}
	r.exclusive(func() {
		if r.closed {
			return
		}
		if err := r.lines.file.Sync(); err != nil {
			r.fail(linesFile, fmt.Errorf("%s: %w", linesFile, disk.Cause(err)))
		}
	})
}

// Close closes the files. What is reported afterwards is dropped.
func (r *Run) Close() error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	var all []error
	for _, a := range []*appender{r.lines, r.events, r.log} {
		if a != nil {
			all = append(all, a.close())
		}
	}
	return errors.Join(all...)
}

func (r *Run) seconds() float64 { return float64(r.now().UnixNano()) / 1e9 }
