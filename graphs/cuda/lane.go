package cuda

import (
	"fmt"
	"sync"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cuda/driver"
	"github.com/locorun/locorun/graphs/device"
)

// lane is a stream, with what the Calls that are queued on it hold; it satisfies
// device.Lane. What is not under the lock belongs to whoever queues on the lane, one
// goroutine at a time.
type lane struct {
	b       *Backend
	number  int // ownLane is the one of the Backend's own methods
	stream  driver.Stream
	scratch map[slot]*buffer
	viewer  *viewer // nil until views are made
	run     run
	timers  [2]driver.Event  // 0 until something is measured
	waited  map[*lane]uint64 // marks that all that is queued comes after
	ran     map[problem]bool // what was computed here by its choice
	calling bool             // a Call is being queued
	tapes   int              // recordings that were not let go
	retired []*buffer        // scratch memory that such may use
	updates updates

	mu    sync.Mutex // over what other lanes ask for
	marks marks
	busy  busy
	tape  *tape // what is recorded, nil for nothing; whoever queues may read it so
}

const ownLane = -1

func newLane(b *Backend, number int) (*lane, error) {
	stream, err := b.dev.NewStream()
	if err != nil {
		return nil, fmt.Errorf("cuda: %w", err)
	}
	return &lane{b: b, number: number, stream: stream, scratch: map[slot]*buffer{}, waited: map[*lane]uint64{}, ran: map[problem]bool{}}, nil
}

// Lane implements device.Laned.
func (b *Backend) Lane(n int) (device.Lane, error) {
	if n < 0 {
		return nil, fmt.Errorf("cuda: there is no lane %d", n)
	}
	b.laning.Lock()
	defer b.laning.Unlock()
	if l := b.numbered[n]; l != nil {
		return l, nil
	}
	l, err := newLane(b, n)
	if err != nil {
		return nil, err
	}
	b.numbered[n] = l
	b.all = append(b.all, l)
	return l, nil
}

// known is lane n where it was asked for, else nil.
func (b *Backend) known(n int) *lane {
	b.laning.Lock()
	defer b.laning.Unlock()
	return b.numbered[n]
}

// lanes are all of them, the Backend's own first, in the order in which they were
// made.
func (b *Backend) lanes() []*lane {
	b.laning.Lock()
	defer b.laning.Unlock()
	return b.all[:len(b.all):len(b.all)]
}

// Run implements device.Lane.
func (l *lane) Run(c *device.Call) error {
	if err := lacks(c); err != nil {
		return l.noted(err)
	}
	err := l.catchUp()
	if err == nil {
		err = l.do(c)
	}
	if err != nil {
		return l.noted(fmt.Errorf("cuda: %v: %w", c.Code, err))
	}
	return nil
}

// do queues a Call. Nothing is measured meanwhile, but by this Call itself.
func (l *lane) do(c *device.Call) error {
	b := l.b
	b.quiet.RLock()
	l.calling = true
	defer func() {
		l.calling = false
		b.quiet.RUnlock()
		l.queued()
	}()
	r := &l.run
	if err := r.begin(l, c); err != nil {
		return err
	}
	if err := l.recordable(c.Code); err != nil {
		return err
	}
	if !reads(c.Code) {
		if err := l.flush(); err != nil {
			return err
		}
	}
	if err := table[c.Code](r); err != nil {
		return err
	}
	if row := &op.Rows[c.Code]; row.MultiplyAdds != nil {
		l.count(2 * row.MultiplyAdds(c.Attr, r.in, r.out))
	}
	return nil
}

// Write implements device.Lane. It returns when the bytes are in pinned memory.
func (l *lane) Write(t device.Tensor, src []byte) error {
	p, err := l.b.place(t, int64(len(src)))
	if err != nil || len(src) == 0 {
		return err
	}
	if l.recording() {
		return l.refuse("a copy from the host")
	}
	if err := l.ready(); err != nil {
		return err
	}
	defer l.queued()
	return l.b.dev.Upload(p, src, l.stream)
}

// Read implements device.Lane.
func (l *lane) Read(dst []byte, t device.Tensor) error {
	p, err := l.b.place(t, int64(len(dst)))
	if err != nil || len(dst) == 0 {
		return err
	}
	if l.recording() {
		return l.refuse("a copy to the host")
	}
	if err := l.ready(); err != nil {
		return err
	}
	at := l.newest()
	if err := l.b.dev.Download(dst, p, l.stream); err != nil {
		return err
	}
	l.arrived(at) // the host has what was queued behind it
	return nil
}

// catchUp lets what is queued from now on come after what the Backend's own methods
// have queued. What is recorded does when it is replayed.
func (l *lane) catchUp() error {
	if l.recording() {
		return nil
	}
	at, err := l.b.lane.mark()
	if err != nil {
		return err
	}
	return l.wait(l.b.lane, at)
}

// ready makes a lane ready for what is no Call.
func (l *lane) ready() error {
	if err := l.flush(); err != nil {
		return fmt.Errorf("cuda: %w", err)
	}
	return l.catchUp()
}

// alone calls f while no other lane queues and after all that they have queued, so
// that f can measure.
func (l *lane) alone(f func() error) error {
	b := l.b
	if l.calling {
		b.quiet.RUnlock()
		defer b.quiet.RLock()
	}
	b.quiet.Lock()
	defer b.quiet.Unlock()
	if err := l.waitAll(); err != nil {
		return err
	}
	return f()
}

// alloc is memory of any content for the lane's own use.
func (l *lane) alloc(bytes int64) (*buffer, error) {
	p, err := l.b.dev.Alloc(max(bytes, 1))
	if err != nil {
		return nil, fmt.Errorf("%d bytes: %w", bytes, err)
	}
	return &buffer{p, bytes}, nil
}

// release gives memory of the lane's own back, once nothing that was queued on it
// needs it any more.
func (l *lane) release(m *buffer) {
	_ = l.b.dev.Sync(l.stream) // its failure is the next call's
	_ = l.b.dev.Free(m.at)     // memory that the driver does not take back is lost with the process
	m.at = 0
}

// outgrow lets go of a slot's scratch memory. While there are recordings, which may
// use it, it is kept beside.
func (l *lane) outgrow(s slot) {
	have := l.scratch[s]
	if have == nil {
		return
	}
	delete(l.scratch, s)
	if l.tapes > 0 {
		l.retired = append(l.retired, have)
		return
	}
	l.release(have)
}

// free gives scratch memory back.
func (l *lane) free() {
	for _, s := range l.scratch {
		l.release(s)
	}
	clear(l.scratch)
	for _, m := range l.retired {
		l.release(m)
	}
	l.retired = nil
	l.freeTables()
	if l.viewer != nil {
		l.viewer.free()
	}
}
