package plan

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Print writes the plan as tables.
func (pl *Plan) Print(w io.Writer) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "%s  method %s", pl.File, pl.Method)
	if len(pl.Params) > 0 {
		fmt.Fprintf(b, "  %s", strings.Join(pl.Params, " "))
	}
	fmt.Fprintf(b, "\n\n")
	pl.printStages(b)
	b.WriteString("\n")
	pl.printUnits(b)
	b.WriteString("\n")
	pl.printBatch(b)
	pl.printMemory(b)
	_, err := io.WriteString(w, b.String())
	return err
}

func table(b *strings.Builder, rows ...[]string) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(t, strings.TrimRight(strings.Join(r, "\t"), "\t"))
	}
	t.Flush()
}

func (pl *Plan) printStages(b *strings.Builder) {
	rows := [][]string{{"stage", "in", "out", "parameters", "multiply-adds", "share", "owner", "trained by", "forward", "sweeps", "weights"}}
	var params, macs int64
	for _, s := range pl.Stages {
		rows = append(rows, []string{
			s.Name, s.In, s.Out, Count(s.Parameters), Count(s.MultiplyAdds), fmt.Sprintf("%.1f%%", 100*s.Share),
			s.Owner, strings.Join(s.Trained, ", "), fmt.Sprint(s.Passes.Forward), fmt.Sprint(s.Passes.Sweeps), fmt.Sprint(s.Passes.Weights),
		})
		params += s.Parameters
		macs += s.MultiplyAdds
	}
	rows = append(rows, []string{"encoder", "", "", Count(params), Count(macs)})
	table(b, rows...)
}

func (pl *Plan) printUnits(b *strings.Builder) {
	rows := [][]string{{"unit", "stages", "owns", "decoder", "parameters", "multiply-adds", "loss", "negatives", "waits for"}}
	for _, u := range pl.Units {
		name := u.Name
		if u.Watch {
			name += " (watch)"
		}
		rows = append(rows, []string{
			name, strings.Join(u.Stages, " -> "), strings.Join(u.Owns, " "), u.Decoder, Count(u.DecoderParameters), Count(u.DecoderMACs),
			u.Loss, fmt.Sprint(u.Negatives), strings.Join(u.Waits, ", "),
		})
	}
	table(b, rows...)
}

func (pl *Plan) printBatch(b *strings.Builder) {
	fmt.Fprintf(b, "batch %d images, two views each of %s", pl.Batch, pl.Input)
	if pl.Microbatch != pl.Batch {
		fmt.Fprintf(b, ", in microbatches of %d", pl.Microbatch)
	}
	fmt.Fprintf(b, "; %s\n", pl.Norm)
	if pl.Turns > 1 {
		fmt.Fprintf(b, "units in turn: %d programs one after another, lower units frozen; operations are of all, memory is of the largest\n", pl.Turns)
	}
	if pl.Frames != "one" {
		fmt.Fprintf(b, "losses over the batch: frames %s\n", pl.Frames)
	}
	if pl.Images > 0 {
		fmt.Fprintf(b, "%d images: %d batches an epoch", pl.Images, pl.Steps)
		if pl.Dropped > 0 {
			fmt.Fprintf(b, ", %d images left out of each", pl.Dropped)
		}
		fmt.Fprintf(b, "; %d epochs\n", pl.Epochs)
	}
	fmt.Fprintf(b, "%s floating-point operations a batch, %.2f times three forwards\n", Count(pl.FLOPs), pl.Ratio)
}

func (pl *Plan) printMemory(b *strings.Builder) {
	m := pl.Memory
	how := "lean, one arena for all units"
	if pl.Depth > 1 {
		how = fmt.Sprintf("pipelined, %d microbatches in flight a unit", pl.Depth)
	}
	fmt.Fprintf(b, "memory %s (%s): arena %s of which %s saved for sweeps at most, weights %s, gradients %s, optimizer %s, input %s, loader %s, kernels %s\n",
		Bytes(m.Total), how, Bytes(m.Arena), Bytes(m.Saved), Bytes(m.Weights), Bytes(m.Gradients), Bytes(m.States), Bytes(m.Input), Bytes(m.Loader), Bytes(m.Kernels))
	fmt.Fprintf(b, "microbatches in flight, from their arrival to their last sweep: %d at most, of %d images each", pl.InFlight, pl.Microbatch)
	if pl.Loading > 0 {
		fmt.Fprintf(b, "; %d more in the loader", pl.Loading)
	}
	b.WriteString("\n")
	if pl.Choice != nil {
		b.WriteString(pl.Choice.line())
	}
}

// Count prints a number with three digits and k, M, G or T.
func Count(n int64) string {
	f, unit := float64(n), ""
	for _, u := range []string{"k", "M", "G", "T", "P"} {
		if f < 1000 {
			break
		}
		f, unit = f/1000, u
	}
	if unit == "" {
		return fmt.Sprint(n)
	}
	return trim(f) + unit
}

// Bytes prints a size in KiB, MiB or GiB.
func Bytes(n int64) string {
	f, unit := float64(n), "B"
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if f < 1024 {
			break
		}
		f, unit = f/1024, u
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return trim(f) + " " + unit
}

func trim(f float64) string {
	switch {
	case f < 10:
		return fmt.Sprintf("%.2f", f)
	case f < 100:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.0f", f)
}

// Explain writes which loss trains which stage, and why, stage by stage.
func (pl *Plan) Explain(w io.Writer) error {
	b := &strings.Builder{}
	for _, s := range pl.Stages {
		fmt.Fprintf(b, "%s (%s -> %s), run, kept and updated by %s\n", s.Name, s.In, s.Out, s.Owner)
		for _, u := range pl.Units {
			if u.Watch || !slices.Contains(u.Stages, s.Name) {
				continue
			}
			fmt.Fprintf(b, "  the loss of %s reaches it: %s is %s\n", u.Name, u.Name, strings.Join(u.Stages, " -> "))
			if !slices.Contains(s.Trained, u.Name) {
				fmt.Fprintf(b, "    but only passes through: tie=upper leaves the weights to %s\n", strings.Join(s.Trained, ", "))
			}
			if u.Stages[0] == s.Name && s.Name != pl.Stages[0].Name {
				fmt.Fprintf(b, "    and stops at its input: gradient stops at the input of every unit\n")
			}
		}
		for _, u := range pl.Units {
			if u.Watch && u.Stages[0] == s.Name {
				fmt.Fprintf(b, "  %s watches it: its loss trains its own decoder, and nothing here\n", u.Name)
			}
		}
		fmt.Fprintf(b, "  per microbatch: %d forward, %d sweeps of input gradients, %d of weight gradients\n", s.Passes.Forward, s.Passes.Sweeps, s.Passes.Weights)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
