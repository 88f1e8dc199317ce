package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/internal/measure"
)

// benchKernelsCmd times kernels.
type benchKernelsCmd struct {
	deviceFlags
	precisionFlag
	Shape []string      `sep:"none" placeholder:"N,C,H,W,K,k,STRIDE,GROUPS" help:"Time a convolution of N pictures, C to K channels, a window of k x k and padding k/2, instead of the list; may be repeated."`
	Match string        `placeholder:"TEXT" help:"Time only kernels whose name begins so, such as conv or norm."`
	Time  time.Duration `default:"100ms" help:"How long each kernel is repeated, three times at least."`
	JSON  bool          `help:"Print JSON."`
}

// precisionFlag says what a card computes in, where no program does.
type precisionFlag struct {
	Precision string `enum:"f32,tf32,bf16" default:"f32" help:"What a card computes in: f32, tf32 or bf16, as in a program's train block. In bf16 maps take half the bytes."`
}

// of is the precision, as a program's.
func (f precisionFlag) of() model.Precision {
	if f.Precision == model.F32.String() {
		return model.F32
	}
	return model.Precision(f.Precision)
}

// mapsIn is the type of a training's maps.
func mapsIn(p model.Precision) op.Dtype {
	if p == model.BF16 {
		return op.BF16
	}
	return op.F32
}

// Help shows an example.
func (benchKernelsCmd) Help() string {
	return "Example:\n  locorun bench kernels --tier portable --shape 64,64,16,16,64,3,1,1\n\n" +
		"The peak is the higher of two loops of multiply-adds on all workers, timed just before and just after each kernel; " +
		"the share is of the kernel's best time. Bytes count every argument and result once."
}

// kernelRow is a kernel's line.
type kernelRow struct {
	Kernel  string  `json:"kernel"`
	Shape   string  `json:"shape"`
	Repeats int     `json:"repeats"`
	Best    float64 `json:"best_seconds"`
	Median  float64 `json:"median_seconds"`
	FLOPs   int64   `json:"flops"` // 0: not counted
	Bytes   int64   `json:"bytes"`
	GFLOPS  float64 `json:"best_gflops"`
	MedianG float64 `json:"median_gflops"`
	GBS     float64 `json:"best_gb_per_second"`
	Peak    float64 `json:"peak_gflops"`
	Share   float64 `json:"share_of_peak"`
	Runs    string  `json:"runs"` // the backend's name of what ran
}

// Run times the kernels one after another.
func (c *benchKernelsCmd) Run(env *Env) error {
	kernels, err := c.kernels()
	if err != nil {
		return err
	}
	if c.Time < 0 {
		return wrongf("--time %v is negative", c.Time)
	}
	backend, err := c.open(env, c.of())
	if err != nil {
		return err
	}
	defer backend.Close()
	rows, err := c.time(env, backend, kernels)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(env.Stdout, map[string]any{"tier": backend.Name(), "precision": c.Precision, "workers": c.count(), "kernels": rows})
	}
	return printKernels(env, fmt.Sprintf("%s, %s", backend.Name(), c.Precision), c.count(), rows)
}

// kernels are those of the flags.
func (c *benchKernelsCmd) kernels() ([]measure.Kernel, error) {
	all := measure.Kernels()
	if len(c.Shape) > 0 {
		all = nil
	}
	for _, s := range c.Shape {
		conv, err := parseShape(s)
		if err != nil {
			return nil, wrongf("--shape %s: %w", s, err)
		}
		all = append(all, conv.Kernels()...)
	}
	var kernels []measure.Kernel
	for _, k := range all {
		if strings.HasPrefix(k.Code.String(), c.Match) {
			kernels = append(kernels, k)
		}
	}
	if len(kernels) == 0 {
		return nil, wrongf("--match %s: no kernel's name begins so", c.Match)
	}
	return kernels, nil
}

// parseShape reads N,C,H,W,K,k,stride,groups; the last two may be left out.
func parseShape(text string) (measure.Conv, error) {
	n := [8]int{6: 1, 7: 1}
	parts := strings.Split(text, ",")
	if len(parts) < 6 || len(parts) > len(n) {
		return measure.Conv{}, fmt.Errorf("%d numbers; want N,C,H,W,K,k and, where not 1, stride,groups", len(parts))
	}
	for i, p := range parts {
		v, err := strconv.Atoi(strings.TrimSpace(p))
		if err != nil {
			return measure.Conv{}, fmt.Errorf("%q is no number", p)
		}
		n[i] = v
	}
	c := measure.Conv{N: n[0], C: n[1], H: n[2], W: n[3], K: n[4], Window: n[5], Stride: n[6], Group: n[7]}
	return c, c.Check()
}

// time times the kernels; a terminal is told which is at hand.
func (c *benchKernelsCmd) time(env *Env, b device.Backend, kernels []measure.Kernel) ([]kernelRow, error) {
	limits := measure.Limits{Time: c.Time, Repeats: 3, Peak: peakOf(env, b, c.of())}
	var rows []kernelRow
	for i, k := range kernels {
		if env.Terminal {
			fmt.Fprintf(env.Stderr, "\r\x1b[K%d of %d: %v", i+1, len(kernels), k.Code)
		}
		t, err := measure.Time(b, k, mapsIn(c.of()), limits)
		if err != nil {
			return nil, err
		}
		rows = append(rows, rowOf(k, t))
	}
	if env.Terminal {
		fmt.Fprint(env.Stderr, "\r\x1b[K")
	}
	return rows, nil
}

func rowOf(k measure.Kernel, t measure.Timing) kernelRow {
	s, flops := t.Seconds, float64(t.FLOPs)
	return kernelRow{
		Kernel: k.Code.String(), Shape: k.Name, Repeats: s.N, Best: s.Least, Median: s.Median,
		FLOPs: t.FLOPs, Bytes: t.Bytes, GFLOPS: flops / s.Least / 1e9, MedianG: flops / s.Median / 1e9,
		GBS: float64(t.Bytes) / s.Least / 1e9, Peak: t.Peak / 1e9, Share: share(flops/s.Least, t.Peak), Runs: t.Runs,
	}
}

// printKernels writes the table of what was measured on a backend.
func printKernels(env *Env, backend string, workers int, rows []kernelRow) error {
	fmt.Fprintf(env.Stdout, "%s, %d workers\n\n", backend, workers)
	table := [][]string{{"kernel", "shape", "runs", "best ms", "median ms", "best GFLOP/s", "median", "peak", "share", "GB/s"}}
	for _, r := range rows {
		table = append(table, []string{
			r.Kernel, r.Shape, r.Runs, fmt.Sprintf("%.4g", 1e3*r.Best), fmt.Sprintf("%.4g", 1e3*r.Median),
			giga(1e9 * r.GFLOPS), giga(1e9 * r.MedianG), giga(1e9 * r.Peak), percent(r.Share), giga(1e9 * r.GBS),
		})
	}
	return printTable(env.Stdout, 3, table)
}
