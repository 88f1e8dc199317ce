package metrics

import "slices"

// contain keeps a panic of the metrics from the run.
func (s *Set) contain() {
	if recover() != nil {
		s.countPanic()
	}
}

// countPanic counts without a second chance: a panic while counting a panic
// is given up on.
func (s *Set) countPanic() {
	defer func() { _ = recover() }()
	s.counters[errorsTotal].WithLabelValues("metrics").Inc()
}

func (s *Set) countKnown(name string, v float64, labels ...label) {
	if s == nil {
		return
	}
	if values, ok := s.admit(name, labels); ok {
		s.count(name, v, values...)
	}
}

func (s *Set) setKnown(name string, v float64, labels ...label) {
	if s == nil {
		return
	}
	if values, ok := s.admit(name, labels); ok {
		s.set(name, v, values...)
	}
}

func (s *Set) observeKnown(name string, v float64, labels ...label) {
	if s == nil {
		return
	}
	if values, ok := s.admit(name, labels); ok {
		defer s.contain()
		s.histograms[name].WithLabelValues(values...).Observe(v)
	}
}

// setLoss sets a statistic that a unit has and a watch may have.
func (s *Set) setLoss(name string, v float64, unit string) {
	if s == nil {
		return
	}
	if !slices.Contains(s.watches, unit) {
		s.setKnown(name, v, label{"unit", unit})
		return
	}
	if !s.budget.take(name, []string{unit}) {
		s.Error("metrics")
		return
	}
	s.set(name, v, unit)
}

// count adds to a counter. A counter cannot go down: a negative or undefined
// amount is dropped and counted as an error.
func (s *Set) count(name string, v float64, values ...string) {
	defer s.contain()
	if !(v >= 0) {
		s.Error("metrics")
		return
	}
	s.counters[name].WithLabelValues(values...).Add(v)
}

func (s *Set) set(name string, v float64, values ...string) {
	defer s.contain()
	s.gauges[name].WithLabelValues(values...).Set(v)
}

// unset takes a gauge back: its last value is no longer true.
func (s *Set) unset(name string, values ...string) {
	if s == nil {
		return
	}
	defer s.contain()
	s.gauges[name].DeleteLabelValues(values...)
}
