package graphs

import (
	"encoding/binary"
	"math"
	"sync"
	"testing"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/dsl/diag"
	"github.com/locorun/locorun/graphs/cpu"
	"github.com/locorun/locorun/graphs/device"
)

// sketch is a program written by hand: values lie one after another in their
// space, each segment is a task of its own.
type sketch struct{ *ir.Program }

func newSketch() sketch {
	return sketch{&ir.Program{Name: "sketch", Micros: 1, Sizes: map[ir.Space]int64{}, Units: []ir.Unit{{Name: "low"}, {Name: "mid"}}}}
}

func space(k ir.Kind) ir.Space {
	switch k {
	case ir.Images:
		return ir.Input
	case ir.Weight, ir.Statistic:
		return ir.Weights
	case ir.WeightGrad:
		return ir.Gradients
	case ir.State, ir.Peer:
		return ir.States
	}
	return ir.Arena
}

func (s sketch) value(name string, k ir.Kind, d op.Dtype, slots int, shape ...int) ir.ValueID {
	v := ir.Value{ID: ir.ValueID(len(s.Values)), Name: name, Kind: k, Shape: shape, Dtype: d, Of: ir.None, Space: space(k), Slots: slots}
	v.Offset = s.Sizes[v.Space]
	v.Stride = (v.Bytes() + line - 1) / line * line
	if k == ir.Embedding || k == ir.EmbeddingGrad {
		v.Stride = v.Bytes()
	}
	s.Sizes[v.Space] += (v.Stride*int64(slots) + line - 1) / line * line
	s.Values = append(s.Values, v)
	return v.ID
}

// f32 is a value of the arena with one slot.
func (s sketch) f32(name string, shape ...int) ir.ValueID {
	return s.value(name, ir.Activation, op.F32, 1, shape...)
}

func (s sketch) table(name string, of ir.ValueID) ir.ValueID {
	v := s.Values[of]
	shape := append([]int{v.Shape[0] * v.Slots}, v.Shape[1:]...)
	v = ir.Value{ID: ir.ValueID(len(s.Values)), Name: name, Kind: ir.Table, Shape: shape, Dtype: v.Dtype, Of: of, Space: v.Space, Slots: 1}
	s.Values = append(s.Values, v)
	return v.ID
}

func (s sketch) segment(site string, ops ...ir.Op) int {
	id := len(s.Segments)
	s.Program.Segments = append(s.Program.Segments, ir.Segment{ID: id, Unit: 1, Site: site, Phase: ir.PhaseForward, Ops: ops})
	return id
}

// ids are values; -1 is an absent one.
func ids(vs ...ir.ValueID) []ir.ValueID { return vs }

func do(c op.Code, a op.Attr, in, out []ir.ValueID) ir.Op {
	return ir.Op{Code: c, Attr: a, In: in, Out: out, Layer: "s3.0." + c.String(), Range: at(31, 5)}
}

func at(line, column int) diag.Range {
	return diag.Range{File: "graph.loco", Start: diag.Pos{Line: line, Column: column}}
}

// spy is a backend that notes the calls it passes on.
type spy struct {
	device.Backend
	before func(*device.Call) error // may refuse or panic

	mu    sync.Mutex
	calls []device.Call
	freed int
}

func newSpy(t testing.TB) *spy {
	tier, err := cpu.TierNamed("portable") // which the print names
	if err != nil {
		t.Fatal(err)
	}
	s := &spy{Backend: cpu.New(cpu.Options{Workers: 1, Tier: tier})}
	t.Cleanup(func() { s.Backend.Close() })
	return s
}

func (s *spy) Run(c *device.Call) error {
	s.mu.Lock()
	s.calls = append(s.calls, device.Call{
		Code: c.Code, Attr: c.Attr, LR: c.LR, Step: c.Step,
		In: append([]device.Tensor(nil), c.In...), Out: append([]device.Tensor(nil), c.Out...),
	})
	s.mu.Unlock()
	if s.before != nil {
		if err := s.before(c); err != nil {
			return err
		}
	}
	return s.Backend.Run(c)
}

func (s *spy) Free(b device.Buffer) {
	s.freed++
	s.Backend.Free(b)
}

// take returns the calls noted since the last time.
func (s *spy) take() []device.Call {
	c := s.calls
	s.calls = nil
	return c
}

func build(t testing.TB, s sketch, b device.Backend) *Program {
	t.Helper()
	p, err := Build(s.Program, b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func run(t testing.TB, p *Program, segment, micro int) {
	t.Helper()
	if err := p.Run(segment, micro, 0.1, 1); err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, p *Program, v ir.ValueID, micro int, data ...float32) {
	t.Helper()
	if err := p.Write(v, micro, data); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, p *Program, v ir.ValueID, micro int) []float32 {
	t.Helper()
	data, err := p.Read(v, micro)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// read64 reads a float64 value in full.
func read64(t testing.TB, p *Program, v ir.ValueID) []float64 {
	t.Helper()
	w := p.Tensor(v, 0)
	raw := make([]byte, w.Bytes())
	if err := p.memory.backend.Read(raw, w); err != nil {
		t.Fatal(err)
	}
	data := make([]float64, w.Elements())
	for i := range data {
		data[i] = math.Float64frombits(binary.LittleEndian.Uint64(raw[8*i:]))
	}
	return data
}

// ramp is n numbers of both signs, the same for the same seed.
func ramp(n, seed int) []float32 {
	x := make([]float32, n)
	state := uint32(seed)*2654435761 + 12345
	for i := range x {
		state = state*1664525 + 1013904223
		x[i] = float32(int32(state)>>16) / (1 << 15)
	}
	return x
}
