package runtime

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/graphs/cpu"
)

// tiny is a net of small stages on drawn shapes, with the given units.
func tiny(stages int, units [][2]int, edit func(*model.Net)) *model.Net {
	net := &model.Net{File: "tiny.loco", Method: "loco", Input: model.Shape{H: 12, W: 12, C: 3}}
	data := func(seed uint64, n int) *model.Source {
		return &model.Source{Kind: "synthetic", N: n, Classes: 4, Size: [2]int{12, 12}, Seed: seed, Known: model.Shape{H: 12, W: 12, C: 3}}
	}
	net.Data = model.Data{Train: data(1, 40), Test: data(2, 24), Normalise: model.Normalise{Kind: "auto"}}
	net.Data.Images = net.Data.Train
	net.Views = []model.View{
		{Kind: "crop", H: 12, W: 12, Scale: [2]float64{0.4, 1}, Ratio: [2]float64{0.75, 1.33}, P: 1},
		{Kind: "flip", P: 0.5},
		{Kind: "jitter", Brightness: 0.4, Contrast: 0.4, Saturation: 0.4, Hue: 0.1, P: 0.8},
	}
	in := net.Input
	for s := range stages {
		st := &model.Stage{Name: fmt.Sprintf("s%d", s+1), In: in, Tie: model.Shared}
		st.As = st.Name
		stride := 1
		if s < 2 {
			stride = 2
		}
		out := model.Shape{H: in.H / stride, W: in.W / stride, C: 4 + 2*s}
		st.Layers = []*model.Layer{
			{Kind: model.Conv, Name: "conv1", Export: st.Name + ".conv1", In: in, Out: out, KH: 3, KW: 3, Stride: stride, Pad: 1, Groups: 1},
			{Kind: model.Norm, Name: "bn1", Export: st.Name + ".bn1", In: out, Out: out},
			{Kind: model.ReLU, In: out, Out: out},
		}
		st.Out, in = out, out
		net.Stages = append(net.Stages, st)
	}
	loss := model.Loss{Temperature: 0.5}
	opt := model.Optimizer{Kind: "sgd", LR: 0.05, Momentum: 0.9}
	sched := model.Schedule{Kind: "cosine"}
	for i, u := range units {
		top := net.Stages[u[1]].Out
		flat, emb := model.Shape{H: 1, W: 1, C: top.C}, model.Shape{H: 1, W: 1, C: 6}
		net.Units = append(net.Units, &model.Unit{
			Name: fmt.Sprintf("u%d", i+1), First: u[0], Last: u[1], LR: 1, Loss: loss, Optimizer: opt, Schedule: sched, OnNaN: "stop",
			Decoder: model.Decoder{Name: "proj", In: top, Out: 6, Layers: []*model.Layer{
				{Kind: model.Pool, In: top, Out: flat},
				{Kind: model.Dense, Name: "fc1", In: flat, Out: emb},
			}},
		})
	}
	net.Train = model.Train{Batch: 8, Microbatch: 4, Epochs: 2, Seed: 1, Loss: loss, Optimizer: opt, Schedule: sched}
	if edit != nil {
		edit(net)
	}
	return net
}

var pairs = [][2]int{{0, 1}, {1, 2}, {2, 3}}

func train(t *testing.T, net *model.Net, edit func(*Config)) *Result {
	t.Helper()
	b := onCPU(t, cpu.Options{})
	defer b.Close()
	cfg := Config{Net: net, Backend: b, Depth: 1, Workers: 1}
	if edit != nil {
		edit(&cfg)
	}
	r, err := Prepare(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	res, err := r.Train(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestTrains(t *testing.T) {
	var losses []float64
	res := train(t, tiny(4, pairs, nil), func(c *Config) {
		c.Events.Batch = func(r BatchReport) {
			if r.Unit == "u3" {
				losses = append(losses, r.Losses[0].Loss)
			}
		}
	})
	if res.Batches != 10 || len(losses) != 10 {
		t.Fatalf("%d batches, %d reports", res.Batches, len(losses))
	}
	t.Log(losses)
}

func TestPrepareRefuses(t *testing.T) {
	few := tiny(2, [][2]int{{0, 1}}, func(n *model.Net) { n.Train.Batch, n.Train.Microbatch = 41, 41 })
	_, err := attempt(t, few, nil)
	if err == nil || !strings.HasSuffix(err.Error(), "40 images are less than one batch of 41; lower `batch` or name more images") {
		t.Errorf("the error is %v", err)
	}
	for _, edit := range []func(*Config){
		func(c *Config) { c.Depth = 0 }, func(c *Config) { c.Workers = -1 }, func(c *Config) { c.Stall = -1 },
	} {
		if _, err := attempt(t, tiny(2, [][2]int{{0, 1}}, nil), edit); err == nil || !strings.Contains(err.Error(), "depth is at least 1, the others are not negative") {
			t.Errorf("the error is %v", err)
		}
	}
}
