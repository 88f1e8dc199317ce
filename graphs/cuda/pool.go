package cuda

import (
	"cmp"
	"fmt"

	"github.com/locorun/locorun/compiler/op"
)

// pooled launches a kernel of a pool from map x to y that goes through the rows
// of one of them, in vectors where it has a kernel for those.
func (r *run) pooled(kernel string, x, y, over []int, at ...uint64) error {
	a := r.attr
	rows, c := rowsOf(over)
	args := append(at[:len(at):len(at)], i32(rows), i32(c), i32(x[1]), i32(x[2]), i32(y[1]), i32(y[2]),
		i32(a.KH), i32(a.KW), i32(a.Stride), i32(a.Pad))
	return r.eachRow(kernel, rows, c, vector(c, at...), args...)
}

// checkPool refuses windows that no kernel can take; y is the pool of x.
func checkPool(a op.Attr, x, y []int) error {
	if a.KH < 1 || a.KW < 1 || a.Stride < 1 || a.Pad < 0 {
		return fmt.Errorf("window %dx%d with stride %d and padding %d", a.KH, a.KW, a.Stride, a.Pad)
	}
	want, err := op.Rows[op.PoolMean].Shape(a, [][]int{x})
	if err != nil {
		return err
	}
	return fits("dy", y, want[0]...)
}

// checkFilled refuses windows that may lie on padding alone, which have no
// maximum.
func checkFilled(a op.Attr) error {
	if a.Pad >= a.KH || a.Pad >= a.KW {
		return fmt.Errorf("padding %d leaves windows %dx%d without a pixel", a.Pad, a.KH, a.KW)
	}
	return nil
}

func poolMax(r *run) error {
	if err := cmp.Or(isMap("x", r.in[0]), checkPool(r.attr, r.in[0], nil), checkFilled(r.attr)); err != nil {
		return err
	}
	return r.pooled("pool_max", r.in[0], r.out[0], r.out[0], r.x(0), r.y(0), r.y(1))
}

func poolMean(r *run) error {
	if err := cmp.Or(isMap("x", r.in[0]), checkPool(r.attr, r.in[0], nil)); err != nil {
		return err
	}
	return r.pooled("pool_mean", r.in[0], r.out[0], r.out[0], r.x(0), r.y(0))
}

func poolMeanGrad(r *run) error {
	if err := cmp.Or(isMap("dy", r.in[0]), checkPool(r.attr, r.out[0], r.in[0])); err != nil {
		return err
	}
	return r.pooled("pool_mean_grad", r.out[0], r.in[0], r.out[0], r.x(0), r.y(0))
}

// poolMaxGrad gathers; indices that lie outside of their windows, which poolMax
// does not make, are looked for and added one after another.
func poolMaxGrad(r *run) error {
	dy, dx := r.in[0], r.out[0]
	if err := cmp.Or(isMap("dy", dy), fits("index", r.in[1], dy...), checkPool(r.attr, dx, dy), checkFilled(r.attr)); err != nil {
		return err
	}
	if err := r.pooled("pool_max_grad", dx, dy, dx, r.x(0), r.x(1), r.y(0)); err != nil {
		return err
	}
	size := 4 * dx[0] * dx[3]
	flags, err := r.scratch(slotStray, size)
	if err != nil {
		return err
	}
	if err := r.b.dev.Fill(flags, 0, int64(size), r.lane.stream); err != nil {
		return err
	}
	if err := r.pooled("pool_max_strays", dx, dy, dy, r.x(1), uint64(flags)); err != nil {
		return err
	}
	return r.addStrays(dx, dy, uint64(flags))
}

// addStrays launches what adds to the pictures and channels with a flag.
func (r *run) addStrays(dx, dy []int, flags uint64) error {
	a, n, c := r.attr, dx[0], dx[3]
	return r.eachRow("pool_max_add_strays", n, c, 1, r.x(0), r.x(1), flags, r.y(0), i32(n), i32(c),
		i32(dx[1]), i32(dx[2]), i32(dy[1]), i32(dy[2]), i32(a.KH), i32(a.KW), i32(a.Stride), i32(a.Pad))
}
