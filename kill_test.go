package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/locorun/locorun/internal/cli"
	"github.com/locorun/locorun/runtime/disk"
	"github.com/locorun/locorun/runtime/rng"
)

// killAt names the variable that makes the command kill itself after so many
// operations on the directory of its checkpoints.
const killAt = "LOCORUN_TEST_KILL_AT"

// graceIs names the variable that says how long a batch may take to end after
// an interrupt.
const graceIs = "LOCORUN_TEST_GRACE"

// command is main, for tests: it can die inside a save.
func command() {
	env := cli.OS()
	env.Grace, _ = time.ParseDuration(os.Getenv(graceIs)) // without it that of the command
	if n, err := strconv.Atoi(os.Getenv(killAt)); err == nil {
		left := &atomic.Int64{}
		left.Store(int64(n))
		env.Disk = func(dir string) (disk.FS, error) {
			tree, err := disk.Open(dir)
			return deadly{tree, left}, err
		}
	}
	os.Exit(cli.Main(os.Args[1:], env))
}

// deadly is a tree of files in which the process dies after some operation. A
// write that it dies in is done by half.
type deadly struct {
	disk.FS
	left *atomic.Int64
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// done counts an operation on a checkpoint.
func (d deadly) done(name string) {
	if strings.HasPrefix(name, "checkpoints") && d.left.Add(-1) == 0 {
		die()
	}
}

func (d deadly) Create(name string) (disk.File, error) {
	f, err := d.FS.Create(name)
	d.done(name)
	return deadlyFile{f, d, name}, err
}

func (d deadly) Rename(from, to string) error {
	defer d.done(from)
	return d.FS.Rename(from, to)
}

func (d deadly) Remove(name string) error {
	defer d.done(name)
	return d.FS.Remove(name)
}

func (d deadly) SyncDir(dir string) error {
	defer d.done(dir)
	return d.FS.SyncDir(dir)
}

type deadlyFile struct {
	disk.File
	tree deadly
	name string
}

func (f deadlyFile) Write(p []byte) (int, error) {
	if f.tree.left.Load() == 1 && strings.HasPrefix(f.name, "checkpoints") {
		_, _ = f.File.Write(p[:len(p)/2]) // the process ends
	} else {
		defer f.tree.done(f.name)
		return f.File.Write(p)
	}
	f.tree.done(f.name)
	return 0, nil
}

func (f deadlyFile) Sync() error {
	defer f.tree.done(f.name)
	return f.File.Sync()
}

// mortal is a program that is run, killed and run again.
type mortal struct {
	t     *testing.T
	file  string
	every int           // batches between checkpoints
	took  time.Duration // by the run that nobody killed
	want  outcome
}

// outcome is what a run ends with.
type outcome struct {
	hash   string // of the last checkpoint
	ledger []string
}

// saveOperations is at least the number of operations of one save.
const saveOperations = 6

func newMortal(t *testing.T, epochs, every int) *mortal {
	t.Helper()
	text, err := os.ReadFile(tinyProgram)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte("epochs 2;"), fmt.Appendf(nil, "epochs %d;", epochs), 1)
	text = bytes.Replace(text, []byte("optimizer sgd(lr=0.05)"), []byte("optimizer adamw(lr=0.001, weight_decay=0.01)"), 1)
	text = bytes.Replace(text, []byte("readout knn { on s3; k 5 }"), []byte("readout knn { on s2, s3; every 3; k 5 }\nreadout linear { on s3; every 4; fit sgd(lr=0.1, momentum=0, batch=8, epochs=200) }"), 1)
	m := &mortal{t: t, file: filepath.Join(t.TempDir(), "tiny.loco"), every: every}
	if err := os.WriteFile(m.file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "whole")
	begin := time.Now()
	if err := m.run(dir, 0, 0, nil); err != nil {
		t.Fatal(err)
	}
	m.took = time.Since(begin)
	m.want = m.outcome(dir)
	return m
}

// run runs the program in a directory until it ends or is killed: after a time,
// or after a number of operations on checkpoints.
func (m *mortal) run(dir string, after time.Duration, operations int, random *rand.Rand) error {
	m.t.Helper()
	args := []string{"--listen", "off", "--out", dir, "--checkpoint-every", strconv.Itoa(m.every)}
	env := os.Environ()
	if random != nil { // none of these changes a byte
		args = append(args, "--depth", strconv.Itoa(1+random.IntN(3)), "--workers", strconv.Itoa(random.IntN(3)))
		env = append(env, "GOMAXPROCS="+strconv.Itoa(1+random.IntN(4)))
	}
	if operations > 0 {
		env = append(env, fmt.Sprintf("%s=%d", killAt, operations))
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "locorun", append(args, m.file)...)
	cmd.Env = env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	if after > 0 {
		time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	}
	err := cmd.Wait()
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if err != nil && !status.Signaled() || ctx.Err() != nil {
		m.t.Fatalf("locorun %v: %v\n%s", args, err, out.String())
	}
	return err
}

// outcome reads what a run left behind.
func (m *mortal) outcome(dir string) (o outcome) {
	m.t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "checkpoints", "*"))
	if err != nil || len(files) == 0 {
		m.t.Fatalf("%s has no checkpoints: %v", dir, err)
	}
	for _, f := range files {
		if !strings.HasSuffix(f, ".loco-ckpt") {
			m.t.Errorf("%s is left over", f)
		}
	}
	text, err := os.ReadFile(slices.Max(files))
	if err != nil {
		m.t.Fatal(err)
	}
	o.hash = fmt.Sprintf("%s %x", filepath.Base(slices.Max(files)), sha256.Sum256(text))
	lines, err := os.ReadFile(filepath.Join(dir, "metrics.jsonl"))
	if err != nil {
		m.t.Fatal(err)
	}
	for line := range bytes.Lines(lines) {
		var r struct {
			Kind, Unit, Stage, Data string
			Epoch, Step             int
			Loss, Accuracy          float64
		}
		if err := json.Unmarshal(line, &r); err != nil {
			m.t.Fatalf("%s: %v", line, err)
		}
		o.ledger = append(o.ledger, fmt.Sprintf("%06d %s %s%s epoch %d data %s loss %v accuracy %v",
			r.Step, r.Kind, r.Unit, r.Stage, r.Epoch, r.Data, r.Loss, r.Accuracy))
	}
	slices.Sort(o.ledger) // units are up to a batch apart
	return o
}

// compare holds a run to the one that nobody killed: the bytes of weights,
// optimiser state and step; each batch with its images applied once, none lost.
func (m *mortal) compare(what, dir string) {
	m.t.Helper()
	got := m.outcome(dir)
	if got.hash != m.want.hash {
		m.t.Errorf("%s: the last checkpoint is %s, want %s", what, got.hash, m.want.hash)
	}
	if !slices.Equal(got.ledger, m.want.ledger) {
		m.t.Errorf("%s: metrics.jsonl is not that of the whole run: %d lines, %d there", what, len(got.ledger), len(m.want.ledger))
	}
}

// kill runs the program in dir and kills it at a random instant, every fifth
// time inside a save. It reports whether the run was still going on.
func (m *mortal) kill(dir string, round int, random *rand.Rand) bool {
	m.t.Helper()
	if round%5 == 4 {
		saves := len(m.want.ledger) / 2 / m.every
		return m.run(dir, 0, 1+random.IntN(saveOperations*max(saves-1, 1)), random) != nil
	}
	return m.run(dir, 1+time.Duration(random.Int64N(int64(m.took))), 0, random) != nil
}

// seeded is randomness that a failure can be replayed with.
func seeded(t *testing.T) *rand.Rand {
	seed, err := strconv.ParseUint(os.Getenv("LOCORUN_SEED"), 10, 64)
	if err != nil {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("LOCORUN_SEED=%d replays it, as far as time can be replayed", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// TestKilled kills a run at random instants and lets it go on, with other
// threads, depth and workers: it ends with the same bytes as if nothing had
// happened.
func TestKilled(t *testing.T) {
	rounds := 20
	if long() {
		rounds = 200
	}
	m, random, killed := newMortal(t, 12, 5), seeded(t), 0
	for round := range rounds {
		dir := filepath.Join(t.TempDir(), "run")
		if m.kill(dir, round, random) {
			killed++
		}
		if err := m.run(dir, 0, 0, random); err != nil {
			t.Fatal(err)
		}
		m.compare(fmt.Sprintf("round %d", round), dir)
	}
	t.Logf("%d of %d runs were killed before their end", killed, rounds)
	if killed < rounds/2 {
		t.Errorf("only %d of %d runs were killed", killed, rounds)
	}
}

// TestKilledAgainAndAgain kills the same run five times.
func TestKilledAgainAndAgain(t *testing.T) {
	chains := 2
	if long() {
		chains = 20
	}
	m, random := newMortal(t, 12, 5), seeded(t)
	for chain := range chains {
		dir := filepath.Join(t.TempDir(), "run")
		for n := range 5 {
			m.kill(dir, chain+n, random)
		}
		if err := m.run(dir, 0, 0, random); err != nil {
			t.Fatal(err)
		}
		m.compare(fmt.Sprintf("chain %d", chain), dir)
	}
}

// TestEveryCheckpoint goes on from each checkpoint of a run.
func TestEveryCheckpoint(t *testing.T) {
	m := newMortal(t, 13, 1)
	whole := filepath.Join(t.TempDir(), "whole")
	resume := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("locorun", append([]string{"--listen", "off"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	resume("--out", whole, "--checkpoint-every", "1", "--keep", "100", m.file)
	step := 7
	if long() {
		step = 1
	}
	for n := 1; n <= 51; n += step {
		dir := filepath.Join(t.TempDir(), "run")
		resume("--out", dir, "--resume", filepath.Join(whole, "checkpoints", fmt.Sprintf("step-%08d.loco-ckpt", n)), m.file)
		if got := m.outcome(dir).hash; got != m.want.hash {
			t.Errorf("from checkpoint %d the last one is %s, want %s", n, got, m.want.hash)
		}
	}
}

// TestLedger works out, apart from the loader, which images each batch has, and
// compares them with what the run says it applied.
func TestLedger(t *testing.T) {
	m := newMortal(t, 3, 5)
	const images, batch = 32, 8
	for step := 1; step <= 3*images/batch; step++ {
		epoch := (step - 1) / (images / batch)
		order := rng.Permutation(1, uint64(epoch), images)
		h := fnv.New64a()
		for _, i := range order[(step-1)%(images/batch)*batch:][:batch] {
			for _, v := range []int{epoch, i} {
				var b [8]byte
				for k := range b {
					b[k] = byte(v >> (8 * k))
				}
				h.Write(b[:])
			}
		}
		want := fmt.Sprintf("%06d batch low epoch %d data %016x ", step, epoch+1, h.Sum64())
		if !slices.ContainsFunc(m.want.ledger, func(l string) bool { return strings.HasPrefix(l, want) }) {
			t.Errorf("no line begins with %q", want)
		}
	}
}
