package semantics

import (
	"fmt"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/op"
)

// build puts layers one after another and keeps track of shapes and names.
type build struct {
	at    model.Shape
	ls    []*model.Layer
	names *int // layers with weights so far in the stage
}

func newBuild(at model.Shape) *build { return &build{at: at, names: new(int)} }

func (b *build) add(l model.Layer, out model.Shape) {
	l.In, l.Out = b.at, out
	b.ls, b.at = append(b.ls, &l), out
}

func (b *build) name(kind string) string {
	*b.names++
	return fmt.Sprintf("%d.%s", *b.names, kind)
}

// window is the shape behind a window.
func (b *build) window(k, stride, pad, channels int) model.Shape {
	return model.Shape{H: op.ConvOut(b.at.H, k, stride, pad), W: op.ConvOut(b.at.W, k, stride, pad), C: channels}
}

func (b *build) conv(k, out, stride int) { b.groupConv(k, out, stride, 1, false) }

func (b *build) groupConv(k, out, stride, groups int, bias bool) {
	l := model.Layer{Kind: model.Conv, Name: b.name("conv"), KH: k, KW: k, Stride: stride, Pad: (k - 1) / 2, Groups: groups, Bias: bias}
	b.add(l, b.window(k, stride, l.Pad, out))
}

// norm is batch normalisation with 0 groups.
func (b *build) norm(groups int) {
	b.add(model.Layer{Kind: model.Norm, Name: b.name("bn"), Groups: groups}, b.at)
}

func (b *build) relu() { b.add(model.Layer{Kind: model.ReLU}, b.at) }

// pool is over the whole map with k 0.
func (b *build) pool(greatest bool, k, stride, pad int) {
	out := model.Shape{H: 1, W: 1, C: b.at.C}
	if k > 0 {
		out = b.window(k, stride, pad, b.at.C)
	}
	b.add(model.Layer{Kind: model.Pool, Max: greatest, KH: k, KW: k, Stride: stride, Pad: pad}, out)
}

func (b *build) dense(out int) {
	b.add(model.Layer{Kind: model.Dense, Name: b.name("fc")}, model.Shape{H: 1, W: 1, C: out})
}

func (b *build) resize(h, w int) {
	b.add(model.Layer{Kind: model.Resize}, model.Shape{H: h, W: w, C: b.at.C})
}

func (b *build) shuffle(groups int) {
	b.add(model.Layer{Kind: model.Shuffle, Groups: groups}, b.at)
}

func (b *build) branch(in model.Shape, f func(*build)) model.Branch {
	br := &build{at: in, names: b.names}
	f(br)
	return model.Branch{In: in, Out: br.at, Layers: br.ls}
}

func (b *build) residual(shortcut, body func(*build)) {
	bs := []model.Branch{b.branch(b.at, shortcut), b.branch(b.at, body)}
	b.add(model.Layer{Kind: model.Residual, Branches: bs}, bs[1].Out)
}

// split gives each branch its share of the channels; a fork gives each all.
func (b *build) split(parts ...func(*build)) {
	in := b.at
	in.C /= len(parts)
	b.branches(model.Split, in, parts)
}

func (b *build) fork(parts ...func(*build)) { b.branches(model.Fork, b.at, parts) }

func (b *build) branches(kind model.LayerKind, in model.Shape, parts []func(*build)) {
	var bs []model.Branch
	out := model.Shape{}
	for _, f := range parts {
		br := b.branch(in, f)
		out = model.Shape{H: br.Out.H, W: br.Out.W, C: out.C + br.Out.C}
		bs = append(bs, br)
	}
	b.add(model.Layer{Kind: kind, Branches: bs}, out)
}

func identity(*build) {}

// block is a stage's usual content; norm 0 is batch normalisation.
func block(width, stride, norm int) func(*build) {
	return func(b *build) {
		b.conv(3, width, stride)
		b.norm(norm)
		b.relu()
		b.residual(identity, func(b *build) {
			b.conv(3, width, 1)
			b.norm(norm)
		})
		b.relu()
	}
}

// blocks are n stages of growing width.
func blocks(n, norm int) []func(*build) {
	var fs []func(*build)
	for s := range n {
		fs = append(fs, block(4+2*(s%2), 1+s%2, norm))
	}
	return fs
}

// proj is a decoder; norm below 0 leaves the norm out.
func proj(in model.Shape, norm int) model.Decoder {
	b := newBuild(in)
	b.pool(false, 0, 0, 0)
	b.dense(6)
	if norm >= 0 {
		b.norm(norm)
	}
	b.relu()
	b.dense(5)
	return model.Decoder{Name: "proj", In: in, Out: 5, Layers: b.ls}
}

// net is a net of the given stages and units (first, last).
func net(stages []func(*build), units [][2]int, norm int, edits ...func(*model.Net)) *model.Net {
	n := &model.Net{File: "net.loco", Input: model.Shape{H: 7, W: 6, C: 3}}
	in := n.Input
	for s, f := range stages {
		b := newBuild(in)
		f(b)
		name := fmt.Sprintf("s%d", s+1)
		n.Stages = append(n.Stages, &model.Stage{Name: name, As: name, In: in, Out: b.at, Layers: b.ls, Tie: model.Shared})
		in = b.at
	}
	opt := model.Optimizer{Kind: "sgd", LR: 0.1, Momentum: 0.9, WeightDecay: 1e-2}
	for i, u := range units {
		n.Units = append(n.Units, &model.Unit{
			Name: fmt.Sprintf("u%d", i+1), First: u[0], Last: u[1], LR: 1,
			Loss: model.Loss{Temperature: 0.3 + 0.1*float64(i)}, Optimizer: opt,
			Decoder: proj(n.Stages[u[1]].Out, norm),
		})
	}
	n.Train = model.Train{Batch: 4, Microbatch: 4, Epochs: 1, Optimizer: opt}
	for _, e := range edits {
		e(n)
	}
	return n
}

// micro makes the batch three microbatches.
func micro(images int, batchLoss bool) func(*model.Net) {
	return func(n *model.Net) {
		n.Train.Batch, n.Train.Microbatch = 3*images, images
		for _, u := range n.Units {
			u.Loss.Batch = batchLoss
		}
		for _, w := range n.Watches {
			w.Loss.Batch = batchLoss
		}
	}
}

// upper makes a stage one that only its topmost unit trains.
func upper(stage int) func(*model.Net) {
	return func(n *model.Net) { n.Stages[stage].Tie = model.Upper }
}

// watch adds a watch on a stage.
func watch(stage, norm int) func(*model.Net) {
	return func(n *model.Net) {
		n.Watches = append(n.Watches, &model.Watch{
			Name: fmt.Sprintf("w%d", stage+1), Stage: stage,
			Decoder: proj(n.Stages[stage].Out, norm), Loss: model.Loss{Temperature: 0.25},
		})
	}
}

// copies makes a unit end below the stages that follow it, which it holds as
// copies before its decoder instead.
func copies(unit int, penalty float64, stages ...int) func(*model.Net) {
	return func(n *model.Net) {
		u := n.Units[unit]
		own := u.Decoder
		u.Decoder = model.Decoder{Name: own.Name, In: n.Stages[stages[0]].In, Out: own.Out}
		for _, s := range stages {
			st := n.Stages[s]
			copied := copyLayers(st.Layers)
			u.Decoder.Layers = append(u.Decoder.Layers, copied...)
			u.Decoder.Copied = append(u.Decoder.Copied, model.Copied{Stage: st.Name, Layers: len(copied)})
			n.Ties = append(n.Ties, model.Tie{Stage: st.Name, Lower: unit, Upper: unit + 1, Penalty: penalty})
		}
		tail := newBuild(n.Stages[stages[len(stages)-1]].Out)
		*tail.names = 90
		tail.pool(false, 0, 0, 0)
		tail.dense(own.Out)
		u.Decoder.Layers = append(u.Decoder.Layers, tail.ls...)
	}
}

func copyLayers(ls []*model.Layer) []*model.Layer {
	var out []*model.Layer
	for _, l := range ls {
		c := *l
		c.Branches = nil
		for _, b := range l.Branches {
			b.Layers = copyLayers(b.Layers)
			c.Branches = append(c.Branches, b)
		}
		out = append(out, &c)
	}
	return out
}

// cut makes two stages of one after its first layers, as first= does: both
// keep the label and the names of the written stage. The first unit ends on
// the first part; the others hold the rest too.
func cut(stage, layers int) func(*model.Net) {
	return func(n *model.Net) {
		whole := n.Stages[stage]
		head, rest := *whole, *whole
		head.Layers, rest.Layers = whole.Layers[:layers], whole.Layers[layers:]
		head.Out, rest.In = head.Layers[layers-1].Out, rest.Layers[0].In
		rest.Name, rest.Of = whole.Name+"+", whole.Name
		n.Stages = append(n.Stages[:stage], append([]*model.Stage{&head, &rest}, n.Stages[stage+1:]...)...)
		for i, u := range n.Units {
			if u.First > stage {
				u.First++
			}
			if i > 0 && u.Last >= stage {
				u.Last++
			}
		}
		n.Units[0].Decoder = proj(head.Out, 0)
	}
}

// optimizer sets that of all units, with a factor on the second unit's rate.
func optimizer(o model.Optimizer) func(*model.Net) {
	return func(n *model.Net) {
		for i, u := range n.Units {
			u.Optimizer = o
			u.LR = 1 - 0.25*float64(i)
		}
	}
}
