package cuda

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cuda/driver"
)

// Scratch memory of norms, pools and updates, apart from that of the convolutions they
// are fused with.
const (
	slotSums     slot = iota + 200 // partial sums, float64
	slotStats                      // of sets: two numbers each
	slotFactor                     // of gradients: two numbers a set
	slotStray                      // flags of pool_max_grad
	slotNormGrad                   // the gradient between a norm and its convolution
)

// wantSegments is about how many blocks sum a map: some for each multiprocessor.
const wantSegments = 2048

// sets is how a map of rows x c is normalised: what shares statistics is cg
// channels of a picture of so many pixels. Batch normalisation is that of one
// picture which has all rows, with cg = 1. A picture is summed in per segments;
// all follows from the shape.
type sets struct{ rows, c, cg, pixels, per int }

func newSets(shape []int, groups int) sets {
	rows, c := rowsOf(shape)
	s := sets{rows: rows, c: c, cg: 1, pixels: rows}
	if groups > 0 {
		s.cg, s.pixels = c/groups, shape[1]*shape[2]
	}
	x, y := threadsFor(c)
	across := parts(c, x)
	if c%4 == 0 {
		across = parts(c, 4*x)
	}
	s.per = max(min(wantSegments/(across*s.pictures()), parts(s.pixels, 4*y), s.pixels), 1)
	return s
}

func (s sets) pictures() int { return s.rows / s.pixels }

// count is how many sets there are, segments how many segments of all pictures.
func (s sets) count() int    { return s.pictures() * (s.c / s.cg) }
func (s sets) segments() int { return s.pictures() * s.per }

// words are a set's size, and the segments of a picture, as parameters.
func (s sets) words() []uint64 { return []uint64{i32(s.c), i32(s.cg), i64(s.pixels), i32(s.per)} }

// saved is the shape of saved statistics.
func saved(groups int, x []int) []int {
	if groups > 0 {
		return []int{x[0], groups}
	}
	return []int{x[3]}
}

// normTask is a norm forward, by addresses, 0 for what is absent.
type normTask struct {
	r *run
	sets
	x, scale, shift, running, variance, residual uint64
	y, mean, invstd                              uint64
	batch                                        bool // batch normalisation, not group
}

// norm is the launches of Norm.
func norm(r *run) error {
	if err := cmp.Or(isMap("x", r.in[0]), r.checkNorm(r.attr.Groups, r.in[0], r.in[1:])); err != nil {
		return err
	}
	return r.normTask(r.attr.Groups, r.in[0], r.x(0), 1, 0).run()
}

// normTask is the norm of a map of the given shape: arguments from number first
// on are scale, shift, mean, var and residual, results from number result on y
// and the saved statistics.
func (r *run) normTask(groups int, shape []int, x uint64, first, result int) normTask {
	return normTask{
		r: r, sets: newSets(shape, groups), batch: groups == 0, x: x,
		scale: r.x(first), shift: r.x(first + 1), running: r.x(first + 2), variance: r.x(first + 3), residual: r.x(first + 4),
		y: r.y(result), mean: r.y(result + 1), invstd: r.y(result + 2),
	}
}

// checkNorm checks what norm and conv_norm have in common for a map x: rest is
// scale, shift, mean, var and residual.
func (r *run) checkNorm(groups int, x []int, rest [][]int) error {
	a, c := r.attr, x[3]
	switch {
	case groups < 0 || groups > 0 && c%groups != 0:
		return fmt.Errorf("%d channels do not split into %d groups", c, groups)
	case groups == 0 && a.Mode != op.NormBatch && (rest[2] == nil || rest[3] == nil):
		return errors.New("running mean or var is missing")
	case a.Residual && rest[4] == nil:
		return errors.New("residual is missing")
	case !a.Residual && rest[4] != nil:
		return errors.New("residual is there although the settings say it is not")
	}
	return cmp.Or(fits("scale", rest[0], c), fits("shift", rest[1], c), fits("mean", rest[2], c), fits("var", rest[3], c),
		fits("residual", rest[4], x...))
}

// run makes the statistics, then y if that is wanted.
func (t normTask) run() error {
	if t.rows == 0 || t.c == 0 {
		return nil
	}
	if err := cmp.Or(t.place(), t.statistics()); err != nil || t.y == 0 {
		return err
	}
	quad := vector(t.c, t.x, t.y, t.residual)
	return t.r.eachRow("norm_apply", t.rows, t.c, quad, t.x, t.residual, t.mean, t.invstd, t.scale, t.shift, t.y,
		i32(t.rows), i32(t.c), i32(t.cg), i64(t.pixels), flag(t.r.attr.ReLU))
}

// place finds memory for statistics that are not saved.
func (t *normTask) place() error {
	at, err := t.r.scratch(slotStats, 8*t.count())
	if err != nil {
		return err
	}
	t.mean = cmp.Or(t.mean, uint64(at))
	t.invstd = cmp.Or(t.invstd, uint64(at)+uint64(4*t.count()))
	return nil
}

func (t normTask) statistics() error {
	a := t.r.attr
	if t.batch && a.Mode == op.NormRunning {
		return t.r.each("norm_running", t.c, t.running, t.variance, t.mean, t.invstd, f64(a.Eps), i64(t.c))
	}
	sums, err := t.r.scratch(slotSums, 16*t.segments()*t.c)
	if err != nil {
		return err
	}
	err = t.r.overRows("norm_moments", t.segments(), t.c, vector(t.c, t.x), t.x, uint64(sums), i32(t.c), i64(t.pixels), i32(t.per))
	if err != nil {
		return err
	}
	if !t.batch || a.Mode != op.NormUpdate {
		t.running, t.variance = 0, 0
	}
	args := append([]uint64{uint64(sums), t.mean, t.invstd, t.running, t.variance}, t.words()...)
	return t.r.line("norm_settle", t.count(), append(args, f64(a.Eps), f64(a.StatMomentum))...)
}

// convNorm is the launches of ConvNorm: the convolution, which may read x through
// a norm, then the norm.
func convNorm(r *run) error {
	if err := r.checkNorm(r.attr.NormGroups, r.out[0], r.in[2:]); err != nil {
		return err
	}
	g := r.geometry(r.in[0], r.in[1], r.out[0])
	g.read = r.reading(7)
	if err := r.conv(g, r.inAt[0], r.inAt[1], 0, r.outAt[0]); err != nil {
		return err
	}
	return r.normTask(r.attr.NormGroups, r.out[0], r.y(0), 2, 1).run()
}

// reading is the norm that a convolution reads through: its scale, shift, mean
// and invstd are the arguments from number first on.
func (r *run) reading(first int) reading {
	at := func(i int) driver.Pointer { return r.inAt[first+i] }
	return reading{scale: at(0), shift: at(1), mean: at(2), invstd: at(3), groups: r.attr.InGroups, relu: r.attr.InReLU}
}
