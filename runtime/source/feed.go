package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

// feed fills trays with pictures ahead of their reader and hands them over in
// the order of their numbers:
//
//	free trays --> planner --number, images--> workers --> full trays, in order
//	      ^                                                     |
//	      +---------------------- release ----------------------+
//
// The planner hands out a few pictures at a time, few enough for all workers to
// fill one tray before they begin the next, many enough for the hand-over to
// cost little beside small pictures. Which worker draws a picture makes no
// difference to it; of several errors in a tray the one of its first picture
// counts.
// Without workers the reader fills each tray itself.
//
// Goroutines end when all is drawn or when close is called, which waits for
// them.
type feed struct {
	jobs int
	plan func(t *tray)              // names the images of tray t.number
	draw func(t *tray, i int) error // fills in picture number i of the tray

	free  chan *tray
	full  chan *tray // in order; each is awaited by its done
	work  chan task
	stop  context.CancelFunc
	ended context.Context // done once close was called
	group sync.WaitGroup

	mu      sync.Mutex
	workers int
	next    int   // number of the next tray, without workers
	current *tray // taken from full, not yet handed over
	failed  error // what ended the feed for good
}

// tray is a buffer of pictures on its way.
type tray struct {
	number   int
	images   []int     // indices into the data set
	pixels   []float32 // room for the most images; rows as the drawer lays them
	bytes    []byte    // the same for sketches, in place of pixels
	sketches []Sketch
	out      atomic.Bool

	left atomic.Int64 // pictures not yet dealt with
	done chan struct{}
	mu   sync.Mutex
	bad  int // place of the first picture that failed
	err  error
}

// task is pictures from.. up to to of a tray.
type task struct {
	tray     *tray
	from, to int
}

// mostOfATask is the largest number of pictures in a task.
const mostOfATask = 16

// share is how many pictures of n a task has: some for each worker, even where
// one of them is held up.
func (f *feed) share(n int) int { return max(1, min(mostOfATask, n/(4*f.workers))) }

// room is what a tray has room for: images, and of each so many numbers, or a
// sketch of so many bytes.
type room struct{ images, values, bytes int }

func (r room) tray() *tray {
	t := &tray{images: make([]int, 0, r.images), pixels: make([]float32, r.images*r.values), done: make(chan struct{}, 1)}
	if r.bytes > 0 {
		t.bytes, t.sketches = make([]byte, r.images*r.bytes), make([]Sketch, r.images)
	}
	return t
}

// newFeed makes a feed of jobs trays of which no more than trays exist, and
// starts its workers.
func newFeed(f *feed, trays int, r room) *feed {
	f.free, f.full, f.work = make(chan *tray, trays), make(chan *tray, trays), make(chan task)
	for range trays {
		f.free <- r.tray()
	}
	f.ended, f.stop = context.WithCancel(context.Background())
	if f.workers > 0 {
		f.group.Go(f.deal)
		for range f.workers {
			f.group.Go(f.drawAll)
		}
	}
	return f
}

// deal plans trays in order and hands their pictures to the workers.
func (f *feed) deal() {
	defer close(f.full)
	defer close(f.work)
	for number := range f.jobs {
		var t *tray
		select {
		case t = <-f.free:
		case <-f.ended.Done():
			return
		}
		f.begin(t, number)
		f.full <- t // has room for every tray
		for i, n := 0, len(t.images); i < n; {
			k := task{t, i, min(n, i+f.share(n))}
			select {
			case f.work <- k:
			case <-f.ended.Done():
				return
			}
			i = k.to
		}
	}
}

func (f *feed) begin(t *tray, number int) {
	t.number, t.err, t.images = number, nil, t.images[:0]
	f.plan(t)
	t.left.Store(int64(len(t.images)))
	t.out.Store(true)
}

func (f *feed) drawAll() {
	for k := range f.work {
		for i := k.from; i < k.to; i++ {
			if err := f.drawOne(k.tray, i); err != nil {
				k.tray.fail(i, err)
				break // those behind it do not count
			}
		}
		if k.tray.left.Add(int64(k.from-k.to)) == 0 {
			k.tray.done <- struct{}{}
		}
	}
}

// drawOne draws a picture; a panic on the way is that picture's error.
func (f *feed) drawOne(t *tray, i int) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("picture %d: %v", t.images[i], r)
		}
	}()
	return f.draw(t, i)
}

func (t *tray) fail(i int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil || i < t.bad {
		t.bad, t.err = i, err
	}
}

var errClosed = errors.New("the loader was closed")

// take gives the next tray, io.EOF after the last, or the error of the first
// tray that has one, from then on every time. Where ctx ends first the tray is
// kept for the next call.
func (f *feed) take(ctx context.Context) (*tray, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed != nil {
		return nil, f.failed
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t, err := f.wait(ctx)
	switch {
	case err == nil && t.err == nil:
		return t, nil
	case err == nil:
		f.failed = t.err
	case ctx.Err() == nil:
		f.failed = err
	default:
		return nil, err
	}
	return nil, f.failed
}

func (f *feed) wait(ctx context.Context) (*tray, error) {
	if f.workers == 0 {
		return f.fill(ctx)
	}
	if f.current == nil {
		select {
		case t, ok := <-f.full:
			if !ok {
				return nil, f.ending()
			}
			f.current = t
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	select {
	case <-f.current.done:
		t := f.current
		f.current = nil
		return t, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-f.ended.Done():
		return nil, errClosed
	}
}

// fill draws the next tray in the reader's own goroutine.
func (f *feed) fill(ctx context.Context) (*tray, error) {
	if f.ended.Err() != nil || f.next == f.jobs {
		return nil, f.ending()
	}
	var t *tray
	select {
	case t = <-f.free:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-f.ended.Done():
		return nil, errClosed
	}
	f.begin(t, f.next)
	f.next++
	for i := range t.images {
		if err := f.drawOne(t, i); err != nil {
			t.fail(i, err)
			break
		}
	}
	return t, nil
}

// ending is why no tray comes any more.
func (f *feed) ending() error {
	if f.ended.Err() != nil {
		return errClosed
	}
	return io.EOF
}

// release gives a tray back to be filled again.
func (f *feed) release(t *tray) {
	if !t.out.CompareAndSwap(true, false) {
		panic("source: a microbatch was released twice")
	}
	f.free <- t // has room for every tray
}

// close ends all goroutines and waits for them.
func (f *feed) close() {
	f.stop()
	f.group.Wait()
}
