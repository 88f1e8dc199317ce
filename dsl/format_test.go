package dsl

import (
	"bytes"
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestFormatGolden(t *testing.T) {
	golden(t, "testdata/format/*.txtar", "formatted", func(name string, src []byte) string {
		return formatTwice(t, name, src)
	})
}

// formatTwice formats src, which must be free of errors, and checks the result.
func formatTwice(t *testing.T, name string, src []byte) string {
	t.Helper()
	f, l := Parse(name, src)
	if len(l) > 0 {
		t.Fatalf("%s: %v", name, l)
	}
	if d := differs(src); d != "" {
		t.Fatal(d)
	}
	return string(Format(f))
}

// differs says what is wrong with the formatting of src: it must change
// nothing but the layout, and formatting the result again nothing at all.
func differs(src []byte) string {
	f, _ := Parse("x.loco", src)
	once := Format(f)
	g, l := Parse("x.loco", once)
	if len(l) > 0 {
		return fmt.Sprintf("refused when formatted: %v\n--- source\n%s--- formatted\n%s", l, src, once)
	}
	if a, b := tree(f), tree(g); a != b {
		return fmt.Sprintf("another tree\n--- before\n%s--- after\n%s--- source\n%s--- formatted\n%s", a, b, src, once)
	}
	if twice := Format(g); !bytes.Equal(once, twice) {
		return fmt.Sprintf("formatting again changes the text\n--- source\n%s--- once\n%s--- twice\n%s", src, once, twice)
	}
	return ""
}

// tree is a dump with the comments' texts in order, without lines.
func tree(f *File) string {
	var b strings.Builder
	dumpStatements(&b, f.Statements, "")
	for _, c := range f.Comments {
		b.WriteString("//" + trimmed(c) + "\n")
	}
	return b.String()
}

func seed(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
}

func FuzzParse(f *testing.F) {
	seed(f)
	fuzzing := flag.Lookup("test.fuzz").Value.String() != ""
	f.Fuzz(func(t *testing.T, src []byte) {
		began := time.Now()
		file, l := Parse("fuzz.loco", src)
		if took := time.Since(began); fuzzing && took > 5*time.Second {
			t.Errorf("%d bytes took %v", len(src), took)
		}
		for _, d := range l {
			checkRange(t, src, d.Range)
			for _, n := range d.Notes {
				checkRange(t, src, n.Range)
			}
			if d.Severity == 0 || d.Code == "" || d.Message == "" {
				t.Errorf("an incomplete diagnostic: %+v", d)
			}
		}
		checkStatements(t, src, file.Statements)
		for _, c := range file.Comments {
			checkRange(t, src, c.Range)
		}
	})
}

func FuzzFormat(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, src []byte) {
		if _, l := Parse("fuzz.loco", src); len(l) == 0 {
			formatTwice(t, "fuzz.loco", src)
		}
	})
}
