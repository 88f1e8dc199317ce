package cli

import (
	"encoding/json"
	"fmt"

	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/plan"
)

// memoryFlags choose how frames are held; they change no byte of the result.
type memoryFlags struct {
	Depth  int    `default:"1" help:"Microbatches in flight per unit; 1 is the lean order, one arena for all units."`
	Frames string `enum:"auto,kept,recomputed" default:"auto" help:"With negatives=batch under microbatches: keep all frames, or send each microbatch through twice. auto keeps them where they fit --memory."`
	Memory string `placeholder:"SIZE" help:"Memory the run may take, such as 2GiB; a plan over it is refused."`
}

// planCmd prints the plan.
type planCmd struct {
	program
	memoryFlags
	Data string `placeholder:"DIR" help:"Directory of the data; default: beside the file."`
	JSON bool   `help:"Print the plan as JSON."`
}

// Help shows an example.
func (planCmd) Help() string {
	return "Example:\n  locorun plan --method e2e examples/paper/resnet50.loco"
}

// Run prints the plan of training. Data need not be there.
func (c *planCmd) Run(env *Env) error {
	net, _, err := c.compile(env, false)
	if err != nil {
		return err
	}
	pl, err := planOf(net, c.memoryFlags)
	if err != nil {
		return err
	}
	if c.JSON {
		e := json.NewEncoder(env.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(pl)
	}
	return pl.Print(env.Stdout)
}

// planOf lowers the net's training for the flags and plans it.
func planOf(net *model.Net, m memoryFlags) (*plan.Plan, error) {
	opt, err := m.options(net)
	if err != nil {
		return nil, err
	}
	p, err := lower.Train(net, opt)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", net.File, err)
	}
	return plan.Of(net, p, 0), nil
}

// options chooses depth and frames so that the plan fits the memory.
func (m memoryFlags) options(net *model.Net) (lower.Options, error) {
	opt := lower.Options{Depth: m.Depth, Recompute: m.Frames == "recomputed", Turn: -1}
	if net.Train.InTurn {
		opt.Turn = 0
	}
	if m.Depth < 1 {
		return opt, wrongf("--depth %d: at least 1 is needed", m.Depth)
	}
	limit, err := parseBytes(m.Memory)
	if err != nil {
		return opt, wrong{err}
	}
	if limit == 0 {
		return opt, nil
	}
	p, err := lower.Train(net, opt)
	if err != nil {
		return opt, err
	}
	if p.Bytes() > limit && m.Frames == "auto" && p.BatchLoss {
		opt.Recompute = true
		if p, err = lower.Train(net, opt); err != nil {
			return opt, err
		}
	}
	if p.Bytes() > limit {
		return opt, wrongf("the plan needs %s, --memory allows %s; a smaller microbatch needs less", plan.Bytes(p.Bytes()), m.Memory)
	}
	return opt, nil
}
