package metrics

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

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

// channelCollector reads the channels when it is asked.
type channelCollector struct{ s *Set }

func channelDescs() (length, capacity *prometheus.Desc) {
	for _, row := range channelRows() {
		d := prometheus.NewDesc(Prefix+row.Name, row.Help, row.Labels, nil)
		if row.Name == channelLength {
			length = d
		} else {
			capacity = d
		}
	}
	return length, capacity
}

// Describe implements prometheus.Collector.
func (c channelCollector) Describe(out chan<- *prometheus.Desc) {
	length, capacity := channelDescs()
	out <- length
	out <- capacity
}

// Collect implements prometheus.Collector.
func (c channelCollector) Collect(out chan<- prometheus.Metric) {
	length, capacity := channelDescs()
	for _, ch := range *c.s.channels.Load() {
		if n, ok := c.length(ch); ok {
			out <- prometheus.MustNewConstMetric(length, prometheus.GaugeValue, float64(n), ch.Name)
		}
		out <- prometheus.MustNewConstMetric(capacity, prometheus.GaugeValue, float64(ch.Capacity), ch.Name)
	}
}

// length asks a channel, which is foreign code.
func (c channelCollector) length(ch Channel) (n int, ok bool) {
	if ch.Length == nil {
		return 0, true
	}
	defer func() {
		if recover() != nil {
			c.s.Error("metrics")
			n, ok = 0, false
		}
	}()
	return ch.Length(), true
}
