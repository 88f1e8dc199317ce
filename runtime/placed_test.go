package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cpu"
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/graphs/device/devicetest"
)

// onTwo places every other unit of a net on a second backend, and closes both at
// the test's end.
func onTwo(t *testing.T, net *model.Net, a, b device.Backend) *device.Placed {
	t.Helper()
	places := []device.Place{{Device: "cpu:0", Backend: a}, {Device: "cpu:1", Backend: b}}
	for i, u := range net.Units {
		if i%2 == 0 {
			places[1].Units = append(places[1].Units, u.Name)
		}
	}
	p := must(device.NewPlaced(places))(t)
	t.Cleanup(func() { p.Close() })
	return p
}

// TestPlacedEqualsOracle trains every variant with its units on two backends, with
// lanes and without, lean and pipelined.
func TestPlacedEqualsOracle(t *testing.T) {
	for name, make := range variants() {
		t.Run(name, func(t *testing.T) {
			want := dump(oracle(t, make(), false))
			batch := make().Units[0].Loss.Batch
			host := func() device.Backend { return onCPU(t, cpu.Options{Workers: 1}) }
			lanes := func(o devicetest.Order) device.Backend {
				return devicetest.New(host(), devicetest.Options{Order: o, Records: true})
			}
			for kind, pair := range map[string][2]device.Backend{
				"plain": {host(), host()},
				"lanes": {lanes(devicetest.Lazy), lanes(devicetest.Drawn)},
				"mixed": {host(), lanes(devicetest.Others)},
			} {
				b := onTwo(t, make(), pair[0], pair[1])
				for _, depth := range []int{1, 2, 8} {
					recompute := batch && depth == 2
					got, err := on(t, b, make(), func(c *Config) { c.Depth, c.Recompute = depth, recompute })
					if err != nil || !bytes.Equal(got, want) {
						t.Errorf("%s, depth %d: weights differ from the sequential executor's, %v", kind, depth, err)
					}
				}
			}
		})
	}
}

// TestPlacedKeepsCounts compares what a run counts and touches on two backends with
// one.
func TestPlacedKeepsCounts(t *testing.T) {
	for _, depth := range []int{1, 2} {
		var all []string
		net := tiny(4, pairs, nil)
		one := onCPU(t, cpu.Options{Workers: 1})
		t.Cleanup(func() { one.Close() })
		two := onTwo(t, net, onCPU(t, cpu.Options{Workers: 1}), onCPU(t, cpu.Options{Workers: 1}))
		for _, b := range []device.Backend{one, two} {
			r := must(Prepare(Config{Net: net, Backend: b, Depth: depth, Workers: 1}))(t)
			res := must(r.Train(context.Background()))(t)
			if !maps.Equal(res.HighWater, res.Planned) {
				t.Errorf("%s: %v used, %v planned", b.Name(), res.HighWater, res.Planned)
			}
			all = append(all, fmt.Sprint(b.Counted(), res.HighWater))
			r.Close()
		}
		if all[0] != all[1] {
			t.Errorf("depth %d: %s on one, %s on two", depth, all[0], all[1])
		}
	}
}

// TestPlacedFindsWhatIsNotFinite poisons an op on the second backend: the search
// finds it there, in a pipelined run.
func TestPlacedFindsWhatIsNotFinite(t *testing.T) {
	net := tiny(4, pairs, func(n *model.Net) { n.Units[2].Optimizer.LR = 1e30 })
	for _, depth := range []int{1, 2} {
		b := onTwo(t, net, onCPU(t, cpu.Options{Workers: 1}), onCPU(t, cpu.Options{Workers: 1}))
		_, err := on(t, b, net, func(c *Config) { c.Depth = depth })
		var found *NotFinite
		if !errors.As(err, &found) || found.Unit != "u3" || !strings.Contains(found.Text, "s") {
			t.Errorf("depth %d: %v", depth, err)
		}
	}
}

// TestPlacedGoesOn stops a run on two backends, and goes on with a snapshot.
func TestPlacedGoesOn(t *testing.T) {
	net := func() *model.Net { return tiny(4, pairs, nil) }
	b := onTwo(t, net(), onCPU(t, cpu.Options{Workers: 1}), onCPU(t, cpu.Options{Workers: 1}))
	var snaps []*Snapshot
	want, err := on(t, b, net(), func(c *Config) {
		c.Depth = 2
		c.Checkpoints = Checkpointing{Every: 3, Save: func(s *Snapshot) error { snaps = append(snaps, s); return nil }}
	})
	if err != nil || len(snaps) < 2 {
		t.Fatalf("%d snapshots, %v", len(snaps), err)
	}
	r := must(Prepare(Config{Net: net(), Backend: b, Depth: 2, Workers: 1}))(t)
	defer r.Close()
	must(r.Resume(snaps[0]))(t)
	res := must(r.Train(context.Background()))(t)
	if !bytes.Equal(dump(res.Weights), want) {
		t.Error("other weights after going on")
	}
}

// TestPlacesAreMeant compares the facts of runs on one backend and on two.
func TestPlacesAreMeant(t *testing.T) {
	net := tiny(4, pairs, nil)
	b := onTwo(t, net, onCPU(t, cpu.Options{Workers: 1}), onCPU(t, cpu.Options{Workers: 1}))
	r := must(Prepare(Config{Net: net, Backend: b, Depth: 1}))(t)
	defer r.Close()
	one := device.First(b).Name()
	want := fmt.Sprintf("%s; u1 on %s, u3 on %s", one, one, one)
	if f := r.Meaning()[0]; f.Name != "device" || f.Value != want {
		t.Errorf("device %q, not %q", f.Value, want)
	}
	if got := DeviceKind(b); got != "cpu" {
		t.Errorf("kind %q", got)
	}
}

// tall is a backend with kernels of its own names, scratch and packs.
type tall struct{ device.Backend }

func (tall) ScratchBytes(op.Code, op.Attr, [][]int, [][]int) int64 { return 1000 }
func (tall) PackedBytes(op.Code, op.Attr, [][]int, [][]int) int64  { return 0 }
func (tall) KernelName(op.Code, op.Attr, [][]int, [][]int, op.Dtype) string {
	return "tall"
}

// TestKernelsOfPlaces asks each unit's own backend for names and scratch.
func TestKernelsOfPlaces(t *testing.T) {
	net := tiny(4, pairs, nil)
	plain := onCPU(t, cpu.Options{Workers: 1})
	b := onTwo(t, net, faceless{plain}, tall{onCPU(t, cpu.Options{Workers: 1})})
	for depth, want := range map[int]int64{1: 1000, 2: 2000} { // two units are on the second
		r := must(Prepare(Config{Net: net, Backend: b, Depth: depth}))(t)
		if got := KernelBytes(b, r.first); got != want {
			t.Errorf("depth %d: %d bytes, not %d", depth, got, want)
		}
		for _, k := range Kernels(b, []*ir.Program{r.first}) {
			if tall := slices.Contains([]string{"u1", "u3"}, k.Unit); (k.Kernel == "tall") != tall {
				t.Errorf("%s of %s is computed by %s", k.Op, k.Unit, k.Kernel)
			}
		}
		r.Close()
	}
}

// faceless hides what a backend knows of its kernels.
type faceless struct{ device.Backend }
