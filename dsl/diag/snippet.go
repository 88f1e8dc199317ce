package diag

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// mark underlines columns from..to (to exclusive) of a line.
type mark struct {
	line, from, to int
	text           string
	main           bool
}

// snippet shows the lines of one file that the labels stand in, each once,
// with the marks below it.
func (p *painter) snippet(labels []label, width int, style string) {
	lines := p.lines(labels[0].where.File)
	if lines == nil {
		return
	}
	var marks []mark
	for _, l := range labels {
		marks = append(marks, marksOf(l, lines)...)
	}
	slices.SortStableFunc(marks, func(a, b mark) int {
		return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.from, b.from))
	})
	bar := p.paint(blue, "|")
	blank := strings.Repeat(" ", width)
	fmt.Fprintf(p.out, "%s %s\n", blank, bar)
	for i, m := range marks {
		var view window
		if i == 0 || marks[i-1].line != m.line {
			if i > 0 && m.line > marks[i-1].line+1 {
				fmt.Fprintln(p.out, p.paint(blue, "..."))
			}
			view = windowFor(lines[m.line-1], m)
			fmt.Fprintf(p.out, "%s %s%s\n", p.paint(blue, fmt.Sprintf("%*d", width, m.line)), bar, pad(view.text))
		} else {
			view = windowFor(lines[m.line-1], firstOf(marks, m.line))
		}
		sign, paint := "-", blue
		if m.main {
			sign, paint = "^", style
		}
		from, to := view.columns(m)
		under := strings.Repeat(sign, to-from)
		if m.text != "" {
			under += " " + clean(m.text)
		}
		fmt.Fprintf(p.out, "%s %s %s%s\n", blank, bar, strings.Repeat(" ", from), p.paint(paint, under))
	}
}

func firstOf(marks []mark, line int) mark {
	i := slices.IndexFunc(marks, func(m mark) bool { return m.line == line })
	return marks[i]
}

func pad(text string) string {
	if text == "" {
		return ""
	}
	return " " + text
}

// marksOf gives the marks of a label: one, or for a place over several lines
// one in its first and one in its last. Places outside the text are moved in.
func marksOf(l label, lines []string) []mark {
	first := min(max(l.where.Start.Line, 1), len(lines))
	last := min(max(l.where.End.Line, first), len(lines))
	m := mark{line: first, from: l.where.Start.Column, to: l.where.End.Column, text: l.text, main: l.main}
	if first == last {
		return []mark{m}
	}
	m.to, m.text = 1+utf8.RuneCountInString(strings.TrimRight(lines[first-1], " \t\r")), ""
	tail := lines[last-1]
	indent := utf8.RuneCountInString(tail) - utf8.RuneCountInString(strings.TrimLeft(tail, " \t"))
	end := mark{line: last, from: 1 + indent, to: l.where.End.Column, text: l.text, main: l.main}
	if end.to <= end.from {
		m.text = l.text
		return []mark{m}
	}
	return []mark{m, end}
}

// widest is how much of a line is shown, in columns of the terminal.
const widest = 120

// window is the part of a line that is shown.
type window struct {
	text string // as printed
	ends []int  // ends[i] is the printed width of the line's first i characters
	cut  int    // printed width left out on the left, less the width of "..."
}

// windowFor shows line, or where it is long the part around m.
func windowFor(line string, m mark) window {
	line = strings.TrimRight(line, "\r")
	var v window
	var text strings.Builder
	chars := []rune(line)
	v.ends = make([]int, 1, len(chars)+1)
	for _, c := range chars {
		s, n := shown(c)
		text.WriteString(s)
		v.ends = append(v.ends, v.ends[len(v.ends)-1]+n)
	}
	v.text = strings.TrimRight(text.String(), " ")
	if v.ends[len(chars)] <= widest {
		return v
	}
	first := 0
	if middle := v.column(m.from); middle > widest*2/3 {
		first, _ = slices.BinarySearch(v.ends, middle-widest/3)
	}
	last, _ := slices.BinarySearch(v.ends, v.ends[first]+widest)
	return v.clip(chars, first, min(last, len(chars)))
}

// clip keeps the characters first..last (exclusive).
func (v window) clip(chars []rune, first, last int) window {
	var text strings.Builder
	if first > 0 {
		text.WriteString("...")
		v.cut = v.ends[first] - 3
	}
	for _, c := range chars[first:last] {
		s, _ := shown(c)
		text.WriteString(s)
	}
	v.text = text.String()
	if last < len(chars) {
		v.text += "..."
	}
	v.ends = v.ends[:last+1]
	return v
}

// column is the printed column, from 0, of the character at column c, from 1.
func (v window) column(c int) int {
	return v.ends[min(max(c-1, 0), len(v.ends)-1)]
}

// columns gives the printed columns of a mark, at least one wide.
func (v window) columns(m mark) (from, to int) {
	from = max(v.column(m.from)-v.cut, 0)
	return from, max(v.column(m.to)-v.cut, from+1)
}

// shown gives what is printed for c and how many columns it takes: tabs as
// four blanks, control and reordering characters as a replacement mark.
func shown(c rune) (string, int) {
	switch {
	case c == '\t':
		return "    ", 4
	case unprintable(c):
		return "\uFFFD", 1
	}
	return string(c), width(c)
}

func unprintable(c rune) bool {
	return unicode.IsControl(c) || c == '\uFEFF' || 0x202A <= c && c <= 0x202E || 0x2066 <= c && c <= 0x2069
}

// clean makes text of the program safe to print within a message.
func clean(text string) string {
	return strings.Map(func(c rune) rune {
		if unprintable(c) {
			return '\uFFFD'
		}
		return c
	}, text)
}

// wide are the characters that take two columns: the East Asian wide and
// full-width blocks and the pictographs (Unicode Standard Annex 11, by block).
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x1100, Hi: 0x115F, Stride: 1}, {Lo: 0x2E80, Hi: 0x303E, Stride: 1},
		{Lo: 0x3041, Hi: 0xA4CF, Stride: 1}, {Lo: 0xAC00, Hi: 0xD7A3, Stride: 1},
		{Lo: 0xF900, Hi: 0xFAFF, Stride: 1}, {Lo: 0xFE30, Hi: 0xFE6F, Stride: 1},
		{Lo: 0xFF00, Hi: 0xFF60, Stride: 1}, {Lo: 0xFFE0, Hi: 0xFFE6, Stride: 1},
	},
	R32: []unicode.Range32{
		{Lo: 0x1F300, Hi: 0x1F64F, Stride: 1}, {Lo: 0x1F680, Hi: 0x1F6FF, Stride: 1},
		{Lo: 0x1F900, Hi: 0x1FAFF, Stride: 1}, {Lo: 0x20000, Hi: 0x3FFFD, Stride: 1},
	},
}

// width is the number of columns a printable character takes.
func width(c rune) int {
	switch {
	case c < 0x300:
		return 1
	case unicode.In(c, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case unicode.Is(wide, c):
		return 2
	}
	return 1
}
