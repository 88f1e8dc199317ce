package driver

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"
)

// Graph is work that was kept when it was queued; the zero Graph is none.
type Graph uint64

// Capturer keeps work, to queue it again at once; a Device that Open gave is one.
type Capturer interface {
	// Capture keeps what f queues on a stream, and runs none of it. It is launches,
	// fills and copies on the card; f calls from its own goroutine. What is of no
	// stream, or waits for one, is ErrCapture, and the Graph with it: memory, Sync,
	// events, copies from and to the host. Other goroutines may do all that
	// meanwhile, on other streams.
	Capture(s Stream, f func() error) (Graph, error)
	// Replay queues a Graph. It reads and writes the memory that it was captured
	// with, and may be queued again before it has run.
	Replay(g Graph, s Stream) error
	// Drop lets a Graph go; where it is queued, it runs all the same.
	Drop(g Graph) error
}

var _ Capturer = (*card)(nil)

// ErrCapture is what a call is that a stream's capture does not allow, or that was
// spoilt by one, for errors.Is.
var ErrCapture = errors.New("not in a stream's capture")

const (
	// captureThread holds the thread that captures, and no other, to what can be
	// captured: CU_STREAM_CAPTURE_MODE_THREAD_LOCAL. So the thread is held, and a
	// call that nobody thought of is an error instead of missing from the graph.
	captureThread = 1
	firstCapture  = 900 // CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
	lastCapture   = 908 // CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD
)

// Capture implements Capturer.
func (c *card) Capture(s Stream, f func() error) (Graph, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := c.do(cuStreamBeginCapture, uintptr(s), captureThread); err != nil {
		return 0, err
	}
	c.capture(s, true)
	defer c.capture(s, false)
	var kept uint64
	defer func() {
		if kept != 0 {
			_ = c.do(cuGraphDestroy, uintptr(kept)) // what is made of it stays
		}
	}()
	if err := c.keep(&kept, s, f); err != nil {
		return 0, err
	}
	var g uint64
	if err := c.do(cuGraphInstantiate, uintptr(unsafe.Pointer(&g)), uintptr(kept), 0); err != nil {
		return 0, err
	}
	c.made(cuGraphExecDestroy, g)
	return Graph(g), nil
}

// capture notes whether a stream captures.
func (c *card) capture(s Stream, on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if on {
		c.captures[s] = nil
		return
	}
	delete(c.captures, s)
}

// spoils refuses a call on a stream that captures, and its capture. CUDA itself
// would keep an event or a copy from pinned memory, whose bytes are others by the
// time the graph runs.
func (c *card) spoils(call string, s Stream) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, on := c.captures[s]; !on {
		return nil
	}
	err := fmt.Errorf("%s: %w", call, ErrCapture)
	c.captures[s] = err
	return err
}

// spoilt is what spoilt a stream's capture, if anything did.
func (c *card) spoilt(s Stream) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.captures[s]
}

// keep calls f and ends the capture, whatever f does. The stream is as before.
func (c *card) keep(kept *uint64, s Stream, f func() error) (err error) {
	defer func() {
		if end := c.do(cuStreamEndCapture, uintptr(s), uintptr(unsafe.Pointer(kept))); err == nil {
			err = end
		}
	}()
	if err := f(); err != nil {
		return err
	}
	return c.spoilt(s)
}

// Replay implements Capturer.
func (c *card) Replay(g Graph, s Stream) error { return c.do(cuGraphLaunch, uintptr(g), uintptr(s)) }

// Drop implements Capturer.
func (c *card) Drop(g Graph) error { return c.release(cuGraphExecDestroy, uint64(g)) }
