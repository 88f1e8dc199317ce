package cpu

import "testing"

// TestClip: the taps of a window that lie in the map, and below the columns
// whose tap does.
func TestClip(t *testing.T) {
	for origin := -6; origin < 8; origin++ {
		from, to := clip(origin, 4, 5)
		for tap := range 4 {
			inside := origin+tap >= 0 && origin+tap < 5
			if in := tap >= from && tap < to; in != inside {
				t.Errorf("origin %d: tap %d is in [%d,%d): %v", origin, tap, from, to, in)
			}
		}
	}
}

func TestValid(t *testing.T) {
	for stride := 1; stride < 4; stride++ {
		for shift := -7; shift < 8; shift++ {
			lo, hi := valid(2, 9, stride, shift, 5)
			if lo < 2 || hi > 9 || lo > hi {
				t.Fatalf("stride %d, shift %d: [%d,%d) leaves [2,9)", stride, shift, lo, hi)
			}
			for j := 2; j < 9; j++ {
				at := j*stride + shift
				if in := j >= lo && j < hi; in != (at >= 0 && at < 5) {
					t.Errorf("stride %d, shift %d: column %d is in [%d,%d): %v", stride, shift, j, lo, hi, in)
				}
			}
		}
	}
}
