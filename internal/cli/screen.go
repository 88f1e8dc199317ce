package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"path/filepath"
	goruntime "runtime"
	"sync"
	"time"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/internal/progress"
	"github.com/locorun/locorun/runtime"
	"github.com/locorun/locorun/runtime/metrics"
)

// screen is what shows a run: progress on stderr, the endpoint, the log.
type screen struct {
	env      *Env
	display  *progress.Display
	set      *metrics.Set
	server   *metrics.Server
	profiles *metrics.Server // nil unless asked for
	mu       sync.Mutex
	page     metrics.Page
	begun    time.Time
	per      int // images per batch
	from     int // batches that an earlier process trained
	closed   bool
	stalled  string
	started  bool
	problems []error // heard before the display was there
}

func newScreen(env *Env, net *model.Net) *screen {
	sc := &screen{env: env, begun: time.Now(), per: net.Train.Batch}
	for _, u := range net.Units {
		sc.page.Units = append(sc.page.Units, unknown(u.Name))
	}
	for _, w := range net.Watches {
		sc.page.Units = append(sc.page.Units, unknown(w.Name))
	}
	return sc
}

func unknown(name string) metrics.PageUnit {
	nan := math.NaN()
	return metrics.PageUnit{Name: name, Loss: nan, LearningRate: nan, EmbeddingStd: nan, EffectiveRank: nan, GradientNorm: nan}
}

// metrics announces the run's labels. A run that goes on keeps the name of the
// file that it was begun with.
func (sc *screen) metrics(named, method string, devices []string, net *model.Net) *metrics.Set {
	sc.page.Graph, sc.page.Method = filepath.Base(named), method
	o := metrics.Options{
		Build:   metrics.Build{Version: version(), GoVersion: goruntime.Version()},
		Devices: devices,
		Run:     metrics.RunInfo{Graph: sc.page.Graph, Method: method},
	}
	for _, u := range net.Units {
		o.Units = append(o.Units, u.Name)
	}
	for _, w := range net.Watches {
		o.Watches = append(o.Watches, w.Name)
	}
	for _, s := range net.Stages {
		o.Stages = append(o.Stages, s.Name)
	}
	for _, r := range net.Readouts {
		o.Readouts = append(o.Readouts, r.Kind)
	}
	sc.set = metrics.New(o)
	return sc.set
}

// profile shows Go's profiles, where that was asked for.
func (sc *screen) profile(ctx context.Context, addr string) error {
	if addr == "" {
		return nil
	}
	var err error
	sc.profiles, err = metrics.ServeProfiles(ctx, metrics.ProfileOptions{Set: sc.set, Addr: addr})
	if err != nil {
		return err
	}
	fmt.Fprintf(sc.env.Stderr, "profiles on %sdebug/pprof/\n", sc.profiles.URL)
	return nil
}

// serve opens the endpoint, and the profiles' own.
func (sc *screen) serve(ctx context.Context, c *runCmd, run *runtime.Run) error {
	sc.page.State, sc.page.Batches, sc.page.Epochs, sc.page.Left = "starting", run.Batches(), run.Batches()/max(run.PerEpoch(), 1), -1
	if err := sc.profile(ctx, c.Pprof); err != nil {
		return err
	}
	if c.Listen == "off" {
		return nil
	}
	server, err := metrics.Serve(ctx, metrics.ServeOptions{
		Set: sc.set, Addr: c.Listen, WebConfig: c.WebConfig,
		Ready:   func() bool { sc.mu.Lock(); defer sc.mu.Unlock(); return sc.started },
		Healthy: sc.healthy,
		Page:    func() metrics.Page { sc.mu.Lock(); defer sc.mu.Unlock(); return sc.copyPage() },
	})
	if err != nil {
		return err
	}
	sc.server = server
	moved := ""
	if server.Moved {
		moved = " (the usual port is busy)"
	}
	fmt.Fprintf(sc.env.Stderr, "metrics and live page on %s%s\n", server.URL, moved)
	if server.Warning != "" {
		fmt.Fprintln(sc.env.Stderr, server.Warning)
	}
	return nil
}

// directory tells the page where the run's files are.
func (sc *screen) directory(dir string) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.page.Directory = dir
}

// resumed tells what an earlier process has done.
func (sc *screen) resumed(batch int) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.from, sc.page.Batch = batch, batch
	sc.set.Resumed(batch)
}

// healthy is the watchdog's last word.
func (sc *screen) healthy() error {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if sc.stalled != "" {
		return fmt.Errorf("%s", sc.stalled)
	}
	return nil
}

func (sc *screen) copyPage() metrics.Page {
	p := sc.page
	p.Units = append([]metrics.PageUnit(nil), p.Units...)
	p.Readouts = append([]metrics.PageReadout(nil), p.Readouts...)
	p.Elapsed = time.Since(sc.begun)
	return p
}

// show opens the progress display.
func (sc *screen) show(run *runtime.Run) {
	sc.display = progress.New(sc.env.Stderr, sc.options(run.Batches(), run.PerEpoch()))
	for _, err := range sc.problems {
		sc.display.Log(printable(err.Error()))
	}
}

// options are those of the progress display. What an earlier process trained
// took this one no time.
func (sc *screen) options(batches, perEpoch int) progress.Options {
	var names []string
	for _, u := range sc.page.Units {
		names = append(names, u.Name)
	}
	return progress.Options{
		Terminal: sc.env.Terminal && sc.env.Getenv("TERM") != "dumb", Colour: sc.env.color(),
		Units: names, Total: batches, Epoch: perEpoch, Start: sc.from,
	}
}

// logger writes log lines above the bar and into the run's log.
func (sc *screen) logger(form string, file io.Writer) *slog.Logger {
	return newLogger(form, io.MultiWriter(sc.display, file))
}

// newLogger writes log lines in the form asked for.
func newLogger(form string, w io.Writer) *slog.Logger {
	if form == "json" {
		return slog.New(slog.NewJSONHandler(w, nil))
	}
	return slog.New(slog.NewTextHandler(w, nil))
}

// warn shows a trouble that does not stop the run.
func (sc *screen) warn(err error) {
	if sc.display == nil {
		sc.problems = append(sc.problems, err)
		return
	}
	sc.display.Log("warning: " + printable(err.Error()))
}

// batch shows a unit's batch. The last unit of the page ends it.
func (sc *screen) batch(r runtime.BatchReport) {
	sc.mu.Lock()
	sc.started = true
	sc.page.State, sc.page.Epoch = "training", r.Epoch
	if r.Step > sc.page.Batch {
		sc.page.Batch = r.Step
		sc.rate()
	}
	step := progress.Step{Done: sc.page.Batch, ImagesPerSecond: sc.page.ImagesPerSecond}
	for _, l := range r.Losses {
		u := sc.unit(l.Name)
		u.Loss, u.EmbeddingStd, u.LearningRate, u.GradientNorm = l.Loss, l.EmbeddingStd, r.LearningRate, r.GradientNorm
		if !math.IsNaN(l.EffectiveRank) {
			u.EffectiveRank = l.EffectiveRank
		}
		if !l.Watch {
			u.Waits = addWaits(u.Waits, r.Seconds)
		}
		step.Units = append(step.Units, line(u))
	}
	sc.mu.Unlock()
	sc.display.Update(step)
}

// rate renews the images per second and the time left.
func (sc *screen) rate() {
	elapsed := time.Since(sc.begun).Seconds()
	trained := float64(sc.page.Batch - sc.from)
	sc.page.ImagesPerSecond = trained * float64(sc.per) / elapsed
	left := float64(sc.page.Batches-sc.page.Batch) * elapsed / trained
	sc.page.Left = time.Duration(left * float64(time.Second))
}

func (sc *screen) unit(name string) *metrics.PageUnit {
	for i := range sc.page.Units {
		if sc.page.Units[i].Name == name {
			return &sc.page.Units[i]
		}
	}
	sc.page.Units = append(sc.page.Units, unknown(name))
	return &sc.page.Units[len(sc.page.Units)-1]
}

// addWaits adds a batch's waits to a unit's.
func addWaits(have []metrics.PageWait, s runtime.Seconds) []metrics.PageWait {
	sums := map[metrics.Reason]float64{metrics.Data: s.Data, metrics.Input: s.Input, metrics.Gradient: s.Gradient, metrics.Output: s.Output}
	for _, w := range have {
		sums[w.Reason] += w.Seconds
	}
	var out []metrics.PageWait
	for _, r := range []metrics.Reason{metrics.Data, metrics.Input, metrics.Gradient, metrics.Output} {
		out = append(out, metrics.PageWait{Reason: r, Seconds: sums[r]})
	}
	return out
}

func line(u *metrics.PageUnit) progress.Unit {
	p := progress.Unit{Name: u.Name, Loss: u.Loss, LearningRate: u.LearningRate, EmbeddingStd: u.EmbeddingStd}
	for _, w := range u.Waits {
		p.Waits = append(p.Waits, progress.Wait{Reason: string(w.Reason), Seconds: w.Seconds})
	}
	return p
}

// readout shows a readout.
func (sc *screen) readout(r runtime.Readout) {
	sc.mu.Lock()
	sc.page.Readouts = append(sc.page.Readouts, metrics.PageReadout{
		Readout: r.Kind, Stage: r.Stage, Trained: r.Trained.Top1, Random: r.Random.Top1, Pixels: r.Pixels.Top1,
	})
	sc.mu.Unlock()
	sc.display.Log(readoutLine(r))
}

// close ends the display; what comes later is not shown.
func (sc *screen) close() {
	if !sc.closed {
		sc.closed = true
		sc.display.Close()
	}
}

func (sc *screen) stopServing() {
	sc.server.Close()
	sc.profiles.Close()
}
