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
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/runtime"
	"github.com/locorun/locorun/runtime/source"
)

// planCmd prints the plan.
type planCmd struct {
	program
	memoryFlags
	tierFlag
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
	backend, err := c.tierFlag.backend()
	if err != nil {
		return err
	}
	defer backend.Close()
	images := c.images(env, net)
	pl, err := planOf(net, c.memoryFlags, images, backend)
	if err != nil {
		return err
	}
	if c.JSON {
		e := json.NewEncoder(env.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(pl)
	}
	if err := pl.Print(env.Stdout); err != nil {
		return err
	}
	if images > 0 {
		printEstimate(env.Stdout, pl, measureSpeed(backend))
	}
	if err := pl.PrintChoice(env.Stdout); err != nil {
		return err
	}
	return pl.PrintKernels(env.Stdout)
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

// planOf chooses how to hold frames as the flags say, lowers the net's training
// so and plans it. backend may be nil: what its kernels hold is then unknown.
func planOf(net *model.Net, m memoryFlags, images int, backend device.Backend) (*plan.Plan, error) {
	workers := dataFlags{Workers: -1}.count()
	opt, choice, err := m.choose(net, workers, backend)
	if err != nil {
		return nil, err
	}
	turns, err := lower.Turns(net, opt)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", net.File, err)
	}
	pl := runtime.PlanOf(net, turns, images, backend, workers)
	pl.Choice = choice
	return pl, nil
}
