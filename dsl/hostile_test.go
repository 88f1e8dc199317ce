package dsl

import (
	"bytes"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/locorun/locorun/dsl/diag"
)

// allocated is the bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// alive is the bytes in use.
func alive() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestDeepFilesAreCheap nests 300,000 levels, at which a parser that calls
// itself ends the process, and wants one diagnostic at a place for little
// memory. What it takes in time is BenchmarkParse's to show.
func TestDeepFilesAreCheap(t *testing.T) {
	const n = 300_000
	for name, src := range map[string]string{
		"braces":            strings.Repeat("a{", n),
		"braces, closed":    strings.Repeat("a{", n) + strings.Repeat("}", n/2),
		"braces alone":      strings.Repeat("{", n),
		"parentheses":       "a " + strings.Repeat("(", n),
		"calls":             "a " + strings.Repeat("f(", n),
		"brackets":          "a [" + strings.Repeat("[", n),
		"unary operators":   "a p=" + strings.Repeat("-", n) + "1",
		"mixed":             "a " + strings.Repeat("(-[", n/3),
		"lines":             strings.Repeat("a {\n", n/2),
		"behind a comment":  "// deep\n\n" + strings.Repeat("a{", n),
		"with text between": strings.Repeat("a \"{\" {", n/4),
	} {
		t.Run(name, func(t *testing.T) {
			var l diag.List
			bytes := allocated(func() { _, l = Parse("fuzz.loco", []byte(src)) })
			if len(l) != 1 || l[0].Code != codeTooDeep && l[0].Code != codeTooManyTokens {
				t.Fatalf("%d diagnostics: %v", len(l), l)
			}
			checkRange(t, []byte(src), l[0].Range)
			if bytes > 32<<20 {
				t.Errorf("%d bytes were allocated for a file of %d", bytes, len(src))
			}
		})
	}
}

// TestWideFilesEnd parses files that cost most within the bounds (with
// LOCORUN_LONG all that are known) and shows what is wrong with them: what stays
// is bounded, and no more than a hundred diagnostics are shown.
func TestWideFilesEnd(t *testing.T) {
	for _, c := range costly {
		t.Run(c.name, func(t *testing.T) {
			if os.Getenv("LOCORUN_LONG") == "" && !slices.Contains([]string{"deep", "one long statement", "an error a line"}, c.name) {
				t.Skip("LOCORUN_LONG is not set")
			}
			var f *File
			var l diag.List
			n := allocated(func() { f, l = Parse("fuzz.loco", []byte(c.src)) })
			if live := alive(); live > 256<<20 {
				t.Errorf("%d MiB are alive after a file of %d bytes", live>>20, len(c.src))
			}
			runtime.KeepAlive(f)
			for _, d := range l {
				if d.Range.Start.Offset > d.Range.End.Offset || d.Range.End.Offset > len(c.src) {
					t.Fatalf("the place %+v is outside the file", d.Range)
				}
			}
			var out bytes.Buffer
			if err := diag.Render(&out, l, func(string) []byte { return []byte(c.src) }, diag.RenderOptions{}); err != nil {
				t.Fatal(err)
			}
			if shown := strings.Count(out.String(), "error["); shown > 100 || len(l) > 0 && shown == 0 {
				t.Errorf("%d of %d diagnostics are shown", shown, len(l))
			}
			t.Logf("%d KiB allocated, %d diagnostics", n>>10, len(l))
		})
	}
}
