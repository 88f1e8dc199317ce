package cuda

import (
	"errors"
	"fmt"
	"math"

	"github.com/locorun/locorun/compiler/op"
)

// checkUpdate: results are the arguments, in place and of one shape.
func (r *run) checkUpdate() error {
	row := &op.Rows[r.call.Code]
	for i, s := range r.in {
		switch {
		case r.inAt[i] != r.outAt[i]:
			return fmt.Errorf("result %s is not in place", row.In[i].Name)
		case s == nil:
			continue
		}
		if err := fits(row.In[i].Name, s, r.in[0]...); err != nil {
			return err
		}
	}
	return nil
}

// rate is the step's.
func (r *run) rate() float64 { return r.call.LR * r.attr.LRFactor }

func sgd(r *run) error {
	if err := r.checkUpdate(); err != nil {
		return err
	}
	a := r.attr
	if r.in[2] == nil && a.Momentum != 0 {
		return errors.New("momentum without an argument m")
	}
	return r.each("sgd", r.n(0), r.x(0), r.x(1), r.x(2), f32(r.rate()), f32(a.Momentum), f32(a.Decay), flag(a.Nesterov), r.count(0))
}

// lars without adaption is sgd. The norms are sums of at most threads partial
// ones, which every block of the update joins by itself.
func lars(r *run) error {
	if err := r.checkUpdate(); err != nil {
		return err
	}
	a, n := r.attr, r.n(0)
	if !(a.Trust > 0) {
		return r.each("sgd", n, r.x(0), r.x(1), r.x(2), f32(r.rate()), f32(a.Momentum), f32(a.Decay), flag(false), i64(n))
	}
	if n == 0 {
		return nil
	}
	blocks := min(parts(n, 4*threads), threads)
	partial, err := r.scratch(slotSums, 16*blocks)
	if err != nil {
		return err
	}
	if err := r.line("lars_squares", blocks, r.x(0), r.x(1), uint64(partial), i64(n)); err != nil {
		return err
	}
	return r.each("lars", n, r.x(0), r.x(1), r.x(2), uint64(partial), i32(blocks), f64(a.Trust), f64(a.Decay), f64(a.Eps),
		f32(r.rate()), f32(a.Momentum), i64(n))
}

func adamw(r *run) error {
	if err := r.checkUpdate(); err != nil {
		return err
	}
	a, t := r.attr, float64(r.call.Step)
	if t < 1 {
		return fmt.Errorf("step %d is not at least 1", r.call.Step)
	}
	return r.each("adamw", r.n(0), r.x(0), r.x(1), r.x(2), r.x(3), f32(r.rate()), f32(1-r.rate()*a.Decay),
		f32(a.Beta1), f32(1-a.Beta1), f32(a.Beta2), f32(1-a.Beta2),
		f32(1-math.Pow(a.Beta1, t)), f32(1-math.Pow(a.Beta2, t)), f32(a.Eps), r.count(0))
}
