package cuda

import (
	"cmp"
	"fmt"

	"github.com/locorun/locorun/compiler/op"
)

// window is a pool's parameters for a map x and its pool y.
func (r *run) window(x, y []int) []uint64 {
	a := r.attr
	return []uint64{i32(x[1]), i32(x[2]), i32(y[1]), i32(y[2]), i32(a.KH), i32(a.KW), i32(a.Stride), i32(a.Pad)}
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
	rows, c := rowsOf(r.out[0])
	args := append([]uint64{r.x(0), r.y(0), r.y(1), i64(rows), i32(c)}, r.window(r.in[0], r.out[0])...)
	return r.eachRow("pool_max", rows, c, 1, args...)
}

func poolMean(r *run) error {
	if err := cmp.Or(isMap("x", r.in[0]), checkPool(r.attr, r.in[0], nil)); err != nil {
		return err
	}
	rows, c := rowsOf(r.out[0])
	args := append([]uint64{r.x(0), r.y(0), i64(rows), i32(c)}, r.window(r.in[0], r.out[0])...)
	return r.eachRow("pool_mean", rows, c, 1, args...)
}

func poolMeanGrad(r *run) error {
	if err := cmp.Or(isMap("dy", r.in[0]), checkPool(r.attr, r.out[0], r.in[0])); err != nil {
		return err
	}
	rows, c := rowsOf(r.out[0])
	args := append([]uint64{r.x(0), r.y(0), i64(rows), i32(c)}, r.window(r.out[0], r.in[0])...)
	return r.eachRow("pool_mean_grad", rows, c, 1, args...)
}

func poolMaxGrad(r *run) error {
	dy, dx := r.in[0], r.out[0]
	if err := cmp.Or(isMap("dy", dy), fits("index", r.in[1], dy...), checkPool(r.attr, dx, dy), checkFilled(r.attr)); err != nil {
		return err
	}
	if err := r.b.dev.Fill(r.outAt[0], 0, int64(4*elements(dx)), r.b.stream); err != nil {
		return err
	}
	n, c := dx[0], dx[3]
	return r.eachRow("pool_max_grad", n, c, 1, r.x(0), r.x(1), r.y(0), i64(n), i32(c), i32(dy[1]*dy[2]), i32(dx[1]*dx[2]))
}
