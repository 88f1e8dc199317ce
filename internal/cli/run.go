package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	goruntime "runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/alecthomas/kong"
	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/plan"
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/runtime"
	"github.com/locorun/locorun/runtime/checkpoint"
	"github.com/locorun/locorun/runtime/journal"
)

// runCmd trains a program.
type runCmd struct {
	File string `arg:"" optional:"" help:"The .loco file; may be left out where --resume names a run directory, which has one."`
	settings
	memoryFlags
	tierFlag
	viewsFlag
	placeFlag
	dataFlags
	Out       string        `placeholder:"DIR" help:"Run directory; default: the next free runs/NAME-N. Where it holds a run of this program, that run goes on."`
	Resume    string        `placeholder:"PATH" help:"Go on from a run directory's newest checkpoint, or from a checkpoint file. A file cut into other units takes what still exists."`
	Allow     []string      `enum:"tier" help:"Go on though this differs from the checkpoint's: tier, the kernels and who makes the views, which round otherwise."`
	Every     every         `name:"checkpoint-every" default:"10m" placeholder:"N" help:"Save a checkpoint after so many batches, or so often: 500, 10m. The end is always saved."`
	Keep      int           `default:"2" help:"How many checkpoints to keep, at least 2."`
	Listen    string        `placeholder:"ADDR" help:"Address of /metrics and the live page; default 127.0.0.1:9464 or the next free port; off: none."`
	WebConfig string        `name:"web.config.file" placeholder:"FILE" help:"TLS and passwords of the endpoint, as Prometheus' exporters take them."`
	Pprof     string        `placeholder:"ADDR" help:"Show Go's profiles of the run at this address of loopback, such as 127.0.0.1:6060; default: nowhere."`
	Log       string        `enum:"text,json" default:"text" help:"Form of log lines: text or json."`
	Device    string        `default:"cpu" placeholder:"DEVICE" help:"Where the subgraphs run: cpu, cuda, or cuda:N for card N."`
	Recording bool          `default:"true" negatable:"" help:"Keep the work that a segment gives a card, and give it again at once. Changes no byte."`
	Stall     time.Duration `default:"2m" help:"Speak up when nothing has moved for so long."`

	method bool // --method was given
	device bool // --device was
}

// AfterApply notes which flags were given: one that was not is as it was in the
// run that goes on.
func (c *runCmd) AfterApply(call *kong.Context) error {
	c.method, c.device = given(call, "method"), given(call, "device")
	return nil
}

// given reports whether a call has a flag.
func given(call *kong.Context, flag string) bool {
	return slices.ContainsFunc(call.Path, func(p *kong.Path) bool { return p.Flag != nil && p.Flag.Name == flag })
}

// dataFlags say where data lies and how it is loaded.
type dataFlags struct {
	Data    string `placeholder:"DIR" help:"Directory of the data; default: beside the file."`
	Workers int    `default:"-1" help:"Goroutines that decode and augment pictures; -1: one less than there are cores, at least 1."`
}

// count settles the default number of workers.
func (d dataFlags) count() int {
	if d.Workers >= 0 {
		return d.Workers
	}
	return max(1, goruntime.GOMAXPROCS(0)-1)
}

// Help shows an example.
func (runCmd) Help() string {
	return "Examples:\n  locorun examples/quickstart.loco\n  locorun --method e2e -D width=32 --out runs/baseline graph.loco\n  locorun --resume runs/baseline"
}

// settle takes the program from the run directory that --resume names where no
// file is named, and gives the name by which the program was first run.
func (c *runCmd) settle() (named string, err error) {
	if c.Keep < 2 {
		return "", wrongf("--keep %d: at least 2 checkpoints are kept, as one may turn out damaged", c.Keep)
	}
	if c.File != "" {
		return c.File, nil
	}
	dir := c.runDir()
	switch {
	case c.Resume == "":
		return "", wrongf("expected a .loco file: `locorun graph.loco`")
	case dir == "":
		return "", wrongf("--resume %s is no run directory, so name the .loco file too", c.Resume)
	}
	about, err := journal.ReadAbout(dir)
	if err != nil {
		return "", wrongf("%s: %w", dir, err)
	}
	c.File = filepath.Join(dir, "graph.loco")
	if !c.method {
		c.Method = about.Method
	}
	given := c.Define
	c.Define = map[string]string{}
	for _, d := range about.Define {
		c.Define[d.Name] = d.Value
	}
	maps.Copy(c.Define, given)
	if c.Data == "" {
		c.Data = about.DataDir()
	}
	return about.File, nil
}

// every says how often checkpoints are saved.
type every struct {
	batches int
	after   time.Duration
}

// UnmarshalText reads a number of batches, or a time.
func (e *every) UnmarshalText(text []byte) error {
	n, err := strconv.Atoi(string(text))
	if err == nil && n > 0 {
		*e = every{batches: n}
		return nil
	}
	d, err := time.ParseDuration(string(text))
	if err != nil || d <= 0 {
		return fmt.Errorf("%q is neither a number of batches nor a time; write 500, or 10m", text)
	}
	*e = every{after: d}
	return nil
}

// Run trains.
func (c *runCmd) Run(env *Env) error {
	outliveReaders()
	named, err := c.settle()
	if err != nil {
		return err
	}
	p := program{c.File, c.settings}
	net, src, err := p.compile(env, false)
	if err != nil {
		return err
	}
	backend, err := c.backend(env, net)
	if err != nil {
		return err
	}
	defer backend.Close()
	opt, choice, err := c.choose(net, c.count(), backend)
	if err != nil {
		return err
	}
	if err := c.fit(net, opt, c.count(), backend, true); err != nil {
		return err
	}
	onDevice, err := c.onDevice(net, backend)
	if err != nil {
		return err
	}
	s := &session{cmd: c, env: env, net: net, src: src, choice: choice, named: named}
	defer s.close()
	cfg := runtime.Config{
		Net: net, Backend: backend, DataDir: c.Data, Workers: c.count(),
		Depth: opt.Depth, Recompute: opt.Recompute, Launch: !c.Recording, DeviceViews: onDevice, Stall: c.Stall,
		Checkpoints: runtime.Checkpointing{Save: s.save, Every: c.Every.batches, After: c.Every.after},
	}
	if err := s.start(cfg, backend); err != nil {
		return err
	}
	return s.train(env.Context)
}

// session is a run with all that shows and records it.
type session struct {
	cmd      *runCmd
	named    string // the program's file when it was first run
	env      *Env
	net      *model.Net
	src      *text
	choice   *plan.Choice // of how frames are held
	run      *runtime.Run
	dir      *journal.Directory
	journal  *journal.Run
	chooser  chooser // the backend, where it is one
	store    *checkpoint.Store
	about    map[string]string // what checkpoints say about the run
	resumed  *runtime.Resumed  // nil: the run starts
	again    []int             // steps whose readouts are made again
	unjudged unjudged
	told     map[string]bool // of checkpoints that were skipped
	saved    atomic.Int64    // step of the newest checkpoint; -1: none
	screen   *screen
	unwatch  []func()     // end the watches over cards
	log      *slog.Logger // to the terminal and the run's log
	file     *slog.Logger // to the run's log only
	begun    time.Time
}

// start opens what the run writes to, prints the plan, and prepares the run.
func (s *session) start(cfg runtime.Config, backend device.Backend) error {
	s.begun = time.Now()
	s.saved.Store(-1)
	s.chooser = chooserOf(backend)
	s.screen = newScreen(s.env, s.net)
	cfg.Metrics = s.screen.metrics(s.named, s.cmd.Method, deviceNames(backend), s.net)
	cfg.Events = runtime.Events{Batch: s.batch, Readout: s.readout, Judged: s.unjudged.done, Stalled: s.stalled, Unapplied: s.unapplied, Alarm: s.alarm}
	run, err := runtime.Prepare(cfg)
	if err != nil {
		return wrong{err}
	}
	s.run = run
	if err := s.screen.serve(s.env.Context, s.cmd, run); err != nil {
		return wrong{err} // before there is a directory, so that none is left behind
	}
	text, err := s.plan()
	if err != nil {
		return err
	}
	shares, err := runtime.Shares(s.net, lower.Options{Depth: cfg.Depth, Recompute: cfg.Recompute}, backend)
	if err != nil {
		return err
	}
	text += placesText(shares, len(s.net.Readouts) > 0)
	about := s.journalOptions(text, backend)
	about.Plan = text + s.estimate(backend)
	if err := s.place(about); err != nil {
		return err
	}
	s.screen.directory(s.journal.Dir())
	fmt.Fprintf(s.env.Stdout, "%srun directory %s\n", about.Plan, s.journal.Dir())
	s.printResumed()
	s.screen.show(run)
	s.log = s.screen.logger(s.cmd.Log, s.journal.Log())
	s.file = newLogger(s.cmd.Log, s.journal.Log())
	s.watchCards(backend)
	return s.keepOrigin()
}

// plan is the text of the plan: the same for the same program, data and flags.
func (s *session) plan() (string, error) {
	var text bytes.Buffer
	pl := s.run.Plan()
	pl.Choice = s.choice
	if err := pl.Print(&text); err != nil {
		return "", err
	}
	return text.String(), nil
}

// estimate is what else is known of a run: how long it takes at the least at the
// speed of a kernel measured just now, and how pictures are normalised.
func (s *session) estimate(backend device.Backend) string {
	var text bytes.Buffer
	speed := measureSpeed(backend, s.net.Train.Precision)
	s.screen.set.PeakFLOPs(speed)
	printEstimate(&text, s.run.Plan(), speed)
	fmt.Fprintf(&text, "%s\n", normText(s.run.Norm()))
	return text.String()
}

// journalOptions are what the run directory is to say.
func (s *session) journalOptions(plan string, backend device.Backend) journal.Options {
	var imports []journal.Import
	for name, text := range s.src.files {
		if name != s.cmd.File {
			imports = append(imports, journal.Import{Path: filepath.ToSlash(name), Text: text})
		}
	}
	slices.SortFunc(imports, func(a, b journal.Import) int { return strings.Compare(a.Path, b.Path) })
	var defines []journal.Define
	for name, value := range s.cmd.defines() {
		defines = append(defines, journal.Define{Name: name, Value: value})
	}
	slices.SortFunc(defines, func(a, b journal.Define) int { return strings.Compare(a.Name, b.Name) })
	dir, _ := os.Getwd() // where it cannot be told, names stay as they are
	return journal.Options{
		Text: s.src.main, Imports: imports, Plan: plan,
		About: journal.About{
			File: s.named, Data: s.cmd.Data, Dir: dir,
			Method: s.cmd.Method, Define: defines, Device: backend.Name(), Version: version(), GoVersion: goruntime.Version(),
		},
		OnError: func(err error) { s.screen.warn(err) },
	}
}

// version is the main module's version.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return ""
}

// errGrace ends a run whose batch did not end in time after an interrupt.
var errGrace = errors.New("interrupted, and the batch did not end in time")

// train runs to the end, or to the end of the batch at hand when interrupted.
func (s *session) train(ctx context.Context) error {
	ctx, abandon := context.WithCancelCause(ctx)
	defer abandon(nil)
	done := make(chan struct{})
	defer close(done)
	go s.heed(abandon, done)
	s.file.Info("training begins", "graph", s.cmd.File, "method", s.cmd.Method, "batches", s.run.Batches(), "after", s.run.Done())
	res, failed := s.run.Train(ctx)
	s.screen.close()
	if errors.Is(failed, errGrace) {
		return s.abandoned()
	}
	if failed != nil {
		s.file.Error("the run failed", "error", failed)
	}
	if res == nil || !res.Trained {
		return failed
	}
	s.file.Info("training ended", "batches", res.Batches, "stopped", res.Stopped)
	s.store.Retain() // what was held for the last readouts
	if res.Unsaved != nil {
		return errors.Join(failed, fmt.Errorf("the weights after the last batch, %d, are not saved: %w; %s", res.Batches, res.Unsaved, s.fallback()))
	}
	s.summary(res, filepath.Join(s.dir.Path, journal.CheckpointsDir, checkpoint.Name(res.Batches)))
	if failed != nil { // a readout; the training is whole and saved
		return failed
	}
	if res.Stopped {
		return quiet{exitInterrupted}
	}
	return nil
}

// heed stops the run at the first interrupt; where its batch does not end in
// time the run is abandoned.
func (s *session) heed(abandon func(error), done <-chan struct{}) {
	select {
	case <-s.env.Interrupt:
	case <-done:
		return
	}
	s.log.Info("interrupted: finishing the batch; once more ends at once")
	s.run.Stop()
	select {
	case <-time.After(s.env.grace()):
		abandon(errGrace)
	case <-done:
	}
}

// abandoned ends a run that was interrupted and did not finish its batch: what
// is left is the last checkpoint.
func (s *session) abandoned() error {
	s.file.Error("the batch did not end in time", "seconds", s.env.grace().Seconds())
	text := fmt.Sprintf("interrupted; the batch did not end within %v; %s", s.env.grace(), s.fallback())
	if _, ok := s.newestSaved(); !ok {
		return errors.New(text)
	}
	fmt.Fprintf(s.env.Stderr, "locorun: %s\n", text)
	return quiet{exitInterrupted}
}

// newestSaved is the step of the newest checkpoint of the run directory that is
// known to be good.
func (s *session) newestSaved() (step int, ok bool) {
	step = int(s.saved.Load())
	return step, step >= 0
}

// fallback says what a run that lost something can go on from.
func (s *session) fallback() string {
	step, ok := s.newestSaved()
	if !ok {
		return "there is no checkpoint yet"
	}
	return fmt.Sprintf("the newest checkpoint is of batch %d: `locorun --resume %s` goes on from it", step, s.dir.Path)
}

// summary prints the results.
func (s *session) summary(res *runtime.Result, checkpoint string) {
	out := s.env.Stdout
	verb := "trained"
	if res.Stopped {
		verb = "stopped after"
	}
	fmt.Fprintf(out, "\n%s %d batches in %s; weights in %s\n", verb, res.Batches, time.Since(s.begun).Round(100*time.Millisecond), checkpoint)
	if res.Stopped {
		fmt.Fprintf(out, "`locorun --resume %s` goes on\n", s.dir.Path)
	}
	printReadouts(out, res.Readouts)
}

func (s *session) close() {
	for _, end := range s.unwatch {
		end()
	}
	if s.screen != nil {
		s.screen.close()
		s.screen.stopServing()
	}
	if s.run != nil {
		s.run.Close()
	}
	s.journal.Close()
	_ = s.dir.Close() // the lock ends with the process at the latest
}
