package cpu

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// pool computes tiles. The goroutine that has tiles to compute takes part; up
// to workers-1 others help. A tile is computed by whoever holds one of the
// workspaces, of which there are as many as workers: so at most that many are
// computed at a time, whatever the number of callers.
//
//	each(n, f)   f(0) f(1) ... f(n-1), in any order, then return
//
// Workers that find nothing to do look again for a moment, since the next op
// mostly follows at once, and then sleep on a condition.
type pool struct {
	waiting atomic.Int64 // jobs in the queue
	mu      sync.Mutex
	changed sync.Cond    // the queue, the free workspaces or a job's helpers
	queue   []*job       // jobs that may have tiles left
	free    []*workspace // not held by anybody
	all     []*workspace
	closed  bool
	stopped sync.WaitGroup
}

// job is one call of each.
type job struct {
	tiles   int64
	next    atomic.Int64
	do      func(tile int, ws *workspace)
	helpers int          // guarded by the pool's mutex
	helping atomic.Int64 // the same, to be looked at from outside

	mu     sync.Mutex
	failed int64 // the lowest tile that panicked
	err    error
}

func newPool(workers int) *pool {
	p := &pool{}
	p.changed.L = &p.mu
	for range workers {
		ws := &workspace{}
		p.free, p.all = append(p.free, ws), append(p.all, ws)
	}
	for range workers - 1 {
		p.stopped.Add(1)
		go p.help()
	}
	return p
}

// each calls do for tiles 0 to n-1 and returns when all are done. A panic in
// do is returned as an error; the remaining tiles are skipped or done, as it
// happens.
func (p *pool) each(n int, do func(tile int, ws *workspace)) error {
	j := &job{tiles: int64(n), do: do}
	ws := p.enter(j)
	j.work(ws)
	p.leave(j, ws)
	return j.err
}

// enter takes a workspace and offers j's tiles to the helpers.
func (p *pool) enter(j *job) *workspace {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.free) == 0 {
		p.changed.Wait()
	}
	ws := p.pop()
	if j.tiles > 1 && len(p.all) > 1 {
		p.queue = append(p.queue, j)
		p.waiting.Store(int64(len(p.queue)))
		p.changed.Broadcast()
	}
	return ws
}

// leave returns the workspace and waits for j's helpers.
func (p *pool) leave(j *job, ws *workspace) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.push(ws, j)
	if j.helpers > 0 {
		p.mu.Unlock()
		linger(func() bool { return j.helping.Load() == 0 })
		p.mu.Lock()
	}
	for j.helpers > 0 {
		p.changed.Wait()
	}
}

// lingering is how long a goroutine looks before it sleeps: about what it costs
// to be woken up.
const lingering = 30 * time.Microsecond

// linger lets other goroutines run until it is time, or for a moment.
func linger(until func() bool) {
	for begun := time.Now(); time.Since(begun) < lingering; {
		for range 8 {
			if until() {
				return
			}
			runtime.Gosched()
		}
	}
}

// help is a helper's life.
func (p *pool) help() {
	defer p.stopped.Done()
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if !p.closed && len(p.queue) == 0 {
			p.mu.Unlock()
			linger(func() bool { return p.waiting.Load() > 0 })
			p.mu.Lock()
		}
		for !p.closed && (len(p.queue) == 0 || len(p.free) == 0) {
			p.changed.Wait()
		}
		if p.closed {
			return
		}
		j, ws := p.queue[0], p.pop()
		j.helpers++
		j.helping.Add(1)
		p.mu.Unlock()
		j.work(ws)
		p.mu.Lock()
		j.helpers--
		j.helping.Add(-1)
		p.push(ws, j)
	}
}

func (p *pool) pop() *workspace {
	n := len(p.free) - 1
	ws := p.free[n]
	p.free = p.free[:n]
	return ws
}

// push frees ws, whose holder found no tile of j left.
func (p *pool) push(ws *workspace, j *job) {
	p.free = append(p.free, ws)
	for i, q := range p.queue {
		if q == j {
			p.queue = append(p.queue[:i], p.queue[i+1:]...)
			p.waiting.Store(int64(len(p.queue)))
			break
		}
	}
	p.changed.Broadcast()
}

// work computes tiles until none is left.
func (j *job) work(ws *workspace) {
	for {
		t := j.next.Add(1) - 1
		if t >= j.tiles || !j.tile(t, ws) {
			return
		}
	}
}

// tile computes one tile and reports whether it ended without a panic.
func (j *job) tile(t int64, ws *workspace) (ok bool) {
	defer func() {
		if v := recover(); v != nil {
			j.fail(t, panicError(v))
		}
	}()
	j.do(int(t), ws)
	return true
}

func (j *job) fail(t int64, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err == nil || t < j.failed {
		j.failed, j.err = t, err
	}
	j.next.Store(j.tiles)
}

// panicError says what panicked and where in this package.
func panicError(v any) error {
	for line := range strings.SplitSeq(string(debug.Stack()), "\n") {
		line = strings.TrimSpace(line)
		at := strings.Index(line, "graphs/cpu/")
		if at >= 0 && strings.Contains(line, ".go:") && !strings.Contains(line, "/pool.go:") && !strings.Contains(line, "/run.go:") {
			place, _, _ := strings.Cut(line[at:], " ")
			return fmt.Errorf("panic in kernel: %v (%s)", v, place)
		}
	}
	return fmt.Errorf("panic in kernel: %v", v)
}

// scratch is the number of bytes of all workspaces.
func (p *pool) scratch() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := int64(0)
	for _, ws := range p.all {
		n += ws.held.Load()
	}
	return n
}

// close stops the helpers and waits for them.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.changed.Broadcast()
	p.mu.Unlock()
	p.stopped.Wait()
}
