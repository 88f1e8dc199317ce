package diag

import "strings"

// Suggest gives the candidate that word most likely was meant to be, or "".
// Likely are candidates at most two slips away (a letter too many, too few,
// wrong, or two swapped), one for words up to four letters; capitals count as
// no slip. Of equally near ones the first in alphabetical order is taken, so
// that the order of the candidates does not matter.
func Suggest(word string, candidates []string) string {
	best, slips := "", 3
	if n := len([]rune(word)); n < 2 {
		slips = 1
	} else if n <= 4 {
		slips = 2
	}
	for _, c := range candidates {
		if c == word || c == "" {
			continue
		}
		d := distance(strings.ToLower(word), strings.ToLower(c), slips)
		if d < slips || d == slips && best != "" && c < best {
			best, slips = c, d
		}
	}
	return best
}

// distance counts the slips between a and b: insertions, deletions,
// substitutions and swaps of neighbours, each place touched once (optimal
// string alignment). It gives up above most, returning more than that.
func distance(a, b string, most int) int {
	s, t := []rune(a), []rune(b)
	if len(s)-len(t) > most || len(t)-len(s) > most {
		return most + 1
	}
	before, last, row := make([]int, len(t)+1), make([]int, len(t)+1), make([]int, len(t)+1)
	for j := range last {
		last[j] = j
	}
	for i := range s {
		row[0] = i + 1
		for j := range t {
			cost := 1
			if s[i] == t[j] {
				cost = 0
			}
			row[j+1] = min(last[j]+cost, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && s[i] == t[j-1] && s[i-1] == t[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(t)]
}
