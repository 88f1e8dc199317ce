package reference

import (
	"math"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/runtime/rng"
)

// Model is a net with its weights.
type Model struct {
	Net *model.Net
	// Turn is the only unit trained, the stages below it frozen with their
	// running statistics; -1 trains all units.
	Turn int
	// Params are the trained parameters and those of frozen stages, in no
	// order that means anything.
	Params []Param
	// Weights are the parameters' values by name, Statistics the running means
	// and variances. Both may be written between batches.
	Weights, Statistics map[string]Map

	states map[string]*state
}

// Param is what is known of a parameter beside its value.
type Param struct {
	Name string
	// Stage is the encoder's stage or "unit/decoder".
	Stage string
	// Unit is the net's unit that owns and updates it; -1 where it is frozen.
	Unit int
	// Decays says that weight decay and LARS's trust ratio apply: the weights
	// of conv and dense layers.
	Decays bool
}

// site is a stage or a decoder.
type site struct {
	name, label string
	layers      []*model.Layer
	copied      []model.Copied
	unit        int // owner, -1 where frozen
}

// Start is the net with random weights, scales, shifts and statistics that
// depend on the seed and the names alone. Copies start equal to the stages
// they are copies of.
func Start(net *model.Net, turn int, seed uint64) *Model {
	m := &Model{
		Net: net, Turn: turn,
		Weights: map[string]Map{}, Statistics: map[string]Map{}, states: map[string]*state{},
	}
	for _, s := range m.sites() {
		for _, p := range m.parts(s) {
			eachLayer(p.layers, func(l *model.Layer) { m.start(s, p, l, seed) })
		}
	}
	return m
}

// units lists the net's units that are trained, in order.
func (m *Model) units() []int {
	var us []int
	for k := range m.Net.Units {
		if m.Turn < 0 || m.Turn == k {
			us = append(us, k)
		}
	}
	return us
}

// holds reports whether unit k holds stage s.
func (m *Model) holds(k, s int) bool {
	return m.Net.Units[k].First <= s && s <= m.Net.Units[k].Last
}

// owner is the lowest trained unit that holds stage s, -1 where none does.
func (m *Model) owner(s int) int {
	for _, k := range m.units() {
		if m.holds(k, s) {
			return k
		}
	}
	return -1
}

// trains reports whether the loss of unit k trains stage s.
func (m *Model) trains(k, s int) bool {
	if !m.holds(k, s) {
		return false
	}
	if m.Net.Stages[s].Tie != model.Upper {
		return true
	}
	for _, other := range m.units() {
		if other > k && m.holds(other, s) {
			return false
		}
	}
	return true
}

func (m *Model) stage(s int) site {
	st := m.Net.Stages[s]
	return site{name: st.Name, label: st.Label(), layers: st.Layers, unit: m.owner(s)}
}

func decoder(unit string, d *model.Decoder, k int) site {
	name := unit + "/" + d.Name
	return site{name: name, label: name, layers: d.Layers, copied: d.Copied, unit: k}
}

// sites lists all stages up to the top trained one, the trained units'
// decoders and their watches'.
func (m *Model) sites() []site {
	top, all := -1, []site(nil)
	for _, k := range m.units() {
		u := m.Net.Units[k]
		top = max(top, u.Last)
		all = append(all, decoder(u.Name, &u.Decoder, k))
	}
	for s := range top + 1 {
		all = append(all, m.stage(s))
	}
	for _, w := range m.Net.Watches {
		if k := m.owner(w.Stage); k >= 0 {
			all = append(all, decoder(w.Name, &w.Decoder, k))
		}
	}
	return all
}

// part is a run of a site's layers whose weights' names begin with prefix. Of
// a copy, from is the prefix of the copied stage's, else the same.
type part struct {
	prefix, from string
	layers       []*model.Layer
}

// parts are the copies in front of a decoder and the site's own layers.
func (m *Model) parts(s site) []part {
	var ps []part
	first := 0
	for _, c := range s.copied {
		from := m.label(c.Stage)
		ps = append(ps, part{s.label + "." + from, from, s.layers[first : first+c.Layers]})
		first += c.Layers
	}
	return append(ps, part{s.label, s.label, s.layers[first:]})
}

// label is the prefix of the weights of the stage of that name.
func (m *Model) label(stage string) string {
	for _, s := range m.Net.Stages {
		if s.Name == stage {
			return s.Label()
		}
	}
	return stage
}

// eachLayer visits layers and those of their branches.
func eachLayer(ls []*model.Layer, do func(*model.Layer)) {
	for _, l := range ls {
		do(l)
		for _, b := range l.Branches {
			eachLayer(b.Layers, do)
		}
	}
}

// start draws the parameters of one layer.
func (m *Model) start(s site, p part, l *model.Layer, seed uint64) {
	layer := p.prefix + "." + l.Name
	draw := func(suffix string, shape Map, f func(*rng.Stream) float64) Map {
		r := rng.New(seed, p.from+"."+l.Name+suffix)
		for i := range shape.V {
			shape.V[i] = f(&r)
		}
		return shape
	}
	param := func(suffix string, decays bool, shape Map, f func(*rng.Stream) float64) {
		m.Weights[layer+suffix] = draw(suffix, shape, f)
		m.Params = append(m.Params, Param{layer + suffix, s.name, s.unit, decays})
	}
	normal := func(deviation float64) func(*rng.Stream) float64 {
		return func(r *rng.Stream) float64 { return deviation * r.Normal() }
	}
	around1 := func(r *rng.Stream) float64 { return r.Uniform(0.5, 1.5) }
	switch l.Kind {
	case model.Conv:
		ins := l.In.C / max(l.Groups, 1)
		param(".weight", true, New(l.Out.C, l.KH, l.KW, ins), normal(math.Sqrt(2/float64(ins*l.KH*l.KW))))
		if l.Bias {
			param(".bias", false, New(1, 1, 1, l.Out.C), normal(0.3))
		}
	case model.Dense:
		ins := l.In.Elements()
		param(".weight", true, New(l.Out.C, 1, 1, ins), normal(1/math.Sqrt(float64(ins))))
		param(".bias", false, New(1, 1, 1, l.Out.C), normal(0.3))
	case model.Norm:
		param(".weight", false, New(1, 1, 1, l.In.C), around1)
		param(".bias", false, New(1, 1, 1, l.In.C), normal(0.3))
		if l.Groups == 0 {
			m.Statistics[layer+".running_mean"] = draw(".running_mean", New(1, 1, 1, l.In.C), normal(0.2))
			m.Statistics[layer+".running_var"] = draw(".running_var", New(1, 1, 1, l.In.C), around1)
		}
	}
}
