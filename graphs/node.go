package graphs

import (
	"fmt"
	"hash"
	"hash/fnv"
	"runtime/debug"

	"github.com/chewxy/hm"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/graphs/device"
)

// frame is the state of one run of a graph: set before it, written by its ops.
type frame struct {
	on     Queue
	unit   string
	values []*value // with several slots
	lr     float64
	step   int
	next   int // ops done
	high   [spaces]int64
	err    *Error // of the op that failed
	watch  *watch // nil where results are not looked at
}

// enter prepares for a run of a microbatch.
func (f *frame) enter(micro int, lr float64, step int) {
	f.lr, f.step, f.next, f.err = lr, step, 0, nil
	for _, v := range f.values {
		v.enter(micro)
	}
}

func (f *frame) touch(v *value) {
	if end := v.end(); end > f.high[v.space] {
		f.high[v.space] = end
	}
}

// source says where an argument comes from: a child of the node, and the part
// of it. Child is -1 for an absent argument.
type source struct{ child, part int }

// node is the base of all ops: an op of the intermediate representation as
// Gorgonia sees it.
type node struct {
	frame    *frame
	op       *ir.Op
	index    int       // place in the segment
	salt     int       // changes all hashes of a graph
	in       []source  // by argument
	children []hm.Type // types of the children, an order edge's included
	results  []*value  // nil where absent
	result   gorgonia.Value
	first    *value // the first present result: the node's type and shape
	call     device.Call
}

var _ gorgonia.Op = (*node)(nil)

// Arity is the number of children, an order edge included.
func (n *node) Arity() int { return len(n.children) }

// Type is built anew for each caller: Gorgonia takes function types apart
// after use.
func (n *node) Type() hm.Type {
	ts := make([]hm.Type, 0, len(n.children)+1)
	return hm.NewFnType(append(append(ts, n.children...), n.first.hmType())...)
}

// InferShape is the shape of the first result; the intermediate representation
// has checked it.
func (n *node) InferShape(...gorgonia.DimSizer) (tensor.Shape, error) {
	return n.first.shape.Clone(), nil
}

// ReturnsPtr is false: Gorgonia plans no memory for this op.
func (n *node) ReturnsPtr() bool { return false }

// CallsExtern is false: Gorgonia would allocate a result.
func (n *node) CallsExtern() bool { return false }

// OverwritesInput is -1: what is overwritten is planned elsewhere.
func (n *node) OverwritesInput() int { return -1 }

// WriteHash differs from that of every other op of the graph.
func (n *node) WriteHash(h hash.Hash) {
	fmt.Fprintf(h, "%d:%d:%s", n.salt, n.index, n.op.Code)
}

// Hashcode is the hash of WriteHash.
func (n *node) Hashcode() uint32 {
	h := fnv.New32a()
	n.WriteHash(h)
	return h.Sum32()
}

// String is unique in the graph: "s3.0.conv1/conv_norm#4".
func (n *node) String() string { return fmt.Sprintf("%s/%s#%d", n.op.Layer, n.op.Code, n.index) }

// Do runs the op on the values of its children. Every op of every graph goes
// through here; a panic becomes an error.
func (n *node) Do(in ...gorgonia.Value) (_ gorgonia.Value, err error) {
	defer n.rescue(&err)
	if err := n.run(in); err != nil {
		return nil, n.fail(err, nil)
	}
	return n.result, nil
}

// rescue turns a panic under Do into an error.
func (n *node) rescue(err *error) {
	if v := recover(); v != nil {
		*err = n.fail(panicError(v), debug.Stack())
	}
}

// fail notes what went wrong, for whoever started the run: Gorgonia wraps
// errors in ways that errors.As cannot undo.
func (n *node) fail(err error, stack []byte) error {
	n.frame.err = opError(n.frame.unit, n.op, err, stack)
	return n.frame.err
}

func opError(unit string, o *ir.Op, err error, stack []byte) *Error {
	layer := o.Layer
	if layer == "" {
		layer = o.Code.String()
	}
	return &Error{Unit: unit, Layer: layer, Range: o.Range, Err: err, Stack: stack}
}

func (n *node) run(in []gorgonia.Value) error {
	f := n.frame
	if f.next != n.index {
		return fmt.Errorf("op %d of the segment is about to run as number %d", n.index, f.next)
	}
	f.next++
	if err := n.take(in); err != nil {
		return err
	}
	for i, v := range n.results {
		if v != nil {
			n.call.Out[i] = v.window
			f.touch(v)
		}
	}
	n.call.LR, n.call.Step = f.lr, f.step
	if err := f.on.Run(&n.call); err != nil || f.watch == nil {
		return err
	}
	return f.watch.look(n)
}

// take fills in the arguments with what came along the edges.
func (n *node) take(in []gorgonia.Value) error {
	for i, s := range n.in {
		if s.child < 0 {
			continue
		}
		v, err := part(in[s.child], s.part)
		if err != nil {
			return err
		}
		if v.id != n.op.In[i] {
			return fmt.Errorf("argument %d is %s, not value %d", i, v.name, n.op.In[i])
		}
		n.call.In[i] = v.window
		n.frame.touch(v)
	}
	return nil
}
