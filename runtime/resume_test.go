package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/graphs/cpu"
)

// shelfOf keeps every snapshot that a run saves.
type shelfOf struct {
	mu    sync.Mutex
	snaps []*Snapshot
	fail  func(batch int) error
}

func (s *shelfOf) save(snap *Snapshot) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		if err := s.fail(snap.Weights.Batch); err != nil {
			return err
		}
	}
	s.snaps = append(s.snaps, snap)
	return nil
}

func (s *shelfOf) batches() (list []int) {
	for _, snap := range s.snaps {
		list = append(list, snap.Weights.Batch)
	}
	return list
}

// dumpAll is the bytes of a snapshot: weights, statistics, optimisers' state.
func dumpAll(s *Snapshot) []byte {
	w := s.Weights.clone()
	for _, t := range s.State {
		w.Add(t)
	}
	return append(dump(w), fmt.Sprint(s.Weights.Batch)...)
}

// optimisers are those that keep something between batches.
var optimisers = map[string]model.Optimizer{
	"momentum": {Kind: "sgd", LR: 0.05, Momentum: 0.9, WeightDecay: 1e-3},
	"lars":     {Kind: "lars", LR: 0.3, Momentum: 0.9, Trust: 0.001, Eps: 1e-8},
	"adamw":    {Kind: "adamw", LR: 1e-3, Betas: [2]float64{0.9, 0.99}, Eps: 1e-8, WeightDecay: 1e-2},
}

func optimised(n *model.Net, o model.Optimizer) *model.Net {
	n.Train.Optimizer = o
	for _, u := range n.Units {
		u.Optimizer = o
	}
	return n
}

// TestResumedEqualsWhole goes on from the snapshot of every batch, with another
// depth and other workers than the run that made it: what a run ends with,
// optimisers' state included, is the same bytes. With two orders of units that
// train in turn, with ties, with one loss per batch.
func TestResumedEqualsWhole(t *testing.T) {
	for name, make := range variants() {
		for kind, o := range optimisers {
			t.Run(name+" "+kind, func(t *testing.T) {
				if testing.Short() && (name != "in turn" && name != "soft" || kind == "lars") {
					t.SkipNow()
				}
				var whole shelfOf
				train(t, optimised(make(), o), func(c *Config) { c.Checkpoints = Checkpointing{Save: whole.save, Every: 1} })
				last := whole.snaps[len(whole.snaps)-1]
				for i, from := range whole.snaps {
					var rest shelfOf
					b := onCPU(t, cpu.Options{Workers: 1 + i%2})
					r := must(Prepare(Config{Net: optimised(make(), o), Backend: b, Depth: 1 + i%3, Workers: i % 3,
						Checkpoints: Checkpointing{Save: rest.save, Every: 2}}))(t)
					got := must(r.Resume(from))(t)
					if !got.Whole() || r.Done() != from.Weights.Batch {
						t.Errorf("after batch %d it goes on with %+v", from.Weights.Batch, got)
					}
					res := must(r.Train(context.Background()))(t)
					r.Close()
					b.Close()
					if res.Batches != last.Weights.Batch || !bytes.Equal(dump(res.Weights), dump(last.Weights)) {
						t.Errorf("after batch %d: the weights of batch %d differ from the whole run's", from.Weights.Batch, res.Batches)
					}
					if n := len(rest.snaps); n > 0 && !bytes.Equal(dumpAll(rest.snaps[n-1]), dumpAll(last)) {
						t.Errorf("after batch %d: the optimisers end with something else", from.Weights.Batch)
					}
				}
			})
		}
	}
}

// TestResumeNeedsState shows that the comparison sees what optimisers keep.
func TestResumeNeedsState(t *testing.T) {
	net := func() *model.Net { return optimised(tiny(3, [][2]int{{0, 1}, {1, 2}}, nil), optimisers["adamw"]) }
	var whole shelfOf
	want := train(t, net(), func(c *Config) { c.Checkpoints = Checkpointing{Save: whole.save, Every: 1} })
	b := onCPU(t, cpu.Options{})
	defer b.Close()
	r := must(Prepare(Config{Net: net(), Backend: b, Depth: 1}))(t)
	defer r.Close()
	got := must(r.Resume(&Snapshot{Weights: whole.snaps[1].Weights}))(t)
	if got.Whole() || !slices.Equal(got.Restart, []string{"s1", "s2", "s3", "u1/proj", "u2/proj"}) {
		t.Errorf("it goes on with %+v", got)
	}
	if res := must(r.Train(context.Background()))(t); bytes.Equal(dump(res.Weights), dump(want.Weights)) {
		t.Error("without the optimisers' state the weights are the same")
	}
}

// TestSavedWhenDue: by number, at the end of turns and of the run, each once.
func TestSavedWhenDue(t *testing.T) {
	inTurn := func() *model.Net {
		return tiny(3, [][2]int{{0, 0}, {1, 1}, {2, 2}}, func(n *model.Net) { n.Train.InTurn = true })
	}
	var all, some, ends, clock shelfOf
	train(t, inTurn(), func(c *Config) { c.Checkpoints = Checkpointing{Save: all.save, Every: 1} })
	n := len(all.snaps)
	for i, b := range all.batches() {
		if b != i+1 {
			t.Fatalf("saved after batches %v", all.batches())
		}
	}
	train(t, inTurn(), func(c *Config) { c.Checkpoints = Checkpointing{Save: some.save, Every: 4} })
	for _, b := range some.batches() {
		if b%4 != 0 && b%(n/3) != 0 {
			t.Errorf("every 4 batches, and turns of %d: saved after %v", n/3, some.batches())
		}
	}
	train(t, inTurn(), func(c *Config) { c.Checkpoints = Checkpointing{Save: ends.save} })
	if want := []int{n / 3, 2 * n / 3, n}; !slices.Equal(ends.batches(), want) {
		t.Errorf("saved after %v, want %v", ends.batches(), want)
	}
	train(t, tiny(3, pairs[:2], func(n *model.Net) { n.Train.Epochs = 200 }), func(c *Config) {
		c.Checkpoints = Checkpointing{Save: clock.save, After: 10 * time.Millisecond}
	})
	if len(clock.snaps) < 2 || !slices.IsSorted(clock.batches()) {
		t.Errorf("by the clock it was saved after %v", clock.batches())
	}
}

// TestSaveFails: training goes on, and the result says so where the last
// snapshot is lost. A panic is a failure.
func TestSaveFails(t *testing.T) {
	full := errors.New("no space left on device")
	for _, c := range []struct {
		name string
		fail func(batch int) error
		want string
	}{
		{"first", func(b int) error { return map[bool]error{true: full}[b == 1] }, ""},
		{"always", func(int) error { return full }, "no space left on device"},
		{"panic", func(int) error { panic("planted") }, "panic: planted"},
	} {
		s := shelfOf{fail: c.fail}
		res := train(t, tiny(3, pairs[:2], nil), func(cfg *Config) { cfg.Checkpoints = Checkpointing{Save: s.save, Every: 1} })
		if got := fmt.Sprint(res.Unsaved); !res.Trained || (res.Unsaved == nil) != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %v", c.name, res.Unsaved)
		}
	}
}

// TestSlowSave: a run holds two snapshots at most, however slow the disk is.
func TestSlowSave(t *testing.T) {
	var mu sync.Mutex
	held, most := 0, 0
	step := func(by int) {
		mu.Lock()
		held += by
		most = max(most, held)
		mu.Unlock()
	}
	train(t, tiny(3, pairs[:2], nil), func(c *Config) {
		c.Checkpoints = Checkpointing{Every: 1, Save: func(*Snapshot) error {
			step(1)
			time.Sleep(5 * time.Millisecond)
			step(-1)
			return nil
		}}
	})
	if most != 1 {
		t.Errorf("%d snapshots are saved at once", most)
	}
}

// TestRecut goes on in another cut: stages go on with their optimisers, decoders
// of the same name and shape too; the rest starts, and is named.
func TestRecut(t *testing.T) {
	var s shelfOf
	train(t, optimised(tiny(3, [][2]int{{0, 1}, {1, 2}}, nil), optimisers["momentum"]), func(c *Config) {
		c.Checkpoints = Checkpointing{Save: s.save, Every: 1}
	})
	b := onCPU(t, cpu.Options{})
	defer b.Close()
	r := must(Prepare(Config{Net: optimised(tiny(3, [][2]int{{0, 2}}, nil), optimisers["momentum"]), Backend: b, Depth: 1}))(t)
	defer r.Close()
	got := must(r.Resume(s.snaps[2]))(t)
	if !slices.Equal(got.Taken, []string{"s1", "s2", "s3", "u1/proj"}) && !slices.Equal(got.Taken, []string{"s1", "s2", "s3"}) {
		t.Errorf("taken are %v", got.Taken)
	}
	if !slices.Contains(got.Unused, "u2/proj") || len(got.Restart) > 0 {
		t.Errorf("%+v", got)
	}
	if res := must(r.Train(context.Background()))(t); res.Batches != r.Batches() {
		t.Errorf("it ends after %d batches of %d", res.Batches, r.Batches())
	}
}

// TestResumeRefuses a snapshot from beyond the run's end.
func TestResumeRefuses(t *testing.T) {
	b := onCPU(t, cpu.Options{})
	defer b.Close()
	r := must(Prepare(Config{Net: tiny(3, pairs[:2], nil), Backend: b, Depth: 1}))(t)
	defer r.Close()
	_, err := r.Resume(&Snapshot{Weights: &Weights{Batch: r.Batches() + 1}})
	if want := fmt.Sprintf("it was saved after batch %d, and the run has %d", r.Batches()+1, r.Batches()); err == nil || err.Error() != want {
		t.Errorf("the error is %v, want %s", err, want)
	}
}

// TestSnapshotsAreFinite: an update that overflows ends the run before anything
// of it is saved.
func TestSnapshotsAreFinite(t *testing.T) {
	var s shelfOf
	net := optimised(tiny(3, pairs[:2], nil), model.Optimizer{Kind: "sgd", LR: 1e39})
	_, err := attempt(t, net, func(c *Config) { c.Checkpoints = Checkpointing{Save: s.save, Every: 1} })
	if err == nil || !strings.Contains(err.Error(), "snapshot after batch 0: the update made ") || !strings.HasSuffix(err.Error(), "; lower the learning rate") {
		t.Errorf("the error is %v", err)
	}
	if len(s.snaps) > 0 {
		t.Errorf("saved after batches %v", s.batches())
	}
}

// TestMeaning: each change of a program that changes bytes is named, and no
// other is.
func TestMeaning(t *testing.T) {
	facts := func(net *model.Net) []Fact {
		b := onCPU(t, cpu.Options{})
		defer b.Close()
		r := must(Prepare(Config{Net: net, Backend: b, Depth: 1}))(t)
		defer r.Close()
		return r.Meaning()
	}
	base := func(change func(*model.Net)) *model.Net { return tiny(3, [][2]int{{0, 1}, {1, 2}}, change) }
	was := facts(base(nil))
	for name, c := range map[string]struct {
		change func(*model.Net)
		want   []string
		cut    bool
	}{
		"nothing":  {func(*model.Net) {}, nil, false},
		"on_nan":   {func(n *model.Net) { n.Train.OnNaN, n.Units[0].OnNaN = "skip", "skip" }, nil, false},
		"readouts": {readouts, nil, false},
		"seed":     {func(n *model.Net) { n.Train.Seed++ }, []string{"train.seed"}, false},
		"batch":    {func(n *model.Net) { n.Train.Batch *= 2 }, []string{"train.batch"}, false},
		"stage":    {func(n *model.Net) { n.Stages[1].Layers[0].Bias = true }, []string{"stage s2"}, false},
		"loss":     {func(n *model.Net) { n.Units[1].Loss.Temperature = 0.25 }, []string{"unit u2"}, true},
		"views":    {func(n *model.Net) { n.Views = n.Views[1:] }, []string{"views"}, false},
		"tf32":     {func(n *model.Net) { n.Train.Precision = model.TF32 }, []string{"train.precision"}, false},
		"bf16":     {func(n *model.Net) { n.Train.Precision = model.BF16 }, []string{"train.precision"}, false},
		"data":     {func(n *model.Net) { n.Data.Images.N++ }, []string{"data.images", "data.normalise"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			net := base(c.change)
			var got []string
			for _, d := range Differences(was, facts(net)) {
				got = append(got, d.Name)
				if d.Cut != c.cut {
					t.Errorf("%s: cut is %v", d.Name, d.Cut)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("differences are %q, want %q", got, c.want)
			}
			if same := Fingerprint(was) == Fingerprint(facts(base(c.change))); same != (len(c.want) == 0) {
				t.Errorf("the fingerprint is the same: %v", same)
			}
		})
	}
}
