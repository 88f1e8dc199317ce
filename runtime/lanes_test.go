package runtime

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"testing"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/graphs/cpu"
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/graphs/device/devicetest"
	"github.com/locorun/locorun/runtime/metrics"
)

// late makes a backend whose lanes run late.
func late(t *testing.T, o devicetest.Options) *devicetest.Late {
	t.Helper()
	b := devicetest.New(onCPU(t, cpu.Options{Workers: 1}), o)
	t.Cleanup(func() { b.Close() })
	return b
}

// on trains a net on a backend and gives the bytes of the weights.
func on(t *testing.T, b device.Backend, net *model.Net, edit func(*Config)) ([]byte, error) {
	t.Helper()
	cfg := Config{Net: net, Backend: b, Depth: 1, Workers: 1}
	if edit != nil {
		edit(&cfg)
	}
	r := must(Prepare(cfg))(t)
	defer r.Close()
	res, err := r.Train(context.Background())
	if err != nil {
		return nil, err
	}
	return dump(res.Weights), nil
}

// lateKinds are the orders in which lanes may do their work.
func lateKinds() map[string]devicetest.Options {
	return map[string]devicetest.Options{
		"lazy":     {Order: devicetest.Lazy},
		"others":   {Order: devicetest.Others},
		"drawn":    {Order: devicetest.Drawn, Seed: 1},
		"recorded": {Order: devicetest.Drawn, Seed: 2, Records: true, Warm: 5},
	}
}

// TestLanesEqualOracle trains every variant on lanes that run late, and compares
// weights byte for byte.
func TestLanesEqualOracle(t *testing.T) {
	for name, make := range variants() {
		t.Run(name, func(t *testing.T) {
			want := dump(oracle(t, make(), false))
			batch := make().Units[0].Loss.Batch
			i := 0
			for kind, opt := range lateKinds() {
				for _, depth := range []int{1, 2, 8} {
					i++
					b := late(t, opt)
					recompute := batch && i%2 == 0
					got, err := on(t, b, make(), func(c *Config) { c.Depth, c.Recompute = depth, recompute })
					switch {
					case err != nil:
						t.Errorf("%s, depth %d: %v", kind, depth, err)
					case !bytes.Equal(got, want):
						t.Errorf("%s, depth %d, recompute %v: weights differ from the sequential executor's", kind, depth, recompute)
					case opt.Records && b.Replays.Load() == 0:
						t.Errorf("depth %d: nothing was replayed", depth)
					case b.Kept.Load() != 0:
						t.Errorf("%s, depth %d: %d recordings were not forgotten", kind, depth, b.Kept.Load())
					}
				}
			}
		})
	}
}

// TestLanesNeedWaits shows that the comparison sees waits that are left out.
func TestLanesNeedWaits(t *testing.T) {
	want := dump(oracle(t, tiny(4, pairs, nil), false))
	differ := false
	for _, order := range []devicetest.Order{devicetest.Lazy, devicetest.Others, devicetest.Drawn} {
		b := late(t, devicetest.Options{Order: order, Deaf: true})
		got, err := on(t, b, tiny(4, pairs, nil), func(c *Config) { c.Depth = 2 })
		differ = differ || err != nil || !bytes.Equal(got, want)
		if b.Waits.Load() == 0 {
			t.Error("nobody waited")
		}
	}
	if !differ {
		t.Error("lanes that do not wait give the same weights")
	}
}

// TestLanesAreTheUnits looks at which lanes a run asks for: one for each unit
// where they run side by side, one for all where they do not, and another for the
// readouts.
func TestLanesAreTheUnits(t *testing.T) {
	readouts := func(n *model.Net) {
		n.Readouts = []model.Readout{{
			Kind: "knn", On: []int{2}, KNN: model.KNN{K: 3, Temperature: 0.1},
			TestView: []model.View{{Kind: "resize", H: 12, P: 1}, {Kind: "centre", H: 12, W: 12, P: 1}},
		}}
	}
	for _, c := range []struct {
		depth int
		edit  func(*model.Net)
		want  []int
	}{
		{1, nil, []int{0}}, {2, nil, []int{0, 1, 2}}, {1, readouts, []int{0, 1}}, {2, readouts, []int{0, 1, 2, 3}},
	} {
		b := late(t, devicetest.Options{Order: devicetest.Drawn})
		if _, err := on(t, b, tiny(4, pairs, c.edit), func(cfg *Config) { cfg.Depth = c.depth }); err != nil {
			t.Fatal(err)
		}
		if got := b.Lanes(); !slices.Equal(got, c.want) {
			t.Errorf("depth %d: lanes %v, not %v", c.depth, got, c.want)
		}
	}
}

// TestLaunchRecordsNothing turns recording off.
func TestLaunchRecordsNothing(t *testing.T) {
	var all [2][]byte
	for i, launch := range []bool{false, true} {
		b := late(t, devicetest.Options{Records: true})
		var err error
		if all[i], err = on(t, b, tiny(4, pairs, nil), func(c *Config) { c.Launch = launch }); err != nil {
			t.Fatal(err)
		}
		if recorded := b.Recordings.Load() > 0; recorded == launch {
			t.Errorf("launch %v: recorded %v", launch, recorded)
		}
	}
	if !bytes.Equal(all[0], all[1]) {
		t.Error("recording changes the weights")
	}
}

// TestLanesKeepCounts compares what a run counts on lanes, recorded and not, with
// the plain backend.
func TestLanesKeepCounts(t *testing.T) {
	measure := func(b device.Backend) string {
		r := must(Prepare(Config{Net: tiny(4, pairs, nil), Backend: b, Depth: 2, Workers: 1}))(t)
		defer r.Close()
		res := must(r.Train(context.Background()))(t)
		return fmt.Sprint(b.Counted(), res.HighWater)
	}
	plain := onCPU(t, cpu.Options{Workers: 1})
	defer plain.Close()
	want := measure(plain)
	for kind, opt := range lateKinds() {
		if got := measure(late(t, opt)); got != want {
			t.Errorf("%s: %s, not %s", kind, got, want)
		}
	}
}

// TestDeviceSecondsByUnit reads the metrics of a run on lanes that measure, and of
// one on lanes that do not.
func TestDeviceSecondsByUnit(t *testing.T) {
	for _, c := range []struct {
		timed bool
		depth int
	}{{true, 1}, {true, 2}, {false, 1}, {false, 2}} {
		net := tiny(4, pairs, nil)
		set := metricsOf(net)
		b := late(t, devicetest.Options{Timed: c.timed})
		if _, err := on(t, b, net, func(cfg *Config) { cfg.Depth, cfg.Metrics = c.depth, set }); err != nil {
			t.Fatal(err)
		}
		page := httptest.NewRecorder()
		metrics.Handler(metrics.ServeOptions{Set: set}).ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		found := regexp.MustCompile(`(?m)^locorun_unit_device_seconds_total\{unit="u[123]"\} [0-9.e-]*[1-9]`).FindAllString(page.Body.String(), -1)
		if want := map[bool]int{true: 3, false: 0}[c.timed]; len(found) != want {
			t.Errorf("%+v: %q", c, found)
		}
	}
}
