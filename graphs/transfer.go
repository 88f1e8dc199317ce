package graphs

import (
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// Tensor is the window of a value for microbatch number micro, for the
// backend's Read, Write and Run. It counts for HighWater. For ir.None it is the
// zero Tensor. It panics for a value without a place in the memory plan, a
// negative microbatch, and after Close.
func (p *Program) Tensor(v ir.ValueID, micro int) device.Tensor {
	if v == ir.None {
		return device.Tensor{}
	}
	t, err := p.tensor(v, micro)
	if err != nil {
		panic("graphs: " + err.Error())
	}
	return t
}

func (p *Program) tensor(v ir.ValueID, micro int) (device.Tensor, error) {
	switch {
	case v < 0 || int(v) >= len(p.ir.Values):
		return device.Tensor{}, fmt.Errorf("no value %d", v)
	case p.closed.Load():
		return device.Tensor{}, fmt.Errorf("value %s: the program is closed", p.ir.Values[v].Name)
	case p.memory.spots[v].slots == 0:
		return device.Tensor{}, fmt.Errorf("value %s has no place in the memory plan", p.ir.Values[v].Name)
	case micro < 0:
		return device.Tensor{}, fmt.Errorf("value %s: no microbatch %d", p.ir.Values[v].Name, micro)
	}
	s := p.memory.spots[v]
	t := s.tensor(&p.ir.Values[v], micro)
	p.memory.touch(s.space, s.at(micro)+s.bytes)
	return t, nil
}

// Read copies a value of a microbatch from the device. Values of float64 are
// rounded to float32, of bfloat16 widened; others than floats are refused.
func (p *Program) Read(v ir.ValueID, micro int) ([]float32, error) {
	t, err := p.floats(v, micro)
	if err != nil {
		return nil, fmt.Errorf("graphs: read: %w", err)
	}
	data := make([]float32, t.Elements())
	return data, p.read(v, micro, t, data)
}

// ReadPart copies elements from.. of a value into dst, as many as fit, and
// returns how many those were: 0 at the value's end.
func (p *Program) ReadPart(dst []float32, v ir.ValueID, micro, from int) (int, error) {
	t, err := p.floats(v, micro)
	if err != nil {
		return 0, fmt.Errorf("graphs: read: %w", err)
	}
	n := min(len(dst), t.Elements()-from)
	if from < 0 || n <= 0 {
		return 0, nil
	}
	t.Offset += int64(from) * int64(t.Dtype.Size())
	t.Shape = []int{n}
	return n, p.read(v, micro, t, dst[:n])
}

func (p *Program) read(v ir.ValueID, micro int, t device.Tensor, data []float32) error {
	raw := wire(data, t.Dtype)
	if err := p.readFrom(v, micro, raw, t); err != nil {
		return fmt.Errorf("graphs: read %s: %w", p.ir.Values[v].Name, err)
	}
	fromWire(data, raw, t.Dtype)
	return nil
}

// Write copies data to a value of a microbatch on the device, as many elements
// as the value has. Data are widened for values of float64, rounded for those of
// bfloat16; others than floats are refused.
func (p *Program) Write(v ir.ValueID, micro int, data []float32) error {
	t, err := p.floats(v, micro)
	if err != nil {
		return fmt.Errorf("graphs: write: %w", err)
	}
	if n := t.Elements(); len(data) != n {
		return fmt.Errorf("graphs: write %s: %d elements, not %d", p.ir.Values[v].Name, len(data), n)
	}
	return p.write(v, micro, t, data)
}

// WritePart copies data to elements from.. of a value. It refuses what Write
// does, and elements beyond the value's end.
func (p *Program) WritePart(v ir.ValueID, micro, from int, data []float32) error {
	t, err := p.floats(v, micro)
	if err != nil {
		return fmt.Errorf("graphs: write: %w", err)
	}
	if n := t.Elements(); from < 0 || from+len(data) > n {
		return fmt.Errorf("graphs: write %s: elements %d to %d of %d", p.ir.Values[v].Name, from, from+len(data), n)
	}
	if len(data) == 0 {
		return nil
	}
	t.Offset += int64(from) * int64(t.Dtype.Size())
	t.Shape = []int{len(data)}
	return p.write(v, micro, t, data)
}

// Fill has f write a value of a microbatch, by Calls and copies that it puts on
// the queue that it is given, and nowhere else. The tensor is all of the value.
func (p *Program) Fill(v ir.ValueID, micro int, f func(on Queue, t device.Tensor) error) error {
	t, err := p.tensor(v, micro)
	if err != nil {
		return fmt.Errorf("graphs: write: %w", err)
	}
	h := &p.hosts[v]
	err = h.lane.within(h.write, micro, func() error { return f(h.lane, t) })
	p.wrote(v, micro)
	return err
}

func (p *Program) write(v ir.ValueID, micro int, t device.Tensor, data []float32) error {
	raw := wire(data, t.Dtype)
	toWire(raw, data, t.Dtype)
	if err := p.writeTo(v, micro, t, raw); err != nil {
		return fmt.Errorf("graphs: write %s: %w", p.ir.Values[v].Name, err)
	}
	return nil
}

// littleEndian reports whether the machine's float32s lie in memory as
// backends take them.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// inPlace reports whether host memory of float32 is its own wire form, so that
// nothing need be copied twice.
func inPlace(d op.Dtype) bool { return d == op.F32 && littleEndian }

// wire is memory for data's elements as the backend reads and writes them: data
// itself where it can be.
func wire(data []float32, d op.Dtype) []byte {
	if inPlace(d) && len(data) > 0 {
		return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(data))), 4*len(data))
	}
	return make([]byte, d.Size()*len(data))
}

func toWire(raw []byte, data []float32, d op.Dtype) {
	if inPlace(d) {
		return
	}
	for i, x := range data {
		switch d {
		case op.F64:
			binary.LittleEndian.PutUint64(raw[8*i:], math.Float64bits(float64(x)))
		case op.BF16:
			binary.LittleEndian.PutUint16(raw[2*i:], op.Narrow(x))
		default:
			binary.LittleEndian.PutUint32(raw[4*i:], math.Float32bits(x))
		}
	}
}

func fromWire(data []float32, raw []byte, d op.Dtype) {
	if !inPlace(d) {
		decode(data, raw, d)
	}
}

// decode reads elements from their wire form.
func decode(data []float32, raw []byte, d op.Dtype) {
	for i := range data {
		switch d {
		case op.F64:
			data[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(raw[8*i:])))
		case op.BF16:
			data[i] = op.Widen(binary.LittleEndian.Uint16(raw[2*i:]))
		default:
			data[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		}
	}
}

func (p *Program) floats(v ir.ValueID, micro int) (device.Tensor, error) {
	t, err := p.tensor(v, micro)
	if err == nil && t.Dtype == op.I32 {
		err = fmt.Errorf("value %s is %s, not floats", p.ir.Values[v].Name, t.Dtype)
	}
	return t, err
}
