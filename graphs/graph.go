package graphs

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/chewxy/hm"
	"gorgonia.org/gorgonia"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/graphs/device"
)

// graph is a segment as a Gorgonia graph with its machine.
type graph struct {
	expr  *gorgonia.ExprGraph
	vm    gorgonia.VM
	frame *frame
	ops   int
}

// maxSalts bounds how often a graph with equal hash codes is built anew; one
// such graph in a million is already rare.
const maxSalts = 8

// errHash says that two nodes of a graph have one hash code: Gorgonia would
// run one in place of both.
var errHash = errors.New("two nodes of the graph have the same hash code")

// newGraph builds the graph of a segment and compiles it.
func (p *Program) newGraph(s *segment) (*graph, error) {
	for salt := 0; ; salt++ {
		b := &builder{program: p, segment: s.ir, on: s.route.lane, unit: p.unit(s.ir), salt: salt}
		g, err := b.build()
		if errors.Is(err, errHash) && salt+1 < maxSalts {
			continue
		}
		return g, err
	}
}

// origin is the node that makes a value, and which of its results it is.
type origin struct {
	node *gorgonia.Node
	part int
}

// builder makes one graph.
type builder struct {
	program *Program
	segment *ir.Segment
	on      Queue
	unit    string
	salt    int
	at      int // the op being built; -1 once all are

	expr   *gorgonia.ExprGraph
	frame  *frame
	made   map[ir.ValueID]origin // values seen so far: leaves and results
	leaves int
	nodes  []*gorgonia.Node // of the ops
}

// build is where what Gorgonia throws while a graph is made ends.
func (b *builder) build() (g *graph, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = b.fail(panicError(v), debug.Stack())
		}
	}()
	b.expr = gorgonia.NewGraph(gorgonia.WithGraphName(b.segment.Name()))
	b.frame = &frame{on: b.on, unit: b.unit}
	b.made = map[ir.ValueID]origin{}
	for i := range b.segment.Ops {
		b.at = i
		if err := b.add(); err != nil {
			return nil, b.fail(err, nil)
		}
	}
	b.at = -1
	if err := b.check(); err != nil {
		return nil, b.fail(err, nil)
	}
	return &graph{b.expr, gorgonia.NewTapeMachine(b.expr), b.frame, len(b.nodes)}, nil
}

// fail names the op being built, or the segment once they all are.
func (b *builder) fail(err error, stack []byte) error {
	if b.at < 0 {
		return &Error{Unit: b.unit, Layer: b.segment.Name(), Err: err, Stack: stack}
	}
	return opError(b.unit, &b.segment.Ops[b.at], err, stack)
}

// add appends the node of the op at b.at.
func (b *builder) add() error {
	o := &b.segment.Ops[b.at]
	n := &node{frame: b.frame, op: o, index: b.at, salt: b.salt}
	children, err := b.arguments(n)
	if err != nil {
		return err
	}
	if b.at > 0 && !slices.Contains(children, b.nodes[b.at-1]) {
		children = append(children, b.nodes[b.at-1])
	}
	n.children = make([]hm.Type, len(children))
	for i, c := range children {
		n.children[i] = c.Type()
	}
	if err := b.results(n); err != nil {
		return err
	}
	n.call = device.Call{Code: o.Code, Attr: o.Attr, In: make([]device.Tensor, len(o.In)), Out: make([]device.Tensor, len(o.Out))}
	made, err := gorgonia.ApplyOpWithName(n, n.String(), children...)
	if err != nil {
		return err
	}
	if made.Op() != n {
		return errHash
	}
	b.nodes = append(b.nodes, made)
	for i, v := range o.Out {
		if v != ir.None {
			b.made[v] = origin{made, i}
		}
	}
	return nil
}

// arguments finds the children that bring the arguments of n, each once.
func (b *builder) arguments(n *node) ([]*gorgonia.Node, error) {
	var children []*gorgonia.Node
	n.in = make([]source, len(n.op.In))
	for i, id := range n.op.In {
		if id == ir.None {
			n.in[i].child = -1
			continue
		}
		from, ok := b.made[id]
		if !ok {
			leaf, err := b.leaf(id)
			if err != nil {
				return nil, err
			}
			from = origin{node: leaf}
			b.made[id] = from
		}
		c := slices.Index(children, from.node)
		if c < 0 {
			c = len(children)
			children = append(children, from.node)
		}
		n.in[i] = source{c, from.part}
	}
	if len(children) == 0 {
		return nil, errors.New("an op without arguments")
	}
	return children, nil
}

// leaf makes the node of a value that another segment makes.
func (b *builder) leaf(id ir.ValueID) (*gorgonia.Node, error) {
	v, err := b.value(id)
	if err != nil {
		return nil, err
	}
	name := v.name
	if b.salt > 0 {
		// In front: hash codes of names that end alike stay equal once they are.
		name = fmt.Sprintf("%d:%s", b.salt, name)
	}
	n := gorgonia.NewTensor(b.expr, v.Dtype(), len(v.shape), gorgonia.WithShape(v.shape...), gorgonia.WithName(name))
	if n.Value() != nil {
		return nil, fmt.Errorf("two values are called %s", v.name)
	}
	b.leaves++
	return n, gorgonia.Let(n, v)
}

// results makes the values that n returns.
func (b *builder) results(n *node) error {
	n.results = make([]*value, len(n.op.Out))
	for i, id := range n.op.Out {
		if id == ir.None {
			continue
		}
		v, err := b.value(id)
		if err != nil {
			return err
		}
		n.results[i] = v
		if n.first == nil {
			n.first = v
		}
	}
	switch {
	case n.first == nil:
		return errors.New("an op without results")
	case len(n.results) == 1:
		n.result = n.first
	default:
		n.result = &tuple{n.first, n.results}
	}
	return nil
}

// value makes a window for one end of an edge.
func (b *builder) value(id ir.ValueID) (*value, error) {
	v := &b.program.ir.Values[id]
	s := b.program.spot(id, b.segment.Unit)
	if s.slots == 0 {
		return nil, fmt.Errorf("value %s has no place in the memory plan", v.Name)
	}
	w := newValue(v, s)
	if s.slots > 1 {
		b.frame.values = append(b.frame.values, w)
	}
	return w, nil
}

// check compares the graph with the segment: all nodes there, told apart by
// their hash codes and names, and in the segment's order once sorted.
func (b *builder) check() error {
	all := b.expr.AllNodes()
	if len(all) != b.leaves+len(b.nodes) {
		return fmt.Errorf("%d nodes made of %d values and %d ops", len(all), b.leaves, len(b.nodes))
	}
	hashes, names := map[uint32]bool{}, map[string]bool{}
	for _, n := range all {
		if hashes[n.Hashcode()] {
			return errHash
		}
		if names[n.Name()] {
			return fmt.Errorf("two nodes are called %s", n.Name())
		}
		hashes[n.Hashcode()], names[n.Name()] = true, true
	}
	i := 0
	sorted, err := order(b.expr)
	for _, n := range sorted {
		if o, ok := n.Op().(*node); ok {
			if o.index != i {
				return fmt.Errorf("op %d would run as number %d", o.index, i)
			}
			i++
		}
	}
	return err
}

// order is the order in which a TapeMachine runs the nodes of a graph.
func order(g *gorgonia.ExprGraph) (gorgonia.Nodes, error) {
	sorted, err := gorgonia.Sort(g)
	slices.Reverse(sorted)
	return sorted, err
}

// run executes the graph for one microbatch.
func (g *graph) run(micro int, lr float64, step int) error {
	g.frame.enter(micro, lr, step)
	err := g.vm.RunAll()
	if g.frame.err != nil {
		return g.frame.err
	}
	if err != nil {
		return err
	}
	if g.frame.next != g.ops {
		return fmt.Errorf("%d of %d ops ran", g.frame.next, g.ops)
	}
	g.vm.Reset()
	return nil
}

// close lets go of the machine. Gorgonia's own holds nothing but registers
// unless it was built for CUDA, so there is nothing to report.
func (g *graph) close() { _ = g.vm.Close() }
