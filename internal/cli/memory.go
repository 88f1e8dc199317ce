package cli

import (
	"fmt"
	"strconv"

	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/plan"
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/runtime"
)

// memoryFlags choose how frames are held; they change no byte of the result.
type memoryFlags struct {
	Depth  depth  `default:"auto" placeholder:"N" help:"Microbatches in flight per unit; 1 is the lean order, one arena for all units. auto (or 0): 1, or with --memory the deepest of use that fits."`
	Frames string `enum:"auto,kept,recomputed" default:"auto" help:"With negatives=batch under microbatches: keep all frames, or send each microbatch through twice. auto keeps them where they fit --memory."`
	Memory string `placeholder:"SIZE" help:"Memory the run may take, such as 2GiB: frames are kept or recomputed, and as deep, as fits; what does not fit is refused."`
}

// depth is a number of microbatches; 0 is auto.
type depth int

// UnmarshalText reads a number, or auto.
func (d *depth) UnmarshalText(text []byte) error {
	if string(text) == "auto" {
		*d = 0
		return nil
	}
	n, err := strconv.Atoi(string(text))
	if err != nil || n < 0 {
		return fmt.Errorf("%q is no depth; write a number from 1 on, or auto", text)
	}
	*d = depth(n)
	return nil
}

// choose settles depth and frames so that a run with so many loading workers
// fits the memory on the backend, which may be nil.
func (m memoryFlags) choose(net *model.Net, workers int, backend device.Backend) (lower.Options, *plan.Choice, error) {
	opt := lower.Options{Turn: -1}
	if net.Train.InTurn {
		opt.Turn = 0
	}
	limit, err := parseBytes(m.Memory)
	if err != nil {
		return opt, nil, wrongf("--memory: %w", err)
	}
	b := runtime.Budget{Limit: limit, Depth: int(m.Depth), Frames: m.Frames, Workers: workers, Backend: backend}
	choice, err := b.Choose(net)
	if err != nil {
		return opt, nil, err
	}
	c := choice.Chosen()
	if c == nil {
		return opt, nil, m.refuse(net, b, choice)
	}
	opt.Depth, opt.Recompute = c.Depth, c.Frames == "recomputed"
	return opt, choice, nil
}

// refuse says how much is needed at the least, and what needs less.
func (m memoryFlags) refuse(net *model.Net, b runtime.Budget, choice *plan.Choice) error {
	asked := leastOf(choice)
	b.Depth, b.Frames = 0, "auto"
	free, err := b.Choose(net)
	if err != nil {
		return err
	}
	remedy := "a smaller microbatch needs less"
	if net.Train.Microbatch == 1 {
		remedy = "smaller pictures or fewer channels need less"
	}
	if c := free.Chosen(); c != nil {
		remedy = fmt.Sprintf("%s needs %s", m.instead(*c), plan.Bytes(c.Bytes))
	} else if c := leastOf(free); c.Bytes < asked.Bytes {
		remedy = fmt.Sprintf("%s needs %s, and %s", m.instead(c), plan.Bytes(c.Bytes), remedy)
	}
	return wrongf("the plan needs %s (%s), --memory allows %s; %s", plan.Bytes(asked.Bytes), asked, m.Memory, remedy)
}

// instead names the flags that would have to change for a candidate.
func (m memoryFlags) instead(c plan.Candidate) string {
	depth, frames := m.Depth > 0 && int(m.Depth) != c.Depth, m.Frames != "auto" && m.Frames != c.Frames && c.Frames != "one"
	switch {
	case depth && frames:
		return fmt.Sprintf("--depth %d --frames %s", c.Depth, c.Frames)
	case depth && c.Frames == "recomputed":
		return fmt.Sprintf("--depth %d, with frames recomputed,", c.Depth)
	case depth:
		return fmt.Sprintf("--depth %d", c.Depth)
	case frames && m.Depth == 0:
		return fmt.Sprintf("--frames %s at depth %d", c.Frames, c.Depth)
	}
	return "--frames " + c.Frames
}

// leastOf is the candidate that needs least, the preferred of equals.
func leastOf(c *plan.Choice) plan.Candidate {
	least := c.Candidates[0]
	for _, d := range c.Candidates {
		if d.Bytes < least.Bytes {
			least = d
		}
	}
	return least
}
