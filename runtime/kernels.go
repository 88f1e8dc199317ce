package runtime

import (
	"slices"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/compiler/plan"
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/runtime/source"
)

// scratcher is a backend that knows what its kernels hold beside their operands.
type scratcher interface {
	// ScratchBytes bounds the bytes that one Call of these shapes takes, all
	// workers together. Shapes are nil for absent arguments.
	ScratchBytes(code op.Code, attr op.Attr, in, out [][]int) int64
}

// laneScratcher is a backend that knows what its kernels hold beside their operands
// once a lane has run many Calls, which may be more than any of them takes alone.
type laneScratcher interface {
	// LaneBytes bounds what one lane holds. Of the tensors, shapes and types are
	// looked at; absent ones have no shape.
	LaneBytes(calls []device.Call) int64
}

// packer is a backend that keeps weights from call to call in an order of its
// own.
type packer interface {
	// PackedBytes is what it keeps for an op of these shapes. Ops of one code
	// that read the same weights share it.
	PackedBytes(code op.Code, attr op.Attr, in, out [][]int) int64
}

// namer is a backend that says which kernel an op gets.
type namer interface {
	KernelName(code op.Code, attr op.Attr, in, out [][]int, dtype op.Dtype) string
}

// KernelBytes bounds what a backend's kernels hold beside the arena while they
// run the program, on all its devices: the scratch of the op that needs most, for
// each unit that computes at the same time, and the weights they keep packed. It
// is 0 where the backend is nil or does not know.
func KernelBytes(b device.Backend, p *ir.Program) (n int64) {
	for _, s := range spread(b, p) {
		n += s.kernelBytes(p)
	}
	return n
}

// station is a device with the units that run there, by index.
type station struct {
	backend device.Backend
	units   []int
}

// spread lists the devices of a program's units.
func spread(b device.Backend, p *ir.Program) []station {
	placed, ok := b.(*device.Placed)
	if !ok {
		s := station{backend: b}
		for u := range p.Units {
			s.units = append(s.units, u)
		}
		return []station{s}
	}
	var stations []station
	for _, pl := range placed.Places() {
		stations = append(stations, station{backend: pl.Backend})
	}
	for u := range p.Units {
		s := &stations[placed.At(p.Units[u].Name)]
		s.units = append(s.units, u)
	}
	return stations
}

// ops lists the ops of the units that run here.
func (s station) ops(p *ir.Program) (list []*ir.Op) {
	for i := range p.Segments {
		if !slices.Contains(s.units, p.Segments[i].Unit) {
			continue
		}
		for j := range p.Segments[i].Ops {
			list = append(list, &p.Segments[i].Ops[j])
		}
	}
	return list
}

func (s station) kernelBytes(p *ir.Program) int64 {
	if k, ok := s.backend.(laneScratcher); ok {
		return s.laneBytes(k, p) + s.packedBytes(p)
	}
	k, ok := s.backend.(scratcher)
	if !ok {
		return 0
	}
	var most int64
	for _, o := range s.ops(p) {
		in, out := shapesOf(p, o)
		most = max(most, k.ScratchBytes(o.Code, o.Attr, in, out))
	}
	if p.Mode == ir.Pipelined {
		most *= int64(len(s.units))
	}
	return most + s.packedBytes(p)
}

// laneBytes is what the lanes hold on which the units run here: one for each where
// they compute at the same time, else one for all.
func (s station) laneBytes(k laneScratcher, p *ir.Program) (n int64) {
	if p.Mode != ir.Pipelined {
		return k.LaneBytes(callsOf(p, s.ops(p)))
	}
	for _, u := range s.units {
		n += k.LaneBytes(callsOf(p, station{units: []int{u}}.ops(p)))
	}
	return n
}

// callsOf are ops as Calls without memory.
func callsOf(p *ir.Program, ops []*ir.Op) []device.Call {
	tensors := func(ids []ir.ValueID) []device.Tensor {
		list := make([]device.Tensor, len(ids))
		for i, id := range ids {
			if id != ir.None {
				list[i] = device.Tensor{Shape: p.Values[id].Shape, Dtype: p.Values[id].Dtype}
			}
		}
		return list
	}
	calls := make([]device.Call, len(ops))
	for i, o := range ops {
		calls[i] = device.Call{Code: o.Code, Attr: o.Attr, In: tensors(o.In), Out: tensors(o.Out)}
	}
	return calls
}

// packedBytes is the weights that the backend keeps packed, each once.
func (s station) packedBytes(p *ir.Program) (n int64) {
	k, ok := s.backend.(packer)
	if !ok {
		return 0
	}
	type pack struct {
		code    op.Code
		weights ir.ValueID
	}
	have := map[pack]int64{}
	for _, o := range s.ops(p) {
		key := pack{o.Code, weightsOf(p, o)}
		if key.weights == ir.None {
			continue
		}
		in, out := shapesOf(p, o)
		// A gradient of the weights alone may need none where another needs some.
		if bytes := k.PackedBytes(o.Code, o.Attr, in, out); bytes > have[key] {
			n += bytes - have[key]
			have[key] = bytes
		}
	}
	return n
}

// weightsOf is the first weight that an op reads, None where it reads none.
func weightsOf(p *ir.Program, o *ir.Op) ir.ValueID {
	for _, id := range o.In {
		if id != ir.None && p.Values[id].Kind == ir.Weight {
			return id
		}
	}
	return ir.None
}

// ops lists all ops of a program, in order of the segments.
func ops(p *ir.Program) (list []*ir.Op) {
	for i := range p.Segments {
		for j := range p.Segments[i].Ops {
			list = append(list, &p.Segments[i].Ops[j])
		}
	}
	return list
}

// shapesOf is the shapes of an op's arguments and results.
func shapesOf(p *ir.Program, o *ir.Op) (in, out [][]int) {
	shapes := func(ids []ir.ValueID) [][]int {
		list := make([][]int, len(ids))
		for i, id := range ids {
			if id != ir.None {
				list[i] = p.Values[id].Shape
			}
		}
		return list
	}
	return shapes(o.In), shapes(o.Out)
}

// Kernels lists which kernel of a backend each op of the programs gets. A
// backend that does not say is named as a whole; nil has none.
func Kernels(b device.Backend, turns []*ir.Program) (list []plan.Kernel) {
	if b == nil {
		return nil
	}
	for _, p := range turns {
		for i := range p.Segments {
			s := &p.Segments[i]
			on := device.On(b, p.Units[s.Unit].Name)
			for j := range s.Ops {
				list = append(list, plan.KernelOf(p, s, &s.Ops[j], kernelName(on, p, &s.Ops[j])))
			}
		}
	}
	return list
}

func kernelName(b device.Backend, p *ir.Program, o *ir.Op) string {
	n, ok := b.(namer)
	if !ok {
		return b.Name()
	}
	in, out := shapesOf(p, o)
	return n.KernelName(o.Code, o.Attr, in, out, p.Values[o.In[0]].Dtype)
}

// PlanOf plans the programs that a run trains one after another, with what the
// loader of so many workers and the kernels of the backend hold beside them.
// The backend may be nil: then the plan names no kernels.
func PlanOf(net *model.Net, turns []*ir.Program, images int, b device.Backend, workers int) *plan.Plan {
	pl := plan.Turns(net, turns, images)
	m := &pl.Memory
	m.Loader = LoaderBytes(net, turns[0], workers)
	pl.Loading = source.LoaderConfig{Workers: workers}.Buffers()
	m.Kernels = kernelsOfAll(b, turns)
	m.Total += m.Loader + m.Kernels
	pl.Kernels = Kernels(b, turns)
	return pl
}

// kernelsOfAll is the most that kernels hold in any turn: what they have taken
// they keep.
func kernelsOfAll(b device.Backend, turns []*ir.Program) (most int64) {
	for _, p := range turns {
		most = max(most, KernelBytes(b, p))
	}
	return most
}
