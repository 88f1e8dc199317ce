// Package plan tells all that is known of a run before it starts: units,
// shapes, parameters, multiply-adds, memory, which loss reaches which stage,
// and what each unit waits for.
//
//	model.Net, ir.Program --Of--> Plan --Print--> tables, or JSON
package plan

import (
	"fmt"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/op"
)

// Plan is everything the plan command prints; it marshals to JSON as it is.
type Plan struct {
	File       string   `json:"file"`
	Method     string   `json:"method"`
	Params     []string `json:"params"`
	Input      string   `json:"input"`
	Batch      int      `json:"batch"`
	Microbatch int      `json:"microbatch"`
	Epochs     int      `json:"epochs"`
	Depth      int      `json:"depth"`
	Frames     string   `json:"frames"` // one, kept, recomputed
	Norm       string   `json:"norm"`   // what normalisation sees
	// InFlight bounds the microbatches between the arrival of their images and
	// their last sweep; Loading those before it, 0 where the loader is not known.
	InFlight int `json:"microbatches_in_flight"`
	Loading  int `json:"microbatches_in_loader"`

	Stages []Stage `json:"stages"`
	Units  []Unit  `json:"units"`
	Memory Memory  `json:"memory"`

	// Choice says why frames are held as they are; nil where nothing was chosen.
	Choice *Choice `json:"memory_choice,omitempty"`
	// Kernels are those of each op, in the program's order; nil where no backend
	// was asked.
	Kernels []Kernel `json:"kernels,omitempty"`

	// Images is the number of training images, 0 where not known.
	Images  int     `json:"images"`
	Steps   int     `json:"steps_per_epoch"`
	Dropped int     `json:"images_dropped_per_epoch"`
	FLOPs   int64   `json:"flops_per_batch"`
	Ratio   float64 `json:"flops_over_forward_and_backward"` // against 3 forwards
	Turns   int     `json:"turns"`                           // programs trained one after another

	forward int64 // operations of a batch's forwards
}

// Stage is one row of the stage table. Counts are per picture.
type Stage struct {
	Name         string   `json:"name"`
	In           string   `json:"in"`
	Out          string   `json:"out"`
	Parameters   int64    `json:"parameters"`
	MultiplyAdds int64    `json:"multiply_adds"`
	Share        float64  `json:"share"`       // of the encoder's multiply-adds
	Activations  int64    `json:"activations"` // elements of convolution outputs
	Owner        string   `json:"owner"`
	Trained      []string `json:"trained_by"`
	Passes       Passes   `json:"passes"`
}

// Passes counts what runs through a stage for one microbatch.
type Passes struct {
	Forward int `json:"forward"`
	Sweeps  int `json:"input_sweeps"`
	Weights int `json:"weight_gradients"`
}

// Unit is one row of the unit table.
type Unit struct {
	Name              string   `json:"name"`
	Stages            []string `json:"stages"`
	Owns              []string `json:"owns"`
	Decoder           string   `json:"decoder"`
	DecoderParameters int64    `json:"decoder_parameters"`
	DecoderMACs       int64    `json:"decoder_multiply_adds"`
	Loss              string   `json:"loss"`
	Negatives         int      `json:"negatives"`
	Waits             []string `json:"waits_for"`
	Watch             bool     `json:"watch"`
}

// Memory is the bytes of each space.
type Memory struct {
	Arena     int64 `json:"arena"`
	Input     int64 `json:"input"`
	Weights   int64 `json:"weights"`
	Gradients int64 `json:"gradients"`
	States    int64 `json:"states"`
	Loader    int64 `json:"loader"`  // pictures on their way, where the loader is known
	Kernels   int64 `json:"kernels"` // what kernels hold of their own, where the backend is known
	Total     int64 `json:"total"`
	// Saved is the most bytes of activations alive at once, decoders included,
	// that a later op still reads: what a memory comparison of methods counts.
	Saved int64 `json:"saved_activations"`
}

// Of makes the plan of a program. images is the number of training images, or
// 0 where it is not known yet.
func Of(net *model.Net, p *ir.Program, images int) *Plan {
	pl := &Plan{
		File: net.File, Method: net.Method, Input: shape(net.Input),
		Batch: p.Batch, Microbatch: p.Microbatch, Epochs: net.Train.Epochs, Depth: p.Depth,
		Frames: frames(p), Norm: normSees(net, p), Images: images,
		InFlight: p.InFlight(),
	}
	for _, q := range net.Params {
		pl.Params = append(pl.Params, q.Name+"="+q.Value)
	}
	pl.stages(net, p)
	pl.units(net, p)
	pl.Memory = memoryOf(p)
	pl.count(p)
	pl.Turns = 1
	pl.settle()
	if images > 0 {
		pl.Steps = images / p.Batch
		pl.Dropped = images % p.Batch
	}
	return pl
}

func shape(s model.Shape) string { return fmt.Sprintf("%dx%dx%d", s.H, s.W, s.C) }

func frames(p *ir.Program) string {
	switch {
	case p.BatchLoss && p.Recompute:
		return "recomputed"
	case p.BatchLoss:
		return "kept"
	}
	return "one"
}

// normSees says which pictures batch normalisation takes its statistics over.
func normSees(net *model.Net, p *ir.Program) string {
	for _, s := range p.Segments {
		for _, o := range s.Ops {
			batch := o.Code == op.Norm && o.Attr.Groups == 0 || o.Code == op.ConvNorm && o.Attr.NormGroups == 0
			if batch {
				return fmt.Sprintf("norm sees %d pictures of %d", 2*p.Microbatch, 2*p.Batch)
			}
		}
	}
	return "norm does not depend on the cut into microbatches"
}

func memoryOf(p *ir.Program) Memory {
	return Memory{
		Arena: p.Sizes[ir.Arena], Input: p.Sizes[ir.Input], Weights: p.Sizes[ir.Weights],
		Gradients: p.Sizes[ir.Gradients], States: p.Sizes[ir.States], Total: p.Bytes(), Saved: Saved(p),
	}
}

// Turns makes the plan of units trained one after another: each stage and unit
// as in its own turn, the operations of a batch of every turn, the memory of the
// turn that takes most.
func Turns(net *model.Net, turns []*ir.Program, images int) *Plan {
	all := Of(net, turns[0], images)
	for _, p := range turns[1:] {
		one := Of(net, p, images)
		for i, s := range one.Stages {
			if s.Owner != "" {
				all.Stages[i] = s
			}
		}
		all.Units = append(all.Units, one.Units...)
		if one.Memory.Total > all.Memory.Total {
			all.Memory = one.Memory
		}
		all.InFlight = max(all.InFlight, one.InFlight)
		all.FLOPs += one.FLOPs
		all.forward += one.forward
	}
	all.Turns = len(turns)
	all.settle()
	return all
}

// stages fills the stage table.
func (pl *Plan) stages(net *model.Net, p *ir.Program) {
	pictures := int64(2 * p.Microbatch)
	for i, s := range net.Stages {
		row := Stage{Name: s.Name, In: shape(s.In), Out: shape(s.Out)}
		row.Parameters = parameters(p, s.Name)
		for _, seg := range p.Segments {
			if seg.Site != s.Name {
				continue
			}
			if seg.Phase == ir.PhaseForward {
				row.MultiplyAdds = flops(&seg) / 2 / pictures
				row.Activations = convOutputs(p, &seg) / pictures
			}
			row.Passes.add(&seg)
		}
		for _, u := range p.Units {
			for _, o := range u.Owns {
				if o == s.Name {
					row.Owner = u.Name
				}
			}
		}
		row.Trained = trainedBy(net, i)
		pl.Stages = append(pl.Stages, row)
	}
}

// settle computes the shares and ratios of what has been counted.
func (pl *Plan) settle() {
	var total int64
	for _, s := range pl.Stages {
		total += s.MultiplyAdds
	}
	for i := range pl.Stages {
		if total > 0 {
			pl.Stages[i].Share = float64(pl.Stages[i].MultiplyAdds) / float64(total)
		}
	}
	if pl.forward > 0 {
		pl.Ratio = float64(pl.FLOPs) / float64(3*pl.forward)
	}
}

// add counts a segment of the stage.
func (ps *Passes) add(seg *ir.Segment) {
	switch seg.Phase {
	case ir.PhaseForward, ir.PhaseEmbed, ir.PhaseInfer:
		ps.Forward++
	case ir.PhaseSweep:
		input, weights := false, false
		for _, o := range seg.Ops {
			fused := o.Code == op.ConvNormGrad
			input = input || o.Code == op.ConvInput || o.Code == op.DenseInput || fused && o.Out[0] != ir.None
			weights = weights || o.Code == op.ConvWeight || o.Code == op.DenseWeight || fused && o.Attr.Weights
		}
		if weights {
			ps.Weights++
		}
		if input {
			ps.Sweeps++
		}
	}
}

// trainedBy names the units whose losses train a stage.
func trainedBy(net *model.Net, s int) []string {
	var names []string
	for _, u := range net.Units {
		if u.First <= s && s <= u.Last {
			names = append(names, u.Name)
		}
	}
	if net.Stages[s].Tie == model.Upper && len(names) > 1 {
		names = names[len(names)-1:]
	}
	return names
}

func flops(s *ir.Segment) int64 {
	var n int64
	for _, o := range s.Ops {
		n += o.FLOPs
	}
	return n
}

// convOutputs counts the elements that convolutions make in a segment.
func convOutputs(p *ir.Program, s *ir.Segment) int64 {
	var n int64
	for _, o := range s.Ops {
		if o.Code == op.Conv || o.Code == op.ConvNorm {
			v := p.Values[o.Out[0]]
			n += v.Bytes() / int64(v.Dtype.Size())
		}
	}
	return n
}

// parameters counts a site's trained numbers.
func parameters(p *ir.Program, site string) int64 {
	var n int64
	for _, q := range p.Params {
		if q.Stage == site && q.Kind == ir.Weight {
			v := p.Values[q.Value]
			n += v.Bytes() / int64(v.Dtype.Size())
		}
	}
	return n
}

// units fills the unit table.
func (pl *Plan) units(net *model.Net, p *ir.Program) {
	pictures := int64(2 * p.Microbatch)
	for k := range p.Units {
		u := &p.Units[k]
		for _, l := range u.Losses {
			row := Unit{Name: l.Name, Owns: u.Owns, Negatives: l.Negatives, Watch: l.Watch}
			var dec *model.Decoder
			var loss model.Loss
			if l.Watch {
				w := watchOf(net, l.Name)
				dec, loss, row.Owns = &w.Decoder, w.Loss, nil
				row.Stages = []string{net.Stages[w.Stage].Name}
			} else {
				n := unitOf(net, l.Name)
				dec, loss = &n.Decoder, n.Loss
				for s := n.First; s <= n.Last; s++ {
					row.Stages = append(row.Stages, net.Stages[s].Name)
				}
				row.Waits = waits(p, k)
			}
			site := l.Name + "/" + dec.Name
			row.Decoder, row.DecoderParameters = dec.Name, parameters(p, site)
			for _, seg := range p.Segments {
				if seg.Site == site && seg.Phase == ir.PhaseForward {
					row.DecoderMACs = flops(&seg) / 2 / pictures
				}
			}
			row.Loss = fmt.Sprintf("ntxent(temperature=%g)", loss.Temperature)
			pl.Units = append(pl.Units, row)
		}
	}
}

func unitOf(net *model.Net, name string) *model.Unit {
	for _, u := range net.Units {
		if u.Name == name {
			return u
		}
	}
	panic("plan: no unit " + name)
}

func watchOf(net *model.Net, name string) *model.Watch {
	for _, w := range net.Watches {
		if w.Name == name {
			return w
		}
	}
	panic("plan: no watch " + name)
}

// waits says what a unit waits for, in the order in which it does.
func waits(p *ir.Program, k int) []string {
	u := &p.Units[k]
	ws := []string{"data"}
	if k > 0 {
		ws[0] = fmt.Sprintf("%s's map", p.Units[k-1].Name)
	}
	for _, l := range u.Starts[1:] {
		w := fmt.Sprintf("%s's gradient", p.Units[l].Name)
		if l != k+1 {
			w += " through " + p.Units[k+1].Name
		}
		ws = append(ws, w)
	}
	return ws
}

// FLOPs is the operations of one batch.
func FLOPs(p *ir.Program) (n int64) {
	for i := range p.Segments {
		n += flops(&p.Segments[i]) * int64(p.Micros)
	}
	return n
}

// count sums the operations of one batch.
func (pl *Plan) count(p *ir.Program) {
	pl.FLOPs += FLOPs(p)
	for i := range p.Segments {
		s := &p.Segments[i]
		n := flops(s) * int64(p.Micros)
		if s.Phase == ir.PhaseForward || s.Phase == ir.PhaseInfer {
			pl.forward += n
		}
	}
}
