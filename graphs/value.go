package graphs

import (
	"fmt"

	"github.com/chewxy/hm"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// value is what travels along the edges of a graph: a window into a buffer of
// the device. It implements gorgonia.Value without ever giving access to
// elements.
type value struct {
	spot
	id     ir.ValueID
	name   string
	window device.Tensor
	shape  tensor.Shape
}

var (
	_ gorgonia.Value = (*value)(nil)
	_ gorgonia.Value = (*tuple)(nil)
)

func newValue(v *ir.Value, s spot) *value {
	return &value{
		spot: s, id: v.ID, name: v.Name,
		window: s.tensor(v, 0), shape: tensor.Shape(v.Shape).Clone(),
	}
}

// enter moves the window to the slot of a microbatch.
func (v *value) enter(micro int) { v.window.Offset = v.at(micro) + v.shift }

// end is the planned byte behind the window.
func (v *value) end() int64 { return v.window.Offset - v.shift + v.bytes }

// Shape is the shape of the tensor.
func (v *value) Shape() tensor.Shape { return v.shape }

// Size is the number of elements.
func (v *value) Size() int { return v.window.Elements() }

// Data is nil: elements live on the device.
func (v *value) Data() any { return nil }

// Dtype is the type of the elements.
func (v *value) Dtype() tensor.Dtype { return dtype(v.window.Dtype) }

// Uintptr is 0: the host has no address for the elements.
func (v *value) Uintptr() uintptr { return 0 }

// MemSize is the number of bytes on the device.
func (v *value) MemSize() uintptr { return uintptr(v.bytes) }

// Format prints the name and the place, never elements.
func (v *value) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "%s %s%v %s+%d", v.name, v.window.Dtype, v.window.Shape, v.space, v.window.Offset)
}

// tuple is the value of a node with several results. It stands for the first
// wherever Gorgonia wants one tensor; consumers take the part they know they
// want. Absent results are nil.
type tuple struct {
	*value
	parts []*value
}

// part is the i-th result carried by what came along an edge.
func part(v gorgonia.Value, i int) (*value, error) {
	switch v := v.(type) {
	case *value:
		return v, nil
	case *tuple:
		return v.parts[i], nil
	}
	return nil, fmt.Errorf("the graph carries a %T, not a value on the device", v)
}

// dtype is Gorgonia's name of an element type.
func dtype(d op.Dtype) tensor.Dtype {
	switch d {
	case op.F32:
		return tensor.Float32
	case op.F64:
		return tensor.Float64
	case op.I32:
		return tensor.Int32
	case op.BF16:
		return tensor.Uint16 // Gorgonia has no such type, and never looks at elements
	}
	panic(fmt.Sprintf("graphs: element type %d", d))
}

// hmType is the value's type in Gorgonia's type system.
func (v *value) hmType() hm.Type {
	if len(v.shape) == 0 {
		return v.Dtype()
	}
	return gorgonia.TensorType{Dims: len(v.shape), Of: v.Dtype()}
}
