package diag

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// RenderOptions say how Render writes.
type RenderOptions struct {
	Color bool // ANSI colours
	Max   int  // diagnostics shown, errors first; 0 means 100
}

// Render writes the diagnostics for people, sorted by place:
//
//	error[L0204]: `s2` is declared twice
//	  --> lenet.loco:9:7
//	   |
//	 5 | stage s2 { norm }
//	   |       -- first declared here
//	...
//	 9 | stage s2 { relu }
//	   |       ^^
//	   = help: rename one of them
//
// source gives the text of a file by the name its ranges carry, or nil; a
// place without text is named without being shown. Characters that would
// confuse a terminal are replaced.
func Render(w io.Writer, l List, source func(file string) []byte, opt RenderOptions) error {
	out := bufio.NewWriter(w)
	shown, hidden := choose(l, opt.Max)
	p := painter{out: out, color: opt.Color, files: map[string][]string{}, source: source}
	for i, d := range shown {
		if i > 0 {
			fmt.Fprintln(out)
		}
		p.diagnostic(d)
	}
	if len(hidden) > 0 {
		fmt.Fprintf(out, "\n%s\n", p.paint(bold, more(hidden)))
	}
	return out.Flush()
}

// choose takes the most diagnostics there is room for, errors before warnings,
// and gives both parts in order of place.
func choose(l List, most int) (shown, hidden List) {
	if most == 0 {
		most = 100
	}
	sorted := l.Sorted()
	if len(sorted) <= most {
		return sorted, nil
	}
	slices.SortStableFunc(sorted, func(a, b Diagnostic) int { return cmp.Compare(a.Severity, b.Severity) })
	return sorted[:most].Sorted(), sorted[most:]
}

// more says how many diagnostics were left out.
func more(hidden List) string {
	n := map[Severity]int{}
	for _, d := range hidden {
		n[d.Severity]++
	}
	var parts []string
	for _, s := range []Severity{Error, Warning} {
		if n[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d more %s", n[s], plural(s.String(), n[s])))
		}
	}
	return strings.Join(parts, " and ") + " not shown"
}

func plural(word string, n int) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// The ANSI styles.
const (
	bold   = "1"
	red    = "1;31"
	yellow = "1;33"
	blue   = "1;34"
	cyan   = "1;36"
)

// painter writes diagnostics; files caches the lines of the sources.
type painter struct {
	out    *bufio.Writer
	color  bool
	files  map[string][]string
	source func(string) []byte
}

func (p *painter) paint(style, text string) string {
	if !p.color || text == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

func (p *painter) style(s Severity) string {
	if s == Warning {
		return yellow
	}
	return red
}

func (p *painter) diagnostic(d Diagnostic) {
	head := d.Severity.String()
	if d.Code != "" {
		head += "[" + string(d.Code) + "]"
	}
	fmt.Fprintf(p.out, "%s%s\n", p.paint(p.style(d.Severity), head), p.paint(bold, ": "+clean(d.Message)))
	width := gutter(d)
	blank := strings.Repeat(" ", width)
	for i, group := range groups(d) {
		sign := "-->"
		if i > 0 {
			sign = ":::"
		}
		fmt.Fprintf(p.out, "%s%s %s\n", blank, p.paint(blue, sign), clean(group[0].where.String()))
		p.snippet(group, width, p.style(d.Severity))
	}
	for _, n := range d.Notes {
		if n.Range.IsZero() {
			p.remark(blank, "note", n.Message)
		}
	}
	if d.Help != "" {
		p.remark(blank, "help", d.Help)
	}
}

// remark writes a line after the snippets; further lines of text, which may be
// there to be pasted, are aligned below the first.
func (p *painter) remark(blank, kind, text string) {
	first, rest, _ := strings.Cut(text, "\n")
	fmt.Fprintf(p.out, "%s %s %s: %s\n", blank, p.paint(blue, "="), p.paint(cyan, kind), clean(first))
	for rest != "" {
		first, rest, _ = strings.Cut(rest, "\n")
		fmt.Fprintf(p.out, "%s   %*s  %s\n", blank, len(kind), "", clean(first))
	}
}

// label is a place to be marked, and what to write beside the mark.
type label struct {
	where Range
	text  string
	main  bool
}

// groups gives the labels of d by file, that of d itself first.
func groups(d Diagnostic) [][]label {
	var all [][]label
	add := func(l label) {
		for i := range all {
			if all[i][0].where.File == l.where.File {
				all[i] = append(all[i], l)
				return
			}
		}
		all = append(all, []label{l})
	}
	if !d.Range.IsZero() {
		add(label{where: d.Range, main: true})
	}
	for _, n := range d.Notes {
		if !n.Range.IsZero() {
			add(label{where: n.Range, text: n.Message})
		}
	}
	return all
}

// gutter is the width of the widest line number shown, with a blank before it.
func gutter(d Diagnostic) int {
	widest := 1
	for _, group := range groups(d) {
		for _, l := range group {
			widest = max(widest, l.where.Start.Line, l.where.End.Line)
		}
	}
	return 1 + len(fmt.Sprint(widest))
}

// maxText is the length, in bytes, up to which a file is shown. No program is
// longer; what is may be anything.
const maxText = 1 << 21

// lines gives the lines of a file, nil where its text is not known.
func (p *painter) lines(file string) []string {
	if have, ok := p.files[file]; ok {
		return have
	}
	var lines []string
	if p.source != nil {
		if text := p.source(file); text != nil && len(text) <= maxText {
			lines = strings.Split(strings.TrimPrefix(string(text), "\uFEFF"), "\n")
		}
	}
	p.files[file] = lines
	return lines
}
