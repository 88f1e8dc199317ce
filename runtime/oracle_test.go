package runtime

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"testing"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/graphs"
	"github.com/locorun/locorun/graphs/cpu"
	"github.com/locorun/locorun/runtime/optim"
)

// oracle trains without goroutines, channels or slots in flight: batch by
// batch, each step of the lean order for every microbatch, one after another.
// It is what the pipeline is held to, byte for byte.
func oracle(t *testing.T, net *model.Net, recompute bool) *Weights {
	t.Helper()
	b := onCPU(t, cpu.Options{Workers: 1})
	defer b.Close()
	r, err := Prepare(Config{Net: net, Backend: b, Depth: 1, Recompute: recompute})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w := must(r.initial())(t)
	for k := range r.turns() {
		p := must(lower.Train(net, lower.Options{Depth: 1, Recompute: recompute, Turn: turnOption(net, k)}))(t)
		g := must(build(p, b, graphs.Options{}, w))(t)
		loader := must(r.loader(p, 0))(t)
		o := &sequential{t: t, run: r, turn: k, p: p}
		o.task = func(task ir.Task, n int, lr float64, step int) { ok(t, g.RunTask(task, n, lr, step)) }
		o.feed = func(n int) {
			mb := must(loader.Next(context.Background()))(t)
			ok(t, g.Write(p.Units[0].In, n, mb.Pixels))
			loader.Release(mb)
		}
		for u := range p.Units {
			o.task(p.Units[u].Publish, 0, 0, 0)
		}
		for batch := range net.Train.Epochs * r.PerEpoch() {
			o.batch(batch)
		}
		w.replace(must(read(g, p, nil))(t))
		loader.Close()
		g.Close()
	}
	return w
}

func turnOption(net *model.Net, k int) int {
	if net.Train.InTurn {
		return k
	}
	return -1
}

type sequential struct {
	t    *testing.T
	run  *Run
	turn int
	p    *ir.Program
	task func(task ir.Task, n int, lr float64, step int)
	feed func(n int)
}

// batch runs the order: loops microbatch by microbatch, the rest once.
func (o *sequential) batch(batch int) {
	order := o.p.Order()
	for i := 0; i < len(order); {
		j, micros := i+1, 1
		for order[i].Loop >= 0 && j < len(order) && order[j].Loop == order[i].Loop {
			j++
		}
		if order[i].Loop >= 0 {
			micros = o.p.Micros
		}
		for m := range micros {
			n := batch*o.p.Micros + m
			for _, turn := range order[i:j] {
				u := &o.p.Units[turn.Unit]
				switch first := turn.Task[0]; {
				case turn.Unit == 0 && (same(turn.Task, u.Forward) || same(turn.Task, u.Embed)):
					o.feed(n)
					o.task(turn.Task, n, 0, 0)
				case turn.Loop < 0 && o.p.Segments[first].Phase == ir.PhaseUpdate:
					o.update(turn, batch)
				case turn.Loop < 0: // a loss over the batch
					o.task(turn.Task, (batch+1)*o.p.Micros-1, 0, 0)
				default:
					o.task(turn.Task, n, 0, 0)
				}
			}
		}
		i = j
	}
}

func (o *sequential) update(turn ir.Turn, batch int) {
	if same(turn.Task, o.p.Units[turn.Unit].Publish) {
		o.task(turn.Task, batch+1, 0, 0)
		return
	}
	net := o.run.net
	unit := turn.Unit
	if net.Train.InTurn {
		unit = o.turn
	}
	m := net.Units[unit]
	lr := optim.Rate(m.Schedule, m.Optimizer.LR, batch, o.run.PerEpoch(), net.Train.Epochs)
	o.task(turn.Task, batch, lr, batch+1)
}

func same(a, b ir.Task) bool { return len(a) > 0 && len(b) > 0 && a[0] == b[0] }

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// dump is the bytes of all weights, with their names.
func dump(w *Weights) []byte {
	var b bytes.Buffer
	for _, t := range w.Tensors {
		fmt.Fprintf(&b, "%s %v\n", t.Name, t.Shape)
		for _, v := range t.Data {
			binary.Write(&b, binary.LittleEndian, math.Float32bits(v))
		}
	}
	return b.Bytes()
}

// batchLoss takes every loss over the batch.
func batchLoss(n *model.Net) {
	for _, u := range n.Units {
		u.Loss.Batch = true
	}
}

// variants are the programs whose pipelines are compared with the oracle.
func variants() map[string]func() *model.Net {
	soft := func(penalty float64) func() *model.Net {
		return func() *model.Net {
			return tiny(3, [][2]int{{0, 0}, {1, 2}}, func(n *model.Net) {
				copied := *n.Stages[1]
				d := &n.Units[0].Decoder
				out := copied.Out
				var layers []*model.Layer
				for _, l := range copied.Layers {
					c := *l
					layers = append(layers, &c)
				}
				flat, emb := model.Shape{H: 1, W: 1, C: out.C}, model.Shape{H: 1, W: 1, C: 6}
				d.Layers = append(layers,
					&model.Layer{Kind: model.Pool, In: out, Out: flat},
					&model.Layer{Kind: model.Dense, Name: "fc1", In: flat, Out: emb})
				d.Copied = []model.Copied{{Stage: "s2", Layers: len(layers)}}
				n.Ties = []model.Tie{{Stage: "s2", Lower: 0, Upper: 1, Penalty: penalty}}
			})
		}
	}
	return map[string]func() *model.Net{
		"e2e":         func() *model.Net { return tiny(3, [][2]int{{0, 2}}, nil) },
		"gim":         func() *model.Net { return tiny(3, [][2]int{{0, 0}, {1, 1}, {2, 2}}, nil) },
		"loco":        func() *model.Net { return tiny(4, pairs, nil) },
		"loco batch":  func() *model.Net { return tiny(4, pairs, batchLoss) },
		"three":       func() *model.Net { return tiny(5, [][2]int{{0, 2}, {1, 3}, {2, 4}}, nil) },
		"three batch": func() *model.Net { return tiny(5, [][2]int{{0, 2}, {1, 3}, {2, 4}}, batchLoss) },
		"also":        func() *model.Net { return tiny(3, [][2]int{{0, 1}, {0, 1}, {1, 2}}, nil) },
		"upper":       func() *model.Net { return tiny(4, pairs, func(n *model.Net) { n.Stages[1].Tie = model.Upper }) },
		"soft":        soft(1e-2),
		"in turn": func() *model.Net {
			return tiny(3, [][2]int{{0, 0}, {1, 1}, {2, 2}}, func(n *model.Net) { n.Train.InTurn = true })
		},
	}
}

// TestPipelineEqualsOracle compares final weights byte for byte, whatever the
// threads, the depth, the loader's workers, and how frames are held.
func TestPipelineEqualsOracle(t *testing.T) {
	for name, make := range variants() {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && name != "loco" && name != "three batch" {
				t.SkipNow()
			}
			want := dump(oracle(t, make(), false))
			batch := make().Units[0].Loss.Batch
			for _, threads := range []int{1, 2, 4} {
				for _, depth := range []int{1, 2, 8} {
					for i, workers := range []int{0, 1, 4} {
						recompute := batch && (i+threads+depth)%2 == 0
						label := fmt.Sprintf("threads=%d depth=%d workers=%d recompute=%v", threads, depth, workers, recompute)
						old := runtime.GOMAXPROCS(threads)
						res := train(t, make(), func(c *Config) { c.Depth, c.Workers, c.Recompute = depth, workers, recompute })
						runtime.GOMAXPROCS(old)
						if !bytes.Equal(dump(res.Weights), want) {
							t.Errorf("%s: weights differ from the sequential executor's", label)
						}
					}
				}
			}
		})
	}
}

// TestOracleCanFail shows that the comparison sees a change of one bit of the
// seed.
func TestOracleCanFail(t *testing.T) {
	a := dump(oracle(t, tiny(3, [][2]int{{0, 1}, {1, 2}}, nil), false))
	b := dump(oracle(t, tiny(3, [][2]int{{0, 1}, {1, 2}}, func(n *model.Net) { n.Train.Seed = 2 }), false))
	if bytes.Equal(a, b) {
		t.Fatal("two seeds give the same weights")
	}
}
