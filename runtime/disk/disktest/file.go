package disktest

import (
	"bytes"
	"io"
	"io/fs"
	"slices"
)

// file is bytes: those that a reader sees, those that are durable, and the
// writes that were not synced.
type file struct {
	now, durable []byte
	pending      []fileOp
}

// fileOp is a write at an offset, or, without data, a cut to that size.
type fileOp struct {
	at   int
	data []byte
}

// on does the operation; a gap before it is zeros.
func (op fileOp) on(b []byte) []byte {
	if op.data == nil {
		return resize(b, op.at)
	}
	b = resize(b, max(len(b), op.at+len(op.data)))
	copy(b[op.at:], op.data)
	return b
}

// resize cuts b, or lengthens it by zeros.
func resize(b []byte, n int) []byte {
	if n <= len(b) {
		return b[:n:n]
	}
	return append(b, make([]byte, n-len(b))...)
}

func (f *file) apply(op fileOp) {
	f.now = op.on(f.now)
	f.pending = append(f.pending, op)
}

// sync makes durable what was written since the last sync, and no more: bytes
// that forget dropped stay dropped.
func (f *file) sync() {
	for _, op := range f.pending {
		f.durable = op.on(f.durable)
	}
	f.pending = nil
}

// handle is a file open for writing at its end.
type handle struct {
	m      *Memory
	f      *file
	name   string
	closed bool
}

func (h *handle) do(kind Kind, run func()) error {
	return h.m.do(kind, h.name, func() error {
		if h.closed {
			return fail(kind, h.name, fs.ErrClosed)
		}
		run()
		return nil
	})
}

// Write implements disk.File.
func (h *handle) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	err := h.do(Write, func() { h.f.apply(fileOp{len(h.f.now), slices.Clone(p)}) })
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// Sync implements disk.File.
func (h *handle) Sync() error { return h.do(Sync, h.f.sync) }

// Truncate implements disk.File.
func (h *handle) Truncate(size int64) error {
	if size < 0 {
		return fail(Truncate, h.name, fs.ErrInvalid)
	}
	return h.do(Truncate, func() { h.f.apply(fileOp{at: int(size)}) })
}

// Close implements disk.File.
func (h *handle) Close() error { return h.do(Close, func() { h.closed = true }) }

// forget drops from the disk what was not synced, while readers still see it: so
// does a kernel after a failed sync, and a second sync then succeeds.
func (h *handle) forget() {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	h.f.pending = nil
}

// reader is a file open for reading.
type reader struct {
	m      *Memory
	f      *file
	name   string
	size   int64
	closed bool
}

// Size implements disk.ReadFile.
func (r *reader) Size() int64 { return r.size }

// ReadAt implements disk.ReadFile.
func (r *reader) ReadAt(p []byte, off int64) (n int, err error) {
	err = r.m.do(Read, r.name, func() error {
		if r.closed {
			return fail(Read, r.name, fs.ErrClosed)
		}
		n, err = bytes.NewReader(r.f.now).ReadAt(p, off)
		return err
	})
	return n, err
}

// Close implements disk.ReadFile.
func (r *reader) Close() error {
	return r.m.do(Close, r.name, func() error {
		if r.closed {
			return fail(Close, r.name, fs.ErrClosed)
		}
		r.closed = true
		return nil
	})
}

var _ io.ReaderAt = (*reader)(nil)
