package lower

import (
	"math"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/model"
)

// layerParams are the persistent values of one layer. Absent ones are ir.None.
type layerParams struct {
	weight, bias   ir.ValueID // conv, dense; scale and shift of a norm
	mean, variance ir.ValueID // norm's running statistics
}

// paramsOf makes or finds the parameters of a layer at a site.
func (b *builder) paramsOf(s *site, l *model.Layer) *layerParams {
	if p := b.params[l]; p != nil {
		return p
	}
	p := &layerParams{weight: ir.None, bias: ir.None, mean: ir.None, variance: ir.None}
	switch l.Kind {
	case model.Conv:
		shape := []int{l.Out.C, l.KH, l.KW, l.In.C / max(l.Groups, 1)}
		fanOut := float64(l.Out.C * l.KH * l.KW)
		p.weight = b.param(s, l, ".weight", shape, ir.Init{Kind: "normal", Std: math.Sqrt(2 / fanOut)}, true)
		if l.Bias {
			fanIn := float64(shape[1] * shape[2] * shape[3])
			p.bias = b.param(s, l, ".bias", []int{l.Out.C}, ir.Init{Kind: "uniform", Std: 1 / math.Sqrt(fanIn)}, false)
		}
	case model.Dense:
		in := l.In.Elements()
		init := ir.Init{Kind: "uniform", Std: 1 / math.Sqrt(float64(in))}
		p.weight = b.param(s, l, ".weight", []int{l.Out.C, in}, init, true)
		p.bias = b.param(s, l, ".bias", []int{l.Out.C}, init, false)
	case model.Norm:
		c := []int{l.In.C}
		p.weight = b.param(s, l, ".weight", c, ir.Init{Kind: "constant", Std: 1}, false)
		p.bias = b.param(s, l, ".bias", c, ir.Init{Kind: "constant"}, false)
		if l.Groups == 0 {
			p.mean = b.statistic(s, l, ".running_mean", c, 0)
			p.variance = b.statistic(s, l, ".running_var", c, 1)
		}
	}
	b.params[l] = p
	return p
}

// param adds a trained parameter of layer l.
func (b *builder) param(s *site, l *model.Layer, suffix string, shape []int, init ir.Init, decay bool) ir.ValueID {
	name := b.layerName(s, l) + suffix
	v := b.value(ir.Value{Name: name, Kind: ir.Weight, Shape: shape, Unit: s.unit})
	init.Key = b.initKey(s, l, suffix)
	b.paramOf[v] = len(b.prog.Params)
	b.prog.Params = append(b.prog.Params, ir.Param{
		Name: name, Export: exportName(s, l, suffix), Stage: s.name, Layer: l.Name, Unit: s.unit,
		Kind: ir.Weight, Value: v, Grad: ir.None, Init: init, Decay: decay, Range: l.Range,
	})
	return v
}

// statistic adds a running statistic of layer l.
func (b *builder) statistic(s *site, l *model.Layer, suffix string, shape []int, start float64) ir.ValueID {
	name := b.layerName(s, l) + suffix
	v := b.value(ir.Value{Name: name, Kind: ir.Statistic, Shape: shape, Unit: s.unit})
	b.prog.Params = append(b.prog.Params, ir.Param{
		Name: name, Export: exportName(s, l, suffix), Stage: s.name, Layer: l.Name, Unit: s.unit,
		Kind: ir.Statistic, Value: v, Grad: ir.None, Init: ir.Init{Kind: "constant", Std: start}, Range: l.Range,
	})
	return v
}

// exportName is the name in exported files: decoders are not exported.
func exportName(s *site, l *model.Layer, suffix string) string {
	if s.stage == nil {
		return ""
	}
	return l.Export + suffix
}

// layerName names a layer with weights: "s1.0.conv1", "mid/proj.fc1", and in
// a copy of a stage "low/proj.s2.0.conv1", so that it is apart from the
// decoder's own layers and those of other copies.
func (b *builder) layerName(s *site, l *model.Layer) string {
	if stage := b.copied(s, l); stage != "" {
		return s.label + "." + stage + "." + l.Name
	}
	return s.label + "." + l.Name
}

// initKey keys the draws of a weight's start: a copy of a stage starts equal
// to the encoder's, so it shares the encoder's key.
func (b *builder) initKey(s *site, l *model.Layer, suffix string) string {
	if stage := b.copied(s, l); stage != "" {
		return stage + "." + l.Name + suffix
	}
	return s.label + "." + l.Name + suffix
}

// copied is the label of the stage that a site's layer is a copy of, or "".
func (b *builder) copied(s *site, l *model.Layer) string {
	if s.dec == nil {
		return ""
	}
	if stage := copiedFrom(s.dec, l); stage != "" {
		return b.stageLabel(stage)
	}
	return ""
}

// copiedFrom is the stage that a decoder's layer is a copy of, or "".
func copiedFrom(d *model.Decoder, l *model.Layer) string {
	i := 0
	for _, c := range d.Copied {
		for _, top := range d.Layers[i : i+c.Layers] {
			if contains(top, l) {
				return c.Stage
			}
		}
		i += c.Layers
	}
	return ""
}

func contains(tree, l *model.Layer) bool {
	if tree == l {
		return true
	}
	for _, br := range tree.Branches {
		for _, x := range br.Layers {
			if contains(x, l) {
				return true
			}
		}
	}
	return false
}
