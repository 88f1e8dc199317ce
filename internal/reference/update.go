package reference

import (
	"math"

	"github.com/locorun/locorun/compiler/model"
)

// state is an optimiser's memory of one parameter.
type state struct{ first, second []float64 }

// Update changes the weights by their gradients with the optimiser of the unit
// that owns them. lr is the schedule's rate, before the unit's factor; step
// counts updates from 1.
func (m *Model) Update(gradients map[string]Map, lr float64, step int) {
	for _, p := range m.Params {
		if g, ok := gradients[p.Name]; ok {
			u := m.Net.Units[p.Unit]
			m.update(p, u.Optimizer, g.V, lr*u.LR, step)
		}
	}
}

func (m *Model) update(p Param, o model.Optimizer, g []float64, lr float64, step int) {
	w := m.Weights[p.Name].V
	s := m.states[p.Name]
	if s == nil {
		s = &state{make([]float64, len(w)), make([]float64, len(w))}
		m.states[p.Name] = s
	}
	decay := 0.0
	if p.Decays {
		decay = o.WeightDecay
	}
	switch o.Kind {
	case "sgd":
		sgd(w, g, s.first, lr, o.Momentum, decay, o.Nesterov)
	case "lars":
		local := 1.0
		if norm := length(w); p.Decays && o.Trust > 0 && norm > 0 && length(g) > 0 {
			local = o.Trust * norm / (length(g) + decay*norm + o.Eps)
		}
		lars(w, g, s.first, lr, local, o.Momentum, decay)
	case "adamw":
		adamw(w, g, s, lr, decay, o, step)
	default:
		panic("reference: optimizer " + o.Kind)
	}
}

func length(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v * v
	}
	return math.Sqrt(sum)
}

// sgd is stochastic gradient descent with momentum, the decay in the gradient.
func sgd(w, g, velocity []float64, lr, momentum, decay float64, nesterov bool) {
	for i := range w {
		d := g[i] + decay*w[i]
		velocity[i] = momentum*velocity[i] + d
		if nesterov {
			w[i] -= lr * (d + momentum*velocity[i])
		} else {
			w[i] -= lr * velocity[i]
		}
	}
}

// lars is sgd on gradients scaled by a layer's local rate (You et al. 2017).
func lars(w, g, velocity []float64, lr, local, momentum, decay float64) {
	for i := range w {
		velocity[i] = momentum*velocity[i] + local*(g[i]+decay*w[i])
		w[i] -= lr * velocity[i]
	}
}

// adamw is Adam with the decay beside it (Loshchilov and Hutter 2019).
func adamw(w, g []float64, s *state, lr, decay float64, o model.Optimizer, step int) {
	t := float64(step)
	for i := range w {
		s.first[i] = o.Betas[0]*s.first[i] + (1-o.Betas[0])*g[i]
		s.second[i] = o.Betas[1]*s.second[i] + (1-o.Betas[1])*g[i]*g[i]
		mean := s.first[i] / (1 - math.Pow(o.Betas[0], t))
		square := s.second[i] / (1 - math.Pow(o.Betas[1], t))
		w[i] = w[i]*(1-lr*decay) - lr*mean/(math.Sqrt(square)+o.Eps)
	}
}
