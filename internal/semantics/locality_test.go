package semantics

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/internal/reference"
)

// bare are nets whose decoders have no norm, so that no gradient in reach is
// zero by its nature.
func bare(stages int, units [][2]int, edits ...func(*model.Net)) *model.Net {
	return net(blocks(stages, 0), units, -1, edits...)
}

// inReach lists the prefixes of the parameters that unit k's loss trains.
func inReach(n *model.Net, k int) []string {
	u := n.Units[k]
	reach := []string{u.Name + "/"}
	for s := u.First; s <= u.Last; s++ {
		above := slices.ContainsFunc(n.Units[k+1:], func(v *model.Unit) bool { return v.First <= s && s <= v.Last })
		if n.Stages[s].Tie != model.Upper || !above {
			reach = append(reach, n.Stages[s].Label()+".")
		}
	}
	return reach
}

// strays lists the gradients that changed although their name begins with none
// of the prefixes, and those that did not although it does.
func strays(before, after map[string][]float64, reach []string) []string {
	var bad []string
	for _, name := range slices.Sorted(maps.Keys(before)) {
		inside := slices.ContainsFunc(reach, func(p string) bool { return strings.HasPrefix(name, p) })
		same := slices.EqualFunc(before[name], after[name], sameBits)
		switch {
		case inside && same:
			bad = append(bad, name+" did not change")
		case !inside && !same:
			bad = append(bad, name+" changed")
		}
	}
	return bad
}

// TestLocality changes the temperature of one loss after another: the
// gradients in its reach change, all of them, and no bit of any other.
func TestLocality(t *testing.T) {
	nets := map[string]func() *model.Net{
		"gim":         func() *model.Net { return bare(3, gim) },
		"loco":        func() *model.Net { return bare(4, loco, watch(1, -1), watch(3, -1)) },
		"three":       func() *model.Net { return bare(5, three, watch(2, -1)) },
		"also":        func() *model.Net { return bare(3, [][2]int{{0, 1}, {0, 1}, {1, 2}}) },
		"same start":  func() *model.Net { return bare(4, [][2]int{{0, 1}, {1, 2}, {1, 3}}) },
		"upper":       func() *model.Net { return bare(4, loco, upper(1)) },
		"upper three": func() *model.Net { return bare(5, three, upper(2), watch(2, -1)) },
		"soft":        func() *model.Net { return bare(3, gim, copies(0, 0.1, 1), copies(1, 0.1, 2)) },
		"batch":       func() *model.Net { return bare(4, loco, micro(2, true), watch(1, -1)) },
	}
	for name, make := range nets {
		for _, o := range []lower.Options{together, deep, twice} {
			t.Run(name, func(t *testing.T) { locality(t, make, o) })
		}
	}
}

func locality(t *testing.T, make func() *model.Net, o lower.Options) {
	gradients := func(edit func(*model.Net)) map[string][]float64 {
		n := make()
		edit(n)
		return newMachine(t, n, o, reference.Start(n, -1, 1)).step(pictures(n, 0), 0.1).gradients
	}
	n := make()
	before := gradients(func(*model.Net) {})
	for k, u := range n.Units {
		after := gradients(func(n *model.Net) { n.Units[k].Loss.Temperature *= 1.5 })
		reach := inReach(n, k)
		if bad := strays(before, after, reach); len(bad) > 0 {
			t.Errorf("the loss of %s, which reaches %v:\n%s", u.Name, reach, join(bad))
		}
		if len(strays(before, after, reach[1:])) == 0 || len(strays(before, after, append(reach, "u"))) == 0 && len(n.Units) > 1 {
			t.Errorf("a wrong reach of the loss of %s goes unnoticed", u.Name)
		}
	}
	for w, watch := range n.Watches {
		after := gradients(func(n *model.Net) { n.Watches[w].Loss.Temperature *= 1.5 })
		if bad := strays(before, after, []string{watch.Name + "/"}); len(bad) > 0 {
			t.Errorf("the watch %s:\n%s", watch.Name, join(bad))
		}
	}
}
