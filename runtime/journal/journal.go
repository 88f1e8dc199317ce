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
	File        string    `json:"file"`   // as it was named on the command line
	Method      string    `json:"method"` // loco, gim or e2e
	Define      []Define  `json:"define"`
	Fingerprint string    `json:"fingerprint"`
	Device      string    `json:"device"`
	Version     string    `json:"version"`
	GoVersion   string    `json:"go_version"`
	Started     time.Time `json:"started"`
}

// Options says what to write and where.
type Options struct {
	Dir  string // --out; empty: the next free one under Root
	Root string // default: DefaultRoot
	File string // the program's path; gives the directory its name
	Text []byte // the program's text, exactly
	// Imports are copied beside graph.loco, so that the directory can be run
	// again; those of the built-in library need not be.
	Imports []Import
	Plan    string // what `plan` prints
	About   About  // File and Started are filled in
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

// Create makes the run directory and writes what is known at start. An error
// here is the last that stops a run: a directory that cannot be written at all
// is better known before the training than after.
func Create(o Options) (*Run, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := o.checkImports(); err != nil {
		return nil, err
	}
	dir, root, err := o.directory()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	r := &Run{dir: dir, now: o.Now, onError: o.OnError, failed: map[string]bool{}}
	if err := o.writeStart(root); err != nil {
		return nil, fmt.Errorf("run directory %s: %w", dir, err)
	}
	if err := r.open(root, o); err != nil {
		return nil, errors.Join(fmt.Errorf("run directory %s: %w", dir, err), r.Close())
	}
	return r, nil
}

// checkImports refuses paths that would not stay in the directory or would
// take the place of a file of ours.
func (o Options) checkImports() error {
	for _, i := range o.Imports {
		local := filepath.FromSlash(i.Path)
		if !filepath.IsLocal(local) || path.Clean(i.Path) != i.Path || !strings.HasSuffix(i.Path, ".loco") {
			return fmt.Errorf("run directory: import %q is not a relative path to a .loco file", i.Path)
		}
		first, _, _ := strings.Cut(i.Path, "/")
		if slices.Contains([]string{graphFile, aboutFile, planFile, linesFile, logFile}, first) {
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

func (o Options) writeStart(root *os.Root) error {
	about := o.About
	about.File, about.Started = o.File, o.Now().UTC()
	if about.Define == nil {
		about.Define = []Define{}
	}
	text, err := json.MarshalIndent(about, "", "  ")
	if err != nil {
		return fmt.Errorf("%s: %w", aboutFile, err)
	}
	for _, i := range o.Imports {
		if err := root.MkdirAll(filepath.FromSlash(path.Dir(i.Path)), 0o700); err != nil {
			return err
		}
		if err := root.WriteFile(filepath.FromSlash(i.Path), i.Text, 0o600); err != nil {
			return err
		}
	}
	return errors.Join(
		root.WriteFile(graphFile, o.Text, 0o600),
		root.WriteFile(aboutFile, append(text, '\n'), 0o600),
		root.WriteFile(planFile, []byte(o.Plan), 0o600),
	)
}

func (r *Run) open(root *os.Root, o Options) (err error) {
	if r.lines, err = openAppender(root, linesFile); err != nil {
		return err
	}
	if r.log, err = openAppender(root, logFile); err != nil {
		return err
	}
	if r.events, err = openAppender(root, o.eventsFile()); err != nil {
		return err
	}
	return r.events.add(frame(versionEvent(r.seconds())))
}

func openAppender(root *os.Root, name string) (*appender, error) {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &appender{name: name, file: f}, nil
}

// eventsFile is the name by which TensorBoard knows an event file.
func (o Options) eventsFile() string {
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
	return fmt.Sprintf("events.out.tfevents.%d.%s", o.Now().Unix(), host)
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

// Create makes a further file in the directory, such as a checkpoint or a
// report, with mode 0600. The name may have directories, which are made.
func (r *Run) Create(name string) (*os.File, error) {
	if !filepath.IsLocal(name) {
		return nil, fmt.Errorf("run directory %s: %q leaves it: %w", r.dir, name, fs.ErrInvalid)
	}
	root, err := os.OpenRoot(r.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if err := root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, err
	}
	return root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
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
