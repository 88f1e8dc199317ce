package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/locorun/locorun/runtime"
	"github.com/locorun/locorun/runtime/checkpoint"
	"github.com/locorun/locorun/runtime/disk"
	"github.com/locorun/locorun/runtime/export"
	"github.com/locorun/locorun/runtime/journal"
)

// origin is a checkpoint that a run goes on from.
type origin struct {
	path    string // of the file
	content *checkpoint.Content
}

// place settles the run directory, makes the run go on where there is something
// to go on from, and opens the journal.
//
//	--out         --resume       the run
//	none, new     none           starts in a new directory
//	a run's       none           goes on there from its newest checkpoint; from the start if it has none
//	none, same    a run's        goes on there; in a new directory where the units are others
//	new           a run's, file  goes on in the new directory
func (s *session) place(o journal.Options) error {
	if err := o.Check(); err != nil {
		return wrong{err} // before there is a directory
	}
	facts := s.run.Meaning()
	from, err := s.asked(facts)
	if err != nil {
		return err
	}
	at := journal.Place{Dir: s.cmd.Out, File: s.named, Open: s.env.open}
	if dir := s.cmd.runDir(); dir != "" && s.cmd.Out == "" && !otherCut(from, facts) {
		at.Dir = dir
	}
	if s.dir, err = journal.Claim(at); err != nil {
		return wrong{err}
	}
	s.store = &checkpoint.Store{FS: disk.Sub(s.dir.FS, journal.CheckpointsDir), Keep: s.cmd.Keep, Hold: s.unjudged.holds}
	if !s.dir.Fresh {
		if from, err = s.newest(from, facts); err != nil {
			return err
		}
	}
	if err := s.resume(from, facts); err != nil {
		return err
	}
	return s.record(o, from)
}

// runDir is the run directory that --resume names, or "".
func (c *runCmd) runDir() string {
	if _, err := os.Stat(filepath.Join(c.Resume, "run.json")); c.Resume == "" || err != nil {
		return ""
	}
	return c.Resume
}

// asked loads the checkpoint that --resume names: the newest of a directory, or
// that file.
func (s *session) asked(facts []runtime.Fact) (*origin, error) {
	if s.cmd.Resume == "" {
		return nil, nil
	}
	from, err := s.load(s.cmd.Resume)
	if err != nil {
		return nil, wrong{err}
	}
	return from, s.agree(from, facts, true)
}

// load reads a checkpoint file, or the newest of a run directory.
func (s *session) load(path string) (*origin, error) {
	from, err := openCheckpoint(path, s.skipped)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("--resume %w; leave --resume out to start anew", err)
	}
	return from, err
}

// skipped tells of a checkpoint that does not verify, once though it be met again.
func (s *session) skipped(_ string, err error) {
	if s.told == nil {
		s.told = map[string]bool{}
	}
	if text := err.Error(); !s.told[text] {
		s.told[text] = true
		s.screen.warn(fmt.Errorf("skipped: %w", err))
	}
}

// openCheckpoint reads a checkpoint file, or the newest that verifies of a run
// directory, telling skipped of the newer ones.
func openCheckpoint(path string, skipped func(name string, err error)) (*origin, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, readable(err)
	}
	dir, name := filepath.Join(path, journal.CheckpointsDir), ""
	if !info.IsDir() {
		dir, name = filepath.Split(path)
	}
	tree, err := disk.Open(filepath.Clean(dir))
	if err != nil {
		return nil, fmt.Errorf("%s has no checkpoints: %w", path, disk.Cause(err))
	}
	defer tree.Close() // nothing is written
	store := checkpoint.Store{FS: tree}
	from := &origin{}
	if name == "" {
		from.content, name, err = store.Newest(skipped)
	} else {
		from.content, err = store.Load(name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	from.path = filepath.Join(dir, name)
	return from, nil
}

// newest is what the run that is in the directory goes on from: its newest
// checkpoint, else what was asked for, else nil for its start. A directory never
// holds two programs, nor two courses of one: a checkpoint of its own that is not
// the newest is refused.
func (s *session) newest(asked *origin, facts []runtime.Fact) (*origin, error) {
	d := s.dir
	if diffs := s.differences(d.About.Meaning, facts); len(diffs) > 0 {
		return nil, wrongf("run directory %s holds a run of another program:\n%sname another with --out, or leave --out out for a new one", d.Path, listed(diffs))
	}
	c, name, err := s.store.Newest(s.skipped)
	if errors.Is(err, fs.ErrNotExist) {
		return asked, nil
	}
	if err != nil {
		return nil, err
	}
	from := &origin{filepath.Join(d.Path, journal.CheckpointsDir, name), c}
	if err := s.supersede(asked, from); err != nil {
		return nil, err
	}
	return from, s.agree(from, facts, false)
}

// supersede tells that the run of the directory is taken in the place of what
// --resume names, as it is when a call that began with another's checkpoint is
// repeated.
func (s *session) supersede(asked, from *origin) error {
	switch {
	case asked == nil || filepath.Base(asked.path) == filepath.Base(from.path) && s.own(asked):
		return nil
	case s.own(asked):
		return wrongf("--resume %s: run directory %s holds a later checkpoint, %s; go on from the earlier one in another directory, with --out", asked.path, s.dir.Path, filepath.Base(from.path))
	}
	s.screen.warn(fmt.Errorf("run directory %s holds a run already: it goes on from %s, not from %s", s.dir.Path, from.path, asked.path))
	return nil
}

// own reports whether a checkpoint lies in the run's directory.
func (s *session) own(from *origin) bool {
	return same(filepath.Dir(filepath.Dir(from.path)), s.dir.Path)
}

// same reports whether two names are of one directory.
func same(a, b string) bool {
	x, err := os.Stat(a)
	y, other := os.Stat(b)
	return err == nil && other == nil && os.SameFile(x, y)
}

// differences compares recorded facts with the run's, but for those that a flag
// allows to differ.
func (s *session) differences(recorded json.RawMessage, facts []runtime.Fact) []runtime.Difference {
	return slices.DeleteFunc(runtime.Differences(factsOf(recorded), facts), func(d runtime.Difference) bool {
		return (d.Name == "device" || d.Name == "device.views") && slices.Contains(s.cmd.Allow, "tier")
	})
}

// factsOf reads recorded facts; of what is no list of facts every fact differs.
func factsOf(recorded []byte) (facts []runtime.Fact) {
	if json.Unmarshal(recorded, &facts) != nil {
		return nil
	}
	return facts
}

// agree refuses a checkpoint of a program that means something else. With cuts
// the units may be others.
func (s *session) agree(from *origin, facts []runtime.Fact, cuts bool) error {
	diffs := s.differences(json.RawMessage(from.content.About[aboutMeaning]), facts)
	diffs = slices.DeleteFunc(diffs, func(d runtime.Difference) bool { return cuts && d.Cut })
	if len(diffs) == 0 {
		return nil
	}
	remedy := "put it back as it was, or train anew"
	if slices.ContainsFunc(diffs, func(d runtime.Difference) bool { return d.Name == "device.views" }) {
		remedy = "views are made on the host or the device as --views says, and each rounds otherwise: " + remedy + "; --allow tier goes on all the same"
	}
	if slices.ContainsFunc(diffs, func(d runtime.Difference) bool { return d.Name == "device" }) {
		remedy = "name the devices with --device and --place and choose the kernels with --tier, or go on with others by --allow tier: the same meaning, rounded otherwise"
	}
	return wrongf("cannot go on from %s, which was made by another program:\n%s%s", from.path, listed(diffs), remedy)
}

func listed(diffs []runtime.Difference) string {
	var b strings.Builder
	for _, d := range diffs {
		fmt.Fprintf(&b, "  %s\n", d)
	}
	return b.String()
}

// otherCut reports whether a checkpoint's units are not the program's.
func otherCut(from *origin, facts []runtime.Fact) bool {
	return from != nil && slices.ContainsFunc(
		runtime.Differences(factsOf([]byte(from.content.About[aboutMeaning])), facts),
		func(d runtime.Difference) bool { return d.Cut })
}

// resume hands a checkpoint to the run. One of the same units has all of the
// program's weights and no others, or is not what it says.
func (s *session) resume(from *origin, facts []runtime.Fact) error {
	if from == nil {
		return nil
	}
	got, err := s.run.Resume(snapshotOf(from.content))
	if err != nil {
		return wrongf("cannot go on from %s: %w", from.path, err)
	}
	if other := slices.Concat(got.Fresh, got.Unused); len(other) > 0 && !otherCut(from, facts) {
		slices.Sort(other)
		return wrongf("cannot go on from %s: it says that it is of these units, and its weights are others: those of %s", from.path, strings.Join(slices.Compact(other), ", "))
	}
	if err := s.takeChoices(from); err != nil {
		return err
	}
	if made := from.content.About[aboutVersion]; made != version() {
		s.screen.warn(fmt.Errorf("%s was made by locorun %s and this is %s: equal bytes are promised for one version only", from.path, printable(made), version()))
	}
	s.resumed = got
	if s.own(from) {
		s.saved.Store(int64(got.Batch))
		if err := s.owe(got.Batch); err != nil {
			return err
		}
	}
	s.screen.resumed(got.Batch)
	return nil
}

// snapshotOf turns a checkpoint's tensors into a snapshot. What an optimiser
// keeps is named after a weight and, behind a colon, what it is.
func snapshotOf(c *checkpoint.Content) *runtime.Snapshot {
	snap := &runtime.Snapshot{Weights: &runtime.Weights{Batch: c.Step}}
	for _, t := range c.Tensors {
		x := runtime.Tensor{Name: t.Name, Shape: t.Shape, Data: t.Data}
		if strings.Contains(t.Name, ":") {
			snap.State = append(snap.State, x)
		} else {
			snap.Weights.Add(x)
		}
	}
	return snap
}

// tensorsOf is the other way round.
func tensorsOf(snap *runtime.Snapshot) []export.Tensor {
	var ts []export.Tensor
	for _, t := range slices.Concat(snap.Weights.Tensors, snap.State) {
		ts = append(ts, export.Tensor{Name: t.Name, Shape: t.Shape, DType: export.F32, Data: t.Data})
	}
	return ts
}

// record opens the journal and the store of checkpoints.
func (s *session) record(o journal.Options, from *origin) (err error) {
	facts, err := json.Marshal(s.run.Meaning())
	if err != nil {
		return err
	}
	o.About.Meaning, o.About.Fingerprint = facts, runtime.Fingerprint(s.run.Meaning())
	switch {
	case s.dir.Fresh:
		s.journal, err = s.dir.Start(o)
	case from == nil:
		s.journal, err = s.dir.Continue(o, 0, "", nil)
	default:
		s.journal, err = s.dir.Continue(o, from.content.Step, filepath.Base(from.path), s.again)
	}
	if err != nil {
		return wrong{err}
	}
	return s.openStore(o)
}

// openStore makes the directory of the checkpoints where it is missing, and
// clears it of what a killed process left half-written.
func (s *session) openStore(o journal.Options) error {
	if err := s.dir.FS.Mkdir(journal.CheckpointsDir); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("run directory %s: %s: %w", s.dir.Path, journal.CheckpointsDir, disk.Cause(err))
	}
	if err := s.dir.FS.SyncDir("."); err != nil {
		return fmt.Errorf("run directory %s: %w", s.dir.Path, disk.Cause(err))
	}
	if err := s.store.Sweep(); err != nil {
		s.screen.warn(err) // it wastes room, no more
	}
	s.about = map[string]string{
		aboutMethod: o.About.Method, aboutMeaning: string(o.About.Meaning), aboutFingerprint: o.About.Fingerprint,
		aboutDevice: o.About.Device, aboutVersion: o.About.Version, aboutProgram: filepath.Base(s.named),
	}
	norm, err := json.Marshal(s.run.Norm())
	s.about[aboutNormalise] = string(norm)
	return err
}

// keepOrigin saves what the run goes on from where that lies in another
// directory, so that this one needs no other.
func (s *session) keepOrigin() error {
	if s.resumed == nil || s.saved.Load() >= 0 {
		return nil
	}
	return s.save(s.run.Origin())
}

// The keys of what a checkpoint says about its run.
const (
	aboutMethod      = "method"
	aboutMeaning     = "meaning"
	aboutFingerprint = "fingerprint"
	aboutDevice      = "device"
	aboutVersion     = "version"
	aboutProgram     = "program"
	aboutNormalise   = "normalise"
	aboutKernels     = "kernels"
)

// save writes a checkpoint; the lines of its batches are made durable first, so
// that none is missing where the run goes on.
func (s *session) save(snap *runtime.Snapshot) error {
	s.journal.Sync()
	step := snap.Weights.Batch
	if s.run.Due(step) > 0 {
		s.unjudged.saving(step)
	}
	s.keepChoices()
	name, err := s.store.Save(&checkpoint.Content{Step: step, About: s.about, Tensors: tensorsOf(snap)})
	s.screen.set.Checkpoint(err)
	if err != nil {
		s.log.Error("a checkpoint could not be saved; training goes on", "error", err)
		return err
	}
	s.screen.set.CheckpointStep(step)
	s.file.Info("checkpoint saved", "step", step, "file", name)
	s.saved.Store(int64(step))
	return nil
}

// printResumed says what the run goes on from.
func (s *session) printResumed() {
	r := s.resumed
	if r == nil {
		return
	}
	out := s.env.Stdout
	fmt.Fprintf(out, "goes on after batch %d of %d\n", r.Batch, s.run.Batches())
	if r.Whole() {
		return
	}
	for _, l := range []struct {
		of    string
		names []string
	}{
		{"from the checkpoint", r.Taken},
		{"new, from their start", r.Fresh},
		{"with optimisers that begin anew", r.Restart},
		{"in the checkpoint, not in this program", r.Unused},
	} {
		if len(l.names) > 0 {
			fmt.Fprintf(out, "  %s: %s\n", l.of, strings.Join(l.names, ", "))
		}
	}
}
