package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/plan"
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/internal/measure"
	"github.com/locorun/locorun/runtime"
)

// benchMemoryCmd compares the memory of methods.
type benchMemoryCmd struct {
	File   string            `arg:"" help:"The .loco file."`
	Define map[string]string `short:"D" placeholder:"NAME=VALUE" help:"Set a param of the file."`
	backendFlags
	Depth      int    `default:"1" help:"Microbatches in flight per unit; 1 is the lean order."`
	Microbatch int    `placeholder:"N" help:"Images in a microbatch of the first three rows; default: as the file says."`
	Memory     string `placeholder:"SIZE" help:"Leave out rows that need more; default: what the machine has free."`
	Steps      int    `default:"2" help:"Steps to train each row for."`
	JSON       bool   `help:"Print JSON."`
}

// Help shows an example.
func (benchMemoryCmd) Help() string {
	return "Example:\n  locorun bench memory -D width=32 examples/quickstart.loco\n\n" +
		"Every row is trained in a process of its own. Ratios are to e2e in the same microbatches. " +
		"Where units train in turn, the turn that needs most counts."
}

// memoryRow is what one way to train needs.
type memoryRow struct {
	Row        string `json:"row"`
	Method     string `json:"method"`
	Microbatch int    `json:"microbatch"`
	Frames     string `json:"frames"`
	Skipped    string `json:"skipped,omitempty"` // why it was not trained

	PlanBytes int64            `json:"plan_bytes"`
	Plan      map[string]int64 `json:"plan"` // by space, and what kernels hold of their own
	HighWater map[string]int64 `json:"high_water,omitempty"`
	Resident  int64            `json:"resident_above_start_bytes"`
	Most      int64            `json:"resident_peak_above_start_bytes"`

	// Ratios to the row e2e; 0 where one of the two is not known.
	ArenaRatio    float64 `json:"arena_over_e2e"`
	UsedRatio     float64 `json:"high_water_over_e2e"` // of the arena
	ResidentRatio float64 `json:"resident_over_e2e"`

	turn   int
	failed bool
}

// Run trains each row in a child.
func (c *benchMemoryCmd) Run(env *Env) error {
	base := program{File: c.File, settings: settings{Define: c.Define, Method: "loco"}}
	net, _, err := base.compile(env, false)
	if err != nil {
		return err
	}
	free, err := c.valid(net)
	if err != nil {
		return err
	}
	backend, err := c.open()
	if err != nil {
		return err
	}
	defer backend.Close()
	rows := c.rows(net)
	for i := range rows {
		c.fill(env, backend, &rows[i], free)
	}
	compare(rows, 2)
	if c.JSON {
		err = printJSON(env.Stdout, rows)
	} else {
		err = c.print(env.Stdout, rows)
	}
	return errors.Join(err, failures(rows))
}

// valid checks the flags and says how many bytes a row may take; 0: any.
func (c *benchMemoryCmd) valid(net *model.Net) (free int64, err error) {
	switch {
	case c.Depth < 1:
		return 0, wrongf("--depth %d: at least 1 is needed", c.Depth)
	case c.Steps < 1:
		return 0, wrongf("--steps %d: at least 1 is needed", c.Steps)
	}
	if free, err = parseBytes(c.Memory); err != nil {
		return 0, wrongf("--memory: %w", err)
	}
	if free == 0 {
		free = measure.Available()
	}
	_, err = recut(net, c.Microbatch)
	return free, err
}

// rows are the methods in equal microbatches, then e2e cut finer, with all
// frames kept and recomputed.
func (c *benchMemoryCmd) rows(net *model.Net) []memoryRow {
	micro := c.Microbatch
	if micro == 0 {
		micro = net.Train.Microbatch
	}
	var rows []memoryRow
	for _, m := range []string{"loco", "gim", "e2e"} {
		rows = append(rows, memoryRow{Row: m, Method: m, Microbatch: micro, Frames: "kept"})
	}
	half := micro / 2
	for _, f := range []string{"kept", "recomputed"} {
		r := memoryRow{Row: fmt.Sprintf("e2e, microbatch %d", half), Method: "e2e", Microbatch: half, Frames: f}
		if f == "recomputed" {
			r.Row += ", recomputed"
		}
		if micro%2 != 0 {
			r.Row, r.Microbatch = strings.Replace(r.Row, fmt.Sprint(half), "halved", 1), 0
			r.Skipped = fmt.Sprintf("a microbatch of %d cannot be halved", micro)
		}
		rows = append(rows, r)
	}
	return rows
}

// fill plans a row and, where it fits, trains it.
func (c *benchMemoryCmd) fill(env *Env, b device.Backend, r *memoryRow, free int64) {
	if r.Skipped != "" {
		return
	}
	if r.Skipped = c.plan(b, r); r.Skipped != "" {
		return
	}
	if free > 0 && r.PlanBytes > free {
		r.Skipped = fmt.Sprintf("the plan needs %s, %s are free", plan.Bytes(r.PlanBytes), plan.Bytes(free))
		return
	}
	res, err := c.child(env, r)
	if err != nil {
		r.Skipped, r.failed = err.Error(), true
		return
	}
	r.Frames, r.HighWater = res.Frames, res.HighWater
	if res.Resident > 0 {
		r.Resident, r.Most = res.Resident-res.Start, res.Most-res.Start
	}
}

// plan fills in what is planned, or says why the row cannot be.
func (c *benchMemoryCmd) plan(b device.Backend, r *memoryRow) (reason string) {
	p := program{File: c.File, settings: settings{Define: c.Define, Method: r.Method}}
	net, _, found, err := p.check()
	switch {
	case err != nil:
		return err.Error()
	case found.HasErrors():
		return fmt.Sprintf("the file does not compile with --method %s", r.Method)
	}
	if net, err = recut(net, r.Microbatch); err != nil {
		return strings.TrimPrefix(err.Error(), "--")
	}
	turns, err := lower.Turns(net, lower.Options{Depth: c.Depth, Recompute: r.Frames == "recomputed"})
	if err != nil {
		return err.Error()
	}
	if r.Frames == "recomputed" && !turns[0].BatchLoss {
		return "no loss is over the batch: each microbatch's frame is free when it is done"
	}
	for k := range turns {
		all, by := planned(runtime.PlanOf(net, turns[k:k+1], 0, b, 0).Memory)
		if all > r.PlanBytes {
			r.PlanBytes, r.Plan, r.turn = all, by, k
		}
	}
	return ""
}

// child trains a row in a process of its own, so that no other row's memory is
// counted.
func (c *benchMemoryCmd) child(env *Env, r *memoryRow) (*stepResult, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(env.Context, exe, c.args(r)...)
	cmd.Args[0] = os.Args[0] // the name this process goes by
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		if said := strings.TrimSpace(stderr.String()); said != "" {
			err = fmt.Errorf("%w: %s", err, said)
		}
		return nil, err
	}
	res := &stepResult{}
	return res, json.Unmarshal(out, res)
}

// args is the command line of a row.
func (c *benchMemoryCmd) args(r *memoryRow) []string {
	n := strconv.Itoa
	args := []string{
		"bench", "step", c.File, "--json", "--method", r.Method, "--frames", r.Frames, "--microbatch", n(r.Microbatch),
		"--turn", n(r.turn + 1), "--depth", n(c.Depth), "--steps", n(c.Steps), "--warmup", "0", "--workers", n(c.Workers), "--tier", c.Tier,
	}
	for _, name := range slices.Sorted(maps.Keys(c.Define)) {
		args = append(args, "-D", name+"="+c.Define[name])
	}
	return args
}

// compare fills in the ratios to a row.
func compare(rows []memoryRow, to int) {
	ratio := func(a, b int64) float64 { return share(float64(a), float64(b)) }
	e2e := rows[to]
	for i := range rows {
		r := &rows[i]
		r.ArenaRatio = ratio(r.Plan["arena"], e2e.Plan["arena"])
		r.UsedRatio = ratio(r.HighWater["arena"], e2e.HighWater["arena"])
		r.ResidentRatio = ratio(r.Most, e2e.Most)
	}
}

// failures is an error where a row failed.
func failures(rows []memoryRow) error {
	for _, r := range rows {
		if r.failed {
			return fmt.Errorf("%s was not measured: %s", r.Row, r.Skipped)
		}
	}
	return nil
}

// print writes the table and the reasons for what it lacks.
func (c *benchMemoryCmd) print(w io.Writer, rows []memoryRow) error {
	size := func(n int64) string {
		if n <= 0 {
			return "-"
		}
		return plan.Bytes(n)
	}
	times := func(x float64) string {
		if x <= 0 {
			return "-"
		}
		return fmt.Sprintf("%.3f", x)
	}
	table := [][]string{{"", "planned", "arena", "weights", "gradients", "states", "input", "kernels", "arena used", "resident", "at the most", "arena/e2e", "used/e2e", "resident/e2e"}}
	for _, r := range rows {
		table = append(table, []string{
			r.Row, size(r.PlanBytes), size(r.Plan["arena"]), size(r.Plan["weights"]), size(r.Plan["gradients"]), size(r.Plan["states"]), size(r.Plan["input"]), size(r.Plan["kernels"]),
			size(r.HighWater["arena"]), size(r.Resident), size(r.Most), times(r.ArenaRatio), times(r.UsedRatio), times(r.ResidentRatio),
		})
	}
	fmt.Fprintf(w, "%s  resident memory is above that at the start, e2e is the row of that name\n\n", c.File)
	if err := printTable(w, 1, table); err != nil {
		return err
	}
	for _, r := range rows {
		if r.Skipped != "" {
			fmt.Fprintf(w, "%s left out: %s\n", r.Row, r.Skipped)
		}
	}
	return nil
}
