package graphs

import (
	"fmt"
	"sync/atomic"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/graphs/device"
)

// line is the unit in which memory is planned, in bytes: a slot's last line is
// taken whole.
const line = 64

// spaces bounds arrays indexed by ir.Space.
const spaces = int(ir.States) + 1

// spot is where a value lies on a device. Offsets are the plan's; the byte of the
// buffer is shift more, which is not 0 where a device has a part of a space.
type spot struct {
	buffer         device.Buffer
	space          ir.Space
	offset, stride int64
	slots          int
	bytes          int64 // of one slot
	shift          int64
}

// at is the planned byte at which the slot of a microbatch begins.
func (s spot) at(micro int) int64 { return s.offset + int64(micro%s.slots)*s.stride }

// tensor is the window of a microbatch.
func (s spot) tensor(v *ir.Value, micro int) device.Tensor {
	return device.Tensor{Buffer: s.buffer, Offset: s.at(micro) + s.shift, Shape: v.Shape, Dtype: v.Dtype}
}

// memory is the device memory of a program: at each place a buffer per space, and
// how far each space has been used.
type memory struct {
	backend device.Backend // as it was given; perhaps of several
	places  []place
	spots   []spot // by value; slots is 0 where the plan gives no place
	high    [spaces]atomic.Int64
}

// allocate gives every space its buffers and every planned value its spot.
func (m *memory) allocate(p *ir.Program, b device.Backend) error {
	m.backend, m.places, m.spots = b, placesOf(b), make([]spot, len(p.Values))
	for i := range m.places {
		if err := m.places[i].allocate(p, i, b); err != nil {
			return err
		}
	}
	for i := range p.Values {
		v := &p.Values[i]
		if v.Space == 0 {
			continue
		}
		if err := m.place(p, v); err != nil {
			return fmt.Errorf("value %s: %w", v.Name, err)
		}
	}
	return nil
}

// place checks the plan of one value and notes its spot.
func (m *memory) place(p *ir.Program, v *ir.Value) error {
	if int(v.Space) >= spaces {
		return fmt.Errorf("no space %d", v.Space)
	}
	s := spot{space: v.Space, offset: v.Offset, stride: v.Stride, slots: v.Slots, bytes: v.Bytes()}
	if v.Kind == ir.Table {
		of := &p.Values[v.Of]
		if err := joins(v, of); err != nil {
			return err
		}
		s.space, s.offset, s.slots = of.Space, of.Offset, 1
	}
	switch {
	case s.slots < 1:
		return fmt.Errorf("%d slots", s.slots)
	case s.slots > 1 && s.stride < s.bytes:
		return fmt.Errorf("slots of %d bytes lie %d apart", s.bytes, s.stride)
	case s.offset < 0 || s.at(s.slots-1)+s.bytes > p.Sizes[s.space]:
		return fmt.Errorf("bytes %d to %d lie outside the %d of the space %s", s.offset, s.at(s.slots-1)+s.bytes, p.Sizes[s.space], s.space)
	}
	home := &m.places[homeOf(p, m.backend, v)]
	s.buffer, s.shift = home.find(s)
	m.spots[v.ID] = s
	return nil
}

// joins checks that a table is all slots of its value, one after another.
func joins(v, of *ir.Value) error {
	switch {
	case len(v.Shape) == 0 || len(v.Shape) != len(of.Shape) || v.Dtype != of.Dtype:
		return fmt.Errorf("a table of %s%v cannot join slots of %s%v", v.Dtype, v.Shape, of.Dtype, of.Shape)
	case v.Shape[0] != of.Slots*of.Shape[0] || v.Bytes() != int64(of.Slots)*of.Bytes():
		return fmt.Errorf("a table of shape %v cannot join %d slots of %v", v.Shape, of.Slots, of.Shape)
	case of.Slots > 1 && of.Stride != of.Bytes():
		return fmt.Errorf("a table cannot join slots of %d bytes that lie %d apart", of.Bytes(), of.Stride)
	}
	return nil
}

// touch notes that memory up to a byte of a space has been used.
func (m *memory) touch(s ir.Space, end int64) {
	for {
		seen := m.high[s].Load()
		if end <= seen || m.high[s].CompareAndSwap(seen, end) {
			return
		}
	}
}

// free gives all buffers back.
func (m *memory) free() {
	for i := range m.places {
		m.places[i].free()
	}
	clear(m.spots)
}
