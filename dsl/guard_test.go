package dsl

import (
	"strings"
	"testing"

	"github.com/locorun/locorun/dsl/diag"
)

func TestBoundsAreExact(t *testing.T) {
	deep := func(n int) string { return "a " + strings.Repeat("(", n) + "1" + strings.Repeat(")", n) }
	blocks := func(n int) string { return strings.Repeat("a {", n) + strings.Repeat("}", n) }
	for _, c := range []struct {
		name, src string
		want      diag.Code // "" where it is within the bounds
	}{
		{"1 MiB", strings.Repeat("// sixteen bytes\n", 1<<16)[:1<<20], ""},
		{"1 MiB and a byte", strings.Repeat("// sixteen bytes\n", 1<<16)[:1<<20+1], codeTooLarge},
		{"200,000 tokens", strings.Repeat("a;", 100_000), ""},
		{"one more", strings.Repeat("a;", 100_000) + "a", codeTooManyTokens},
		{"comments count", strings.Repeat("a//\n", 100_001), codeTooManyTokens},
		{"newlines do not", strings.Repeat("\n", 300_000), ""},
		{"64 parentheses", deep(64), ""},
		{"65 parentheses", deep(65), codeTooDeep},
		{"64 blocks", blocks(64), ""},
		{"65 blocks", blocks(65), codeTooDeep},
		{"blocks and brackets", strings.Repeat("a {", 60) + deep(4) + strings.Repeat("}", 60), ""},
		{"blocks and one bracket more", strings.Repeat("a {", 60) + deep(5) + strings.Repeat("}", 60), codeTooDeep},
		{"side by side", strings.Repeat("a (1) [2]\n", 1000), ""},
		{"64 unary operators", "a p=" + strings.Repeat("-", 64) + "1", ""},
		{"65 unary operators", "a p=" + strings.Repeat("-", 65) + "1", codeTooDeep},
		{"unary and parentheses", "a p=" + strings.Repeat("-(", 32) + "1" + strings.Repeat(")", 32), ""},
		{"unary and parentheses, one more", "a p=" + strings.Repeat("-(", 32) + "-1" + strings.Repeat(")", 32), codeTooDeep},
		{"64 operators", "a 1" + strings.Repeat("+1", 64), ""},
		{"65 operators", "a 1" + strings.Repeat("+1", 65), codeTooDeep},
		{"63 letters", "a " + strings.Repeat("x", 63), ""},
		{"64 letters", "a " + strings.Repeat("x", 64), codeName},
		{"greatest whole number", "a 9007199254740992", ""},
		{"one more", "a 9007199254740993", codeNumberRange},
		{"greatest side", "a 1048576x1", ""},
		{"one more", "a 1048577x1", codeNumberRange},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, l := Parse("x.loco", []byte(c.src))
			switch {
			case c.want == "" && len(l) > 0:
				t.Errorf("refused: %v", l)
			case c.want != "" && (len(l) != 1 || l[0].Code != c.want):
				t.Errorf("got %d diagnostics (%v), want %s", len(l), l, c.want)
			}
		})
	}
}

func TestBytesThatAreNoText(t *testing.T) {
	for _, c := range []struct {
		name, src, message string
		line, column       int
	}{
		{"NUL", "loco 1\nab\x00c", "control character U+0000", 2, 3},
		{"escape in a comment", "// \x1b[31m", "control character U+001B", 1, 4},
		{"writing direction", "\n\n\"\u202E\"", "control character U+202E", 3, 2},
		{"carriage return alone", "loco 1\rdata { }\n", "control character U+000D", 1, 7},
		{"carriage return in a comment", "// shown\rhidden\r\n", "control character U+000D", 1, 9},
		{"carriage return at the end", "a\r\nb\r", "control character U+000D", 2, 2},
		{"C1", "a\u0085", "control character U+0085", 1, 2},
		{"mark in the middle", "a\uFEFF", "control character U+FEFF", 1, 2},
		{"two marks", "\uFEFF\uFEFFa", "control character U+FEFF", 1, 1},
		{"Latin-1", "// \u00FC \xFC", "byte 0xFC is not UTF-8", 1, 6},
		{"cut short", "a \xE6\xBC", "byte 0xE6 is not UTF-8", 1, 3},
		{"behind a mark", "\uFEFFa \xFF", "byte 0xFF is not UTF-8", 1, 3},
		{"UTF-16", "\xFF\xFEl\x00", "the file is UTF-16, a .loco file is UTF-8", 1, 1},
		{"UTF-16, big end first", "\xFE\xFF\x00l", "the file is UTF-16, a .loco file is UTF-8", 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, l := Parse("x.loco", []byte(c.src))
			if f == nil || len(l) != 1 {
				t.Fatalf("got %v, %v", f, l)
			}
			if p := l[0].Range.Start; l[0].Message != c.message || p.Line != c.line || p.Column != c.column {
				t.Errorf("got %q at %d:%d", l[0].Message, p.Line, p.Column)
			}
		})
	}
}
