package driver

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// card is a GPU with its primary context; it satisfies Device and Clock. A
// context is current for a thread and goroutines move between threads, so every
// call holds its thread and makes the context current first, which costs about
// as much as passing an argument.
type card struct {
	Card
	lib     *library
	device  int32
	context uintptr
	closed  atomic.Bool
	params  sync.Pool // of *params
	readers chan *reader

	mu       sync.Mutex
	live     map[resource]bool
	captures map[Stream]error // streams that capture, with what spoilt it
	writers  map[Stream]*writer
}

var (
	_ Device = (*card)(nil)
	_ Clock  = (*card)(nil)
)

// resource is something that Close gives back.
type resource struct {
	free proc
	at   uint64
}

// Clock measures times on a card; a Device that Open gave is one.
type Clock interface {
	// NewTimer is an Event that also keeps the time at which it was reached. It
	// costs more than one that does not.
	NewTimer() (Event, error)
	// Reached reports whether an event has been reached as it was last recorded,
	// or was never recorded; it does not wait.
	Reached(e Event) (bool, error)
	// Elapsed is the time between two timers that were recorded; it waits until
	// both have been reached.
	Elapsed(from, to Event) (time.Duration, error)
}

// Open opens a card by its index among those that Find lists. The card's primary
// context is the process's: two Devices of one card share it, and each gives
// back only what was made by it. Calls after Close are errors; calls during it
// are faults of the caller.
func Open(index int) (Device, error) {
	b, err := open(libcuda)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", names[libcuda].files[0], err)
	}
	list, err := cards(b)
	switch {
	case err != nil:
		return nil, err
	case index < 0 || index >= len(list):
		return nil, fmt.Errorf("cuda:%d: the driver lists cards 0 to %d", index, len(list)-1)
	}
	c := &card{lib: b, live: map[resource]bool{}, captures: map[Stream]error{}, writers: map[Stream]*writer{}, readers: make(chan *reader, readers)}
	for range readers {
		c.readers <- &reader{}
	}
	if c.device, c.Card, err = b.card(index); err != nil {
		return nil, err
	}
	if err := b.do(cuDevicePrimaryCtxRetain, uintptr(unsafe.Pointer(&c.context)), uintptr(c.device)); err != nil {
		return nil, err
	}
	return c, nil
}

// opened is a Device as Open made it.
func opened(d Device) (*card, error) {
	c, ok := d.(*card)
	if !ok {
		return nil, fmt.Errorf("%s was not opened by this package", d.Name())
	}
	return c, nil
}

var errClosed = errors.New("the card is closed")

// do calls a function of libcuda in the card's context.
//
//go:uintptrescapes
func (c *card) do(p proc, args ...uintptr) error { return c.in(c.lib, p, args...) }

// in calls a function of a library in the card's context.
//
//go:uintptrescapes
func (c *card) in(b *library, p proc, args ...uintptr) error {
	if c.closed.Load() {
		return fmt.Errorf("%s: %w", rows[p].name, errClosed)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := c.lib.do(cuCtxSetCurrent, c.context); err != nil {
		return err
	}
	return b.do(p, args...)
}

// Name and Arch implement Device.
func (c *card) Name() string { return c.Card.Name }
func (c *card) Arch() int    { return c.Card.Arch }

// Memory implements Device.
func (c *card) Memory() (free, total int64, err error) {
	var f, t uint64
	err = c.do(cuMemGetInfo, uintptr(unsafe.Pointer(&f)), uintptr(unsafe.Pointer(&t)))
	return int64(f), int64(t), err
}

// busID is where the card sits, in the form of NVML.
func (c *card) busID() (string, error) {
	id := make([]byte, 32)
	err := c.do(cuDeviceGetPCIBusID, uintptr(unsafe.Pointer(&id[0])), uintptr(len(id)), uintptr(c.device))
	return cut(id), err
}

// made notes what a call made.
func (c *card) made(free proc, at uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live[resource{free, at}] = true
}

// release frees what was made; it is an error to free what was not. What the
// driver does not take back is tried again by Close.
func (c *card) release(free proc, at uint64) error {
	c.mu.Lock()
	known := c.live[resource{free, at}]
	delete(c.live, resource{free, at})
	c.mu.Unlock()
	if !known {
		return fmt.Errorf("%s: %#x was not made here, or is freed", rows[free].name, at)
	}
	err := c.do(free, uintptr(at))
	if err != nil && !c.closed.Load() {
		c.made(free, at)
	}
	return err
}

// Alloc implements Device. The error tells how much is free; it is
// ErrOutOfMemory where that is too little.
func (c *card) Alloc(bytes int64) (Pointer, error) {
	if bytes <= 0 {
		return 0, fmt.Errorf("memory of %d bytes", bytes)
	}
	var p uint64
	err := c.do(cuMemAlloc, uintptr(unsafe.Pointer(&p)), uintptr(bytes))
	if errors.Is(err, ErrOutOfMemory) {
		if free, total, also := c.Memory(); also == nil {
			err = fmt.Errorf("%w (%d bytes of %d are free)", err, free, total)
		}
	}
	if err != nil {
		return 0, err
	}
	c.made(cuMemFree, p)
	return Pointer(p), nil
}

// Free implements Device.
func (c *card) Free(p Pointer) error { return c.release(cuMemFree, uint64(p)) }

// Fill implements Device.
func (c *card) Fill(p Pointer, value byte, bytes int64, s Stream) error {
	if bytes == 0 {
		return nil
	}
	return c.do(cuMemsetD8Async, uintptr(p), uintptr(value), uintptr(bytes), uintptr(s))
}

// Copy implements Device.
func (c *card) Copy(dst, src Pointer, bytes int64, s Stream) error {
	if bytes == 0 {
		return nil
	}
	return c.do(cuMemcpyDtoDAsync, uintptr(dst), uintptr(src), uintptr(bytes), uintptr(s))
}

// Load implements Device.
func (c *card) Load(image []byte) (Module, error) {
	var m uint64
	ended := append(slices.Clone(image), 0) // PTX is a string
	if err := c.do(cuModuleLoadData, uintptr(unsafe.Pointer(&m)), uintptr(unsafe.Pointer(&ended[0]))); err != nil {
		return 0, err
	}
	c.made(cuModuleUnload, m)
	return Module(m), nil
}

// Function implements Device.
func (c *card) Function(m Module, name string) (Function, error) {
	var f uint64
	err := c.do(cuModuleGetFunction, uintptr(unsafe.Pointer(&f)), uintptr(m), uintptr(unsafe.Pointer(chars(name))))
	return Function(f), err
}

const (
	streamApart   = 1 // CU_STREAM_NON_BLOCKING: does not wait for the null stream
	eventNoTiming = 2 // CU_EVENT_DISABLE_TIMING
)

// NewStream implements Device.
func (c *card) NewStream() (Stream, error) {
	at, err := c.create(cuStreamCreate, cuStreamDestroy, streamApart)
	return Stream(at), err
}

// NewEvent implements Device.
func (c *card) NewEvent() (Event, error) {
	at, err := c.create(cuEventCreate, cuEventDestroy, eventNoTiming)
	return Event(at), err
}

// NewTimer implements Clock.
func (c *card) NewTimer() (Event, error) {
	at, err := c.create(cuEventCreate, cuEventDestroy, 0)
	return Event(at), err
}

// create makes a stream or an event, and notes how to free it.
func (c *card) create(make, free proc, flags uintptr) (uint64, error) {
	var at uint64
	if err := c.do(make, uintptr(unsafe.Pointer(&at)), flags); err != nil {
		return 0, err
	}
	c.made(free, at)
	return at, nil
}

// Sync implements Device.
func (c *card) Sync(s Stream) error { return c.do(cuStreamSynchronize, uintptr(s)) }

// Record implements Device.
func (c *card) Record(e Event, s Stream) error {
	if err := c.spoils("an event", s); err != nil {
		return err
	}
	return c.do(cuEventRecord, uintptr(e), uintptr(s))
}

// Wait implements Device.
func (c *card) Wait(s Stream, e Event) error {
	return c.do(cuStreamWaitEvent, uintptr(s), uintptr(e), 0)
}

const notReady = 600 // CUDA_ERROR_NOT_READY

// Reached implements Clock.
func (c *card) Reached(e Event) (bool, error) {
	err := c.do(cuEventQuery, uintptr(e))
	var status *Error
	if errors.As(err, &status) && status.Code == notReady {
		return false, nil
	}
	return err == nil, err
}

// Elapsed implements Clock. CUDA's own resolution is half a microsecond.
func (c *card) Elapsed(from, to Event) (time.Duration, error) {
	for _, e := range []Event{from, to} {
		if err := c.do(cuEventSynchronize, uintptr(e)); err != nil {
			return 0, err
		}
	}
	var ms float32
	err := c.do(cuEventElapsedTime, uintptr(unsafe.Pointer(&ms)), uintptr(from), uintptr(to))
	return time.Duration(float64(ms) * float64(time.Millisecond)), err
}

// Close implements Device: it waits for the streams, frees what is not freed and
// lets go of the context. All of it is tried; the errors are joined. A second
// Close does nothing.
func (c *card) Close() error {
	if c.closed.Load() {
		return nil
	}
	c.mu.Lock()
	left := slices.SortedFunc(maps.Keys(c.live), func(a, b resource) int {
		if a.free != b.free {
			return slices.Index(order, a.free) - slices.Index(order, b.free)
		}
		return int(int64(a.at-b.at)>>63 | 1)
	})
	c.live = map[resource]bool{}
	c.mu.Unlock()
	var errs []error
	for _, r := range left {
		if r.free == cuStreamDestroy {
			errs = append(errs, c.do(cuStreamSynchronize, uintptr(r.at)))
		}
	}
	for _, r := range left {
		errs = append(errs, c.do(r.free, uintptr(r.at)))
	}
	c.closed.Store(true)
	return errors.Join(append(errs, c.lib.do(cuDevicePrimaryCtxRelease, uintptr(c.device)))...)
}

// order is the order in which Close frees.
var order = []proc{cuGraphExecDestroy, cuStreamDestroy, cuEventDestroy, cuMemFreeHost, cuMemFree, cuModuleUnload}
