package graphs

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"gorgonia.org/gorgonia"

	"github.com/locorun/locorun/compiler/op"
)

// Node is an op's node as the Gorgonia graph holds it, read back from the
// graph: its arguments are those that its edges bring.
type Node struct {
	ID    int64 // in the graph
	Code  op.Code
	Layer string
	In    []string // names of the arguments' values, "" where absent
	Out   []string // names of the results' values, "" where absent
	// Children are the nodes it takes, in order; After is the one among them
	// that it takes for the order alone, -1 where there is none.
	Children []int64
	After    int64
	leaf     string   // of a leaf: the value's definition
	args     []string // as printed: "%3", "%3.1" for a part, "-"
}

// Nodes are the op nodes of a segment's graph in the order in which they run.
func (p *Program) Nodes(segment int) []Node {
	return slices.DeleteFunc(slices.Clone(p.segments[segment].nodes), func(n Node) bool { return n.leaf != "" })
}

// Print writes the graphs as text, the same for the same program: for each
// segment what its TapeMachine loads and runs, in order.
func (p *Program) Print(w io.Writer) error {
	b := &strings.Builder{}
	for i := range p.segments {
		s := &p.segments[i]
		fmt.Fprintf(b, "graph %d %s %s: %d ops, %d inputs, on %s\n", i, p.unit(s.ir), s.ir.Name(),
			len(s.ir.Ops), len(s.nodes)-len(s.ir.Ops), p.memory.backend.Name())
		for _, n := range s.nodes {
			n.print(b)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (n *Node) print(b *strings.Builder) {
	if n.leaf != "" {
		fmt.Fprintf(b, "  load %%%d = %s\n", n.ID, n.leaf)
		return
	}
	args := n.args
	if n.After >= 0 {
		args = append(slices.Clone(args), fmt.Sprintf("after %%%d", n.After))
	}
	fmt.Fprintf(b, "  run  %%%d = %s %s(%s) -> %s\n", n.ID, n.Layer, n.Code, strings.Join(args, ", "), strings.Join(present(n.Out), ", "))
}

// present writes "-" for an absent name.
func present(names []string) []string {
	names = slices.Clone(names)
	for i, s := range names {
		if s == "" {
			names[i] = "-"
		}
	}
	return names
}

// list reads a graph's nodes, in the order in which they run.
func list(g *gorgonia.ExprGraph) []Node {
	sorted, err := order(g)
	if err != nil {
		panic(fmt.Sprintf("graphs: a checked graph: %v", err))
	}
	nodes := make([]Node, len(sorted))
	for i, n := range sorted {
		nodes[i] = describe(g, n)
	}
	return nodes
}

func describe(g *gorgonia.ExprGraph, gn *gorgonia.Node) Node {
	n, ok := gn.Op().(*node)
	if !ok {
		return Node{ID: gn.ID(), After: -1, leaf: gn.Value().(*value).definition()}
	}
	d := Node{ID: gn.ID(), Code: n.op.Code, Layer: n.op.Layer, In: make([]string, len(n.in)), Out: make([]string, len(n.results)), After: -1}
	var children []*gorgonia.Node
	for it := g.From(gn.ID()); it.Next(); {
		c := it.Node().(*gorgonia.Node)
		children = append(children, c)
		d.Children = append(d.Children, c.ID())
	}
	used := make([]bool, len(children))
	for i, s := range n.in {
		d.args = append(d.args, "-")
		if s.child >= 0 {
			c := children[s.child]
			d.In[i], d.args[i], used[s.child] = brings(c, s.part), reference(c, s.part), true
		}
	}
	for i, v := range n.results {
		if v != nil {
			d.Out[i] = v.name
		}
	}
	if c := slices.Index(used, false); c >= 0 {
		d.After = children[c].ID()
	}
	return d
}

// definition is the value with all its slots.
func (v *value) definition() string {
	if v.slots == 1 {
		return fmt.Sprint(v)
	}
	return fmt.Sprintf("%v slots=%d stride=%d", v, v.slots, v.stride)
}

// reference prints an edge from a node: "%3", or "%3.1" for a part of a tuple.
func reference(from *gorgonia.Node, i int) string {
	if n, ok := from.Op().(*node); ok && len(n.results) > 1 {
		return fmt.Sprintf("%%%d.%d", from.ID(), i)
	}
	return fmt.Sprintf("%%%d", from.ID())
}

// brings is the name of the value that an edge from a node brings.
func brings(from *gorgonia.Node, i int) string {
	if n, ok := from.Op().(*node); ok {
		return n.results[i].name
	}
	return from.Value().(*value).name
}
