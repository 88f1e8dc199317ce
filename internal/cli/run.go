package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	goruntime "runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/plan"
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/runtime"
	"github.com/locorun/locorun/runtime/journal"
)

// runCmd trains a program.
type runCmd struct {
	program
	memoryFlags
	tierFlag
	dataFlags
	Out       string        `placeholder:"DIR" help:"Run directory; default: the next free runs/NAME-N."`
	Listen    string        `placeholder:"ADDR" help:"Address of /metrics and the live page; default 127.0.0.1:9464 or the next free port; off: none."`
	WebConfig string        `name:"web.config.file" placeholder:"FILE" help:"TLS and passwords of the endpoint, as Prometheus' exporters take them."`
	Pprof     string        `placeholder:"ADDR" help:"Show Go's profiles of the run at this address of loopback, such as 127.0.0.1:6060; default: nowhere."`
	Log       string        `enum:"text,json" default:"text" help:"Form of log lines: text or json."`
	Device    string        `enum:"cpu" default:"cpu" help:"Where the subgraphs run: cpu."`
	Stall     time.Duration `default:"2m" help:"Speak up when nothing has moved for so long."`
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
	return "Examples:\n  locorun examples/quickstart.loco\n  locorun --method e2e -D width=32 --out runs/baseline graph.loco"
}

// Run trains.
func (c *runCmd) Run(env *Env) error {
	net, src, err := c.compile(env, false)
	if err != nil {
		return err
	}
	backend, err := c.tierFlag.backend()
	if err != nil {
		return err
	}
	defer backend.Close()
	opt, choice, err := c.choose(net, c.count(), backend)
	if err != nil {
		return err
	}
	s := &session{cmd: c, env: env, net: net, src: src, choice: choice}
	defer s.close()
	cfg := runtime.Config{
		Net: net, Backend: backend, DataDir: c.Data, Workers: c.count(),
		Depth: opt.Depth, Recompute: opt.Recompute, Stall: c.Stall,
	}
	if err := s.start(cfg, backend); err != nil {
		return err
	}
	return s.train(env.Context)
}

// session is a run with all that shows and records it.
type session struct {
	cmd     *runCmd
	env     *Env
	net     *model.Net
	src     *text
	choice  *plan.Choice // of how frames are held
	run     *runtime.Run
	journal *journal.Run
	screen  *screen
	log     *slog.Logger // to the terminal and the run's log
	file    *slog.Logger // to the run's log only
	begun   time.Time
}

// start opens what the run writes to, prints the plan, and prepares the run.
func (s *session) start(cfg runtime.Config, backend device.Backend) error {
	s.begun = time.Now()
	s.screen = newScreen(s.env, s.net)
	cfg.Metrics = s.screen.metrics(s.cmd, s.net)
	cfg.Events = runtime.Events{Batch: s.batch, Readout: s.readout, Stalled: s.stalled, Unapplied: s.unapplied, Alarm: s.alarm}
	run, err := runtime.Prepare(cfg)
	if err != nil {
		return wrong{err}
	}
	s.run = run
	if err := s.screen.serve(s.env.Context, s.cmd, run); err != nil {
		return wrong{err} // before there is a directory, so that none is left behind
	}
	text, err := s.plan(backend)
	if err != nil {
		return err
	}
	if err := s.openJournal(text, backend); err != nil {
		return wrong{err}
	}
	s.screen.directory(s.journal.Dir())
	fmt.Fprintf(s.env.Stdout, "%srun directory %s\n", text, s.journal.Dir())
	s.screen.show(run)
	s.log = s.screen.logger(s.cmd.Log, s.journal.Log())
	s.file = newLogger(s.cmd.Log, s.journal.Log())
	return nil
}

// plan is the text of the plan, with what only a run knows.
func (s *session) plan(backend device.Backend) (string, error) {
	var text bytes.Buffer
	pl := s.run.Plan()
	pl.Choice = s.choice
	if err := pl.Print(&text); err != nil {
		return "", err
	}
	speed := measureSpeed(backend)
	s.screen.set.PeakFLOPs(speed)
	printEstimate(&text, pl, speed)
	fmt.Fprintf(&text, "%s\n", normText(s.run.Norm()))
	return text.String(), nil
}

// openJournal makes the run directory.
func (s *session) openJournal(plan string, backend device.Backend) error {
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
	var err error
	s.journal, err = journal.Create(journal.Options{
		Dir: s.cmd.Out, File: s.cmd.File, Text: s.src.main, Imports: imports, Plan: plan,
		About: journal.About{
			Method: s.cmd.Method, Define: defines, Device: backend.Name(), Version: version(), GoVersion: goruntime.Version(),
		},
		OnError: func(err error) { s.screen.warn(err) },
	})
	return err
}

// version is the main module's version.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return ""
}

// train runs to the end, or to the end of the batch at hand when interrupted.
func (s *session) train(ctx context.Context) error {
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-s.env.Interrupt:
			s.log.Info("interrupted: finishing the batch; once more ends at once")
			s.run.Stop()
		case <-done:
		}
	}()
	s.file.Info("training begins", "graph", s.cmd.File, "method", s.cmd.Method, "batches", s.run.Batches())
	res, failed := s.run.Train(ctx)
	s.screen.close()
	if failed != nil {
		s.file.Error("the run failed", "error", failed)
	}
	if res == nil || !res.Trained {
		return failed
	}
	s.file.Info("training ended", "batches", res.Batches, "stopped", res.Stopped)
	path, err := saveWeights(s.journal, res.Weights, res.Batches, s.cmd, s.run)
	if err != nil {
		return errors.Join(failed, err)
	}
	s.summary(res, path)
	if failed != nil { // a readout; the training is whole and saved
		return failed
	}
	if res.Stopped {
		return quiet{exitInterrupted}
	}
	return nil
}

// summary prints the results.
func (s *session) summary(res *runtime.Result, checkpoint string) {
	out := s.env.Stdout
	verb := "trained"
	if res.Stopped {
		verb = "stopped after"
	}
	fmt.Fprintf(out, "\n%s %d batches in %s; weights in %s\n", verb, res.Batches, time.Since(s.begun).Round(100*time.Millisecond), checkpoint)
	printReadouts(out, res.Readouts)
}

func (s *session) close() {
	if s.screen != nil {
		s.screen.close()
		s.screen.stopServing()
	}
	if s.run != nil {
		s.run.Close()
	}
	s.journal.Close()
}
