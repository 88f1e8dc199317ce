package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/plan"
	"github.com/locorun/locorun/graphs/cpu"
	"github.com/locorun/locorun/runtime"
	"github.com/locorun/locorun/runtime/source"
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
	Data string `placeholder:"DIR" help:"Directory of the data, which need not be there; default: beside the file."`
	JSON bool   `help:"Print the plan as JSON."`
}

// Help shows an example.
func (planCmd) Help() string {
	return "Example:\n  locorun plan --method e2e examples/paper/resnet50.loco"
}

// Run prints the plan of training. Data need not be there; where they are, the
// plan knows the number of images.
func (c *planCmd) Run(env *Env) error {
	net, _, err := c.compile(env, false)
	if err != nil {
		return err
	}
	images := c.images(env, net)
	pl, err := planOf(net, c.memoryFlags, images)
	if err != nil {
		return err
	}
	if c.JSON {
		e := json.NewEncoder(env.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(pl)
	}
	if err := pl.Print(env.Stdout); err != nil || images == 0 {
		return err
	}
	backend := cpu.New(cpu.Options{})
	defer backend.Close()
	printEstimate(env.Stdout, pl, measureSpeed(backend))
	return nil
}

// images is the number of training images, or 0 where they cannot be read,
// which stderr tells.
func (c *planCmd) images(env *Env, net *model.Net) int {
	ds, err := source.Open(net.Data.Images, source.Options{DataDir: c.Data, FileDir: filepath.Dir(net.File)})
	if err != nil {
		what := "data not readable"
		if errors.Is(err, fs.ErrNotExist) {
			what = "data not found"
		}
		fmt.Fprintf(env.Stderr, "%s: %v\n", what, err)
		return 0
	}
	defer ds.Close()
	if n := ds.Len(); n < net.Train.Batch {
		fmt.Fprintf(env.Stderr, "the %d images there are less than one batch of %d\n", n, net.Train.Batch)
	}
	return ds.Len()
}

// planOf lowers the net's training for the flags and plans it.
func planOf(net *model.Net, m memoryFlags, images int) (*plan.Plan, error) {
	opt, err := m.options(net, dataFlags{Workers: -1}.count())
	if err != nil {
		return nil, err
	}
	turns, err := lower.Turns(net, opt)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", net.File, err)
	}
	pl := plan.Turns(net, turns, images)
	pl.Memory.Loader = runtime.LoaderBytes(net, turns[0], dataFlags{Workers: -1}.count())
	pl.Memory.Total += pl.Memory.Loader
	return pl, nil
}

// options chooses depth and frames so that the plan fits the memory.
func (m memoryFlags) options(net *model.Net, workers int) (lower.Options, error) {
	opt := lower.Options{Depth: m.Depth, Recompute: m.Frames == "recomputed", Turn: -1}
	if net.Train.InTurn {
		opt.Turn = 0
	}
	if m.Depth < 1 {
		return opt, wrongf("--depth %d: at least 1 is needed", m.Depth)
	}
	limit, err := parseBytes(m.Memory)
	if err != nil {
		return opt, wrongf("--memory: %w", err)
	}
	if limit == 0 {
		return opt, nil
	}
	needs, batchLoss, err := memoryOf(net, opt, workers)
	if err != nil {
		return opt, err
	}
	if needs > limit && m.Frames == "auto" && batchLoss {
		opt.Recompute = true
		if needs, _, err = memoryOf(net, opt, workers); err != nil {
			return opt, err
		}
	}
	if needs > limit {
		return opt, wrongf("the plan needs %s, --memory allows %s; %s", plan.Bytes(needs), m.Memory, m.remedy(batchLoss))
	}
	return opt, nil
}

// remedy says what would need less memory.
func (m memoryFlags) remedy(batchLoss bool) string {
	switch {
	case m.Depth > 1:
		return "a smaller --depth needs less"
	case batchLoss && m.Frames == "kept":
		return "--frames recomputed needs less"
	}
	return "a smaller microbatch needs less"
}

// memoryOf is the bytes that training needs, pictures on their way included:
// the most of all turns. batchLoss says that frames can be recomputed.
func memoryOf(net *model.Net, opt lower.Options, workers int) (most int64, batchLoss bool, err error) {
	turns := 1
	if net.Train.InTurn {
		turns = len(net.Units)
	}
	for k := range turns {
		if net.Train.InTurn {
			opt.Turn = k
		}
		p, err := lower.Train(net, opt)
		if err != nil {
			return 0, false, fmt.Errorf("%s: %w", net.File, err)
		}
		most, batchLoss = max(most, p.Bytes()+runtime.LoaderBytes(net, p, workers)), p.BatchLoss
	}
	return most, batchLoss, nil
}
