package runtime

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/graphs/cpu"
)

// TestRunEqualsPlan holds a run to its plan: the operations that the kernels
// counted, tile by tile, and the highest byte of every space.
func TestRunEqualsPlan(t *testing.T) {
	for name, make := range variants() {
		for _, depth := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s depth %d", name, depth), func(t *testing.T) {
				net := make()
				b := onCPU(t, cpu.Options{})
				defer b.Close()
				r := must(Prepare(Config{Net: net, Backend: b, Depth: depth, Workers: 1}))(t)
				defer r.Close()
				res := must(r.Train(context.Background()))(t)
				plan := r.Plan() // its operations are those of a batch of every turn
				want := plan.FLOPs * int64(res.Batches/plan.Turns)
				if got := b.Counted(); got != want {
					t.Errorf("kernels counted %d operations, the plan %d", got, want)
				}
				for _, s := range ir.Spaces() {
					if res.HighWater[s] != res.Planned[s] {
						t.Errorf("%s: touched %d bytes, planned %d", s, res.HighWater[s], res.Planned[s])
					}
				}
			})
		}
	}
}

// large is a net whose memory is many times what a Go program takes anyway.
func large() *model.Net {
	return tiny(4, pairs, func(n *model.Net) {
		const side, wider = 144, 4
		n.Train.Batch, n.Train.Microbatch, n.Train.Epochs = 32, 32, 1
		n.Views[0].H, n.Views[0].W = side, side
		scale := func(s *model.Shape) {
			if s.H > 1 {
				s.H, s.W = s.H*side/12, s.W*side/12
			}
			if s.C > 3 {
				s.C *= wider
			}
		}
		scale(&n.Input)
		for _, s := range n.Stages {
			scale(&s.In)
			scale(&s.Out)
			for _, l := range s.Layers {
				scale(&l.In)
				scale(&l.Out)
			}
		}
		for _, u := range n.Units {
			scale(&u.Decoder.In)
			for _, l := range u.Decoder.Layers {
				scale(&l.In)
				scale(&l.Out)
			}
			u.Decoder.Out *= wider
		}
	})
}

// resident is the process's resident memory in bytes: now, and at its highest.
func resident(t *testing.T) (now, high int64) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc/self/status: resident memory is not read on this system")
	}
	for _, line := range strings.Split(string(text), "\n") {
		var kib int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kib); n == 1 {
			now = kib << 10
		}
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kib); n == 1 {
			high = kib << 10
		}
	}
	return now, high
}

// TestResidentMemoryIsPlanned trains in a process of its own and compares what
// it took above its start with the plan.
func TestResidentMemoryIsPlanned(t *testing.T) {
	if raced {
		t.Skip("the race detector's own memory would be counted")
	}
	if os.Getenv("LOCORUN_TEST_MEMORY") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestResidentMemoryIsPlanned$", "-test.v")
		cmd.Env = append(os.Environ(), "LOCORUN_TEST_MEMORY=1")
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	net := large()
	b := onCPU(t, cpu.Options{})
	defer b.Close()
	r := must(Prepare(Config{Net: net, Backend: b, Depth: 1, Workers: 0}))(t)
	defer r.Close()
	before, _ := resident(t)
	must(r.Train(context.Background()))(t)
	_, high := resident(t)
	plan := r.Plan().Memory.Total
	ratio := float64(high-before) / float64(plan)
	t.Logf("plan %d MiB, resident above the start %d MiB: %.3f", plan>>20, (high-before)>>20, ratio)
	if ratio < 0.85 || ratio > 1.1 {
		t.Errorf("resident memory is %.3f of the plan", ratio)
	}
}
