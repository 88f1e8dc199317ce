package rng

import (
	"math"
	"slices"
	"testing"
)

// The vectors published with Random123, file kat_vectors, lines philox4x64 10.
func TestPhiloxVectors(t *testing.T) {
	const all = math.MaxUint64
	tests := []struct {
		name    string
		counter [4]uint64
		key     [2]uint64
		want    [4]uint64
	}{
		{"zeros", [4]uint64{}, [2]uint64{},
			[4]uint64{0x16554d9eca36314c, 0xdb20fe9d672d0fdc, 0xd7e772cee186176b, 0x7e68b68aec7ba23b}},
		{"ones", [4]uint64{all, all, all, all}, [2]uint64{all, all},
			[4]uint64{0x87b092c3013fe90b, 0x438c3c67be8d0224, 0x9cc7d7c69cd777b6, 0xa09caebf594f0ba0}},
		{"pi", [4]uint64{0x243f6a8885a308d3, 0x13198a2e03707344, 0xa4093822299f31d0, 0x082efa98ec4e6c89},
			[2]uint64{0x452821e638d01377, 0xbe5466cf34e90c6c},
			[4]uint64{0xa528f45403e61d95, 0x38c72dbd566e9788, 0xa5a1610e72fd18b5, 0x57bd43b5e52b7fe6}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := philox(tt.counter, tt.key[0], tt.key[1]); got != tt.want {
				t.Errorf("philox = %x, want %x", got, tt.want)
			}
		})
	}
}

// Vectors of the 64-bit FNV-1a reference.
func TestPurposeHash(t *testing.T) {
	for name, want := range map[string]Purpose{
		"": 0xcbf29ce484222325, "a": 0xaf63dc4c8601ec8c, "foobar": 0x85944171f73967e8,
	} {
		if got := For(name); got != want {
			t.Errorf("For(%q) = %x, want %x", name, uint64(got), uint64(want))
		}
	}
}

// The first words of some streams, so that a change of the keys is seen: it
// would change every run.
func TestStreamVectors(t *testing.T) {
	tests := []struct {
		name   string
		stream Stream
		want   [2]uint64
	}{
		{"no counters", New(1, "weights"), [2]uint64{0x1739e26a99a02ede, 0x8acfafa1630736f6}},
		{"three counters", New(1, "view", 2, 3, 4), [2]uint64{0x7bc369acf0d6e767, 0xa8c693618d40861f}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := [2]uint64{tt.stream.Uint64(), tt.stream.Uint64()}; got != tt.want {
				t.Errorf("words = %#x, want %#x", got, tt.want)
			}
		})
	}
}

func TestStreamsDifferInEveryArgument(t *testing.T) {
	seen := map[uint64]string{}
	add := func(name string, s Stream) {
		w := s.Uint64()
		if old, ok := seen[w]; ok {
			t.Errorf("%s and %s begin with the same word", name, old)
		}
		seen[w] = name
	}
	add("seed 1", New(1, "a"))
	add("seed 2", New(2, "a"))
	add("purpose b", New(1, "b"))
	add("first counter", New(1, "a", 1))
	add("second counter", New(1, "a", 0, 1))
	add("third counter", New(1, "a", 0, 0, 1))
	if New(1, "a") != New(1, "a", 0, 0, 0) {
		t.Error("counters left out are not 0")
	}
}

func TestDrawingFromOneStreamChangesNoOther(t *testing.T) {
	words := func(s Stream, n int) []uint64 {
		out := make([]uint64, n)
		for i := range out {
			out[i] = s.Uint64()
		}
		return out
	}
	alone := words(New(7, "x", 5), 100)
	a, b := New(7, "x", 5), New(7, "x", 6)
	var mixed []uint64
	for i := range 100 {
		for range i % 7 {
			b.Uint64()
		}
		mixed = append(mixed, a.Uint64())
	}
	if !slices.Equal(alone, mixed) {
		t.Error("a stream depends on what was drawn from another")
	}
}

func TestFloat64IsUniform(t *testing.T) {
	const n, cells = 200_000, 64
	s := New(3, "uniform")
	var count [cells]int
	for range n {
		x := s.Float64()
		if x < 0 || x >= 1 {
			t.Fatalf("Float64 = %v, outside [0, 1)", x)
		}
		count[int(x*cells)]++
	}
	if chi := chiSquare(count[:], n); chi > 120 { // 63 degrees of freedom: p < 2e-5
		t.Errorf("chi-square %.1f over %d cells", chi, cells)
	}
}

func TestIntnIsUniform(t *testing.T) {
	const n, m = 210_000, 7
	s := New(3, "intn")
	var count [m]int
	for range n {
		count[s.Intn(m)]++
	}
	if chi := chiSquare(count[:], n); chi > 28 { // 6 degrees: p < 1e-4
		t.Errorf("chi-square %.1f over %v", chi, count)
	}
	for range 100 {
		if got := s.Intn(1); got != 0 {
			t.Fatalf("Intn(1) = %d", got)
		}
	}
	if got := s.Intn(math.MaxInt); got < 0 {
		t.Errorf("Intn(MaxInt) = %d", got)
	}
}

func TestNormalMoments(t *testing.T) {
	const n = 200_000
	s := New(3, "normal")
	var sum, square, fourth float64
	for range n {
		x := s.Normal()
		sum += x
		square += x * x
		fourth += x * x * x * x
	}
	check := func(name string, got, want, within float64) {
		t.Helper()
		if math.Abs(got-want) > within {
			t.Errorf("%s = %.4f, want %.1f within %.3f", name, got, want, within)
		}
	}
	check("mean", sum/n, 0, 0.01)
	check("variance", square/n, 1, 0.02)
	check("fourth moment", fourth/n, 3, 0.15)
}

func TestCoinAndUniform(t *testing.T) {
	s := New(1, "coin")
	heads := 0
	for range 100_000 {
		if s.Coin(0.3) {
			heads++
		}
		if s.Coin(0) || !s.Coin(1) {
			t.Fatal("a coin of probability 0 fell, or one of probability 1 did not")
		}
		if x := s.Uniform(-2, 5); x < -2 || x >= 5 {
			t.Fatalf("Uniform(-2, 5) = %v", x)
		}
	}
	if heads < 29_300 || heads > 30_700 {
		t.Errorf("%d heads of 100000 at probability 0.3", heads)
	}
	if x := s.Uniform(2, 2); x != 2 {
		t.Errorf("Uniform(2, 2) = %v", x)
	}
}

// Neighbouring streams (image i and i+1) must not be correlated.
func TestNeighbouringStreamsAreIndependent(t *testing.T) {
	const n = 50_000
	var xy, x2, y2 float64
	for i := range n {
		a, b := New(1, "n", uint64(i)), New(1, "n", uint64(i)+1)
		x, y := a.Float64()-0.5, b.Float64()-0.5
		xy, x2, y2 = xy+x*y, x2+x*x, y2+y*y
	}
	if r := xy / math.Sqrt(x2*y2); math.Abs(r) > 0.02 {
		t.Errorf("correlation %.4f between neighbouring streams", r)
	}
}

func TestFaultsOfTheCallerPanic(t *testing.T) {
	panics := func(name string, f func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s did not panic", name)
			}
		}()
		f()
	}
	panics("Intn(0)", func() { s := New(1, "x"); s.Intn(0) })
	panics("four counters", func() { New(1, "x", 1, 2, 3, 4) })
}

func TestPermutationIsABijection(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 10, 1000, 60_000} {
		p := Permutation(1, 2, n)
		sorted := slices.Clone(p)
		slices.Sort(sorted)
		for i, v := range sorted {
			if v != i {
				t.Fatalf("n=%d: %d is missing or doubled", n, i)
			}
		}
	}
}

func TestPermutationDependsOnSeedAndEpoch(t *testing.T) {
	base := Permutation(1, 0, 100)
	if !slices.Equal(base, Permutation(1, 0, 100)) {
		t.Error("the same arguments gave two orders")
	}
	if slices.Equal(base, Permutation(2, 0, 100)) || slices.Equal(base, Permutation(1, 1, 100)) {
		t.Error("another seed or epoch gave the same order")
	}
}

func TestPermutationsAreEquallyLikely(t *testing.T) {
	const n = 24_000
	count := map[[4]int]int{}
	for seed := range uint64(n) {
		count[[4]int(Permutation(seed, 0, 4))]++
	}
	cells := make([]int, 0, 24)
	for _, c := range count {
		cells = append(cells, c)
	}
	if len(cells) != 24 {
		t.Fatalf("%d of the 24 orders of 4 things occur", len(cells))
	}
	if chi := chiSquare(cells, n); chi > 60 { // 23 degrees: p < 5e-5
		t.Errorf("chi-square %.1f", chi)
	}
}

func chiSquare(count []int, n int) float64 {
	want := float64(n) / float64(len(count))
	chi := 0.0
	for _, c := range count {
		chi += (float64(c) - want) * (float64(c) - want) / want
	}
	return chi
}
