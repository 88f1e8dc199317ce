package vector

import (
	"fmt"
	"math"
	"testing"
	"unsafe"
)

// softmaxRows is a tile of rows of similarities, filled up to whole vectors
// with minus infinity, and its arguments.
func softmaxRows(s *Set, rows, cols int, scale float32, f func(i, j int) float32) (*SoftmaxTile, []float32) {
	wide := (cols + s.Lanes - 1) / s.Lanes * s.Lanes
	at := make([]float32, rows*wide)
	for i := range rows {
		for j := range wide {
			at[i*wide+j] = float32(math.Inf(-1))
			if j < cols {
				at[i*wide+j] = f(i, j)
			}
		}
	}
	return &SoftmaxTile{
		Rows: rows, Cols: wide, S: unsafe.Pointer(&at[0]), Step: 4 * wide, Scale: scale,
		Top: unsafe.Pointer(&make([]float32, rows)[0]), Sum: unsafe.Pointer(&make([]float32, rows)[0]),
		ColTop: unsafe.Pointer(&make([]float32, wide)[0]), ColShare: unsafe.Pointer(&make([]float32, wide)[0]),
	}, at
}

func floats(p unsafe.Pointer, n int) []float32 { return unsafe.Slice((*float32)(p), n) }

// TestExponential holds 2^y to the bound of the generator's comment: a tile
// with one row, whose weights are 2^y and nothing else.
func TestExponential(t *testing.T) {
	for _, s := range Sets() {
		const n = 4096
		worst := 0.0
		for from := range 125 {
			tile, at := softmaxRows(s, 1, n, 1, func(_, j int) float32 { return -float32(from) - float32(j)/n })
			floats(tile.Sum, 1)[0] = 1
			y := append([]float32{}, at...)
			tile.Run(s.SoftmaxWeights)
			for j, v := range y {
				if v < expLeast {
					continue
				}
				want := math.Exp2(float64(v))
				worst = max(worst, math.Abs(float64(at[j])-want)/want)
			}
		}
		if worst > 1.5e-7 {
			t.Errorf("%s: 2^y is off by %g", s.Name, worst)
		}
	}
}

// expLeast is the least exponent that does not count as minus infinity.
const expLeast = -125

func TestExponentialOfSpecialValues(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	tests := []struct{ y, want float32 }{
		{0, 1}, {-1, 0.5}, {-125, 0x1p-125}, {-125.0001, 0}, {-126, 0}, {-1e30, 0}, {-inf, 0}, {nan, nan}, {127, 0x1p127},
	}
	for _, s := range Sets() {
		for _, tt := range tests {
			tile, at := softmaxRows(s, 1, 1, 1, func(int, int) float32 { return tt.y })
			floats(tile.Sum, 1)[0] = 1
			if tile.Run(s.SoftmaxWeights); at[0] != tt.want && (at[0] == at[0] || tt.want == tt.want) {
				t.Errorf("%s: 2^%g is %g, not %g", s.Name, tt.y, at[0], tt.want)
			}
		}
	}
}

func TestSoftmax(t *testing.T) {
	for _, s := range Sets() {
		for cols := 1; cols <= 70; cols++ {
			rows := cols%5 + 1
			t.Run(fmt.Sprintf("%s/%dx%d", s.Name, rows, cols), func(t *testing.T) { softmaxCase(t, s, rows, cols) })
		}
	}
}

func softmaxCase(t *testing.T, s *Set, rows, cols int) {
	const scale = 7
	value := func(i, j int) float32 { return float32(math.Sin(float64(3*i + 7*j))) }
	tile, at := softmaxRows(s, rows, cols, scale, value)
	e := func(x float64) float64 { return math.Exp2(scale * x) }
	tile.Run(s.SoftmaxSums)
	tops, sums := floats(tile.Top, rows), floats(tile.Sum, rows)
	for i := range rows {
		top, sum := value(i, 0), 0.0
		for j := range cols {
			top = max(top, value(i, j))
		}
		for j := range cols {
			sum += e(float64(value(i, j)) - float64(top))
		}
		if tops[i] != top || math.Abs(float64(sums[i])-sum) > 2e-6*sum {
			t.Errorf("row %d: top %g and sum %g, not %g and %g", i, tops[i], sums[i], top, sum)
		}
	}
	for j := range cols {
		floats(tile.ColTop, cols)[j], floats(tile.ColShare, cols)[j] = 1, float32(j)
	}
	tile.Run(s.SoftmaxWeights)
	for i := range rows {
		for j := range cols {
			x := float64(value(i, j))
			want := e(x-float64(tops[i]))*float64(sums[i]) + e(x-1)*float64(j)
			if got := float64(at[i*tile.Cols+j]); math.Abs(got-want) > 3e-6*want {
				t.Errorf("weight %d, %d is %g, not %g", i, j, got, want)
			}
		}
	}
}

func TestSoftmaxShowsNaN(t *testing.T) {
	for _, s := range Sets() {
		for at := range 40 {
			tile, _ := softmaxRows(s, 1, 40, 1, func(_, j int) float32 {
				if j == at {
					return float32(math.NaN())
				}
				return float32(j)
			})
			if tile.Run(s.SoftmaxSums); floats(tile.Sum, 1)[0] == floats(tile.Sum, 1)[0] {
				t.Errorf("%s: a NaN in column %d is lost", s.Name, at)
			}
		}
	}
}
