package plan

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// DOT writes the picture of the paper in Graphviz's language: stages in a
// column, a box round each unit, a decoder and a loss on each, gradients
// dashed.
func (pl *Plan) DOT(w io.Writer) error {
	b := &strings.Builder{}
	b.WriteString("digraph loco {\n  rankdir=BT\n  node [shape=box, fontname=\"Helvetica\"]\n  images [shape=ellipse]\n")
	prev := "images"
	for _, s := range pl.Stages {
		fmt.Fprintf(b, "  %q [label=\"%s\\n%s\"]\n  %q -> %q\n", s.Name, s.Name, s.Out, prev, s.Name)
		prev = s.Name
	}
	for _, u := range pl.Units {
		dec, loss := u.Name+"/"+u.Decoder, "loss "+u.Name
		style := "solid"
		if u.Watch {
			style = "dotted"
		}
		fmt.Fprintf(b, "  %q [style=rounded]\n  %q [shape=ellipse]\n", dec, loss)
		fmt.Fprintf(b, "  %q -> %q [style=%s]\n  %q -> %q\n", u.Stages[len(u.Stages)-1], dec, style, dec, loss)
		if u.Watch {
			continue
		}
		for _, s := range slices.Backward(u.Stages) {
			fmt.Fprintf(b, "  %q -> %q [style=dashed, constraint=false, color=gray, label=%q]\n", loss, s, u.Name)
		}
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// Text writes the units as lines of stages, overlaps standing under each
// other.
func (pl *Plan) Text(w io.Writer) error {
	width := 0
	for _, s := range pl.Stages {
		width = max(width, len(s.Name)+4)
	}
	b := &strings.Builder{}
	fmt.Fprintf(b, "%-12s", "")
	for _, s := range pl.Stages {
		fmt.Fprintf(b, "%-*s", width, s.Name)
	}
	b.WriteString("\n")
	for _, u := range pl.Units {
		fmt.Fprintf(b, "%-12s", u.Name)
		for _, s := range pl.Stages {
			mark := ""
			switch {
			case !slices.Contains(u.Stages, s.Name):
			case u.Watch:
				mark = "(o)"
			case slices.Contains(u.Owns, s.Name):
				mark = "[" + s.Name + "]"
			default:
				mark = " " + s.Name
			}
			fmt.Fprintf(b, "%-*s", width, mark)
		}
		fmt.Fprintf(b, ": %s\n", u.Decoder)
	}
	b.WriteString("\n[s] owned: run, kept and updated there; s shared with the unit that owns it; (o) watched\n")
	_, err := io.WriteString(w, b.String())
	return err
}
