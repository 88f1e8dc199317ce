package runtime

import (
	"fmt"
	"slices"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/plan"
	"github.com/locorun/locorun/graphs/device"
)

// Budget says what may be chosen of how a run holds its frames, none of which
// changes a byte of the result:
//
//	depth   microbatches in flight per unit: 1 is lean, more is pipelined
//	frames  with losses over the batch and microbatches: kept, or recomputed
//
// Without a Limit, what is left open is lean and kept. With one, it is the
// first of this list that fits:
//
//	kept        deepest .. 2, 1
//	recomputed  deepest .. 2, 1
//
// Kept comes before deeper, for to recompute is a forward of the whole net more
// for every batch, a quarter to a third of a step, while depth only lets units
// wait less for each other, which on one device gains little: its cores are
// busy with another unit meanwhile.
type Budget struct {
	Limit   int64  // bytes; 0: none
	Depth   int    // 0: to be chosen
	Frames  string // kept, recomputed; any other: to be chosen
	Workers int    // of the loader, whose buffers count
	// Backend, whose kernels' memory counts; nil: unknown.
	Backend device.Backend
}

// Choose lists what the budget leaves open and takes the first that fits, or
// none; then the choice has no Chosen.
func (b Budget) Choose(net *model.Net) (*plan.Choice, error) {
	kept, err := lower.Turns(net, lower.Options{Depth: max(b.Depth, 1)})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", net.File, err)
	}
	c := &plan.Choice{Limit: b.Limit}
	for _, frames := range b.frames(kept) {
		for _, depth := range b.depths(kept) {
			turns := kept
			if frames == "recomputed" || depth != max(b.Depth, 1) {
				if turns, err = lower.Turns(net, lower.Options{Depth: depth, Recompute: frames == "recomputed"}); err != nil {
					return nil, fmt.Errorf("%s: %w", net.File, err)
				}
			}
			c.Candidates = append(c.Candidates, b.candidate(net, frames, depth, turns, operations(kept)))
		}
	}
	if d := b.pick(c.Candidates); d != nil {
		d.Chosen = true
		c.Why = b.why(c.Candidates, d)
	}
	return c, nil
}

// frames lists the ways to hold frames, the preferred first.
func (b Budget) frames(turns []*ir.Program) []string {
	for _, p := range turns {
		switch {
		case !p.BatchLoss:
		case b.Frames == "kept" || b.Frames == "recomputed":
			return []string{b.Frames}
		default:
			return []string{"kept", "recomputed"}
		}
	}
	return []string{"one"}
}

// depths lists the depths of use, the preferred first. A unit works on one
// microbatch at a time, so as many as there are units keep all of them busy:
// one more in flight would only lie in its frame and wait. More than the batch
// has are never in flight, for the update comes between.
func (b Budget) depths(turns []*ir.Program) (list []int) {
	if b.Depth > 0 {
		return []int{b.Depth}
	}
	most := 1
	for _, p := range turns {
		most = max(most, min(len(p.Units), p.Micros))
	}
	for d := most; d >= 1; d = lessDeep(d) {
		list = append(list, d)
	}
	return list
}

// lessDeep is the next depth to look at.
func lessDeep(d int) int {
	if d <= eachDepth {
		return d - 1
	}
	return max(d/2, eachDepth)
}

// eachDepth is up to where depths are looked at one by one: planning each takes
// a large program seconds.
const eachDepth = 8

// candidate tells what the programs of one way to hold frames need; kept is the
// operations of a step that recomputes nothing.
func (b Budget) candidate(net *model.Net, frames string, depth int, turns []*ir.Program, kept int64) plan.Candidate {
	c := plan.Candidate{Frames: frames, Depth: depth}
	for _, p := range turns {
		c.Bytes = max(c.Bytes, p.Bytes())
	}
	c.Bytes += LoaderBytes(net, turns[0], b.Workers) + kernelsOfAll(b.Backend, turns)
	c.Fits = b.Limit == 0 || c.Bytes <= b.Limit
	if kept > 0 {
		c.Extra = 100 * float64(operations(turns)-kept) / float64(kept)
	}
	return c
}

// operations is those of a batch of every turn.
func operations(turns []*ir.Program) (n int64) {
	for _, p := range turns {
		n += plan.FLOPs(p)
	}
	return n
}

// pick is the candidate to take, nil where none fits.
func (b Budget) pick(cs []plan.Candidate) *plan.Candidate {
	for i := range cs {
		lean := cs[i].Depth == 1 || b.Depth > 0
		if cs[i].Fits && (b.Limit > 0 || lean) {
			return &cs[i]
		}
	}
	return nil
}

// why says what decided for d, of the candidates cs.
func (b Budget) why(cs []plan.Candidate, d *plan.Candidate) string {
	depth := b.whyDepth(cs, d)
	switch {
	case d.Frames == "one":
		return depth
	case d.Frames == b.Frames:
		return "frames as asked; " + depth
	case d.Frames == "recomputed":
		return fmt.Sprintf("kept frames need %s at least; %s", plan.Bytes(least(cs)), depth)
	}
	return "kept frames cost no second forward; " + depth
}

// whyDepth is why's part about depth.
func (b Budget) whyDepth(cs []plan.Candidate, d *plan.Candidate) string {
	deepest, at := cs[0].Depth, slices.Index(cs, *d)
	switch {
	case b.Depth > 0:
		return "depth as asked"
	case deepest == 1:
		return "one unit, or one microbatch a batch, has no use for more depth"
	case b.Limit == 0:
		return "a run is lean where no memory is named"
	case d.Depth == deepest:
		return "more depth would gain nothing"
	}
	return fmt.Sprintf("depth %d needs %s", cs[at-1].Depth, plan.Bytes(cs[at-1].Bytes))
}

// least is the fewest bytes of those that hold frames as the first does.
func least(cs []plan.Candidate) int64 {
	fewest := cs[0].Bytes
	for _, c := range cs {
		if c.Frames == cs[0].Frames {
			fewest = min(fewest, c.Bytes)
		}
	}
	return fewest
}
