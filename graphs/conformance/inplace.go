package conformance

import (
	"fmt"
	"slices"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// inPlace runs p with results in the memory of arguments, in all ways that the
// op table allows, and fails where a byte differs from what p gives where all
// lie apart.
func inPlace(b device.Backend, p *problem) error {
	ways := p.overlays()
	if len(ways) == 0 {
		return nil
	}
	want := p.clone()
	if err := want.run(b); err != nil {
		return err
	}
	for _, over := range ways {
		got := p.clone()
		got.over = over
		if err := got.run(b); err != nil {
			return fmt.Errorf("in place: %w", err)
		}
		if err := got.sameAs(want); err != nil {
			return fmt.Errorf("%s: %w", got.ways(), err)
		}
	}
	return nil
}

// overlays are the ways in which results may lie over arguments: each pair
// alone, and as many as go together.
func (p *problem) overlays() (ways [][]overlay) {
	row := &op.Rows[p.code]
	var together []overlay
	for i, y := range p.out {
		for j, x := range p.in {
			if x == nil || y == nil || !row.MayLieOver(i, j) {
				continue
			}
			ways = append(ways, []overlay{{i, j}})
			if !slices.ContainsFunc(together, func(o overlay) bool { return o.out == i || o.in == j }) {
				together = append(together, overlay{i, j})
			}
		}
	}
	if len(together) > 1 {
		ways = append(ways, together)
	}
	return ways
}

// ways names p's overlays.
func (p *problem) ways() string {
	s, row := "", &op.Rows[p.code]
	for _, o := range p.over {
		s += fmt.Sprintf("%s over %s ", row.Out[o.out].Name, row.In[o.in].Name)
	}
	return s[:len(s)-1]
}

// sameAs compares what p left in memory with what the same problem did whose
// results lie apart.
func (p *problem) sameAs(apart *problem) error {
	row := &op.Rows[p.code]
	in, out := slices.Clone(p.in), slices.Clone(p.out)
	for _, o := range p.over {
		in[o.in], out[o.out] = nil, p.in[o.in]
	}
	for i, a := range in {
		if a != nil && !a.equal(apart.in[i]) {
			return fmt.Errorf("argument %s differs from that of the op whose results lie apart", row.In[i].Name)
		}
	}
	for i, a := range out {
		if a != nil && !a.equal(apart.out[i]) {
			return fmt.Errorf("result %s differs from that made apart", row.Out[i].Name)
		}
	}
	return nil
}
