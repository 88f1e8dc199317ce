package metrics

import (
	"slices"
	"strings"
	"sync"
)

// The label sets a run may have, and how they are shared out. A unit's own
// rows and the channels have their share set aside; rows of stages, readouts,
// watches and devices take what is left, first come first served, and beyond
// that are dropped and counted in errors_total{kind="metrics"}.
//
//	50 + 40u  =  fixed 24  +  unit rows 16u  +  channels 2*(6u+4)  +  rest
//
// A histogram is one label set, as it is one series where Prometheus takes
// native histograms; written as text each shows its classic buckets too.
const (
	fixedSets   = 24 // 8 rows without labels, 11 kinds of errors, 3 results of scrapes, 2 infos
	setsPerUnit = 16 // 3 counts, 4 phases, 4 waits, 5 gauges
)

// Limit is the most label sets that a run with so many units ever shows.
func Limit(units int) int { return 50 + 40*units }

func channelsAtMost(units int) int { return 6*units + 4 }

// budget hands out the label sets that nothing was set aside for.
type budget struct {
	mu   sync.Mutex
	left int
	seen map[string]bool
}

func newBudget(units int) *budget {
	left := Limit(units) - fixedSets - setsPerUnit*units - 2*channelsAtMost(units)
	return &budget{left: left, seen: map[string]bool{}}
}

// take says whether the label set may be shown; one that was taken once stays.
func (b *budget) take(name string, values []string) bool {
	key := name + "\x00" + strings.Join(values, "\x00")
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seen[key] {
		return true
	}
	if b.left == 0 {
		return false
	}
	b.left--
	b.seen[key] = true
	return true
}

// label is a label's name with its value.
type label struct{ name, value string }

// allowed says whether every value was announced. Memory's kinds and the empty
// stage of raw pixels are the two values that no option lists.
func (s *Set) allowed(labels []label) bool {
	for _, l := range labels {
		if l.name == "kind" || l.name == "stage" && l.value == "" {
			continue
		}
		if !slices.Contains(s.known[l.name], l.value) {
			return false
		}
	}
	return true
}

// reserved says whether a row's label sets were set aside: it has no labels of
// its own choice, or its labels are a unit's alone.
func reserved(labels []label) bool {
	for _, l := range labels {
		if l.name != "unit" && l.name != "phase" && l.name != "reason" {
			return false
		}
	}
	return true
}

// admit checks a report's labels and gives their values; ok is false where the
// report is to be dropped.
func (s *Set) admit(name string, labels []label) (values []string, ok bool) {
	for _, l := range labels {
		values = append(values, l.value)
	}
	if !s.allowed(labels) || !reserved(labels) && !s.budget.take(name, values) {
		s.Error("metrics")
		return nil, false
	}
	return values, true
}
