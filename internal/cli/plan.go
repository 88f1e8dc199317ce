package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/alecthomas/kong"
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
	placeFlag
	Data   string `placeholder:"DIR" help:"Directory of the data, which need not be there; default: beside the file."`
	Device string `default:"cpu" placeholder:"DEVICE" help:"What the plan is for: cpu, cuda, or cuda:N for card N, with the memory that is free there."`
	JSON   bool   `help:"Print the plan as JSON."`

	device bool // --device was given
}

// AfterApply notes which flags were given.
func (c *planCmd) AfterApply(call *kong.Context) error {
	c.device = given(call, "device")
	return nil
}

// cardPlan is a plan with what it takes of a card's memory.
type cardPlan struct {
	*plan.Plan
	Room   *runtime.Room   `json:"card_memory,omitempty"` // nil: not on a card
	Places []runtime.Share `json:"places,omitempty"`      // nil: all on one device
}

// Help shows an example.
func (planCmd) Help() string {
	return "Example:\n  locorun plan --method e2e examples/paper/resnet50.loco"
}

// Run prints the plan of training. Data need not be there; where they are, the
// plan knows the number of images. What does not fit a card is refused behind it.
func (c *planCmd) Run(env *Env) error {
	net, _, err := c.compile(env, false)
	if err != nil {
		return err
	}
	backend, err := c.backend(env, net)
	if err != nil {
		return err
	}
	defer backend.Close()
	pl, err := planOf(net, c.memoryFlags, c.images(env, net), backend)
	if err != nil {
		return err
	}
	held := lower.Options{Depth: pl.Depth, Recompute: pl.Frames == "recomputed"}
	room, err := runtime.RoomOf(net, held, backend, true)
	if err != nil {
		return err
	}
	shares, err := runtime.Shares(net, held, backend)
	if err != nil {
		return err
	}
	if err := c.print(env, cardPlan{pl, room, shares}, backend, net); err != nil {
		return err
	}
	if p, ok := backend.(*device.Placed); ok {
		return fitPlaces(net, held, p, true)
	}
	if room == nil || room.Fits() {
		return nil
	}
	return c.overfull(net, dataFlags{Workers: -1}.count(), backend, room)
}

// backend is what the plan is for. A plan for the processor is of use in every
// precision.
func (c *planCmd) backend(env *Env, net *model.Net) (device.Backend, error) {
	in := net.Train.Precision
	if c.Device == "cpu" && len(c.Place) == 0 {
		in = model.F32
	}
	return c.backends(net, c.Device, c.device, env.opener(in, c.tierFlag.backend))
}

// print writes the plan as tables, or as JSON.
func (c *planCmd) print(env *Env, pl cardPlan, backend device.Backend, net *model.Net) error {
	if c.JSON {
		return printJSON(env.Stdout, pl)
	}
	if err := pl.Print(env.Stdout); err != nil {
		return err
	}
	if _, err := io.WriteString(env.Stdout, placesText(pl.Places, len(net.Readouts) > 0)); err != nil {
		return err
	}
	if pl.Images > 0 {
		printEstimate(env.Stdout, pl.Plan, measureSpeed(backend, net.Train.Precision))
	}
	if err := pl.PrintChoice(env.Stdout); err != nil {
		return err
	}
	if err := printRoom(env.Stdout, pl.Room); err != nil {
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
