package graphs

import (
	"encoding/binary"
	"fmt"
	"math"

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
	p.memory.touch(s.space, t.Offset+s.bytes)
	return t, nil
}

// Read copies a value of a microbatch from the device. Values of float64 are
// rounded to float32; others than floats are refused.
func (p *Program) Read(v ir.ValueID, micro int) ([]float32, error) {
	t, err := p.floats(v, micro)
	if err != nil {
		return nil, fmt.Errorf("graphs: read: %w", err)
	}
	raw := p.bytes(t.Bytes())
	defer p.scratch.Put(raw)
	if err := p.memory.backend.Read(*raw, t); err != nil {
		return nil, fmt.Errorf("graphs: read %s: %w", p.ir.Values[v].Name, err)
	}
	data := make([]float32, t.Elements())
	for i := range data {
		if t.Dtype == op.F64 {
			data[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64((*raw)[8*i:])))
		} else {
			data[i] = math.Float32frombits(binary.LittleEndian.Uint32((*raw)[4*i:]))
		}
	}
	return data, nil
}

// Write copies data to a value of a microbatch on the device, as many elements
// as the value has. Values of float64 are widened; others than floats are
// refused.
func (p *Program) Write(v ir.ValueID, micro int, data []float32) error {
	t, err := p.floats(v, micro)
	if err != nil {
		return fmt.Errorf("graphs: write: %w", err)
	}
	if n := t.Elements(); len(data) != n {
		return fmt.Errorf("graphs: write %s: %d elements, not %d", p.ir.Values[v].Name, len(data), n)
	}
	raw := p.bytes(t.Bytes())
	defer p.scratch.Put(raw)
	for i, x := range data {
		if t.Dtype == op.F64 {
			binary.LittleEndian.PutUint64((*raw)[8*i:], math.Float64bits(float64(x)))
		} else {
			binary.LittleEndian.PutUint32((*raw)[4*i:], math.Float32bits(x))
		}
	}
	if err := p.memory.backend.Write(t, *raw); err != nil {
		return fmt.Errorf("graphs: write %s: %w", p.ir.Values[v].Name, err)
	}
	return nil
}

func (p *Program) floats(v ir.ValueID, micro int) (device.Tensor, error) {
	t, err := p.tensor(v, micro)
	if err == nil && t.Dtype != op.F32 && t.Dtype != op.F64 {
		err = fmt.Errorf("value %s is %s, not f32 or f64", p.ir.Values[v].Name, t.Dtype)
	}
	return t, err
}

// bytes is scratch of exactly n bytes; the caller puts it back.
func (p *Program) bytes(n int64) *[]byte {
	raw, ok := p.scratch.Get().(*[]byte)
	if !ok {
		raw = new([]byte)
	}
	if int64(cap(*raw)) < n {
		*raw = make([]byte, n)
	}
	*raw = (*raw)[:n]
	return raw
}
