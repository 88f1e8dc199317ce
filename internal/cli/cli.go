// Package cli is the command line: one file per verb. It turns flags into
// options of the packages below and their results into text; it decides
// nothing about training.
//
//	args --kong--> verb --> compiler, runtime --> stdout: results
//	                                              stderr: progress, diagnostics
//	exit 0 fine | 1 the run failed | 2 the file or the call is wrong | 130 interrupted
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/runtime/disk"
	"golang.org/x/term"
)

// Env is the world as the command line sees it.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Terminal       bool // stderr is a terminal
	Getenv         func(string) string
	Context        context.Context // ends at the second signal, or never
	// Interrupt is closed at the first signal: finish the batch and stop.
	Interrupt <-chan struct{}
	Grace     time.Duration // from the first signal on for the batch at hand; 0: 30 s
	// Disk opens a directory that a run writes to; nil: disk.Open.
	Disk func(dir string) (disk.FS, error)
	// Device starts the backend of a device; nil: the processor, or a card.
	Device func(name string) (device.Backend, error)
}

// grace is how long a batch may take to end after the first signal.
func (e *Env) grace() time.Duration {
	if e.Grace > 0 {
		return e.Grace
	}
	return 30 * time.Second
}

// open opens a directory that a run writes to.
func (e *Env) open(dir string) (disk.FS, error) {
	if e.Disk != nil {
		return e.Disk(dir)
	}
	return disk.Open(dir)
}

// OS is the process's own world. The first SIGINT, SIGTERM or SIGHUP asks for a
// clean stop, the second ends the process at once.
func OS() Env {
	return Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Terminal: term.IsTerminal(int(os.Stderr.Fd())),
		Getenv: os.Getenv, Context: context.Background(), Interrupt: interrupts(),
	}
}

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitWrong       = 2
	exitInterrupted = 130
)

// wrong is an error in the file or the call: exit 2.
type wrong struct{ error }

func (w wrong) Unwrap() error { return w.error }

// wrongf makes an error that exits 2.
func wrongf(format string, args ...any) error { return wrong{fmt.Errorf(format, args...)} }

// quiet is an error whose text has been printed already.
type quiet struct{ code int }

func (q quiet) Error() string { return fmt.Sprintf("exit %d", q.code) }

// verbs is the table of commands; the fields' order is the help's.
type verbs struct {
	Run     runCmd     `cmd:"" default:"withargs" help:"Train the program of a file; plain 'locorun graph.loco' does the same."`
	Check   checkCmd   `cmd:"" help:"Check a file and say what is wrong with it."`
	Plan    planCmd    `cmd:"" help:"Print what is known before the run: stages, units, memory, waits."`
	Fmt     fmtCmd     `cmd:"" help:"Lay out files in the one style."`
	Graph   graphCmd   `cmd:"" help:"Draw stages, units and losses, or print a stage of compilation."`
	Explain explainCmd `cmd:"" help:"Say which loss trains which stage, and why; or what a diagnostic's code means."`
	Views   viewsCmd   `cmd:"" help:"Write a sheet of augmented pictures as PNG."`
	New     newCmd     `cmd:"" help:"Write a commented file to start from."`
	Eval    evalCmd    `cmd:"" help:"Run the readouts of a finished run again."`
	Embed   embedCmd   `cmd:"" help:"Write the features of pictures to .npy files."`
	Export  exportCmd  `cmd:"" help:"Write the encoder's weights as safetensors."`
	Inspect inspectCmd `cmd:"" help:"Show a checkpoint: step, shapes, norms, program, hash."`
	Bench   benchCmd   `cmd:"" help:"Measure this machine: kernels, training steps, memory, views."`
	Version versionCmd `cmd:"" help:"Print versions."`
}

// Main runs the command line and returns the exit code.
func Main(args []string, env Env) int {
	var v verbs
	code := -1
	parser, err := kong.New(&v,
		kong.Name("locorun"),
		kong.Description("Trains image encoders by local contrastive learning, as a .loco file says.\n\nExamples:\n  locorun examples/quickstart.loco\n  locorun plan --method e2e examples/quickstart.loco\n\n'locorun run --help' lists the flags of training."),
		kong.Writers(env.Stdout, env.Stderr),
		kong.Exit(func(c int) { code = c; panic(stop{}) }),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Bind(&env),
	)
	if err != nil {
		panic(err) // the table of verbs is broken
	}
	return guarded(&code, env, func() int { return run(parser, args, env) })
}

// stop unwinds out of kong when it has printed its help.
type stop struct{}

// guarded turns kong's wish to exit into a return.
func guarded(code *int, env Env, f func() int) (c int) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case stop:
			c = *code
		default:
			fmt.Fprintf(env.Stderr, "locorun: internal error: %v\nThis is a bug in locorun; please report it with the file that caused it.\n", r)
			c = exitFailed
		}
	}()
	return f()
}

func run(parser *kong.Kong, args []string, env Env) int {
	if len(args) == 0 {
		args = []string{"--help"}
	}
	if err := misspelt(parser, args[0]); err != nil {
		return exitCode(err, env)
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(env.Stderr, "locorun: %s\nSee '%s --help'.\n", err, helpOf(err))
		return exitWrong
	}
	if ctx.Selected().Name != "run" {
		env.endAtOnce()
	}
	return exitCode(ctx.Run(&env), env)
}

// exitCode prints an error once and gives its code.
func exitCode(err error, env Env) int {
	var q quiet
	var w wrong
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &q):
		return q.code
	case errors.As(err, &w):
		fmt.Fprintf(env.Stderr, "locorun: %s\n", printable(err.Error()))
		return exitWrong
	}
	fmt.Fprintf(env.Stderr, "locorun: %s\n", printable(strings.TrimSpace(err.Error())))
	return exitFailed
}

// color reports whether text on stderr may carry colours.
func (e *Env) color() bool {
	return e.Terminal && e.Getenv("NO_COLOR") == "" && e.Getenv("TERM") != "dumb"
}
