package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/internal/measure"
)

func TestParseShape(t *testing.T) {
	for _, c := range []struct {
		text   string
		want   measure.Conv
		reason string
	}{
		{"1,2,3,4,5,6,7,1", measure.Conv{N: 1, C: 2, H: 3, W: 4, K: 5, Window: 6, Stride: 7, Group: 1}, ""},
		{"1, 2, 3, 4, 6, 3, 2, 2", measure.Conv{N: 1, C: 2, H: 3, W: 4, K: 6, Window: 3, Stride: 2, Group: 2}, ""},
		{"1,2,3,4,5,3", measure.Conv{N: 1, C: 2, H: 3, W: 4, K: 5, Window: 3, Stride: 1, Group: 1}, ""},
		{"", measure.Conv{}, "1 numbers; want N,C,H,W,K,k"},
		{"1,2,3,4,5,6,7,8,9", measure.Conv{}, "9 numbers"},
		{"1,2,3,4,5,", measure.Conv{}, `"" is no number`},
		{"1,2,3,4,5,0", measure.Conv{}, "every number is at least 1"},
		{"1,2,3,4,5,99999999999999999999", measure.Conv{}, "is no number"},
	} {
		t.Run(c.text, func(t *testing.T) {
			got, err := parseShape(c.text)
			switch {
			case c.reason == "" && (err != nil || got != c.want):
				t.Errorf("%+v, %v, want %+v", got, err, c.want)
			case c.reason != "" && (err == nil || !strings.Contains(err.Error(), c.reason)):
				t.Errorf("error %v, want %q", err, c.reason)
			}
		})
	}
}

// TestDeviceOfBench refuses what is no device, and negative workers only where
// there are workers.
func TestDeviceOfBench(t *testing.T) {
	for _, c := range []struct {
		device  string
		workers int
		want    string
	}{
		{"gpu", 0, "--device gpu: write cpu, cuda, or cuda:N for card N"},
		{"cpu:0", 0, "--device cpu:0: write cpu, cuda, or cuda:N for card N"},
		{"cuda:x", 0, "--device cuda:x: write cpu, cuda, or cuda:N for card N"},
		{"cpu", -1, "--workers -1: a number of goroutines is not negative"},
	} {
		b, err := deviceFlags{backendFlags{tierFlag{"auto"}, c.workers}, c.device}.open(&Env{}, model.F32)
		if b != nil || err == nil || err.Error() != c.want {
			t.Errorf("--device %s: %v, %v", c.device, b, err)
		}
	}
	b, err := deviceFlags{backendFlags{tierFlag{"portable"}, 1}, "cpu"}.open(&Env{}, model.F32)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil || b.Name() != "cpu/portable" {
		t.Errorf("%s, %v", b.Name(), err)
	}
}

// TestRecut changes a copy only.
func TestRecut(t *testing.T) {
	net := &model.Net{
		Units:   []*model.Unit{{Loss: model.Loss{Batch: true}}},
		Watches: []*model.Watch{{Loss: model.Loss{Batch: true}}},
		Train:   model.Train{Batch: 12, Microbatch: 6},
	}
	for micro, want := range map[int]int{0: 6, 1: 1, 4: 4, 12: 12} {
		got, err := recut(net, micro)
		if err != nil || got.Train.Microbatch != want || net.Train.Microbatch != 6 {
			t.Errorf("microbatch %d: %v, %v, the net now has %d", micro, got, err, net.Train.Microbatch)
		}
	}
	for _, micro := range []int{-1, 5, 24} {
		if _, err := recut(net, micro); err == nil || !strings.Contains(err.Error(), "does not divide the batch of 12") {
			t.Errorf("microbatch %d: error %v", micro, err)
		}
	}
	net.Watches[0].Loss.Batch = false
	if _, err := recut(net, 1); err == nil || !strings.Contains(err.Error(), "without negatives") {
		t.Errorf("a watch over microbatches of 1: error %v", err)
	}
}

func TestTurnOf(t *testing.T) {
	net := &model.Net{File: "x.loco", Units: make([]*model.Unit, 3)}
	if k, err := turnOf(net, 1); k != 0 || err != nil {
		t.Errorf("together: turn %d, %v", k, err)
	}
	if _, err := turnOf(net, 0); err == nil || err.Error() != "--turn 0: the units of x.loco train together, in one turn" {
		t.Errorf("together, turn 0: error %v", err)
	}
	net.Train.InTurn = true
	if k, err := turnOf(net, 3); k != 2 || err != nil {
		t.Errorf("in turn: turn %d, %v", k, err)
	}
	if _, err := turnOf(net, 4); err == nil || err.Error() != "--turn 4: x.loco trains its units in 3 turns" {
		t.Errorf("in turn, turn 4: error %v", err)
	}
}

// TestMemoryRows looks at the cuts of e2e and at the command of a row.
func TestMemoryRows(t *testing.T) {
	c := &benchMemoryCmd{File: "x.loco", Define: map[string]string{"b": "2", "a": "1"}, Depth: 1, Steps: 2}
	c.Tier = "portable"
	rows := c.rows(&model.Net{Train: model.Train{Batch: 8, Microbatch: 8}})
	var names []string
	for _, r := range rows {
		names = append(names, r.Row)
	}
	if got := strings.Join(names, "; "); got != "loco; gim; e2e; e2e, microbatch 4; e2e, microbatch 4, recomputed" {
		t.Errorf("rows %s", got)
	}
	rows[4].turn = 1
	want := "bench step x.loco --json --method e2e --frames recomputed --microbatch 4 --turn 2 --depth 1 --steps 2 --warmup 0 --workers 0 --tier portable -D a=1 -D b=2"
	if got := strings.Join(c.args(&rows[4]), " "); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	c.Microbatch = 1
	for _, r := range c.rows(&model.Net{Train: model.Train{Batch: 8, Microbatch: 8}})[3:] {
		if r.Skipped != "a microbatch of 1 cannot be halved" || !strings.HasPrefix(r.Row, "e2e, microbatch halved") {
			t.Errorf("%+v", r)
		}
	}
}

// TestCompare leaves ratios to what is not known at 0.
func TestCompare(t *testing.T) {
	arena := func(n int64) map[string]int64 { return map[string]int64{"arena": n} }
	rows := []memoryRow{{Plan: arena(3), HighWater: arena(1), Most: 5}, {Plan: arena(6), HighWater: arena(2)}}
	compare(rows, 1)
	if r := rows[0]; r.ArenaRatio != 0.5 || r.UsedRatio != 0.5 || r.ResidentRatio != 0 {
		t.Errorf("%+v", r)
	}
}

func TestPrintTable(t *testing.T) {
	var b bytes.Buffer
	if err := printTable(&b, 1, [][]string{{"name", "n", "figure"}, {"a longer one", "10", "1"}, {"b", "-", ""}}); err != nil {
		t.Fatal(err)
	}
	want := "name           n  figure\na longer one  10       1\nb              -\n"
	if b.String() != want {
		t.Errorf("\n%s\nwant\n%s", b.String(), want)
	}
}
