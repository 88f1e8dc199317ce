package runtime

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/graphs"
	"github.com/locorun/locorun/graphs/cpu"
	"github.com/locorun/locorun/runtime/metrics"
	"github.com/locorun/locorun/runtime/pipeline"
	"github.com/locorun/locorun/runtime/source"
	"go.uber.org/goleak"
)

// crowd counts the microbatches between feed and the last sweep of the last
// unit. It tells another observer all it is told.
type crowd struct {
	pipeline.Observer
	t     *testing.T
	units int
	last  []int // each unit's last event
	mu    sync.Mutex
	// left is the units that have yet to end a microbatch, by its number and
	// whether it goes through only to be embedded.
	left      map[[2]int]int
	most, fed int
	low, high int64 // resident memory after the warm-up
	sample    int   // feeds between two looks at the memory
	warm      int   // feeds of the warm-up
}

func pass(t pipeline.Task) [2]int {
	if t.Kind == pipeline.Embed {
		return [2]int{t.Seq, 1}
	}
	return [2]int{t.Seq, 0}
}

// enter counts a microbatch that begins.
func (c *crowd) enter(t pipeline.Task) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left[pass(t)] = c.units
	c.most = max(c.most, len(c.left))
	if c.fed++; c.fed > c.warm && c.fed%c.sample == 0 {
		now := settled(c.t)
		c.high = max(c.high, now)
		if c.low == 0 || now < c.low {
			c.low = now
		}
	}
}

// Ran notes a unit's last task on a microbatch.
func (c *crowd) Ran(u int, t pipeline.Task, start time.Time, d time.Duration) {
	c.Observer.Ran(u, t, start, d)
	if t.Kind != pipeline.Embed && (t.Kind != pipeline.Sweep || t.Event != c.last[u]) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := pass(t)
	if c.left[p]--; c.left[p] == 0 {
		delete(c.left, p)
	}
}

// slow is a unit that takes its time.
type slow struct {
	pipeline.Unit
	pause time.Duration
}

func (s slow) Run(ctx context.Context, t pipeline.Task) error {
	if t.Kind == pipeline.Forward || t.Kind == pipeline.Embed {
		time.Sleep(s.pause)
	}
	return s.Unit.Run(ctx, t)
}

// slowData is data whose first picture of every few is slow to come.
type slowData struct {
	source.Dataset
	n     *atomic.Int64
	every int64
	pause time.Duration
}

func (s slowData) Picture(i int) (source.Picture, error) {
	if s.n.Add(1)%s.every == 0 {
		time.Sleep(s.pause)
	}
	return s.Dataset.Picture(i)
}

// TestInFlightIsBounded makes one unit, the loader, or a reader of the metrics a
// hundred times slower than the rest, counts microbatches in flight and looks at
// the resident memory: 500 microbatches each, with LOCORUN_LONG 10,000.
func TestInFlightIsBounded(t *testing.T) {
	defer goleak.VerifyNone(t)
	for _, c := range []struct {
		program   string
		slow      []string
		depth     int
		recompute bool
		long      bool // only with LOCORUN_LONG
	}{
		{program: "loco", slow: []string{"u3", "loader", "reader"}, depth: 3},
		{program: "gim", slow: []string{"u3"}, depth: 3},
		{program: "three batch", slow: []string{"u3"}, depth: 3, recompute: true},
		{program: "loco", slow: []string{"u1"}, depth: 3, long: true},
		{program: "loco", slow: []string{"u2"}, depth: 1, long: true},
		{program: "three batch", slow: []string{"u3"}, depth: 2, long: true},
		{program: "gim", slow: []string{"u1", "u2", "loader", "reader"}, depth: 2, long: true},
		{program: "three", slow: []string{"u1", "u2", "u3"}, depth: 4, long: true},
		{program: "also", slow: []string{"u1", "u2", "u3"}, depth: 3, long: true},
		{program: "three batch", slow: []string{"u1", "loader", "reader"}, depth: 1, recompute: true, long: true},
	} {
		for _, who := range c.slow {
			if c.long && !long() {
				continue
			}
			t.Run(fmt.Sprintf("%s, slow %s, depth %d, recompute %v", c.program, who, c.depth, c.recompute), func(t *testing.T) {
				checkBound(t, variants()[c.program](), who, c.depth, c.recompute)
			})
		}
	}
}

func checkBound(t *testing.T, net *model.Net, who string, depth int, recompute bool) {
	t.Helper()
	const pause = time.Millisecond // of a microbatch; the rest takes some ten microseconds
	micros := rounds(500, 10_000)
	net.Train.Batch, net.Train.Microbatch = 8, 2 // four microbatches a batch
	net.Train.Epochs = micros / 20
	b := onCPU(t, cpu.Options{})
	defer b.Close()
	r := must(Prepare(Config{Net: net, Backend: b, Depth: depth, Recompute: recompute, Workers: 2, Metrics: metricsOf(net)}))(t)
	defer r.Close()
	if who == "loader" {
		r.images = slowData{r.images, &atomic.Int64{}, 2, pause}
	}
	if who == "reader" {
		defer readSlowly(t, r.cfg.Metrics, pause)()
	}
	c := &crowd{t: t, left: map[[2]int]int{}, sample: micros / 20, warm: micros / 4}
	bound := runCrowd(t, r, c, who, pause)
	printed := r.Plan().InFlight
	if bound != printed {
		t.Errorf("the plan prints %d microbatches in flight, the program has room for %d", printed, bound)
	}
	t.Logf("%d microbatches, %d in flight at most, bound %d", c.fed, c.most, bound)
	if c.most > bound {
		t.Errorf("%d microbatches in flight, the bound is %d", c.most, bound)
	}
	flat(t, "lowest and highest after the warm-up", c.low, c.high)
}

// runCrowd trains with the unit of that name slowed down and gives the bound
// that the slots of the pipeline set.
func runCrowd(t *testing.T, r *Run, c *crowd, who string, pause time.Duration) (bound int) {
	t.Helper()
	p := must(r.lower(0))(t)
	g := must(graphs.Build(p, r.cfg.Backend))(t)
	defer g.Close()
	ok(t, begin(g, p, r.net.Train.Seed))
	tn := &turn{run: r, ir: p, prog: g, judge: &judge{}, save: &saver{}}
	tn.loader = must(r.loader(p, 0))(t)
	defer tn.loader.Close()
	units := must(tn.start())(t)
	for k := range units {
		c.last = append(c.last, len(p.Units[k].Events)-1)
		if p.Units[k].Name == who {
			units[k] = slow{units[k], pause}
		}
	}
	spec, hooks := tn.spec(), tn.hooks()
	hooks.Snapshot, hooks.Barrier = nil, nil
	c.Observer, c.units = tn.watch, len(units)
	hooks.Observer = c
	feed := hooks.Feed
	hooks.Feed = func(ctx context.Context, task pipeline.Task) error {
		c.enter(task)
		return feed(ctx, task)
	}
	pipe := must(pipeline.New(spec, units, hooks))(t)
	ok(t, pipe.Run(context.Background()))
	if len(c.left) > 0 {
		t.Errorf("%d microbatches never ended", len(c.left))
	}
	bound = spec.InputSlots
	for u := range spec.Units[:len(spec.Units)-1] {
		if !spec.Lean && !spec.Units[u].Relays {
			bound += spec.Units[u].Slots
		}
	}
	return bound
}

// metricsOf are metrics for a net.
func metricsOf(net *model.Net) *metrics.Set {
	var o metrics.Options
	for _, u := range net.Units {
		o.Units = append(o.Units, u.Name)
	}
	for _, s := range net.Stages {
		o.Stages = append(o.Stages, s.Name)
	}
	return metrics.New(o)
}

// readSlowly reads the metrics over the network, again and again and a few bytes
// at a time; the function returned ends that.
func readSlowly(t *testing.T, set *metrics.Set, pause time.Duration) (stop func()) {
	t.Helper()
	server := httptest.NewServer(metrics.Handler(metrics.ServeOptions{Set: set}))
	ctx, cancel := context.WithCancel(context.Background())
	var reader sync.WaitGroup
	reader.Go(func() {
		some := make([]byte, 64)
		for ctx.Err() == nil {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/metrics", nil)
			if err != nil {
				t.Error(err)
				return
			}
			answer, err := server.Client().Do(req)
			if err != nil {
				continue // the end
			}
			for err == nil {
				time.Sleep(pause)
				_, err = answer.Body.Read(some)
			}
			answer.Body.Close()
		}
	})
	return func() {
		cancel()
		reader.Wait()
		server.Close()
	}
}
