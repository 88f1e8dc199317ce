// Package ir is the intermediate representation: what each unit runs, op by
// op, on values whose memory is planned to the byte. It is plain data with a
// deterministic print; Verify states its invariants.
//
// A Program has units; a unit has segments; a segment is a straight list of
// ops for one site (a stage or a decoder) in one phase:
//
//	unit mid   s3.forward   proj.forward   proj.loss   proj.sweep(2)   s3.sweep(2)   s3.sweep(2..3) ...
//
// Segments are grouped into tasks, the steps the pipeline schedules: Embed,
// Forward, Loss, Events[0] (the unit's own sweep), Events[k] (the sweep the
// k-th message from above allows), Update.
//
// # Sweeps
//
// A loss is numbered by its unit. At a stage's output the gradients of the
// losses that reach it are needed as sums over ranges of losses. Let stage s
// be reached by losses i..j. Its weights need one range: W(s) = i..j (j..j
// where the tie is "upper"). The stage below needs ranges of its own; those
// whose losses reach s too come through s. So the demand at s is
//
//	D(s) = {W(s)} + {(max(a,i), b) : (a,b) in D(s-1), b >= i}
//
// and one sweep runs through s for each element: with weight gradients for
// W(s), with the gradient of the stage's input where some element of D(s-1)
// maps to it. For neighbours that share one stage this gives each shared stage
// two sweeps, one input-only and one for the weights alone; where one loss
// alone reaches a stage, one sweep does both.
//
// # Memory
//
// A value's bytes lie at Offset + (n mod Slots)*Stride of its space, where n
// is the number of the microbatch since the start of the run.
package ir

import (
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/dsl/diag"
)

// ValueID is an index into Program.Values.
type ValueID int32

// None is the ValueID of an absent optional argument.
const None ValueID = -1

// Kind says what a value is for, and with it which space it lives in and how
// long it lives.
type Kind uint8

// The kinds of value.
const (
	Images     Kind = iota + 1 // pictures of one microbatch, written by the loader
	Activation                 // made and used inside one unit's frame
	Map                        // a unit's output, read by the unit above
	Feedback                   // a gradient at the lower unit's output, read by it
	Embedding                  // a decoder's output: one slot per microbatch of the batch
	EmbeddingGrad
	LossValue // one float32 per loss evaluation
	Table     // all slots of an Embedding or EmbeddingGrad seen as one tensor
	Weight
	Statistic  // running mean or variance
	WeightGrad // sum over the batch's microbatches, in their order
	State      // optimiser state
	Peer       // copy of the neighbour's tied weight at the batch's start
)

// Space is a stretch of memory with addresses of its own.
type Space uint8

// The spaces. Arena holds what lives within batches; the others persist.
const (
	Arena     Space = iota + 1
	Input           // Images
	Weights         // Weight, Statistic
	Gradients       // WeightGrad
	States          // State, Peer
)

// Value is a tensor's definition.
type Value struct {
	ID    ValueID
	Name  string // unique in the program, e.g. "mid/s3.0.conv1:out"
	Kind  Kind
	Shape []int
	Dtype op.Dtype
	Unit  int     // that makes or owns it
	Of    ValueID // Table: the value whose slots it joins; else None

	// Set by the memory pass.
	Space          Space
	Offset, Stride int64
	Slots          int
}

// Bytes is the size of one slot.
func (v *Value) Bytes() int64 {
	n := int64(v.Dtype.Size())
	for _, d := range v.Shape {
		n *= int64(d)
	}
	return n
}

// Op is one row of the op table applied to values.
type Op struct {
	Code  op.Code
	Attr  op.Attr
	In    []ValueID // None where an optional argument is absent
	Out   []ValueID
	Layer string // for messages: "s3.0.conv1"
	Range diag.Range
	FLOPs int64
}

// Phase says what a segment does.
type Phase uint8

// The phases.
const (
	PhaseEmbed   Phase = iota + 1 // forward that keeps nothing and moves the running statistics
	PhaseForward                  // forward that keeps what the sweeps need
	PhaseInfer                    // forward with running statistics
	PhaseLoss
	PhaseSweep
	PhaseUpdate
)

// LossRange is the losses First..Last (unit numbers, from 0), inclusive.
type LossRange struct{ First, Last int }

// Segment is a straight list of ops for one site in one phase.
type Segment struct {
	ID    int // index into Program.Segments
	Unit  int
	Site  string // stage, or "unit/decoder"
	Phase Phase
	Range LossRange // PhaseSweep: the losses whose sum is swept
	Ops   []Op
}

// Task is a list of segments, by ID, that run one after another.
type Task []int

// Unit is a unit's part of the program.
type Unit struct {
	Name    string
	Range   diag.Range
	Owns    []string // stages, in order; may be empty
	Embed   Task     // nil unless the batch is recomputed
	Forward Task
	Loss    Task // runs once per microbatch, or once per batch (Program.BatchLoss)
	// Events[0] is the unit's own sweep. Events[k], k >= 1, runs when the k-th
	// message of a microbatch has come from the unit above.
	Events []Task
	// Starts[k] is the loss, by its unit, whose gradient starts Events[k];
	// Starts[0] is the unit's own.
	Starts []int
	// Sends[k] are the gradients that Events[k] leaves for the unit below; one
	// message tells of them all. Empty where there is nothing to send.
	Sends  [][]ValueID
	Update Task // runs once per batch, micro being the batch's number
	// Publish copies tied weights for the neighbour; it runs before the first
	// batch and after every Update, micro being the coming batch's number.
	Publish Task
	In      ValueID // Images or the Map of the unit below (or relayed)
	Out     ValueID // the Map passed on; None at the top
	// Losses are the loss values of the unit and of its watches, with names.
	Losses []Loss
}

// Loss is a loss to report.
type Loss struct {
	Name      string // unit or watch
	Value     ValueID
	Embedding ValueID
	Grad      ValueID
	Negatives int // per anchor
	Watch     bool
	// PerBatch is set where the value is the whole batch's; else the batch's loss
	// is the sum over its microbatches.
	PerBatch bool
}

// Param is a trained tensor (or a running statistic) by name.
type Param struct {
	// Name is what checkpoints and messages call it: "s1.0.conv1.weight" for an
	// encoder stage, "mid/proj.fc1.weight" for a decoder's.
	Name string
	// Export is the name in exported files, "" for what is not exported.
	Export string
	Stage  string // the stage's name, or "unit/decoder"
	Layer  string // ".loco" layer name within the stage
	Unit   int    // that owns and updates it
	Kind   Kind   // Weight or Statistic
	Value  ValueID
	Grad   ValueID // None for statistics
	State  []ValueID
	Init   Init
	Decay  bool // weight decay and trust ratio apply
	Range  diag.Range
}

// Init says how a parameter starts.
type Init struct {
	Kind string // normal (Std), uniform (-Std..Std), constant (Std)
	Std  float64
	Key  string // draws are keyed by it; copies of a stage share the encoder's
}

// Mode says how the batch's frames are held.
type Mode uint8

// The modes.
const (
	Lean      Mode = iota // depth 1: one arena planned over the whole order
	Pipelined             // depth > 1: an arena per frame
)

// Program is all units with their memory.
type Program struct {
	Name                      string
	Batch, Microbatch, Micros int // images, images, microbatches per batch
	Depth                     int
	Mode                      Mode
	// BatchLoss is set where losses are taken over the batch's embeddings at
	// once although it is cut into microbatches; then either all frames are
	// kept, or Recompute is set and each microbatch goes through twice.
	BatchLoss, Recompute bool
	Values               []Value
	Segments             []Segment
	Units                []Unit
	Params               []Param
	Sizes                map[Space]int64 // set by the memory pass
	Features             []Feature       // of an encoder program
}

// Feature is the mean-pooled map of a stage, [pictures,1,1,channels].
type Feature struct {
	Stage string
	Value ValueID
}

// Bytes is the memory of all spaces together.
func (p *Program) Bytes() int64 {
	var n int64
	for _, s := range p.Sizes {
		n += s
	}
	return n
}
