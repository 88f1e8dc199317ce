package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/locorun/locorun/graphs/cuda/driver"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets scripts call the command by its name.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"locorun": command})
}

var update = flag.Bool("update", false, "rewrite the texts that scripts compare with")

// tinyProgram is what scripts find as tiny.loco: three stages, two units that
// share one, a few batches.
const tinyProgram = "testdata/script/tiny.loco"

// TestScripts runs the stories of testdata/script against the command.
func TestScripts(t *testing.T) {
	tiny, err := os.ReadFile(tinyProgram)
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		UpdateScripts:       *update,
		Setup: func(e *testscript.Env) error {
			return os.WriteFile(filepath.Join(e.WorkDir, "tiny.loco"), tiny, 0o600)
		},
		Condition: func(name string) (bool, error) {
			switch name {
			case "hangups": // tests under nohup cannot hang up on what they start
				return !signal.Ignored(syscall.SIGHUP), nil
			case "card":
				return len(driver.Find().Cards) > 0, nil
			}
			return false, fmt.Errorf("no condition %q", name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "interrupted": interrupted, "listen": listen, "holds": holds,
			"replace": replace, "pictures": pictures, "truncate": truncate, "lines": linesAre,
		},
	})
}

// exits CODE PROGRAM ARGS... runs a program and compares its exit code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	compareCode(ts, args[0], ts.Exec(args[1], args[2:]...))
}

func compareCode(ts *testscript.TestScript, want string, err error) {
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != want {
		ts.Fatalf("exit code %d, want %s", code, want)
	}
}

// interrupted FILE TEXT CODE PROGRAM ARGS... runs a program, interrupts it as
// soon as FILE holds TEXT, and compares its exit code.
func interrupted(ts *testscript.TestScript, _ bool, args []string) {
	file, text, code := ts.MkAbs(args[0]), args[1], args[2]
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[3], args[4:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), graceIs+"="+ts.Getenv(graceIs))
	cmd.Stdout, cmd.Stderr = ts.Stdout(), ts.Stderr()
	ts.Check(cmd.Start())
	for ctx.Err() == nil {
		have, err := os.ReadFile(file)
		if err == nil && bytes.Contains(have, []byte(text)) {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	ts.Check(cmd.Process.Signal(os.Interrupt))
	compareCode(ts, code, cmd.Wait())
}

// listen VAR takes a port of this machine until the script ends.
func listen(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv(args[0], l.Addr().String())
}

// holds FILE PART asks for the text of PART in FILE.
func holds(ts *testscript.TestScript, _ bool, args []string) {
	whole, part := ts.ReadFile(args[0]), strings.TrimSpace(ts.ReadFile(args[1]))
	if part == "" || !strings.Contains(whole, part) {
		ts.Fatalf("%s does not hold\n%s", args[0], part)
	}
}

// replace FILE OLD NEW changes text that stands in a file.
func replace(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	if !strings.Contains(text, args[1]) {
		ts.Fatalf("%s does not hold %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.ReplaceAll(text, args[1], args[2])), 0o600))
}

// pictures IMAGES LABELS N SIDE writes IDX files of N grey pictures.
func pictures(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	side, err := strconv.Atoi(args[3])
	ts.Check(err)
	images, labels := idx(n, side, side), idx(n)
	for i := range n {
		labels = append(labels, byte(i%4))
		for j := range side * side {
			images = append(images, byte(i*31+j*j*7))
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), images, 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), labels, 0o600))
}

// idx is the head of an IDX file of bytes.
func idx(sizes ...int) []byte {
	head := []byte{0, 0, 8, byte(len(sizes))}
	for _, s := range sizes {
		head = binary.BigEndian.AppendUint32(head, uint32(s))
	}
	return head
}

// truncate FILE BYTES cuts a file.
func truncate(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), n))
}

// lines FILE N counts the lines of a file.
func linesAre(ts *testscript.TestScript, _ bool, args []string) {
	if n := strings.Count(ts.ReadFile(args[0]), "\n"); strconv.Itoa(n) != args[1] {
		ts.Fatalf("%s has %d lines, want %s", args[0], n, args[1])
	}
}
