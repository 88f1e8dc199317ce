package runtime

import (
	"slices"
	"testing"

	"github.com/locorun/locorun/compiler/model"
)

// stagesOf makes an encoder of one unit.
func stagesOf(stages ...*model.Stage) *model.Net {
	return &model.Net{Stages: stages, Units: []*model.Unit{{Name: "all", Last: len(stages) - 1}}}
}

func convs(n, size int) (list []*model.Layer) {
	for range n {
		list = append(list, &model.Layer{Kind: model.Conv, KH: size, KW: size})
	}
	return list
}

// TestMeaningOfStages: their order is told of, and a stage that is divided is
// the one that was written, divided elsewhere.
func TestMeaningOfStages(t *testing.T) {
	a := func() *model.Stage { return &model.Stage{Name: "a", Layers: convs(1, 1)} }
	b := func() *model.Stage { return &model.Stage{Name: "b", Layers: convs(1, 3)} }
	d := func() *model.Stage { return &model.Stage{Name: "d", Layers: convs(2, 3)} }
	c := func() *model.Stage { return &model.Stage{Name: "c", Layers: convs(3, 3)} }
	part := func(first int) []*model.Stage {
		return []*model.Stage{{Name: "c", Layers: convs(first, 3)}, {Name: "c.rest", Of: "c", Layers: convs(3-first, 3)}}
	}
	for _, x := range []struct {
		name    string
		was, is *model.Net
		want    []string
		cut     bool
	}{
		{"same", stagesOf(a(), b(), c()), stagesOf(a(), b(), c()), nil, false},
		{"order", stagesOf(a(), b(), d(), c()), stagesOf(a(), d(), b(), c()), []string{"stages"}, false},
		{"divided", stagesOf(a(), c()), stagesOf(append([]*model.Stage{a()}, part(1)...)...), []string{"overlap c.rest", "unit all"}, true},
		{"divided elsewhere", stagesOf(part(1)...), stagesOf(part(2)...), []string{"overlap c.rest"}, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			list := func(n *model.Net) []Fact { return append(stageFacts(n), cutFacts(n)...) }
			var got []string
			for _, d := range Differences(list(x.was), list(x.is)) {
				got = append(got, d.Name)
				if d.Cut != x.cut {
					t.Errorf("%s: cut is %v", d.Name, d.Cut)
				}
			}
			if !slices.Equal(got, x.want) {
				t.Errorf("differences are %q, want %q", got, x.want)
			}
		})
	}
}
