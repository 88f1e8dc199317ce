package graphs

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// NotFinite says which tensor of an op was found to hold a NaN or an infinity
// by a program that is watched. It comes wrapped in an Error, which names the
// unit, the layer and its place.
type NotFinite struct {
	Op     string  // "conv"
	Tensor string  // what the op table calls it: "y", "saved_mean"
	Name   string  // of the value: "mid/s3.0.conv1:out"
	Input  bool    // an input, so that the op is not to blame
	Only   bool    // the op's one result
	At     int     // the first such element, row-major
	Number float64 // what it is
}

// Error gives `the output of conv is not finite (NaN), its inputs are`.
func (e *NotFinite) Error() string {
	number := strconv.FormatFloat(e.Number, 'g', -1, 64)
	switch {
	case e.Input:
		return fmt.Sprintf("the input %s of %s is not finite (%s)", e.Tensor, e.Op, number)
	case e.Only:
		return fmt.Sprintf("the output of %s is not finite (%s), its inputs are", e.Op, number)
	}
	return fmt.Sprintf("the output %s of %s is not finite (%s), its inputs are", e.Tensor, e.Op, number)
}

// Watch switches on a look at every result of every op as soon as it is made:
// a Run then ends with a NotFinite at the first op that makes a value that is
// not finite. Running statistics that an op moves count as results. It reads
// all that is computed and so is for finding a fault, not for training. No Run
// may be under way. Watch(false) switches it off.
func (p *Program) Watch(on bool) {
	p.watch = nil
	if on {
		p.watch = &watch{raw: make([]byte, watchBytes), floats: make([]float32, watchBytes/2)}
	}
}

// watchBytes is how much of a tensor is read at a time.
const watchBytes = 1 << 16

// watch looks at tensors, part by part.
type watch struct {
	raw    []byte
	floats []float32
}

// look fails where a result of n is not finite. An input that is overwritten by
// then was a result before, and was looked at.
func (w *watch) look(n *node) error {
	row := &op.Rows[n.op.Code]
	for i, v := range n.results {
		if v == nil {
			continue
		}
		found := NotFinite{Op: row.Name, Tensor: argName(row.Out, i), Name: v.name, Only: len(n.results) == 1}
		if err := w.result(n, v.window, found); err != nil {
			return err
		}
	}
	for i := range n.op.In {
		if !moves(n.op, row, i) {
			continue
		}
		if err := w.result(n, n.call.In[i], NotFinite{Op: row.Name, Tensor: "running " + argName(row.In, i)}); err != nil {
			return err
		}
	}
	return nil
}

// result fails where a result is not finite. The first input that is not
// either is named in its place.
func (w *watch) result(n *node, t device.Tensor, found NotFinite) (err error) {
	if found.At, found.Number, err = w.first(n.frame.on, t); err != nil || found.At < 0 {
		return err
	}
	row := &op.Rows[n.op.Code]
	for i, id := range n.op.In {
		if id == ir.None || moves(n.op, row, i) || n.overwrites(n.call.In[i]) {
			continue
		}
		at, number, err := w.first(n.frame.on, n.call.In[i])
		if err != nil {
			return err
		}
		if at >= 0 {
			found = NotFinite{Op: row.Name, Tensor: argName(row.In, i), Input: true, At: at, Number: number}
			break
		}
	}
	return &found
}

// overwrites reports whether a result lies where an input did.
func (n *node) overwrites(in device.Tensor) bool {
	for i, v := range n.results {
		if v != nil && n.call.Out[i].Buffer == in.Buffer && n.call.Out[i].Offset == in.Offset {
			return true
		}
	}
	return false
}

// moves reports whether input i of an op is a running statistic that it moves.
func moves(o *ir.Op, row *op.Row, i int) bool {
	name := argName(row.In, i)
	return o.In[i] != ir.None && o.Attr.Mode == op.NormUpdate && (name == "mean" || name == "var")
}

// argName is the op table's name of an argument; the last may stand for many.
func argName(args []op.Arg, i int) string {
	return args[min(i, len(args)-1)].Name
}

// first is the place of the first element of t that is not finite, -1 where all
// are, and that element.
func (w *watch) first(on Queue, t device.Tensor) (at int, number float64, err error) {
	size := t.Dtype.Size()
	if t.Dtype == op.I32 {
		return -1, 0, nil
	}
	for from, all := 0, t.Elements(); from < all; from += watchBytes / size {
		n := min(watchBytes/size, all-from)
		part := device.Tensor{Buffer: t.Buffer, Offset: t.Offset + int64(from*size), Shape: []int{n}, Dtype: t.Dtype}
		raw := w.raw[:n*size]
		if err := on.Read(raw, part); err != nil {
			return -1, 0, err
		}
		if i, x := w.firstOf(raw, t.Dtype); i >= 0 {
			return from + i, x, nil
		}
	}
	return -1, 0, nil
}

func (w *watch) firstOf(raw []byte, d op.Dtype) (int, float64) {
	if d == op.F64 {
		for i := 0; i < len(raw); i += 8 {
			if x := math.Float64frombits(binary.LittleEndian.Uint64(raw[i:])); math.IsNaN(x) || math.IsInf(x, 0) {
				return i / 8, x
			}
		}
		return -1, 0
	}
	x := w.floats[:len(raw)/d.Size()]
	decode(x, raw, d)
	if i := FirstNotFinite(x); i >= 0 {
		return i, float64(x[i])
	}
	return -1, 0
}

// FirstNotFinite is the index of the first NaN or infinity in x, -1 where there
// is none. It looks at exponents as integers, many at a time: one that is all
// ones carries into the bit above, where it is kept.
func FirstNotFinite(x []float32) int {
	const block = 32
	for from := 0; from < len(x); from += block {
		part := x[from:min(from+block, len(x))]
		var carry uint32
		for _, v := range part {
			carry |= math.Float32bits(v)&exponent + lowest
		}
		if carry>>31 == 0 {
			continue
		}
		for i, v := range part {
			if math.Float32bits(v)&exponent == exponent {
				return from + i
			}
		}
	}
	return -1
}

// The exponent's bits of a float32, and the lowest of them.
const (
	exponent = 0x7f800000
	lowest   = 0x00800000
)
