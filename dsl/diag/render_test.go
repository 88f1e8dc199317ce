package diag

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// place finds the n-th occurrence of text in src, from 1.
func place(t *testing.T, file, src, text string, n int) Range {
	t.Helper()
	at := 0
	for ; n > 0; n-- {
		i := strings.Index(src[at:], text)
		if i < 0 {
			t.Fatalf("%q does not occur that often", text)
		}
		at += i + 1
	}
	return Range{File: file, Start: posIn(src, at-1), End: posIn(src, at-1+len(text))}
}

func posIn(src string, offset int) Pos {
	before := src[:offset]
	return Pos{offset, 1 + strings.Count(before, "\n"), 1 + utf8.RuneCountInString(before[strings.LastIndex(before, "\n")+1:])}
}

const program = `loco 1
stage s1 { conv 3x3 64; norm }
stage s2 {
	conv	3x3 128
  relu
}
unit low = s1 -> s2 : proj // 漢字 "漢字" é́ x
stage s2 { norm }
`

const library = "block basic(out) { conv 3x3 out }\n"

func sources(extra map[string]string) func(string) []byte {
	return func(file string) []byte {
		if s, ok := extra[file]; ok {
			return []byte(s)
		}
		return map[string][]byte{"a.loco": []byte(program), "std/b.loco": []byte(library)}[file]
	}
}

// samples are diagnostics that show what Render can do.
func samples(t *testing.T) List {
	in := func(text string, n int) Range { return place(t, "a.loco", program, text, n) }
	return List{
		{Error, "L0204", "`s2` is declared twice", in("s2", 3), []Note{{in("s2", 1), "first declared here"}, {Message: "stages, decoders, units, blocks, params and lets share one namespace"}}, "rename one of them"},
		{Warning, "L0301", "two places on one line", in("s2", 2), []Note{{in("s1", 2), "from here"}, {in("proj", 1), "to here"}}, ""},
		{Error, "L0302", "a block over several lines", in("{\n\tconv\t3x3 128\n  relu\n}", 1), nil, "write\n  stage s2 { relu }\n  // or nothing"},
		{Error, "L0303", "behind a tab", in("128", 1), []Note{{in("conv\t3x3 128\n  relu", 1), "in these lines"}}, ""},
		{Error, "L0304", "behind wide and combining characters", in("x\n", 1), []Note{{in("漢", 2), "wide"}}, ""},
		{Error, "L0305", "in two files", in("norm", 1), []Note{{place(t, "std/b.loco", library, "basic", 1), "the library's"}}, "import it as something else"},
		{Error, "L0306", "at the end of the file", Range{"a.loco", posIn(program, len(program)), posIn(program, len(program))}, nil, ""},
		{Error, "L0307", "in a file nobody has", Range{"gone.loco", Pos{0, 3, 4}, Pos{3, 3, 7}}, nil, "find it"},
		{Error, "", "no place, no code, and \x1b[31mno\x07 control characters", Range{}, nil, ""},
		{Warning, "L0308", "a place outside the text", Range{"std/b.loco", Pos{900, 90, 9}, Pos{910, 91, 1}}, nil, ""},
	}
}

func checkGolden(t *testing.T, name, got string) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs\n--- got\n%s--- want\n%s", path, got, want)
	}
}

func TestRenderGolden(t *testing.T) {
	for name, opt := range map[string]RenderOptions{"plain.txt": {}, "color.txt": {Color: true}, "three.txt": {Max: 3}} {
		var b bytes.Buffer
		if err := Render(&b, samples(t), sources(nil), opt); err != nil {
			t.Fatal(err)
		}
		checkGolden(t, name, b.String())
	}
}

func TestWriteJSONGolden(t *testing.T) {
	var b bytes.Buffer
	if err := WriteJSON(&b, samples(t)); err != nil {
		t.Fatal(err)
	}
	checkGolden(t, "lines.json", b.String())
}

func TestRenderLongLines(t *testing.T) {
	src := strings.Repeat("abcdefghi ", 200) + "\x1bbad\r\n"
	var l List
	for _, offset := range []int{0, 70, 1000, 1990, 2001} {
		l = append(l, Diagnostic{Severity: Error, Code: "L0001", Message: "here", Range: Range{"x", posIn(src, offset), posIn(src, offset+3)}})
	}
	l = append(l, Diagnostic{Severity: Error, Code: "L0002", Message: "longer than is shown", Range: Range{"x", posIn(src, 10), posIn(src, 1500)}})
	var b bytes.Buffer
	if err := Render(&b, l, sources(map[string]string{"x": src}), RenderOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(b.String(), "\n") {
		if n := utf8.RuneCountInString(line); n > 140 {
			t.Errorf("a line of %d characters", n)
		}
	}
	checkGolden(t, "long.txt", b.String())
}

// TestRenderHugeFile names the place in a file too large to be shown.
func TestRenderHugeFile(t *testing.T) {
	src := strings.Repeat("x", maxText+1)
	l := List{{Severity: Error, Code: "L0001", Message: "large", Range: Range{"x", posIn(src, 0), posIn(src, 1)}}}
	var b bytes.Buffer
	if err := Render(&b, l, sources(map[string]string{"x": src}), RenderOptions{}); err != nil {
		t.Fatal(err)
	}
	if want := "error[L0001]: large\n  --> x:1:1\n"; !strings.HasPrefix(b.String(), want) || b.Len() > 200 {
		t.Errorf("got %d bytes: %.200q", b.Len(), b.String())
	}
}

func TestRenderMax(t *testing.T) {
	var l List
	for i := range 250 {
		d := Diagnostic{Severity: Warning, Code: "L0001", Message: fmt.Sprint("w", i)}
		if i >= 120 {
			d.Severity = Error
		}
		l = append(l, d)
	}
	var b bytes.Buffer
	if err := Render(&b, l, nil, RenderOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "error[L0001]"); n != 100 {
		t.Errorf("%d errors shown", n)
	}
	if want := "\n30 more errors and 120 more warnings not shown\n"; !strings.HasSuffix(b.String(), want) {
		t.Errorf("the end is %q", b.String()[b.Len()-80:])
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWriteErrors(t *testing.T) {
	if err := Render(broken{}, samples(t), nil, RenderOptions{}); err == nil {
		t.Error("Render hides a write error")
	}
	if err := WriteJSON(broken{}, samples(t)); err == nil {
		t.Error("WriteJSON hides a write error")
	}
	if err := Render(broken{}, nil, nil, RenderOptions{}); err != nil {
		t.Error("nothing was to be written")
	}
}
