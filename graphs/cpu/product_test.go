package cpu

import (
	"fmt"
	"math"
	"testing"
)

// guard is what memory around operands holds.
const guard = 12345

// guarded is a matrix of rows by cols elements f, whose rows lie apart, with
// guards between and behind them.
func guarded(rows, cols int, f func(i int) float64) matrix[float32] {
	m := matrix[float32]{stride: cols + 3}
	m.mem = make([]float32, (rows-1)*m.stride+cols+3)
	for i := range m.mem {
		m.mem[i] = guard
		if i%m.stride < cols {
			m.mem[i] = float32(f(i))
		}
	}
	return m
}

func assemblyTiers() (tiers []Tier) {
	for _, t := range Tiers() {
		if t.set != nil {
			tiers = append(tiers, t)
		}
	}
	return tiers
}

func TestProduct32(t *testing.T) {
	for _, tier := range assemblyTiers() {
		ws := &workspace{}
		for n := 1; n <= 70; n++ {
			// Each of the three sizes takes all values, beside others.
			for _, size := range [][3]int{{n, 71 - n, 13}, {5, n, 71 - n}, {71 - n, 33, n}, {n, n, n}} {
				for i := range 4 {
					o := productOf{rows: size[0], cols: size[1], depth: size[2], transposed: i&1 == 1, add: i&2 == 2}
					t.Run(fmt.Sprintf("%s/%v/%d", tier.Name(), size, i), func(t *testing.T) { productCase(t, tier, ws, o) })
				}
			}
		}
	}
}

func productCase(t *testing.T, tier Tier, ws *workspace, o productOf) {
	o.a, o.c = guarded(o.rows, o.depth, wave), guarded(o.rows, o.cols, wave)
	bRows, bCols := o.depth, o.cols
	if o.transposed {
		bRows, bCols = bCols, bRows
	}
	o.b = guarded(bRows, bCols, func(i int) float64 { return math.Cos(float64(i)) })
	want, bound := guarded(o.rows, o.cols, wave), guarded(o.rows, o.cols, zero)
	for i := range o.rows {
		for j := range o.cols {
			sum, size := 0.0, 1.0
			for k := range o.depth {
				at := k*o.b.stride + j
				if o.transposed {
					at = j*o.b.stride + k
				}
				x := float64(o.a.mem[i*o.a.stride+k]) * float64(o.b.mem[at])
				sum += x
				size += math.Abs(x)
			}
			bound.put(i, j, float32(size)*float32(o.depth+2)*0x1p-24, false)
			want.put(i, j, float32(sum), o.add)
		}
	}
	product32(tier.set, ws, o)
	for i, v := range o.c.mem {
		most := bound.mem[i]
		if i%o.c.stride >= o.cols {
			most = 0 // a guard
		}
		if d := v - want.mem[i]; !(d <= most && -d <= most) {
			t.Fatalf("element %d of rows of %d is %g, not %g +- %g", i, o.c.stride, v, want.mem[i], most)
		}
	}
}

// TestProduct32IgnoresNeighbours: a sum is the same whatever the rows and
// columns beside it.
func TestProduct32IgnoresNeighbours(t *testing.T) {
	for _, tier := range assemblyTiers() {
		ws := &workspace{}
		const depth, most = 37, 70
		a, b := guarded(most, depth, wave), guarded(most, depth, wave)
		whole := guarded(most, most, zero)
		product32(tier.set, ws, productOf{a: a, b: b, c: whole, rows: most, cols: most, depth: depth, transposed: true})
		for n := 1; n < most; n++ {
			part := guarded(n, most-n, zero)
			product32(tier.set, ws, productOf{a: a, b: b, c: part, rows: n, cols: most - n, depth: depth, transposed: true})
			for i := range n {
				for j, v := range part.row(i, most-n) {
					if w := whole.row(i, most)[j]; v != w {
						t.Fatalf("%s: element %d, %d of %d rows is %g, among %d it is %g", tier.Name(), i, j, n, v, most, w)
					}
				}
			}
		}
	}
}
