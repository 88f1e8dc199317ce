package cli

import (
	"encoding/json"
	"fmt"
	"io"
	goruntime "runtime"
	"strings"
	"time"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/graphs/cpu"
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/internal/measure"
	"github.com/locorun/locorun/runtime"
)

// benchCmd measures this machine.
type benchCmd struct {
	Kernels benchKernelsCmd `cmd:"" help:"Time the kernels, beside a loop of multiply-adds."`
	Step    benchStepCmd    `cmd:"" help:"Time whole training steps of a file, without its data."`
	Memory  benchMemoryCmd  `cmd:"" help:"Compare the memory of loco, gim and e2e, planned and measured."`
	Views   benchViewsCmd   `cmd:"" help:"Time decoding and augmentation, and training with them against training without."`
}

// Help shows examples.
func (benchCmd) Help() string {
	return "Example:\n  locorun bench step --method e2e examples/quickstart.loco\n\nTimes are of this machine as it is now: let nothing else run, and compare ratios."
}

// backendFlags choose what computes.
type backendFlags struct {
	tierFlag
	Workers int `default:"0" help:"Goroutines that compute; 0: one a core."`
}

// deviceFlags choose what computes, where that may be a card.
type deviceFlags struct {
	backendFlags
	Device string `default:"cpu" placeholder:"DEVICE" help:"What computes: cpu, cuda, or cuda:N for card N."`
}

// open starts the backend, for a precision.
func (f deviceFlags) open(env *Env, in model.Precision) (device.Backend, error) {
	return env.opener(in, f.backendFlags.open)(f.Device)
}

// open starts the backend.
func (f backendFlags) open() (*cpu.Backend, error) {
	if f.Workers < 0 {
		return nil, wrongf("--workers %d: a number of goroutines is not negative", f.Workers)
	}
	tier, err := f.tier()
	if err != nil {
		return nil, err
	}
	return cpu.New(cpu.Options{Workers: f.Workers, Tier: tier}), nil
}

// count is the number of goroutines that compute.
func (f backendFlags) count() int {
	if f.Workers > 0 {
		return f.Workers
	}
	return goruntime.GOMAXPROCS(0)
}

// peakTime is how long a stand-in for the peak is measured.
const peakTime = 20 * time.Millisecond

// peakOf is how a backend's peak is measured, in operations a second, for a precision. A backend
// without a loop of multiply-adds is held to the convolution that suits it,
// which stderr tells.
func peakOf(env *Env, b device.Backend, in model.Precision) func() float64 {
	if p, ok := b.(interface{ Peak() float64 }); ok && p.Peak() > 0 {
		return p.Peak
	}
	fmt.Fprintf(env.Stderr, "%s has no loop of multiply-adds to time: shares are of a 3x3 convolution from 64 to 64 channels\n", b.Name())
	return func() float64 {
		speed, err := runtime.Speed(b, mapsIn(in), peakTime)
		if err != nil {
			return 0
		}
		return speed
	}
}

// share is a part of a whole that may not be known.
func share(part, whole float64) float64 {
	if whole <= 0 {
		return 0
	}
	return part / whole
}

// recut is the net with other microbatches; 0 leaves them as they are.
func recut(net *model.Net, micro int) (*model.Net, error) {
	switch {
	case micro == 0:
		return net, nil
	case micro < 0 || net.Train.Batch%micro != 0:
		return nil, wrongf("--microbatch %d does not divide the batch of %d", micro, net.Train.Batch)
	case micro == 1 && perMicrobatch(net):
		return nil, wrongf("--microbatch 1 leaves a loss over microbatches without negatives")
	}
	cut := *net
	cut.Train.Microbatch = micro
	return &cut, nil
}

// perMicrobatch reports whether any loss compares the images of a microbatch
// only.
func perMicrobatch(net *model.Net) bool {
	for _, u := range net.Units {
		if !u.Loss.Batch {
			return true
		}
	}
	for _, w := range net.Watches {
		if !w.Loss.Batch {
			return true
		}
	}
	return false
}

// turnOf checks --turn, which counts from 1, for a net.
func turnOf(net *model.Net, turn int) (int, error) {
	turns := 1
	if net.Train.InTurn {
		turns = len(net.Units)
	}
	switch {
	case turn >= 1 && turn <= turns:
		return turn - 1, nil
	case turns == 1:
		return 0, wrongf("--turn %d: the units of %s train together, in one turn", turn, net.File)
	}
	return 0, wrongf("--turn %d: %s trains its units in %d turns", turn, net.File, turns)
}

// printJSON writes a result for scripts.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// printTable writes rows of columns: the first ones, of words, begin at one
// place, those after them, of numbers, end at one.
func printTable(w io.Writer, words int, rows [][]string) error {
	widest := make([]int, len(rows[0]))
	for _, r := range rows {
		for i, cell := range r {
			widest[i] = max(widest[i], len(cell))
		}
	}
	for _, r := range rows {
		var line strings.Builder
		for i, cell := range r {
			if i < words {
				fmt.Fprintf(&line, "%-*s  ", widest[i], cell)
			} else {
				fmt.Fprintf(&line, "%*s  ", widest[i], cell)
			}
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

// spread writes the interval of a median in milliseconds.
func spread(s measure.Summary) string {
	text := fmt.Sprintf("%.4g to %.4g", 1e3*s.Low, 1e3*s.High)
	if s.Sure() {
		return "95 % interval " + text
	}
	return text
}

// giga writes a rate in units of 1e9, or a dash.
func giga(rate float64) string {
	if rate <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.4g", rate/1e9)
}

// percent writes a share, or a dash.
func percent(x float64) string {
	if x <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100*x)
}
