// Package lower turns a checked model into the intermediate representation:
// forward ops for every stage and decoder, fusion, the sweeps that the units'
// losses need, losses, updates, and the memory of all of it.
//
//	model.Net --forward, fuse, losses, sweeps, updates, onread, memory--> ir.Program
//
// Every step is a row of the pass table and leaves a program that prints; from
// the sweeps on, ir.Verify holds. The program is a pure function of the net
// and the options.
package lower

import (
	"fmt"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/memory"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/op"
)

// Options are the choices that change no byte of the result, and the turn.
type Options struct {
	Depth     int  // microbatches in flight per unit; 0 and 1 mean lean
	Recompute bool // send each microbatch through twice instead of keeping frames
	// Turn is the unit trained, with the stages below it frozen, where units
	// train in turn; -1 trains all together.
	Turn int
	// Dtype of all values but indices; 0 means F32. F64 is for tests.
	Dtype op.Dtype
	// After stops after the pass of that name, for looking at it.
	After string
	// Without leaves out the pass of that name, for comparing with and without;
	// only onread can be left out.
	Without string
}

// pass is a row of the pass table. After names the passes that must have run;
// the reason stands in Why.
type pass struct {
	Name  string
	Run   func(*builder) error
	After []string
	Why   string
}

// passes lists the passes in order.
var passes = []pass{
	{"forward", (*builder).forwardPass, nil, "ops of stages and decoders, one site at a time"},
	{"fuse", (*builder).fusePass, []string{"forward"}, "conv, norm, residual and relu become coarse ops before gradients are made, so that gradients are coarse too"},
	{"losses", (*builder).lossPass, []string{"forward"}, "the sweeps start from the losses' gradients"},
	{"sweeps", (*builder).sweepPass, []string{"fuse", "losses"}, "gradients walk the fused ops backwards"},
	{"updates", (*builder).updatePass, []string{"sweeps"}, "only weights that got a gradient are updated"},
	{"onread", (*builder).onReadPass, []string{"updates"}, "a norm's result goes where convolutions can apply the norm as they read, all of whose readers must be there"},
	{"compact", (*builder).compactPass, []string{"onread"}, "values that the passes before left unused go before memory is given out"},
	{"count", (*builder).countPass, []string{"compact"}, "operations are counted on the final ops"},
	{"narrow", (*builder).narrowPass, []string{"compact"}, "maps get their type once all ops are there that make and read them, and before memory is given out"},
	{"memory", (*builder).memoryPass, []string{"narrow"}, "lifetimes need the final order, and sizes the types"},
}

func init() {
	done := map[string]bool{}
	for _, p := range passes {
		for _, a := range p.After {
			if !done[a] {
				panic(fmt.Sprintf("lower: pass %s must come after %s", p.Name, a))
			}
		}
		done[p.Name] = true
	}
}

// Passes lists the names of the passes in order, for the command line.
func Passes() []string {
	names := make([]string, len(passes))
	for i, p := range passes {
		names[i] = p.Name
	}
	return names
}

// Train lowers net's training.
func Train(net *model.Net, opt Options) (*ir.Program, error) {
	b, err := newBuilder(net, opt)
	if err != nil {
		return nil, err
	}
	for _, p := range passes {
		if p.Name == "onread" && opt.Without == p.Name {
			continue
		}
		if err := p.Run(b); err != nil {
			return nil, fmt.Errorf("pass %s: %w", p.Name, err)
		}
		if p.Name == opt.After {
			break
		}
	}
	return b.prog, nil
}

// Turns lowers all that a run trains: one program, or one per unit, in order,
// where units train in turn. opt.Turn is not looked at.
func Turns(net *model.Net, opt Options) ([]*ir.Program, error) {
	opt.Turn = -1
	if !net.Train.InTurn {
		p, err := Train(net, opt)
		return []*ir.Program{p}, err
	}
	var turns []*ir.Program
	for k, u := range net.Units {
		opt.Turn = k
		p, err := Train(net, opt)
		if err != nil {
			return nil, fmt.Errorf("turn of unit %s: %w", u.Name, err)
		}
		turns = append(turns, p)
	}
	return turns, nil
}

// site is a stage or a decoder instance with what is lowered of it.
type site struct {
	name   string // "s1", "mid/proj"
	label  string // prefix of layer names in messages
	unit   int
	layers []*model.Layer
	stage  *model.Stage   // nil for a decoder
	dec    *model.Decoder // nil for a stage
	in     ir.ValueID
	out    ir.ValueID
	fwd    int // segment, -1 before it is made
}

// builder holds a program while it is made.
type builder struct {
	net     *model.Net
	opt     Options
	prog    *ir.Program
	dtype   op.Dtype
	units   []int   // net's units that are in the program, in order
	stages  []*site // all stages that the program runs, by net index
	decs    []*site // by unit
	watch   []*site // by net watch; nil where not in the program
	owner   []int   // program unit that owns the net's stage; -1: frozen
	params  map[*model.Layer]*layerParams
	paramOf map[ir.ValueID]int // index into Program.Params of a trained value
	names   map[string]int     // names of values, with the highest number behind a ~ that each has got
	// lossGrad is the gradient of a loss at its decoder's output.
	lossGrad    map[*site]ir.ValueID
	lossSegment map[*site]int
	// pictureCount overrides two views of the microbatch, in an encoder.
	pictureCount int
}

func newBuilder(net *model.Net, opt Options) (*builder, error) {
	t := net.Train
	if t.Microbatch < 1 || t.Batch%t.Microbatch != 0 {
		return nil, fmt.Errorf("microbatch %d does not divide batch %d", t.Microbatch, t.Batch)
	}
	b := &builder{
		net: net, opt: opt, dtype: opt.Dtype,
		params: map[*model.Layer]*layerParams{}, paramOf: map[ir.ValueID]int{}, names: map[string]int{},
		owner: make([]int, len(net.Stages)), stages: make([]*site, len(net.Stages)),
		watch: make([]*site, len(net.Watches)),
	}
	if b.dtype == 0 {
		b.dtype = op.F32
	}
	b.prog = &ir.Program{
		Name: net.File, Batch: t.Batch, Microbatch: t.Microbatch, Micros: t.Batch / t.Microbatch,
		Depth: max(opt.Depth, 1), Mode: ir.Lean,
	}
	if b.prog.Depth > 1 {
		b.prog.Mode = ir.Pipelined
	}
	b.chooseUnits()
	b.own()
	b.prog.BatchLoss = b.prog.Micros > 1 && b.anyBatchLoss()
	b.prog.Recompute = b.prog.BatchLoss && opt.Recompute
	return b, nil
}

// chooseUnits picks the units of the program: all, or the one whose turn it is.
func (b *builder) chooseUnits() {
	for i := range b.net.Units {
		if b.opt.Turn < 0 || i == b.opt.Turn {
			b.units = append(b.units, i)
		}
	}
}

// own gives each stage to the lowest unit that holds it.
func (b *builder) own() {
	for s := range b.owner {
		b.owner[s] = -1
		for k, u := range b.units {
			if unit := b.net.Units[u]; unit.First <= s && s <= unit.Last {
				b.owner[s] = k
				break
			}
		}
	}
	for k, u := range b.units {
		unit := b.net.Units[u]
		pu := ir.Unit{Name: unit.Name, Range: unit.Range, In: ir.None, Out: ir.None}
		for s, o := range b.owner {
			if o == k {
				pu.Owns = append(pu.Owns, b.net.Stages[s].Name)
			}
		}
		b.prog.Units = append(b.prog.Units, pu)
	}
}

// anyBatchLoss reports whether a loss of the program is taken over the batch.
func (b *builder) anyBatchLoss() bool {
	for _, u := range b.units {
		if b.net.Units[u].Loss.Batch {
			return true
		}
	}
	for w := range b.net.Watches {
		if b.watchUnit(w) >= 0 && b.net.Watches[w].Loss.Batch {
			return true
		}
	}
	return false
}

// watchUnit is the program unit that runs watch w, -1 where none does.
func (b *builder) watchUnit(w int) int { return b.owner[b.net.Watches[w].Stage] }

// pictures is the number of pictures in a microbatch.
func (b *builder) pictures() int {
	if b.pictureCount > 0 {
		return b.pictureCount
	}
	return 2 * b.prog.Microbatch
}

// value adds a value to the program.
func (b *builder) value(v ir.Value) ir.ValueID {
	v.ID = ir.ValueID(len(b.prog.Values))
	if v.Dtype == 0 {
		v.Dtype = b.dtype
	}
	if v.Kind != ir.Table {
		v.Of = ir.None
	}
	base, n := v.Name, max(1, b.names[v.Name])
	for b.names[v.Name] > 0 {
		n++
		v.Name = fmt.Sprintf("%s~%d", base, n)
	}
	b.names[base], b.names[v.Name] = n, max(1, b.names[v.Name])
	b.prog.Values = append(b.prog.Values, v)
	return v.ID
}

// segment adds an empty segment and returns its number.
func (b *builder) segment(s ir.Segment) int {
	s.ID = len(b.prog.Segments)
	b.prog.Segments = append(b.prog.Segments, s)
	return s.ID
}

func (b *builder) val(id ir.ValueID) *ir.Value { return &b.prog.Values[id] }

// countPass writes each op's number of floating-point operations.
func (b *builder) countPass() error {
	for i := range b.prog.Segments {
		for j := range b.prog.Segments[i].Ops {
			o := &b.prog.Segments[i].Ops[j]
			if macs := op.Rows[o.Code].MultiplyAdds; macs != nil {
				o.FLOPs = 2 * macs(o.Attr, b.prog.Shapes(o.In), b.prog.Shapes(o.Out))
			}
		}
	}
	return nil
}

func (b *builder) memoryPass() error {
	if err := b.prog.Verify(); err != nil {
		return err
	}
	return memory.Plan(b.prog)
}
