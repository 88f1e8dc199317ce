package cuda

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cuda/driver"
)

// normGradTask is the gradient of a norm, by addresses, 0 for what is absent.
type normGradTask struct {
	r *run
	sets
	batch          bool
	masked         []uint64 // dy, x, y, scale, shift, mean, invstd, as kernels take them
	dx, dresidual  uint64
	dscale, dshift uint64 // 0 where not wanted
}

// normGrad is the launches of NormGrad.
func normGrad(r *run) error {
	if err := cmp.Or(isMap("x", r.in[1]), r.checkNormGrad(r.attr.Groups)); err != nil {
		return err
	}
	return r.normGradTask(r.attr.Groups, 0, r.y(0)).run()
}

// normGradTask is the gradient that the first six arguments and results 1 to 3
// of norm_grad and conv_norm_grad tell of; shift is that of a relu whose mask is
// made again.
func (r *run) normGradTask(groups int, shift, dx uint64) normGradTask {
	t := normGradTask{
		r: r, sets: newSets(r.in[1], groups), batch: groups == 0,
		masked: []uint64{r.x(0), r.x(1), 0, r.x(3), 0, r.x(4), r.x(5)},
		dx:     dx, dresidual: r.y(1),
	}
	if r.attr.ReLU {
		t.masked[2], t.masked[4] = r.x(2), shift
	}
	if r.attr.Weights {
		t.dscale, t.dshift = r.y(2), r.y(3)
	}
	return t
}

// checkNormGrad checks what norm_grad and conv_norm_grad have in common.
func (r *run) checkNormGrad(groups int) error {
	a, x := r.attr, r.in[1]
	switch {
	case groups < 0 || groups > 0 && x[3]%groups != 0:
		return fmt.Errorf("%d channels do not split into %d groups", x[3], groups)
	case groups == 0 && a.Mode == op.NormRunning:
		return errors.New("running statistics have no gradient here")
	case a.ReLU && r.in[2] == nil && !r.masksByShift():
		return errors.New("argument y is missing where a relu is fused")
	case a.Weights && (r.out[2] == nil || r.out[3] == nil):
		return errors.New("result dscale or dshift is missing")
	}
	s := saved(groups, x)
	return cmp.Or(fits("y", r.in[2], x...), fits("scale", r.in[3], x[3]), fits("saved_mean", r.in[4], s...), fits("saved_invstd", r.in[5], s...))
}

// masksByShift reports whether the relu's mask can be made without y: by shift,
// which conv_norm_grad may have, where no residual was added.
func (r *run) masksByShift() bool {
	return r.call.Code == op.ConvNormGrad && r.in[9] != nil && !r.attr.Residual
}

// run writes dx and dresidual, and adds the gradients of scale and shift.
func (t normGradTask) run() error {
	if t.rows == 0 || t.c == 0 {
		return nil
	}
	n := t.count()
	sums, err := t.r.scratch(slotSums, 16*t.segments()*t.c)
	if err != nil {
		return err
	}
	factor, err := t.r.scratch(slotFactor, 8*n)
	if err != nil {
		return err
	}
	centre, slope := uint64(factor), uint64(factor)+uint64(4*n)
	if err := t.sum(uint64(sums), centre, slope); err != nil {
		return err
	}
	m := t.masked
	args := append(append([]uint64{}, m...), centre, slope, t.dx, t.dresidual, i32(t.rows), i32(t.c), i32(t.cg), i64(t.pixels))
	return t.r.eachRow("norm_grad_apply", t.rows, t.c, vector(t.c, m[0], m[1], m[2], t.dx, t.dresidual), args...)
}

// sum makes the sums over sets: the factors of dx, and the gradients of weights.
func (t normGradTask) sum(sums, centre, slope uint64) error {
	m, words := t.masked, t.words()
	args := append(append(append([]uint64{}, m...), sums), words...)
	if err := t.r.overRows("norm_grad_sums", t.segments(), t.c, vector(t.c, m[0], m[1], m[2]), args...); err != nil {
		return err
	}
	args = append([]uint64{sums, m[3], m[6], centre, slope}, words...)
	if err := t.r.line("norm_grad_settle", t.count(), args...); err != nil || t.dscale == 0 {
		return err
	}
	return t.r.line("norm_grad_weights", t.c, sums, m[6], t.dscale, t.dshift, i32(t.c), i32(t.cg), i32(t.per), i32(t.segments()))
}

// convNormGrad is the launches of ConvNormGrad: the norm's gradient to scratch
// memory, and of it the convolution's.
func convNormGrad(r *run) error {
	if err := r.checkConvNormGrad(); err != nil {
		return err
	}
	dz, err := r.scratch(slotNormGrad, r.n(1)*r.maps.Size())
	if err != nil {
		return err
	}
	shift := uint64(0)
	if r.in[2] == nil {
		shift = r.x(9)
	}
	if err := r.normGradTask(r.attr.NormGroups, shift, uint64(dz)).run(); err != nil {
		return err
	}
	return r.convGradients(dz)
}

// convGradients makes dw and dx of conv_norm_grad, those that are there.
func (r *run) convGradients(dz driver.Pointer) error {
	g := r.geometry(r.in[6], r.in[7], r.in[1])
	g.read = r.reading(10)
	if r.outAt[4] != 0 {
		if err := r.convWeight(g, r.inAt[6], dz, r.outAt[4], 0); err != nil {
			return err
		}
	}
	if r.outAt[0] == 0 {
		return nil
	}
	return r.convInput(g, dz, r.inAt[7], r.outAt[0], r.inAt[8])
}

func (r *run) checkConvNormGrad() error {
	if r.in[8] != nil && r.out[0] == nil {
		return errors.New("argument more is there although there is no result dx to add it to")
	}
	for i, name := range []string{"dscale", "dshift", "dw"} {
		switch there := r.out[2+i] != nil; {
		case r.attr.Weights && !there:
			return fmt.Errorf("%s is missing", name)
		case !r.attr.Weights && there:
			return fmt.Errorf("%s is there although the settings say it is not", name)
		}
	}
	return cmp.Or(fits("shift", r.in[9], r.in[1][3]), r.checkNormGrad(r.attr.NormGroups))
}
