package stats

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func gaussian(rows, dims int) []float32 {
	r := rand.New(rand.NewPCG(1, 2))
	e := make([]float32, rows*dims)
	for i := range e {
		e[i] = float32(r.NormFloat64())
	}
	return e
}

func same(rows, dims int) []float32 {
	e := make([]float32, rows*dims)
	for i := range e {
		e[i] = float32(i%dims) + 1
	}
	return e
}

// axes has one row per direction and sign: as evenly spread as rows can be.
func axes(dims int) []float32 {
	e := make([]float32, 2*dims*dims)
	for j := range dims {
		e[2*j*dims+j] = 3
		e[(2*j+1)*dims+j] = -5
	}
	return e
}

func near(got, want, tolerance float64) bool {
	return math.IsNaN(want) && math.IsNaN(got) || math.Abs(got-want) <= tolerance
}

func TestHealth(t *testing.T) {
	poisoned := axes(4)
	poisoned[5] = float32(math.NaN())
	infinite := axes(4)
	infinite[5] = float32(math.Inf(1))
	line := []float32{1, 0, -1, 0, 1, 0, -1, 0}
	tests := []struct {
		name       string
		e          []float32
		rows, dims int
		std, rank  float64
		tolerance  float64
	}{
		{"collapsed", same(64, 16), 64, 16, 0, 0, 1e-9},
		{"evenly spread", axes(8), 16, 8, 1, 8, 1e-12},
		{"on a line", line, 4, 2, 1 / math.Sqrt2, 1, 1e-12},
		{"two directions of four, unlike in weight", []float32{1, 0, 0, 0, -1, 0, 0, 0, 1, 0, 0, 0, -1, 0, 0, 0, 1, 0, 0, 0, -1, 0, 0, 0, 0, 1, 0, 0, 0, -1, 0, 0}, 8, 4,
			(math.Sqrt(.75) + math.Sqrt(.25)) / 2, math.Exp(-.75*math.Log(.75) - .25*math.Log(.25)), 1e-12},
		{"gaussian", gaussian(4096, 32), 4096, 32, 1, 32, 0.5},
		{"fewer rows than dims", axes(4)[:8], 2, 4, 0.5, 1, 1e-12},
		{"one row", []float32{1, 2, 3}, 1, 3, 0, 0, 1e-12},
		{"zeros", make([]float32, 12), 3, 4, 0, 0, 0},
		{"one dim", []float32{1, -1, 2, -2}, 4, 1, 1, 1, 1e-12},
		{"no rows", nil, 0, 4, math.NaN(), math.NaN(), 0},
		{"no dims", nil, 4, 0, math.NaN(), math.NaN(), 0},
		{"too short", make([]float32, 3), 2, 2, math.NaN(), math.NaN(), 0},
		{"not a number", poisoned, 8, 4, math.NaN(), math.NaN(), 0},
		{"infinite", infinite, 8, 4, math.NaN(), math.NaN(), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := slices.Clone(tt.e)
			if got := EmbeddingStd(tt.e, tt.rows, tt.dims); !near(got, tt.std, tt.tolerance) {
				t.Errorf("EmbeddingStd is %v, want %v", got, tt.std)
			}
			if got := EffectiveRank(tt.e, tt.rows, tt.dims); !near(got, tt.rank, tt.tolerance) {
				t.Errorf("EffectiveRank is %v, want %v", got, tt.rank)
			}
			if !slices.EqualFunc(before, tt.e, func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }) {
				t.Error("the embeddings were changed")
			}
		})
	}
}

// TestRankIgnoresScale: only the direction of a row counts.
func TestRankIgnoresScale(t *testing.T) {
	a := gaussian(64, 8)
	b := slices.Clone(a)
	for i := range b {
		b[i] *= 4
	}
	if x, y := EffectiveRank(a, 64, 8), EffectiveRank(b, 64, 8); x != y {
		t.Errorf("%v and %v", x, y)
	}
}

// TestBothSidesAgree: zT z and z zT have the same eigenvalues but for zeros.
func TestBothSidesAgree(t *testing.T) {
	z := make([]float64, 6*10)
	for i, v := range gaussian(6, 10) {
		z[i] = float64(v)
	}
	wide, _ := eigenvalues(z, 6, 10)
	tall, _ := eigenvalues(transposed(z, 6, 10), 10, 6)
	if a, b := entropyRank(wide), entropyRank(tall); !near(a, b, 1e-9) {
		t.Errorf("%v and %v", a, b)
	}
}

func TestLargeIsThinned(t *testing.T) {
	rows, dims := RankRows+3, RankDims*2
	got := EffectiveRank(gaussian(rows, dims), rows, dims)
	if !(got > RankDims/2 && got <= RankDims) {
		t.Errorf("effective rank %v of a sample of %d dims", got, RankDims)
	}
	if got, want := span(10, 4), []int{0, 2, 5, 7}; !slices.Equal(got, want) {
		t.Errorf("span gives %v, want %v", got, want)
	}
}

func TestCosine(t *testing.T) {
	x, y, d := []float32{2, 0}, []float32{0, 3}, []float32{1, 1}
	tests := []struct {
		name string
		got  float64
		want float64
	}{
		{"same way", Cosine(x, x), 1},
		{"against", Cosine(x, []float32{-1, 0}), -1},
		{"across", Cosine(x, y), 0},
		{"diagonal", Cosine(x, d), 1 / math.Sqrt2},
		{"zero", Cosine(x, []float32{0, 0}), math.NaN()},
		{"lengths differ", Cosine(x, []float32{1}), math.NaN()},
		{"mean over three pairs", MeanCosine(x, y, d), math.Sqrt2 / 3},
		{"mean of one", MeanCosine(x), math.NaN()},
		{"norm", Norm([]float32{3, 4}), 5},
		{"norm of nothing", Norm(nil), 0},
	}
	for _, tt := range tests {
		if !near(tt.got, tt.want, 1e-12) {
			t.Errorf("%s: %v, want %v", tt.name, tt.got, tt.want)
		}
	}
}
