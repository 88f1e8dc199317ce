package check

import (
	"maps"
	"slices"
	"strings"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/dsl/diag"
)

// rewrite does what the method and the overlaps ask for: other units, stages
// cut in two, copies in front of decoders. The program as written is sound.
func (c *checker) rewrite() {
	switch c.opt.Method {
	case "gim":
		c.greedy()
	case "e2e":
		c.endToEnd()
	}
	c.inTurn()
	c.cutStages()
	c.copyStages()
}

// greedy makes every stage a unit, with what the unit that ends on it has,
// else the lowest that holds it.
func (c *checker) greedy() {
	var units []*unit
	for i, st := range c.stages {
		k := slices.IndexFunc(c.holders[i], func(k int) bool { return c.units[k].last == i })
		u := *c.units[c.holders[i][max(k, 0)]]
		u.name, u.first, u.last = st.m.Name, i, i
		units = append(units, &u)
	}
	c.units, c.ties, c.watchDecls = units, nil, nil
}

// endToEnd makes one unit of all stages, with what the unit that ends on the
// last has.
func (c *checker) endToEnd() {
	last := len(c.stages) - 1
	k := slices.IndexFunc(c.units, func(u *unit) bool { return u.last == last })
	u := *c.units[k]
	u.first, u.last = 0, last
	c.units, c.ties, c.watchDecls = []*unit{&u}, nil, nil
}

// cutStages writes the stages into the model, those that first= cuts as two,
// and moves the units' ends along.
func (c *checker) cutStages() {
	overlaps := map[int]*overlap{} // by written stage
	for _, o := range c.ties {
		overlaps[o.stage] = o
	}
	parts := make([]int, len(c.stages)) // where each written stage begins
	c.wholes = make([]int, len(c.stages))
	for i, st := range c.stages {
		parts[i] = len(c.net.Stages)
		o := overlaps[i]
		if o != nil {
			st.m.Tie, st.m.Overlap = tying(o), o.at
		}
		c.net.Stages = append(c.net.Stages, st.m)
		if o != nil && o.first > 0 {
			c.net.Stages = append(c.net.Stages, cut(st, o.first))
		}
		c.wholes[i] = len(c.net.Stages) - 1
	}
	for k, u := range c.units {
		o := overlaps[u.last]
		u.first = parts[u.first]
		if o != nil && o.first > 0 && o.units[0] == k {
			u.last = parts[u.last]
		} else {
			u.last = c.wholes[u.last]
		}
	}
	for _, o := range c.ties {
		o.stage = parts[o.stage]
	}
}

// cut takes what follows the first blocks off a stage and gives it as a stage
// of its own, which one unit holds. The weights keep their names.
func cut(st *stage, blocks int) *model.Stage {
	n := st.ends[blocks-1]
	whole := *st.m
	rest := whole
	rest.Name, rest.Of = whole.Name+".rest", whole.Name
	rest.Layers, rest.In = whole.Layers[n:], whole.Layers[n].In
	rest.Tie, rest.Overlap = model.Shared, diag.Range{}
	st.m.Layers, st.m.Out = whole.Layers[:n:n], rest.In
	return &rest
}

// copyStages gives the lower units of soft and free ties their copies.
func (c *checker) copyStages() {
	ties := slices.Clone(c.ties)
	slices.SortFunc(ties, func(a, b *overlap) int { return a.stage - b.stage })
	for _, o := range ties {
		if !o.copies() {
			continue
		}
		low := c.units[o.units[0]]
		low.copied = append(low.copied, o.stage)
		low.last = min(low.last, o.stage-1)
		c.net.Stages[o.stage].Overlap = diag.Range{} // one unit is left that holds it
		c.net.Ties = append(c.net.Ties, model.Tie{Stage: c.net.Stages[o.stage].Name, Lower: o.units[0], Upper: o.units[1],
			Penalty: o.penalty, Range: o.at})
	}
}

// makeUnits writes the units into the model, each with its decoder.
func (c *checker) makeUnits() {
	for _, u := range c.units {
		c.net.Units = append(c.net.Units, &model.Unit{
			Name: u.name, Range: u.at, First: u.first, Last: u.last,
			Decoder: c.decoder(u.decoder, u.last, u.copied),
			Loss:    u.set.loss, LR: u.set.lr, Optimizer: u.set.optimizer, Schedule: u.set.schedule,
			OnNaN: u.set.guards.nan, OnDivergence: u.set.guards.divergence, OnCollapse: u.set.guards.collapse,
		})
	}
}

// makeWatches writes the watches into the model.
func (c *checker) makeWatches() {
	for _, d := range c.watchDecls {
		a := c.arrow(d)
		i := c.wholeStage(c.find(a.stages[0], "stage"))
		c.net.Watches = append(c.net.Watches, &model.Watch{
			Name: d.name.Text, Range: d.name.Range, Stage: i,
			Decoder: c.decoder(a.decoder, i, nil), Loss: c.settings.unit.loss,
		})
	}
}

// ownSources lists the keys of the program's files but the library's.
func (c *checker) ownSources() []string {
	keys := slices.Sorted(maps.Keys(c.sources))
	return slices.DeleteFunc(keys, func(k string) bool { return strings.HasPrefix(k, stdPrefix) })
}
