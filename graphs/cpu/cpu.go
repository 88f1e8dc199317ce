// Package cpu is the backend that runs on the machine's own processor, in
// tiers: assembly for AVX-512 and for AVX2 with FMA, chosen by what the
// processor has, and plain Go, which runs everywhere and is the reference.
//
// In come Calls of the op table on windows into buffers of this backend; out
// go the results in the windows the Call names, and errors that name the op.
//
//	Run --> check --> kernel table --> driver --tiles--> pool of workers
//	        (shapes,   (op, tier,      (cuts work       (sleep when idle,
//	         types,     dtype)          by shape)        one scratch each)
//	         bounds)                        |
//	                                        '--> package vector: inner loops
//
// The files by tier: direct*.go are the vector tiers' convolutions, alone and
// fused with norms, and fast*.go their other kernels; the rest is plain Go or
// serves both.
//
// What always holds:
//
//   - Work is cut into tiles by shape alone, and sums that cross tiles are
//     added in tile order, so results do not depend on the number of workers.
//   - A plain kernel is generic over float32 and float64; both run the same
//     code. The vector tiers have float32 kernels only.
//   - Scratch belongs to a worker or to a running Call, grows to the largest
//     need seen and is used again: nothing is allocated per step but a few
//     hundred bytes.
//   - A panic in a kernel becomes an error of Run; the process lives on.
package cpu

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// Options configures a Backend.
type Options struct {
	// Workers is the number of tiles computed at the same time; 0 means one
	// per processor Go may use. It changes no byte of any result.
	Workers int
	// Tier is the set of kernels; the zero Tier is the fastest.
	Tier Tier
}

// Backend runs ops on the processor. Its methods may be called from several
// goroutines.
type Backend struct {
	tier    Tier
	pool    *pool
	kernels [len(op.Rows)]kernel
	counted atomic.Int64

	mu      sync.Mutex
	packs   packs
	buffers map[*Buffer]struct{}
	idle    []*run // runs not in use, with their scratch
	closed  bool

	// skipTile, set by tests only, makes the tiles it names go missing.
	skipTile func(c op.Code, tile int) bool
}

var _ device.Backend = (*Backend)(nil)

var errClosed = errors.New("cpu: backend is closed")

// New starts a backend and its workers. Close stops them.
func New(o Options) *Backend {
	workers := o.Workers
	if workers < 1 {
		workers = runtime.GOMAXPROCS(0)
	}
	tier := o.Tier
	if tier.name == "" {
		tier = Tiers()[0]
	}
	return &Backend{
		tier:    tier,
		pool:    newPool(workers),
		kernels: tier.kernels(),
		buffers: map[*Buffer]struct{}{},
	}
}

// Name is "cpu/" and the tier's name.
func (b *Backend) Name() string { return "cpu/" + b.tier.name }

// Counted is the number of floating-point operations of convolutions and dense
// products dispatched so far: two per multiply-add, counted tile by tile, taps
// on the padding included.
func (b *Backend) Counted() int64 { return b.counted.Load() }

// Run checks and runs one op. Errors name the op and say what does not fit.
func (b *Backend) Run(c *device.Call) error {
	if c.Code == op.Invalid || int(c.Code) >= len(op.Rows) {
		return fmt.Errorf("cpu: no kernel for %v", c.Code)
	}
	r, err := b.take(c)
	if err != nil {
		return err
	}
	defer b.give(r)
	for _, t := range c.Out {
		b.packs.written(t)
	}
	if err := r.perform(); err != nil {
		return fmt.Errorf("cpu: %v: %w", c.Code, err)
	}
	return nil
}

// take hands out a run with scratch, a used one if there is one.
func (b *Backend) take(c *device.Call) (*run, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, errClosed
	}
	r := &run{b: b}
	if n := len(b.idle); n > 0 {
		r, b.idle = b.idle[n-1], b.idle[:n-1]
	}
	r.call = c
	return r, nil
}

func (b *Backend) give(r *run) {
	r.forget()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.idle = append(b.idle, r)
}

// Scratch is the number of bytes the workers and idle Calls hold beside the
// buffers handed out by Alloc.
func (b *Backend) Scratch() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.pool.scratch() + b.packs.held()
	for _, r := range b.idle {
		n += r.shared.bytes()
	}
	return n
}

// Close stops the workers and frees all buffers. No Run may be under way.
func (b *Backend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	b.pool.close()
	for buf := range b.buffers {
		b.drop(buf)
	}
	b.buffers, b.idle = nil, nil
	return nil
}
