// Package measure takes the figures that benchmarks print: how long ops take on
// a backend and how near they come to its peak, medians with intervals, and the
// memory of this process and of the machine.
//
//	Kernel --Time--> Timing: seconds, operations, bytes, peak
//	[]float64 --Summarise--> Summary: least, median, interval
//	/proc --Resident, Available--> bytes
//
// The clock is read here; nothing that is computed depends on what it says.
package measure

import (
	"math"
	"slices"
)

// Summary is what a row of repeats of one measurement says.
type Summary struct {
	N      int     `json:"n"`
	Least  float64 `json:"least"`
	Median float64 `json:"median"`
	// Low and High hold the median of the distribution with a confidence of at
	// least 95 %, where there are 6 repeats or more; they are the least and the
	// most of fewer.
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// enough is the least number of repeats whose least and most hold the median
// with 95 %: 1 - 2/2^6.
const enough = 6

// Sure reports whether the interval has its confidence.
func (s Summary) Sure() bool { return s.N >= enough }

// Summarise sums up repeats, which stay as they are. Of none it is zero.
func Summarise(xs []float64) Summary {
	if len(xs) == 0 {
		return Summary{}
	}
	s := slices.Sorted(slices.Values(xs))
	n := len(s)
	r := rank(n)
	return Summary{n, s[0], (s[(n-1)/2] + s[n/2]) / 2, s[r], s[n-1-r]}
}

// rank is the largest place r for which the r-th and the r-th last of n sorted
// repeats hold their distribution's median with a probability of 95 % or more:
// each misses it when at most r of n fair coins show heads (H. David,
// H. Nagaraja, Order Statistics, section 7.1).
func rank(n int) int {
	r, below := -1, 0.0
	for k := 0; k < n; k++ {
		below += math.Exp(logChoose(n, k) - float64(n)*math.Ln2)
		if below > 0.025 {
			break
		}
		r = k
	}
	return max(r, 0)
}

// logChoose is the logarithm of n over k.
func logChoose(n, k int) float64 {
	gamma := func(x int) float64 { g, _ := math.Lgamma(float64(x + 1)); return g }
	return gamma(n) - gamma(k) - gamma(n-k)
}
