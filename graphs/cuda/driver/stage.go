package driver

import (
	"sync"
	"unsafe"
)

// Copies between the host's memory and the card go through pinned memory, which
// the card reads and writes by itself: an Upload returns when the bytes are in
// it, not when they are on the card. There is a bounded amount for each stream, made
// when it is first needed and freed by Close.
//
// A stream's pinned memory is its own, so that one whose copies wait for its work
// holds no other's up. An Upload runs beside the work of other streams, by the
// card's copy engine, and beside the host, which fills the next slot meanwhile:
// what is to overlap with kernels goes through a stream of its own, with events at
// both ends.
const (
	smallChunk = 16 << 10 // bytes; figures and tables
	smallSlots = 64
	largeChunk = 4 << 20 // pictures and weights
	largeSlots = 4
	readChunk  = 1 << 20
	readers    = 4 // Downloads at a time
)

// slot is a piece of pinned memory. Where it is busy, a copy from or to it is
// under way until the event.
type slot struct {
	bytes []byte
	event Event
	busy  bool
}

// ready waits until a slot is free; the first time it makes it.
func (c *card) ready(s *slot, size int) error {
	if s.busy {
		if err := c.do(cuEventSynchronize, uintptr(s.event)); err != nil {
			return err
		}
		s.busy = false
	}
	if s.bytes != nil {
		return nil
	}
	if s.event == 0 {
		var err error
		if s.event, err = c.NewEvent(); err != nil {
			return err
		}
	}
	var at uintptr
	if err := c.do(cuMemAllocHost, uintptr(unsafe.Pointer(&at)), uintptr(size)); err != nil {
		return err
	}
	c.made(cuMemFreeHost, uint64(at))
	s.bytes = unsafe.Slice((*byte)(pointer(at)), size)
	return nil
}

// copied marks a slot as busy until what a stream has now is done.
func (c *card) copied(x *slot, s Stream) error {
	if err := c.Record(x.event, s); err != nil {
		_ = c.Sync(s) // so that the slot is free all the same; the failure is told
		return err
	}
	x.busy = true
	return nil
}

// writer is the pinned memory of a stream's Uploads.
type writer struct{ small, large ring }

// writer is that of a stream.
func (c *card) writer(s Stream) *writer {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.writers[s]
	if w == nil {
		w = &writer{ring{size: smallChunk, slots: make([]slot, smallSlots)}, ring{size: largeChunk, slots: make([]slot, largeSlots)}}
		c.writers[s] = w
	}
	return w
}

// ring is slots that are used in turn. An Upload waits for the one that was used
// longest ago; all that is queued on a card comes to its end without the host, so
// the wait does.
type ring struct {
	mu    sync.Mutex
	size  int
	slots []slot
	next  int
}

// Upload implements Device.
func (c *card) Upload(p Pointer, src []byte, s Stream) error {
	if err := c.spoils("a copy from the host", s); err != nil {
		return err
	}
	w := c.writer(s)
	r := &w.large
	if len(src) <= smallChunk {
		r = &w.small
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(src) > 0 {
		x := &r.slots[r.next]
		if err := c.ready(x, r.size); err != nil {
			return err
		}
		n := copy(x.bytes, src)
		if err := c.do(cuMemcpyHtoDAsync, uintptr(p), uintptr(unsafe.Pointer(&x.bytes[0])), uintptr(n), uintptr(s)); err != nil {
			return err
		}
		if err := c.copied(x, s); err != nil {
			return err
		}
		r.next = (r.next + 1) % len(r.slots)
		src, p = src[n:], p+Pointer(n)
	}
	return nil
}

// reader is the memory of one Download: while one slot is read by the host, the
// card writes the other. What is due goes where dst says.
type reader struct {
	slots [2]slot
	dst   [2][]byte
}

// Download implements Device.
func (c *card) Download(dst []byte, p Pointer, s Stream) error {
	if len(dst) == 0 {
		return nil
	}
	if err := c.spoils("a copy to the host", s); err != nil {
		return err
	}
	r := <-c.readers
	defer func() { c.readers <- r }()
	if err := c.read(r, dst, p, s); err != nil {
		_ = c.Sync(s) // nothing may write into the slots any more; the failure is told
		r.dst, r.slots[0].busy, r.slots[1].busy = [2][]byte{}, false, false
		return err
	}
	return nil
}

// read reads piece by piece.
func (c *card) read(r *reader, dst []byte, p Pointer, s Stream) error {
	turn := 0
	for ; len(dst) > 0; turn = 1 - turn {
		x := &r.slots[turn]
		if err := c.deliver(r, turn); err != nil {
			return err
		}
		n := min(len(dst), readChunk)
		if err := c.do(cuMemcpyDtoHAsync, uintptr(unsafe.Pointer(&x.bytes[0])), uintptr(p), uintptr(n), uintptr(s)); err != nil {
			return err
		}
		if err := c.copied(x, s); err != nil {
			return err
		}
		r.dst[turn] = dst[:n]
		dst, p = dst[n:], p+Pointer(n)
	}
	if err := c.deliver(r, turn); err != nil {
		return err
	}
	return c.deliver(r, 1-turn)
}

// deliver waits for a slot and copies what it holds to where it goes.
func (c *card) deliver(r *reader, turn int) error {
	if err := c.ready(&r.slots[turn], readChunk); err != nil {
		return err
	}
	copy(r.dst[turn], r.slots[turn].bytes)
	r.dst[turn] = nil
	return nil
}
