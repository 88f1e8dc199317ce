package lower

import (
	"slices"
	"testing"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/op"
)

// onRead counts, by phase, the convolutions that read through a norm and the
// norms whose result is gone.
func onRead(p *ir.Program) (reads, gone map[ir.Phase]int) {
	reads, gone = map[ir.Phase]int{}, map[ir.Phase]int{}
	for i := range p.Segments {
		s := &p.Segments[i]
		for j := range s.Ops {
			o := &s.Ops[j]
			if o.Code != op.ConvNorm && o.Code != op.ConvNormGrad {
				continue
			}
			if *argument(o, "in_mean") != ir.None {
				reads[s.Phase]++
			}
			if o.Code == op.ConvNorm && *result(o, "y") == ir.None {
				gone[s.Phase]++
			}
		}
	}
	return reads, gone
}

// body is the convolutions of a block's body.
func body(n *model.Net) *model.Branch { return &n.Stages[1].Layers[0].Branches[1] }

// edited is block's net with something changed.
func edited(n *model.Net, edit func(*model.Net)) *model.Net {
	edit(n)
	return n
}

// TestNormsAppliedOnRead: which results go, and who reads through their norms.
func TestNormsAppliedOnRead(t *testing.T) {
	relu := func() *model.Layer { return &model.Layer{Kind: model.ReLU} }
	insert := func(n *model.Net, at int, l *model.Layer) {
		b := body(n)
		l.In, l.Out = b.In, b.Out
		b.Layers = slices.Insert(b.Layers, at, l)
	}
	groups := func(n *model.Net) {
		for _, l := range body(n).Layers {
			if l.Kind == model.Norm {
				l.Groups = 2
			}
		}
	}
	recomputed := func(n *model.Net) {
		n.Train.Microbatch = 1
		n.Units[0].Loss.Batch = true
	}
	tests := []struct {
		name                        string
		net                         *model.Net
		opt                         Options
		forward, sweep, embed, gone int // convolutions that read through a norm; results gone in forward
	}{
		{"one convolution", block(1, true), Options{Turn: -1}, 0, 0, 0, 0},
		{"basic block", block(2, true), Options{Turn: -1}, 1, 1, 0, 1},
		{"bottleneck", block(3, true), Options{Turn: -1}, 2, 2, 0, 2},
		{"left out", block(3, true), Options{Turn: -1, Without: "onread"}, 0, 0, 0, 0},
		{"group norms", edited(block(3, true), groups), Options{Turn: -1}, 2, 2, 0, 2},
		{"recomputed", edited(block(3, true), recomputed), Options{Turn: -1, Recompute: true}, 2, 2, 2, 2},
		{"no relu between", edited(block(2, true), func(n *model.Net) {
			b := body(n)
			b.Layers = slices.DeleteFunc(b.Layers, func(l *model.Layer) bool { return l.Kind == model.ReLU })
		}), Options{Turn: -1}, 1, 1, 0, 1},
		{"a pool reads too", edited(block(2, true), func(n *model.Net) {
			insert(n, 3, &model.Layer{Kind: model.Pool, KH: 3, KW: 3, Stride: 1, Pad: 1})
		}), Options{Turn: -1}, 0, 0, 0, 0},
		{"two relus", edited(block(2, true), func(n *model.Net) { insert(n, 3, relu()) }), Options{Turn: -1}, 0, 0, 0, 0},
		{"a bias instead of the norm behind", edited(block(2, true), func(n *model.Net) {
			b := body(n)
			b.Layers[3].Bias = true
			b.Layers = b.Layers[:4]
		}), Options{Turn: -1}, 0, 0, 0, 0},
		{"residuals and stages' outputs", chain(4, loco3, nil), Options{Turn: -1}, 0, 0, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Train(tt.net, tt.opt)
			if err != nil {
				t.Fatal(err)
			}
			reads, gone := onRead(p)
			got := []int{reads[ir.PhaseForward], reads[ir.PhaseSweep], reads[ir.PhaseEmbed], gone[ir.PhaseForward]}
			if want := []int{tt.forward, tt.sweep, tt.embed, tt.gone}; !slices.Equal(got, want) {
				t.Errorf("forward, sweep, embed, gone: %v, want %v", got, want)
			}
			if err := newShadow(p).run(0); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestEncoderReadsAsItLies: programs without gradients keep their norms.
func TestEncoderReadsAsItLies(t *testing.T) {
	p, err := Encoder(block(3, true), 5)
	if err != nil {
		t.Fatal(err)
	}
	if reads, gone := onRead(p); len(reads)+len(gone) > 0 {
		t.Errorf("reads %v, gone %v", reads, gone)
	}
}

// TestOnReadSavesMemory: the arena shrinks, and the operations stay the same.
func TestOnReadSavesMemory(t *testing.T) {
	total := func(p *ir.Program) (n int64) {
		for _, s := range p.Segments {
			for _, o := range s.Ops {
				n += o.FLOPs
			}
		}
		return n
	}
	with, err := Train(block(3, true), Options{Turn: -1})
	if err != nil {
		t.Fatal(err)
	}
	without, err := Train(block(3, true), Options{Turn: -1, Without: "onread"})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := with.Sizes[ir.Arena], without.Sizes[ir.Arena]; a >= b {
		t.Errorf("an arena of %d bytes, %d without", a, b)
	}
	if a, b := total(with), total(without); a != b {
		t.Errorf("%d operations, %d without", a, b)
	}
}
