package metrics

import (
	"bytes"
	"errors"
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

func options(units int) Options {
	o := Options{
		Readouts: []string{"linear", "knn"},
		Devices:  []string{"cpu"},
		Build:    Build{Version: "v0.1.0", Revision: "abc", GoVersion: "go1.26"},
		Run:      RunInfo{Graph: "graph.loco", Method: "loco", Fingerprint: "f00d"},
		Now:      func() time.Time { return time.Unix(1_700_000_000, 0) },
	}
	for i := range units {
		o.Units = append(o.Units, "u"+string(rune('a'+i)))
	}
	for i := range units + 1 {
		o.Stages = append(o.Stages, "s"+string(rune('a'+i)))
	}
	return o
}

// report tells a set everything it can be told, for every announced name.
func report(s *Set, o Options) {
	for _, u := range append(slices.Clone(o.Units), o.Watches...) {
		s.Loss(u, 4.25)
		s.EmbeddingStd(u, 0.75)
		s.EffectiveRank(u, 33)
		s.LearningRate(u, 0.3)
		s.GradientNorm(u, 1.5)
	}
	for _, u := range o.Units {
		s.Microbatch(u, 64)
		for _, p := range phases() {
			s.Step(u, Phase(p), 0.125)
		}
		for _, r := range reasons() {
			s.Wait(u, Reason(r), 0.5)
		}
		s.Device(u, 0.25)
	}
	for _, st := range o.Stages {
		s.StageWeightNorm(st, 10)
		s.StageGradientCosine(st, 0.5)
		for _, u := range o.Units {
			s.StageGradientNorm(st, u, 2)
		}
		for _, r := range o.Readouts {
			s.Readout(r, st, Trained, 0.8)
			s.Readout(r, st, Random, 0.4)
		}
	}
	for _, r := range o.Readouts {
		s.Readout(r, "", Pixels, 0.3)
	}
	for _, d := range o.Devices {
		s.Memory(d, Planned, 1<<30)
		s.Memory(d, Used, 1<<29)
		s.Memory(d, Occupied, 1<<31)
		s.Memory(d, Total, 1<<32)
		s.Utilisation(d, 0.75, 0.5)
	}
	s.Images(256)
	s.FLOPs(1e12)
	s.PeakFLOPs(1e11)
	s.Checkpoint(nil)
	s.CheckpointStep(40)
	s.Resumed(20)
	s.Checkpoint(errors.New("disk full"))
	s.LastStep()
	s.Error("data")
}

func gather(t *testing.T, s *Set) []*dto.MetricFamily {
	t.Helper()
	fs, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

func sets(fs []*dto.MetricFamily) int {
	n := 0
	for _, f := range fs {
		n += len(f.GetMetric())
	}
	return n
}

// exported gives one metric's text lines, without comments.
func exported(t *testing.T, s *Set, prefix string) []string {
	t.Helper()
	var out []string
	for _, line := range strings.Split(text(t, s, expfmt.NewFormat(expfmt.TypeTextPlain)), "\n") {
		if strings.HasPrefix(line, prefix) {
			out = append(out, line)
		}
	}
	return out
}

func text(t *testing.T, s *Set, format expfmt.Format) string {
	t.Helper()
	var b bytes.Buffer
	enc := expfmt.NewEncoder(&b, format)
	for _, f := range gather(t, s) {
		if err := enc.Encode(f); err != nil {
			t.Fatal(err)
		}
	}
	if c, ok := enc.(expfmt.Closer); ok {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func TestEveryRowIsExported(t *testing.T) {
	o := options(3)
	o.Channels = []Channel{{Name: "ua-ub", Capacity: 2, Length: func() int { return 1 }}}
	s := New(o)
	report(s, o)
	got := map[string]string{}
	for _, f := range gather(t, s) {
		got[f.GetName()] = f.GetHelp()
	}
	for _, row := range Rows() {
		help, ok := got[Prefix+row.Name]
		if !ok || help != row.Help {
			t.Errorf("%s: exported %v with help %q, want %q", row.Name, ok, help, row.Help)
		}
	}
	if len(got) != len(Rows()) {
		t.Errorf("%d metrics are exported, the table has %d", len(got), len(Rows()))
	}
	if e := exported(t, s, `locorun_errors_total{kind="metrics"}`); !slices.Equal(e, []string{`locorun_errors_total{kind="metrics"} 0`}) {
		t.Errorf("a report went wrong: %v", e)
	}
}

func TestReportsReachTheirSeries(t *testing.T) {
	o := options(2)
	o.Watches = []string{"stem"}
	s := New(o)
	report(s, o)
	for _, want := range []string{
		`locorun_unit_loss{unit="ua"} 4.25`,
		`locorun_unit_loss{unit="stem"} 4.25`,
		`locorun_unit_microbatches_total{unit="ub"} 1`,
		`locorun_unit_images_total{unit="ub"} 64`,
		`locorun_unit_wait_seconds_total{reason="gradient",unit="ua"} 0.5`,
		`locorun_unit_device_seconds_total{unit="ua"} 0.25`,
		`locorun_unit_step_seconds_sum{phase="sweep",unit="ua"} 0.125`,
		`locorun_unit_step_seconds_bucket{phase="sweep",unit="ua",le="0.3"} 1`,
		`locorun_stage_gradient_norm{stage="sb",unit="ub"} 2`,
		`locorun_readout_accuracy_ratio{encoder="random",readout="knn",stage="sc"} 0.4`,
		`locorun_readout_accuracy_ratio{encoder="pixels",readout="knn",stage=""} 0.3`,
		`locorun_memory_bytes{device="cpu",kind="planned"} 1.073741824e+09`,
		`locorun_images_total 256`,
		`locorun_errors_total{kind="data"} 1`,
		`locorun_errors_total{kind="checkpoint"} 1`,
		`locorun_checkpoint_failures_total 1`,
		`locorun_checkpoint_last_step 40`,
		`locorun_resumed_from_step 20`,
		`locorun_errors_total{kind="divergence"} 0`,
		`locorun_errors_total{kind="collapse"} 0`,
		`locorun_scrapes_total{result="gathered"} 0`,
		`locorun_scrapes_total{result="cached"} 0`,
		`locorun_scrapes_total{result="refused"} 0`,
		`locorun_last_step_timestamp_seconds 1.7e+09`,
		`locorun_run_info{fingerprint="f00d",graph="graph.loco",method="loco"} 1`,
	} {
		if got := exported(t, s, want); len(got) != 1 {
			t.Errorf("no line %s", want)
		}
	}
}

func TestNativeBuckets(t *testing.T) {
	o := options(1)
	s := New(o)
	report(s, o)
	for _, f := range gather(t, s) {
		if f.GetName() == Prefix+unitStep && f.GetMetric()[0].GetHistogram().Schema == nil {
			t.Error("unit_step_seconds has no native buckets")
		}
	}
}

func TestLint(t *testing.T) {
	o := options(3)
	o.Channels = []Channel{{Name: "ua-ub", Capacity: 2}}
	s := New(o)
	report(s, o)
	problems, err := testutil.GatherAndLint(s.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestLimit reports all there is for wide and deep programs, with stages,
// readouts, watches and channels far beyond any share.
func TestLimit(t *testing.T) {
	for _, units := range []int{0, 1, 3, 16, 50} {
		o := options(units)
		for i := range 200 {
			name := strings.Repeat("x", i+1)
			o.Watches = append(o.Watches, "w"+name)
			o.Stages = append(o.Stages, "s"+name)
			o.Devices = append(o.Devices, "d"+name)
			o.Channels = append(o.Channels, Channel{Name: "c" + name, Capacity: 1})
		}
		s := New(o)
		report(s, o)
		report(s, o)
		if n := sets(gather(t, s)); n > Limit(units) {
			t.Errorf("%d units: %d label sets, at most %d are allowed", units, n, Limit(units))
		}
	}
}

// TestOrdinaryRunFits: nothing of a usual program is dropped.
func TestOrdinaryRunFits(t *testing.T) {
	o := options(3)
	o.Watches = []string{"stem"}
	for range 10 {
		o.Channels = append(o.Channels, Channel{Name: "c" + string(rune('a'+len(o.Channels)))})
	}
	s := New(o)
	report(s, o)
	want := `locorun_errors_total{kind="metrics"} 0`
	if got := exported(t, s, `locorun_errors_total{kind="metrics"}`); got[0] != want {
		t.Errorf("got %s, want %s", got[0], want)
	}
}

func TestWrongReportsAreDroppedAndCounted(t *testing.T) {
	tests := []struct {
		name   string
		report func(*Set)
	}{
		{"unknown unit", func(s *Set) { s.Loss("nobody", 1) }},
		{"unknown phase", func(s *Set) { s.Step("ua", "rest", 1) }},
		{"unknown reason", func(s *Set) { s.Wait("ua", "boredom", 1) }},
		{"unknown stage", func(s *Set) { s.StageWeightNorm("nowhere", 1) }},
		{"unknown readout", func(s *Set) { s.Readout("svm", "sa", Trained, 1) }},
		{"unknown encoder", func(s *Set) { s.Readout("knn", "sa", "other", 1) }},
		{"unknown device", func(s *Set) { s.Memory("tpu", Used, 1) }},
		{"unknown kind of memory", func(s *Set) { s.Memory("cpu", "wished", 1) }},
		{"counter down", func(s *Set) { s.Wait("ua", Data, -1) }},
		{"counter not a number", func(s *Set) { s.Wait("ua", Data, math.NaN()) }},
		{"two channels of a name", func(s *Set) { s.SetChannels([]Channel{{Name: "c"}, {Name: "c"}}) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := New(options(1))
			before := sets(gather(t, s))
			tt.report(s)
			s.SetChannels(nil)
			if n := sets(gather(t, s)); n != before {
				t.Errorf("%d label sets after the report, %d before", n, before)
			}
			if got := exported(t, s, `locorun_errors_total{kind="metrics"} 1`); len(got) != 1 {
				t.Errorf("the report was not counted as an error")
			}
		})
	}
}

func TestUnknownErrorIsOther(t *testing.T) {
	s := New(options(1))
	s.Error("a/path/of/a/file")
	if got := exported(t, s, `locorun_errors_total{kind="other"} 1`); len(got) != 1 {
		t.Error("an error of an unknown kind was not counted as other")
	}
}

func TestPanicInChannelIsContained(t *testing.T) {
	o := options(1)
	o.Channels = []Channel{
		{Name: "bad", Capacity: 1, Length: func() int { panic("closed") }},
		{Name: "good", Capacity: 3, Length: func() int { return 2 }},
	}
	s := New(o)
	if got := exported(t, s, `locorun_channel_length`); !slices.Equal(got, []string{`locorun_channel_length{channel="good"} 2`}) {
		t.Errorf("lengths: %v", got)
	}
	if got := exported(t, s, `locorun_errors_total{kind="metrics"} 0`); len(got) != 0 {
		t.Error("the panic was not counted")
	}
}

func TestPanicInsideIsContained(t *testing.T) {
	s := New(options(1))
	delete(s.gauges, unitLoss) // a broken set: a nil vector panics
	s.Loss("ua", 1)
	if got := exported(t, s, `locorun_errors_total{kind="metrics"} 1`); len(got) != 1 {
		t.Error("the panic was not counted")
	}
}

func TestNilSetTakesEverything(t *testing.T) {
	var s *Set
	report(s, options(2))
	s.SetChannels([]Channel{{Name: "c"}})
}

func TestManyReporters(t *testing.T) {
	o := options(4)
	s := New(o)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				report(s, o)
			}
		})
	}
	for range 20 {
		gather(t, s)
	}
	wg.Wait()
	if got := exported(t, s, `locorun_images_total 20480`); len(got) != 1 {
		t.Error("reports were lost")
	}
}

func TestOpenMetricsEnds(t *testing.T) {
	o := options(2)
	s := New(o)
	report(s, o)
	out := text(t, s, expfmt.NewFormat(expfmt.TypeOpenMetrics))
	if !strings.HasSuffix(out, "# EOF\n") || !strings.Contains(out, "# TYPE locorun_images counter\n") {
		t.Errorf("this is not OpenMetrics:\n%s", out)
	}
}

func TestPromtoolCheckMetrics(t *testing.T) {
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not on PATH (Debian: package prometheus)")
	}
	o := options(3)
	o.Channels = []Channel{{Name: "ua-ub", Capacity: 2}}
	s := New(o)
	report(s, o)
	cmd := exec.Command(tool, "check", "metrics")
	cmd.Stdin = strings.NewReader(text(t, s, expfmt.NewFormat(expfmt.TypeTextPlain)))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

func TestPromtoolCheckRules(t *testing.T) {
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not on PATH (Debian: package prometheus)")
	}
	path := t.TempDir() + "/rules.yml"
	if err := os.WriteFile(path, []byte(Rules()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(tool, "check", "rules", path).CombinedOutput(); err != nil {
		t.Errorf("promtool check rules: %v\n%s", err, out)
	}
}
