package metrics

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// How long a scrape waits for the lengths of channels: for one, and for all
// those that hang together. It is less than a request's patience, so that the
// other metrics are still answered with.
const (
	lengthPatience  = 250 * time.Millisecond
	lengthsPatience = time.Second
)

// channel is a channel with what is known of its Length, which is foreign code.
type channel struct {
	Channel
	asking atomic.Bool // a call has not come back; until then there is no other
}

// channelCollector reads the channels when it is asked. A length that panics,
// or does not come back in time, is left out and counted as an error; the other
// lengths and all capacities are there.
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
	all := *c.s.channels.Load()
	for _, ch := range all {
		out <- prometheus.MustNewConstMetric(capacity, prometheus.GaugeValue, float64(ch.Capacity), ch.Name)
	}
	end := time.Now().Add(lengthsPatience)
	for rest := all; len(rest) > 0 && time.Now().Before(end); {
		rest = c.some(rest, func(ch *channel, n int) {
			out <- prometheus.MustNewConstMetric(length, prometheus.GaugeValue, float64(n), ch.Name)
		})
	}
}

// reading is what a channel said.
type reading struct {
	n  int
	ok bool
}

// some reads channels on another goroutine until all are read or one hangs, and
// gives those behind that one. The goroutine that hangs ends when the call does.
func (c channelCollector) some(cs []*channel, tell func(*channel, int)) (rest []*channel) {
	said := make(chan reading, len(cs)) // so that nobody need wait for what comes late
	var over atomic.Bool
	go func() {
		for _, ch := range cs {
			if over.Load() {
				return
			}
			n, ok := c.length(ch)
			said <- reading{n, ok}
		}
	}()
	wait := time.NewTimer(lengthPatience)
	defer wait.Stop()
	for i, ch := range cs {
		wait.Reset(lengthPatience)
		select {
		case r := <-said:
			if r.ok {
				tell(ch, r.n)
			}
		case <-wait.C:
			over.Store(true)
			c.s.Error("metrics")
			return cs[i+1:]
		}
	}
	return nil
}

// length asks a channel, unless it still owes an answer.
func (c channelCollector) length(ch *channel) (n int, ok bool) {
	if ch.Length == nil {
		return 0, true
	}
	if !ch.asking.CompareAndSwap(false, true) {
		return 0, false
	}
	defer func() {
		if recover() != nil {
			c.s.Error("metrics")
			n, ok = 0, false
		}
		ch.asking.Store(false)
	}()
	return ch.Length(), true
}
