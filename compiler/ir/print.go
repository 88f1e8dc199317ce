package ir

import (
	"fmt"
	"io"
	"strings"
)

// Shapes gives the shapes of values; nil for None.
func (p *Program) Shapes(ids []ValueID) [][]int {
	s := make([][]int, len(ids))
	for i, id := range ids {
		if id != None {
			s[i] = p.Values[id].Shape
		}
	}
	return s
}

// String gives "2" or "1..3", losses counted from 1 as units are.
func (r LossRange) String() string {
	if r.First == r.Last {
		return fmt.Sprint(r.First + 1)
	}
	return fmt.Sprintf("%d..%d", r.First+1, r.Last+1)
}

var phaseNames = [...]string{"invalid", "embed", "forward", "infer", "loss", "sweep", "update"}

func (p Phase) String() string { return phaseNames[p] }

var kindNames = [...]string{"invalid", "images", "activation", "map", "feedback", "embedding", "embedding_grad", "loss", "table", "weight", "statistic", "weight_grad", "state", "peer"}

func (k Kind) String() string { return kindNames[k] }

var spaceNames = [...]string{"none", "arena", "input", "weights", "gradients", "states"}

func (s Space) String() string { return spaceNames[s] }

// Spaces lists the spaces in order.
func Spaces() []Space { return []Space{Arena, Input, Weights, Gradients, States} }

// Name is the segment's name: site, phase and, of a sweep, the losses.
func (s *Segment) Name() string {
	if s.Phase == PhaseSweep {
		return fmt.Sprintf("%s.sweep(%s)", s.Site, s.Range)
	}
	return s.Site + "." + s.Phase.String()
}

// Print writes the program as text, the same for the same program: units with
// their tasks, segments with their ops, values with their memory.
func (p *Program) Print(w io.Writer) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "program %s batch=%d microbatch=%d depth=%d", p.Name, p.Batch, p.Microbatch, p.Depth)
	if p.BatchLoss {
		fmt.Fprintf(b, " negatives=batch recompute=%v", p.Recompute)
	}
	b.WriteString("\n")
	for i := range p.Units {
		p.printUnit(b, &p.Units[i])
	}
	for i := range p.Segments {
		p.printSegment(b, &p.Segments[i])
	}
	b.WriteString("\nvalues\n")
	for i := range p.Values {
		v := &p.Values[i]
		fmt.Fprintf(b, "  %-28s %-14s %s%v", v.Name, v.Kind, v.Dtype, v.Shape)
		if v.Space != 0 {
			fmt.Fprintf(b, " %s+%d", v.Space, v.Offset)
			if v.Slots > 1 {
				fmt.Fprintf(b, " slots=%d stride=%d", v.Slots, v.Stride)
			}
		}
		b.WriteString("\n")
	}
	for _, s := range Spaces() {
		if n, ok := p.Sizes[s]; ok {
			fmt.Fprintf(b, "space %s %d bytes\n", s, n)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (p *Program) printUnit(b *strings.Builder, u *Unit) {
	fmt.Fprintf(b, "\nunit %s owns %s\n", u.Name, strings.Join(u.Owns, " "))
	p.printTask(b, "embed", u.Embed)
	p.printTask(b, "forward", u.Forward)
	p.printTask(b, "loss", u.Loss)
	for k, e := range u.Events {
		p.printTask(b, fmt.Sprintf("event %d", k), e)
		for _, v := range u.Sends[k] {
			fmt.Fprintf(b, "    send %s\n", p.name(v))
		}
	}
	p.printTask(b, "update", u.Update)
	p.printTask(b, "publish", u.Publish)
}

func (p *Program) printTask(b *strings.Builder, name string, t Task) {
	if len(t) == 0 {
		return
	}
	fmt.Fprintf(b, "  %s:", name)
	for _, s := range t {
		fmt.Fprintf(b, " %s", p.Segments[s].Name())
	}
	b.WriteString("\n")
}

func (p *Program) printSegment(b *strings.Builder, s *Segment) {
	fmt.Fprintf(b, "\n%s\n", s.Name())
	for _, o := range s.Ops {
		fmt.Fprintf(b, "  %s = %s(%s)%s\n", p.list(o.Out), o.Code, p.list(o.In), o.Attr)
	}
}

func (p *Program) list(ids []ValueID) string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = p.name(id)
	}
	return strings.Join(names, ", ")
}

func (p *Program) name(id ValueID) string {
	if id == None {
		return "-"
	}
	return p.Values[id].Name
}
