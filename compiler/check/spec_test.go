package check_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler"
	"github.com/locorun/locorun/compiler/check"
	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/graphs/std"
	"github.com/rogpeppe/go-internal/txtar"
)

var methods = []string{"loco", "gim", "e2e"}

// compiles compiles and lowers a program, in all methods unless one is given:
// what is accepted can be run.
func compiles(t *testing.T, src string, opt compiler.Options) {
	t.Helper()
	opt.Std = std.Files
	all := methods
	if opt.Method != "" {
		all = []string{opt.Method}
	}
	for _, opt.Method = range all {
		net, list := compiler.Compile("program.loco", []byte(src), opt)
		if net == nil {
			t.Errorf("--method %s: %v\n%s", opt.Method, list, src)
			continue
		}
		turn := -1
		if net.Train.InTurn {
			turn = 0
		}
		if _, err := lower.Train(net, lower.Options{Turn: turn}); err != nil {
			t.Errorf("--method %s: %v\n%s", opt.Method, err, src)
		}
	}
}

// TestSpec compiles every complete program of SPEC.md.
func TestSpec(t *testing.T) {
	text, err := os.ReadFile("../../dsl/SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(text), "\n```loco\n")
	if len(parts) < 4 {
		t.Fatalf("only %d programs", len(parts)-1)
	}
	for _, p := range parts[1:] {
		src, _, ok := strings.Cut(p, "\n```\n")
		if !ok {
			t.Fatalf("a program that does not end:\n%s", p)
		}
		compiles(t, src+"\n", compiler.Options{})
	}
}

// TestSpecCodes finds every code of this package in SPEC.md.
func TestSpecCodes(t *testing.T) {
	text, err := os.ReadFile("../../dsl/SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range check.Codes() {
		if row := "| " + string(c.Code) + " | " + c.Meaning + " |\n"; !strings.Contains(string(text), row) {
			t.Errorf("SPEC.md lacks the line %s", row)
		}
	}
}

// TestGoodIsLowered lowers the programs that TestGood accepts.
func TestGoodIsLowered(t *testing.T) {
	paths, err := filepath.Glob("testdata/good/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal(err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			a, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			opt := compiler.Options{Defines: map[string]string{}}
			for _, line := range strings.Split(string(a.Comment), "\n") {
				if define, ok := strings.CutPrefix(line, "-D "); ok {
					name, value, _ := strings.Cut(define, "=")
					opt.Defines[name] = value
				}
				if m, ok := strings.CutPrefix(line, "--method "); ok {
					opt.Method = m
				}
			}
			opt.Read = func(name string) ([]byte, error) {
				for _, f := range a.Files[1:] {
					if f.Name == name {
						return f.Data, nil
					}
				}
				return nil, os.ErrNotExist
			}
			compiles(t, string(a.Files[0].Data), opt)
		})
	}
}
