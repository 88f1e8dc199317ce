// Package rng is randomness as a function, never a running state.
//
// In: a seed, a purpose ("weights", "view/crop#0") and up to three counters
// (epoch, image, view). Out: a Stream of words that those alone decide. Streams
// of different seeds, purposes or counters never share a block; drawing from
// one changes no other; a stream opened again starts again.
//
//	seed, purpose ----> key      128 bits
//	                      |
//	block, counters --> Philox4x64-10 --> four words of 64 bits
//	         256 bits
//
// The block function is Philox4x64 with ten rounds: J. Salmon, M. Moraes,
// R. Dror, D. Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011,
// section 3.3; its published test vectors are in the tests.
//
// What always holds: the package has no state, and nothing in it reads a clock.
package rng

import (
	"math"
	"math/bits"
)

// The multipliers and key increments of Philox4x64 (Salmon et al., table 2 and
// section 3.3: the increments are the golden ratio and the square root of 3
// minus 1, in 64 bits).
const (
	multiplier0 = 0xD2E7470EE14C6C93
	multiplier1 = 0xCA5A826395121157
	increment0  = 0x9E3779B97F4A7C15
	increment1  = 0xBB67AE8584CAA73B
	rounds      = 10
)

// philox is Philox4x64-10: a bijection of the counter for every key.
func philox(c [4]uint64, k0, k1 uint64) [4]uint64 {
	c0, c1, c2, c3 := c[0], c[1], c[2], c[3] // an array would not stay in registers
	for range rounds {
		hi0, lo0 := bits.Mul64(multiplier0, c0)
		hi1, lo1 := bits.Mul64(multiplier1, c2)
		c0, c1, c2, c3 = hi1^c1^k0, lo1, hi0^c3^k1, lo0
		k0 += increment0
		k1 += increment1
	}
	return [4]uint64{c0, c1, c2, c3}
}

// Purpose is a name for what numbers are drawn for, hashed once so that hot
// loops need not hash it again.
type Purpose uint64

// For gives the Purpose of a name: its 64-bit FNV-1a hash.
func For(name string) Purpose {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * prime
	}
	return Purpose(h)
}

// MaxCounters is the number of counters a stream can be told apart by.
const MaxCounters = 3

// Stream is an endless row of random words. Its zero value is not a stream: New
// makes one. A Stream is a value; a copy draws the same words again. It is not
// for use by several goroutines at once.
type Stream struct {
	k0, k1  uint64
	counter [4]uint64 // block number, then the counters
	block   [4]uint64
	left    int // words of block not yet drawn
}

// New opens the stream of (seed, purpose, counters). Counters left out are 0.
// More than MaxCounters of them is a fault of the caller and panics.
func New(seed uint64, purpose string, counters ...uint64) Stream {
	return For(purpose).Stream(seed, counters...)
}

// Stream opens the stream of (seed, p, counters), as New does.
func (p Purpose) Stream(seed uint64, counters ...uint64) Stream {
	if len(counters) > MaxCounters {
		panic("rng: more counters than a block of Philox holds")
	}
	s := Stream{k0: seed, k1: uint64(p)}
	copy(s.counter[1:], counters)
	return s
}

// Uint64 draws a word, every one equally likely.
func (s *Stream) Uint64() uint64 {
	if s.left == 0 {
		s.block = philox(s.counter, s.k0, s.k1)
		s.counter[0]++
		s.left = len(s.block)
	}
	w := s.block[len(s.block)-s.left]
	s.left--
	return w
}

// Float64 draws a number from [0, 1), a multiple of 2^-53.
func (s *Stream) Float64() float64 { return float64(s.Uint64()>>11) * 0x1p-53 }

// Uniform draws a number from [lo, hi), or lo where the two are equal.
func (s *Stream) Uniform(lo, hi float64) float64 {
	return lo + (hi-lo)*s.Float64()
}

// Coin is true with probability p. It draws one word whatever p is.
func (s *Stream) Coin(p float64) bool { return s.Float64() < p }

// Normal draws from the normal distribution of mean 0 and deviation 1 by the
// Box-Muller transform. It draws two words and keeps nothing for the next call.
func (s *Stream) Normal() float64 {
	radius := math.Sqrt(-2 * math.Log(1-s.Float64())) // 1-u is in (0, 1]
	return radius * math.Cos(2*math.Pi*s.Float64())
}

// Intn draws a whole number from [0, n), every one equally likely (D. Lemire,
// "Fast Random Integer Generation in an Interval", TOMACS 2019). An n below 1
// is a fault of the caller and panics.
func (s *Stream) Intn(n int) int {
	if n < 1 {
		panic("rng: Intn of a number below 1")
	}
	m := uint64(n)
	hi, lo := bits.Mul64(s.Uint64(), m)
	if lo >= m {
		return int(hi)
	}
	for floor := -m % m; lo < floor; {
		hi, lo = bits.Mul64(s.Uint64(), m)
	}
	return int(hi)
}
