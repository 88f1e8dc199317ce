package check

import (
	"fmt"
	"strings"

	"github.com/locorun/locorun/compiler/model"
)

// dump prints a model compactly: a line per thing, layers with their shapes
// and names, runs of settings without their places.
func dump(n *model.Net) string {
	d := &dumper{}
	d.line(0, "method %s input %s", n.Method, shown(n.Input))
	for _, p := range n.Params {
		d.line(0, "param %s = %s", p.Name, p.Value)
	}
	d.data(n.Data)
	d.views("views", n.Views)
	for i, s := range n.Stages {
		d.line(0, "stage %d %s as %s of=%q tie=%s overlap=%t %s -> %s", i, s.Name, s.As, s.Of, s.Tie, !s.Overlap.IsZero(), shown(s.In), shown(s.Out))
		d.layers(1, s.Layers)
	}
	for i, u := range n.Units {
		d.line(0, "unit %d %s stages %d..%d loss %s lr %g %s", i, u.Name, u.First, u.Last, lossText(u.Loss), u.LR, guardsText(u.OnNaN, u.OnDivergence, u.OnCollapse))
		d.line(1, "%s; %s", optimizerText(u.Optimizer), scheduleText(u.Schedule))
		d.decoder(u.Decoder)
	}
	for _, w := range n.Watches {
		d.line(0, "watch %s stage %d loss %s", w.Name, w.Stage, lossText(w.Loss))
		d.decoder(w.Decoder)
	}
	for _, t := range n.Ties {
		d.line(0, "tie %s units %d, %d penalty %g", t.Stage, t.Lower, t.Upper, t.Penalty)
	}
	t := n.Train
	d.line(0, "train batch %d/%d epochs %d seed %d in_turn=%t %s loss %s", t.Batch, t.Microbatch, t.Epochs, t.Seed, t.InTurn, guardsText(t.OnNaN, t.OnDivergence, t.OnCollapse), lossText(t.Loss))
	if t.Precision != model.F32 {
		d.line(1, "precision %s", t.Precision)
	}
	d.line(1, "%s; %s", optimizerText(t.Optimizer), scheduleText(t.Schedule))
	for _, r := range n.Readouts {
		d.line(0, "readout %s on %v every %d standardise=%t linear %v knn %v", r.Kind, r.On, r.Every, r.Standardise, r.Linear, r.KNN)
		d.views("train_view", r.TrainView)
		d.views("test_view", r.TestView)
	}
	return d.String()
}

// guardsText leaves out what is as by default.
func guardsText(nan, divergence, collapse string) string {
	text := "on_nan " + nan
	if divergence != "warn" || collapse != "warn" {
		text += " on_divergence " + divergence + " on_collapse " + collapse
	}
	return text
}

type dumper struct{ strings.Builder }

func (d *dumper) line(depth int, format string, a ...any) {
	fmt.Fprintf(d, strings.Repeat("  ", depth)+format+"\n", a...)
}

func (d *dumper) data(x model.Data) {
	d.line(0, "data channels %d normalise %s %v %v", x.Channels, x.Normalise.Kind, x.Normalise.Mean, x.Normalise.Std)
	d.line(1, "images %s", sourceText(x.Images))
	d.line(1, "train %s", sourceText(x.Train))
	d.line(1, "test %s", sourceText(x.Test))
}

func sourceText(s *model.Source) string {
	if s == nil {
		return "none"
	}
	if s.Kind == "split" {
		return fmt.Sprintf("split %s %g of (%s)", s.Part, s.Fraction, sourceText(s.Of))
	}
	return strings.TrimSpace(fmt.Sprintf("%s %q %s n=%d classes=%d size=%v seed=%d known=%s", s.Kind, s.Paths, s.Part, s.N, s.Classes, s.Size, s.Seed, shown(s.Known)))
}

func (d *dumper) views(what string, views []model.View) {
	var parts []string
	for _, v := range views {
		p := v.Kind
		switch {
		case v.W > 0:
			p += fmt.Sprintf(" %dx%d", v.H, v.W)
		case v.H > 0:
			p += fmt.Sprintf(" %d", v.H)
		}
		if v.Kind == "crop" {
			p += fmt.Sprintf(" scale=%.3g..%.3g ratio=%.3g..%.3g", v.Scale[0], v.Scale[1], v.Ratio[0], v.Ratio[1])
		}
		if v.Kind == "jitter" {
			p += fmt.Sprintf(" %g %g %g %g", v.Brightness, v.Contrast, v.Saturation, v.Hue)
		}
		if v.Kind == "blur" {
			p += fmt.Sprintf(" %g..%g", v.Sigma[0], v.Sigma[1])
		}
		if v.P != 1 {
			p += fmt.Sprintf(" p=%g", v.P)
		}
		parts = append(parts, p)
	}
	d.line(0, "%s [%s]", what, strings.Join(parts, "; "))
}

func (d *dumper) layers(depth int, layers []*model.Layer) {
	for _, l := range layers {
		text := string(l.Kind)
		if l.KH > 0 {
			text += fmt.Sprintf(" %dx%d/%d+%d", l.KH, l.KW, l.Stride, l.Pad)
		}
		if l.Groups > 0 && (l.Kind != model.Conv || l.Groups != 1) {
			text += fmt.Sprintf(" groups=%d", l.Groups)
		}
		if l.Max {
			text += " max"
		}
		if l.Bias {
			text += " bias"
		}
		text += " " + shown(l.Out)
		if l.Name != "" {
			text += " " + l.Name
		}
		if l.Export != "" {
			text += " = " + l.Export
		}
		d.line(depth, "%s", text)
		for i, b := range l.Branches {
			d.line(depth+1, "branch %d %s -> %s", i, shown(b.In), shown(b.Out))
			d.layers(depth+2, b.Layers)
		}
	}
}

func (d *dumper) decoder(x model.Decoder) {
	d.line(1, "decoder %s %s -> %d copied %v", x.Name, shown(x.In), x.Out, x.Copied)
	d.layers(2, x.Layers)
}

func lossText(l model.Loss) string { return fmt.Sprintf("%g batch=%t", l.Temperature, l.Batch) }

func optimizerText(o model.Optimizer) string {
	return fmt.Sprintf("%s lr=%g momentum=%g decay=%g trust=%g betas=%v eps=%g nesterov=%t", o.Kind, o.LR, o.Momentum, o.WeightDecay, o.Trust, o.Betas, o.Eps, o.Nesterov)
}

func scheduleText(s model.Schedule) string { return fmt.Sprintf("%s warmup=%g", s.Kind, s.Warmup) }
