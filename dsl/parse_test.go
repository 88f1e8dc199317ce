package dsl

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/locorun/locorun/dsl/diag"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden runs render over every "in.loco" of the archives that match pattern
// and compares the result with the file named want in the same archive.
func golden(t *testing.T, pattern, want string, render func(name string, src []byte) string) {
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no archive matches %s (%v)", pattern, err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := render(a.Files[0].Name, a.Files[0].Data)
			if *update {
				a.Files = append(a.Files[:1], txtar.File{Name: want, Data: []byte(got)})
				if err := os.WriteFile(path, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if len(a.Files) != 2 || a.Files[1].Name != want {
				t.Fatalf("%s has no file %s", path, want)
			}
			if got != string(a.Files[1].Data) {
				t.Errorf("%s differs\n--- got\n%s--- want\n%s", want, got, a.Files[1].Data)
			}
		})
	}
}

func TestParseGolden(t *testing.T) {
	golden(t, "testdata/parse/*.txtar", "tree", func(name string, src []byte) string {
		f, l := Parse(name, src)
		if len(l) > 0 {
			t.Errorf("%s: %v", name, l)
		}
		return dump(f)
	})
}

func TestErrorsGolden(t *testing.T) {
	golden(t, "testdata/errors/*.txtar", "diagnostics", func(name string, src []byte) string {
		_, l := Parse(name, src)
		var b bytes.Buffer
		if err := diag.Render(&b, l, func(string) []byte { return src }, diag.RenderOptions{}); err != nil {
			t.Fatal(err)
		}
		return b.String()
	})
}

func TestCodes(t *testing.T) {
	for i, c := range Codes() {
		t.Run(string(c.Code), func(t *testing.T) {
			if want := fmt.Sprintf("L%04d", 101+i); string(c.Code) != want {
				t.Errorf("code %s where %s is due", c.Code, want)
			}
			_, l := Parse("x.loco", []byte(strings.Repeat(c.Example, max(c.Times, 1))))
			if len(l) != 1 || l[0].Code != c.Code || l[0].Severity != diag.Error {
				t.Errorf("the example gives %d diagnostics, first %v", len(l), l.Error())
			}
		})
	}
}

// TestRanges checks that every node's range holds its own text.
func TestRanges(t *testing.T) {
	src := "\uFEFFunit löw"
	src = strings.Replace(src, "löw", `low = s1 -> s2 : proj("ä\"", [1, -x*3..7x5]) also { lr 0.5 }`, 1)
	f, l := Parse("x.loco", []byte(src))
	if len(l) > 0 {
		t.Fatal(l)
	}
	text := func(r diag.Range) string { return src[r.Start.Offset:r.End.Offset] }
	s := f.Statements[0]
	call := s.Args[4].Value.(*Call)
	for got, want := range map[string]string{
		text(s.Range):            strings.TrimPrefix(src, "\uFEFF"),
		text(s.Word.Range):       "unit",
		text(s.Args[0].Range):    "low = s1",
		text(call.Range):         `proj("ä\"", [1, -x*3..7x5])`,
		text(s.Block.Range):      "{ lr 0.5 }",
		text(call.Args[0].Range): `"ä\""`,
		text(call.Args[1].Value.(*List).Elems[1].Span()): "-x*3..7x5",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if p := call.Args[1].Range.Start; p.Column != 35 || p.Offset != 38 {
		t.Errorf("the list begins at %+v", p)
	}
}

func TestBoundsKeepMemorySmall(t *testing.T) {
	for name, src := range map[string]string{
		"braces":         strings.Repeat("a{", 300_000),
		"braces, small":  strings.Repeat("{", 300_000),
		"parentheses":    "a " + strings.Repeat("(", 300_000),
		"brackets":       "a " + strings.Repeat("[", 300_000),
		"calls":          "a " + strings.Repeat("f(", 300_000),
		"unary":          "a " + strings.Repeat("-", 300_000) + "1",
		"unary in calls": "a " + strings.Repeat("f(--", 100_000),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, l := Parse("deep.loco", []byte(src))
			runtime.ReadMemStats(&after)
			if len(l) != 1 || l[0].Range.File != "deep.loco" || l[0].Range.Start.Line != 1 {
				t.Errorf("got %d diagnostics: %v", len(l), l)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 32<<20 {
				t.Errorf("%d bytes allocated", n)
			}
		})
	}
}
