package conformance

import (
	"math"

	"github.com/locorun/locorun/compiler/op"
)

// random is a counter-based generator: its n-th number depends on the seed and
// n alone (the mixing function is SplitMix64's, Steele et al. 2014).
type random struct {
	seed, n uint64
	dtype   op.Dtype // of the arrays made
}

func newRandom(c op.Code, i int, dtype op.Dtype) *random {
	return &random{seed: uint64(c)<<32 + uint64(i), dtype: dtype}
}

func (r *random) bits() uint64 {
	r.n++
	z := r.seed*0xd1342543de82ef95 + r.n*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// uniform lies in [0,1).
func (r *random) uniform() float64 { return float64(r.bits()>>11) / (1 << 53) }

// between is a whole number of [lo,hi].
func (r *random) between(lo, hi int) int { return lo + int(r.bits()%uint64(hi-lo+1)) }

func (r *random) yes() bool { return r.bits()&1 == 0 }

// normal is about normally distributed: a sum of twelve uniforms.
func (r *random) normal() float64 {
	s := -6.0
	for range 12 {
		s += r.uniform()
	}
	return s
}

// round is the nearest number the type holds.
func (r *random) round(v float64) float64 {
	if r.dtype == op.F32 {
		return float64(float32(v))
	}
	return v
}

// fill is an array of numbers made by f.
func (r *random) fill(f func() float64, shape ...int) *array {
	a := newArray(r.dtype, shape...)
	for i := range a.v {
		a.v[i] = r.round(f())
	}
	return a
}

// array is an array of normal numbers.
func (r *random) array(shape ...int) *array { return r.fill(r.normal, shape...) }

// maybe is an array, or absent.
func (r *random) maybe(there bool, shape ...int) *array {
	if !there {
		return nil
	}
	return r.array(shape...)
}

// positive is an array of numbers in [0.5,2).
func (r *random) positive(shape ...int) *array {
	return r.fill(func() float64 { return 0.5 + 1.5*r.uniform() }, shape...)
}

// coarse is an array with many equal elements.
func (r *random) coarse(shape ...int) *array {
	return r.fill(func() float64 { return math.Round(2*r.normal()) / 2 }, shape...)
}

// spaced is an array whose elements differ by 1/64 at least, from each other
// and from zero.
func (r *random) spaced(shape ...int) *array {
	a := newArray(r.dtype, shape...)
	for i := range a.v {
		a.v[i] = float64(i-len(a.v)/2)/32 + 1.0/64
	}
	for i := len(a.v) - 1; i > 0; i-- {
		k := r.between(0, i)
		a.v[i], a.v[k] = a.v[k], a.v[i]
	}
	return a
}
