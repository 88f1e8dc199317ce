package reference

import "github.com/locorun/locorun/compiler/model"

// Result is what one batch gives.
type Result struct {
	Losses    map[string]float64 // by unit and watch
	Gradients map[string]Map     // by parameter, of all that is trained
}

// Batch computes the losses and gradients of a batch, a Map of pictures per
// microbatch, and moves the running statistics. Weights stay as they are.
func (m *Model) Batch(micros []Map) Result {
	r := Result{map[string]float64{}, map[string]Map{}}
	for _, k := range m.units() {
		m.unit(k, micros, r)
		for w := range m.Net.Watches {
			if m.owner(m.Net.Watches[w].Stage) == k {
				m.watch(w, micros, r)
			}
		}
	}
	for _, t := range m.Net.Ties {
		if m.Turn < 0 {
			m.pull(t, r)
		}
	}
	return r
}

// unit adds the loss of unit k and its gradients.
func (m *Model) unit(k int, micros []Map, r Result) {
	u := m.Net.Units[k]
	p := &pass{m: m, tape: &tape{}, weights: map[string]*node{}}
	var es []*node
	for _, images := range micros {
		x := p.below(u.First, images)
		for s := u.First; s <= u.Last; s++ {
			p.moves = m.owner(s) == k
			x = p.site(m.stage(s), x)
		}
		p.moves = true
		es = append(es, p.site(decoder(u.Name, &u.Decoder, k), x))
	}
	r.Losses[u.Name] = p.loss(es, u.Loss)
	for s := u.First; s <= u.Last; s++ {
		if m.trains(k, s) {
			p.harvest(m.stage(s).name, r)
		}
	}
	p.harvest(u.Name+"/"+u.Decoder.Name, r)
}

// watch adds the loss of a watch and the gradients of its decoder.
func (m *Model) watch(w int, micros []Map, r Result) {
	watch := m.Net.Watches[w]
	p := &pass{m: m, tape: &tape{}, weights: map[string]*node{}}
	var es []*node
	for _, images := range micros {
		x := p.below(watch.Stage+1, images)
		p.moves = true
		es = append(es, p.site(decoder(watch.Name, &watch.Decoder, 0), x))
	}
	r.Losses[watch.Name] = p.loss(es, watch.Loss)
	p.harvest(watch.Name+"/"+watch.Decoder.Name, r)
}

// pull adds the gradients of penalty*||a-b||^2 between a stage's weights and
// their copies, to both.
func (m *Model) pull(t model.Tie, r Result) {
	u := m.Net.Units[t.Lower]
	for i, p := range m.parts(decoder(u.Name, &u.Decoder, t.Lower)) {
		if i == len(u.Decoder.Copied) || u.Decoder.Copied[i].Stage != t.Stage {
			continue
		}
		eachLayer(p.layers, func(l *model.Layer) {
			for _, suffix := range []string{"." + l.Name + ".weight", "." + l.Name + ".bias"} {
				m.pullOne(p.from+suffix, p.prefix+suffix, t.Penalty, r)
			}
		})
	}
}

func (m *Model) pullOne(name, copied string, penalty float64, r Result) {
	a, b := m.Weights[name], m.Weights[copied]
	for i := range a.V {
		r.Gradients[name].V[i] += 2 * penalty * (a.V[i] - b.V[i])
		r.Gradients[copied].V[i] += 2 * penalty * (b.V[i] - a.V[i])
	}
}

// pass is the forward and backward of one unit, or one watch, over a batch.
type pass struct {
	m       *Model
	tape    *tape
	weights map[string]*node
	running bool // norms use the running statistics
	moves   bool // norms move the running statistics
}

// below is the output of the stages below stage first, made on a tape of its
// own: no gradient comes back to it.
func (p *pass) below(first int, images Map) *node {
	q := &pass{m: p.m, tape: &tape{}, weights: map[string]*node{}}
	x := q.tape.leaf(images)
	for s := range first {
		q.running = p.m.owner(s) < 0
		x = q.site(p.m.stage(s), x)
	}
	return p.tape.leaf(x.Map)
}

// loss runs backward from the loss of a batch's embeddings and returns it: one
// loss of all, or the mean of the microbatches'.
func (p *pass) loss(es []*node, l model.Loss) float64 {
	var losses []*node
	if l.Batch {
		losses = append(losses, p.tape.ntxent(p.tape.stack(es), l.Temperature, 1))
	} else {
		for _, e := range es {
			losses = append(losses, p.tape.ntxent(e, l.Temperature, 1/float64(len(es))))
		}
	}
	p.tape.backward(losses...)
	total := 0.0
	for _, l := range losses {
		total += l.V[0]
	}
	return total
}

// harvest adds the gradients of a site's parameters to the result's.
func (p *pass) harvest(site string, r Result) {
	for _, q := range p.m.Params {
		if q.Stage != site {
			continue
		}
		w := p.m.Weights[q.Name]
		g, ok := r.Gradients[q.Name]
		if !ok {
			g = New(w.N, w.H, w.W, w.C)
			r.Gradients[q.Name] = g
		}
		for i, v := range p.weights[q.Name].grad {
			g.V[i] += v
		}
	}
}

func (p *pass) weight(name string) *node {
	if p.weights[name] == nil {
		p.weights[name] = p.tape.leaf(p.m.Weights[name])
	}
	return p.weights[name]
}

func (p *pass) site(s site, x *node) *node {
	for _, q := range p.m.parts(s) {
		x = p.layers(q.prefix, q.layers, x)
	}
	return x
}

func (p *pass) layers(prefix string, ls []*model.Layer, x *node) *node {
	for _, l := range ls {
		x = p.layer(prefix, l, x)
	}
	return x
}

func (p *pass) layer(prefix string, l *model.Layer, x *node) *node {
	t, name := p.tape, prefix+"."+l.Name
	switch l.Kind {
	case model.Conv:
		return p.biased(l.Bias, name, t.conv(l, x, p.weight(name+".weight")))
	case model.Dense:
		return p.biased(true, name, t.dense(x, p.weight(name+".weight")))
	case model.Norm:
		return p.norm(l, name, x)
	case model.ReLU:
		return t.relu(x)
	case model.Pool:
		return t.pool(l, x)
	case model.Resize:
		return t.resize(l, x)
	case model.Shuffle:
		return t.channels(x, x.C, func(c int) int {
			group, i := c/(x.C/l.Groups), c%(x.C/l.Groups)
			return i*l.Groups + group
		})
	case model.Residual:
		return t.sum(p.layers(prefix, l.Branches[0].Layers, x), p.layers(prefix, l.Branches[1].Layers, x))
	case model.Split, model.Fork:
		return p.branches(prefix, l, x)
	}
	panic("reference: layer " + string(l.Kind))
}

func (p *pass) biased(biased bool, name string, y *node) *node {
	if !biased {
		return y
	}
	return p.tape.sum(y, p.tape.spread(p.weight(name+".bias"), y, 1, func(i int) int { return i % y.C }))
}

// norm is batch normalisation over the microbatch's pictures, or over each
// picture and group of channels.
func (p *pass) norm(l *model.Layer, name string, x *node) *node {
	scale, shift := p.weight(name+".weight"), p.weight(name+".bias")
	if l.Groups > 0 {
		picture, width := len(x.V)/x.N, x.C/l.Groups
		set := func(i int) int { return i/picture*l.Groups + i%x.C/width }
		return p.tape.norm(x, p.tape.batchMoments(x, x.N*l.Groups, set), set, scale, shift)
	}
	set := func(i int) int { return i % x.C }
	mean, variance := p.m.Statistics[name+".running_mean"], p.m.Statistics[name+".running_var"]
	if p.running {
		return p.tape.norm(x, moments{p.tape.leaf(mean), p.tape.leaf(variance)}, set, scale, shift)
	}
	mo := p.tape.batchMoments(x, x.C, set)
	if p.moves {
		count := float64(len(x.V) / x.C)
		for c := range x.C {
			mean.V[c] = 0.9*mean.V[c] + 0.1*mo.mean.V[c]
			variance.V[c] = 0.9*variance.V[c] + 0.1*mo.variance.V[c]*count/(count-1)
		}
	}
	return p.tape.norm(x, mo, set, scale, shift)
}

// branches joins the branches of a split, which share the channels out, or of
// a fork, which each see them all.
func (p *pass) branches(prefix string, l *model.Layer, x *node) *node {
	var all *node
	in, out := 0, 0
	for _, b := range l.Branches {
		part := x
		if first := in; l.Kind == model.Split {
			part = p.tape.channels(x, b.In.C, func(c int) int {
				if c < first || c >= first+b.In.C {
					return -1
				}
				return c - first
			})
		}
		y := p.layers(prefix, b.Layers, part)
		first := out
		y = p.tape.channels(y, l.Out.C, func(c int) int { return first + c })
		if all == nil {
			all = y
		} else {
			all = p.tape.sum(all, y)
		}
		in, out = in+b.In.C, out+b.Out.C
	}
	return all
}
