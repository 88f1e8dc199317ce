package main

import (
	"bytes"
	"go/ast"
	"go/parser"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler"
	"github.com/locorun/locorun/dsl"
	"github.com/locorun/locorun/graphs/std"
)

// maxLines is the length of a file beyond which it is two files.
const maxLines = 600

// TestHouse holds packages and files to the rules of the house: a comment that
// opens each package, files of a readable length, names that say something.
func TestHouse(t *testing.T) {
	documented := map[string]bool{}
	for name, f := range sources(t, parser.ParseComments) {
		dir := filepath.ToSlash(filepath.Dir(name))
		documented[dir] = documented[dir] || f.Doc != nil
		if n := lines(t, name); n > maxLines && !ast.IsGenerated(f) {
			t.Errorf("%s has %d lines; %d are enough for one idea", name, n, maxLines)
		}
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("package %s has no package comment", dir)
		}
		if slices.Contains([]string{"util", "utils", "common", "helpers", "misc", "base"}, path.Base(dir)) {
			t.Errorf("package %s is named for nothing that it does", dir)
		}
	}
}

func lines(t *testing.T, file string) int {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(text, []byte("\n"))
}

// whole matches the complete programs in a page: fences that say loco alone.
var whole = regexp.MustCompile("(?ms)^```loco\n(.*?)^```$")

// TestPagesCompile compiles every complete program of the pages.
func TestPagesCompile(t *testing.T) {
	for page, least := range map[string]int{"README.md": 1, "dsl/SPEC.md": 2} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		programs := whole.FindAllSubmatch(text, -1)
		if len(programs) < least {
			t.Errorf("%s shows %d programs, want %d at least", page, len(programs), least)
		}
		for _, p := range programs {
			mustCompile(t, page, p[1])
		}
	}
}

// TestExamplesCompile compiles the examples and the file that new writes, as
// every method, and looks at their layout.
func TestExamplesCompile(t *testing.T) {
	for _, pattern := range []string{"examples/*.loco", "examples/*/*.loco", "bench/*.loco", "internal/cli/template.loco"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			mustCompile(t, name, text)
			f, _ := dsl.Parse(name, text)
			if !bytes.Equal(dsl.Format(f), text) {
				t.Errorf("%s is not laid out as locorun fmt does", name)
			}
		}
	}
}

// mustCompile checks a program as every method.
func mustCompile(t *testing.T, name string, text []byte) {
	t.Helper()
	for _, method := range []string{"loco", "gim", "e2e"} {
		_, found := compiler.Compile(name, text, compiler.Options{
			Method: method, Std: std.Files,
			Read: func(p string) ([]byte, error) { return os.ReadFile(filepath.Join(filepath.Dir(name), p)) },
		})
		for _, d := range found {
			first, _, _ := strings.Cut(string(text), "\n")
			t.Errorf("%s (%s), method %s: %s %s", name, first, method, d.Code, d.Message)
		}
	}
}
