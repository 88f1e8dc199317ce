package metrics

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// How often values are read, whoever asks and in whatever form.
const (
	// gatherEvery is the least time from the beginning of a gathering to the
	// beginning of the next: five a second.
	gatherEvery = 200 * time.Millisecond
	// freshFor is how long after its end a gathering is shown. As the next one
	// may begin before that, who asks without pause never waits.
	freshFor = 200 * time.Millisecond
	// patience is how long a request waits for a gathering at most.
	patience = 2 * time.Second
)

// cache reads the metrics at most five times a second and keeps what it read,
// in each form that was asked for.
//
//	request --> [last: fresh?] --> body by (format, encoding), made once
//	               | no
//	            [next: one goroutine gathers] --> becomes last
//
// What is kept is bounded: two gatherings, each with one body per format and
// encoding, and those that are still being sent.
type cache struct {
	from    prometheus.Gatherer
	now     func() time.Time
	began   func()      // a gathering begins
	ended   func(error) // it is over; its error is of some or of all collectors
	formats []expfmt.Format

	mu   sync.Mutex
	last *gathering // the newest that has ended; nil before
	next *gathering // the one under way; nil: none

	encoding sync.Mutex // held while a body is made, so that one core at most makes them
	zip      *gzip.Writer
}

// gathering is the metrics as they were read at one time.
type gathering struct {
	begun time.Time

	done     chan struct{} // closed when the fields below are set for good
	ended    time.Time
	families []*dto.MetricFamily
	err      error

	bodies map[bodyKey][]byte // guarded by cache.encoding
}

// bodyKey is a form that a body may have.
type bodyKey struct {
	format int // in cache.formats
	gzip   bool
}

func newCache(from prometheus.Gatherer) *cache {
	return &cache{
		from: from, now: time.Now, began: func() {}, ended: func(error) {},
		formats: expfmt.DefaultOpenMetricsAcceptedFormats(), zip: newZip(),
	}
}

// newZip makes a writer for many texts. The lowest level takes a third of the
// time and makes texts that are a tenth longer.
func newZip() *gzip.Writer {
	z, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic("metrics: gzip does not know its own level: " + err.Error())
	}
	return z
}

// get gives a gathering that has ended not longer than freshFor ago, or that
// ended while we waited. Mine says that it, or the next one, was begun by this
// call; ok is false where ctx or the patience ended first.
func (c *cache) get(ctx context.Context, patience time.Duration) (g *gathering, mine, ok bool) {
	g, mine = c.choose()
	select {
	case <-g.done:
		return g, mine, true
	default:
	}
	wait := time.NewTimer(patience)
	defer wait.Stop()
	select {
	case <-g.done:
		return g, mine, true
	case <-wait.C:
	case <-ctx.Done():
	}
	return nil, mine, false
}

// choose picks the gathering to answer with and begins the next one where it is
// time.
func (c *cache) choose() (g *gathering, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if c.next == nil && (c.last == nil || now.Sub(c.last.begun) >= gatherEvery) {
		c.next, mine = &gathering{begun: now, done: make(chan struct{})}, true
		c.began()
		// On a goroutine of its own: a collector that hangs must not hold the
		// request that happened to come first.
		go c.gather(c.next)
	}
	if c.last != nil && now.Sub(c.last.ended) <= freshFor {
		return c.last, mine
	}
	return c.next, mine
}

func (c *cache) gather(g *gathering) {
	defer func() {
		if p := recover(); p != nil {
			g.families, g.err = nil, fmt.Errorf("panic while gathering: %v", p)
		}
		c.finish(g)
	}()
	g.families, g.err = c.from.Gather()
}

func (c *cache) finish(g *gathering) {
	c.ended(g.err)
	g.bodies = map[bodyKey][]byte{}
	c.mu.Lock()
	defer c.mu.Unlock()
	g.ended = c.now()
	c.last, c.next = g, nil
	close(g.done)
}

// body gives the text of a gathering in a form; nobody may change it. The error
// is of an encoder.
func (c *cache) body(g *gathering, k bodyKey) ([]byte, error) {
	c.encoding.Lock()
	defer c.encoding.Unlock()
	if b, ok := g.bodies[k]; ok {
		return b, nil
	}
	plain, ok := g.bodies[bodyKey{format: k.format}]
	if !ok {
		var err error
		if plain, err = encode(g.families, c.formats[k.format]); err != nil {
			return nil, err
		}
		g.bodies[bodyKey{format: k.format}] = plain
	}
	if !k.gzip {
		return plain, nil
	}
	zipped, err := c.compress(plain)
	if err == nil {
		g.bodies[k] = zipped
	}
	return zipped, err
}

func encode(families []*dto.MetricFamily, f expfmt.Format) ([]byte, error) {
	var b bytes.Buffer
	enc := expfmt.NewEncoder(&b, f)
	for _, family := range families {
		if err := enc.Encode(family); err != nil {
			return nil, fmt.Errorf("%s: %w", family.GetName(), err)
		}
	}
	if end, ok := enc.(expfmt.Closer); ok {
		if err := end.Close(); err != nil {
			return nil, err
		}
	}
	return slices.Clip(b.Bytes()), nil
}

func (c *cache) compress(plain []byte) ([]byte, error) {
	var b bytes.Buffer
	c.zip.Reset(&b)
	if _, err := c.zip.Write(plain); err != nil {
		return nil, err
	}
	if err := c.zip.Close(); err != nil {
		return nil, err
	}
	return slices.Clip(b.Bytes()), nil
}
