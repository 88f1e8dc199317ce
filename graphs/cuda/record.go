package cuda

import (
	"errors"
	"fmt"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cuda/driver"
	"github.com/locorun/locorun/graphs/device"
)

var _ device.Recorder = (*lane)(nil)

// tape is a recording: a graph of the card's, of one lane, in whose scratch memory
// its Calls work.
type tape struct {
	lane    *lane
	graph   driver.Graph // 0 once it was let go
	counted int64        // of its Calls
	err     error        // the first that a Call gave while it was recorded
}

// recording reports whether the lane records, to whoever queues on it.
func (l *lane) recording() bool { return l.tape != nil }

// Record implements device.Recorder. What a Call needs of the host is kernels that
// were not launched yet, a choice that was not made, scratch memory, or the learning
// rate and the number of the update, which a recording would freeze. Such a Call is
// an error, also where f goes on without it; the card's own refusal is
// ErrNotRecorded too.
func (l *lane) Record(f func() error) (device.Recording, error) {
	c, ok := l.b.dev.(driver.Capturer)
	if !ok || l.recording() {
		return nil, l.refuse("a recording")
	}
	t := &tape{lane: l}
	err := l.catchUp()
	if err == nil {
		_, err = l.mark() // what others wait for meanwhile
	}
	if err != nil {
		return nil, fmt.Errorf("cuda: a recording: %w", err)
	}
	l.setTape(t)
	defer l.setTape(nil)
	t.graph, err = c.Capture(l.stream, func() error {
		if err := f(); err != nil {
			return err
		}
		return t.err
	})
	switch {
	case err == nil:
		l.tapes++
		return t, nil
	case errors.Is(err, driver.ErrCapture):
		return nil, fmt.Errorf("cuda: a recording: %w: %w", device.ErrNotRecorded, err)
	case errors.Is(err, device.ErrNotRecorded):
		return nil, err
	}
	return nil, fmt.Errorf("cuda: a recording: %w", err)
}

func (l *lane) setTape(t *tape) {
	l.mu.Lock()
	l.tape = t
	l.mu.Unlock()
}

// Replay implements device.Recorder.
func (l *lane) Replay(r device.Recording) error {
	t, ok := r.(*tape)
	switch {
	case l.recording():
		return l.refuse("a replay")
	case !ok || t.lane != l:
		return errors.New("cuda: a replay: the recording is of another lane")
	case t.graph == 0:
		return errors.New("cuda: a replay: the recording was let go")
	}
	if err := l.replay(t); err != nil {
		return fmt.Errorf("cuda: a replay: %w", err)
	}
	return nil
}

func (l *lane) replay(t *tape) error {
	if err := l.catchUp(); err != nil {
		return err
	}
	l.b.quiet.RLock()
	defer l.b.quiet.RUnlock()
	defer l.queued()
	if err := l.b.dev.(driver.Capturer).Replay(t.graph, l.stream); err != nil {
		return err
	}
	l.b.counted.Add(t.counted)
	return nil
}

// Forget implements device.Recorder.
func (l *lane) Forget(r device.Recording) {
	t, ok := r.(*tape)
	if !ok || t.lane != l || t.graph == 0 {
		return
	}
	_ = l.b.dev.(driver.Capturer).Drop(t.graph) // what the card does not take back is lost with the process
	t.graph = 0
	if l.tapes--; l.tapes > 0 {
		return
	}
	for _, m := range l.retired {
		l.release(m)
	}
	l.retired = nil
}

// reads reports whether an op's launches depend on the Call's learning rate or the
// number of the update.
func reads(c op.Code) bool { return c == op.SGD || c == op.LARS || c == op.AdamW }

// recordable refuses what would be frozen.
func (l *lane) recordable(c op.Code) error {
	if l.recording() && reads(c) {
		return fmt.Errorf("an update: %w", device.ErrNotRecorded)
	}
	return nil
}

// noted notes a Call's error with the recording that it was to be a part of.
func (l *lane) noted(err error) error {
	if l.tape != nil && l.tape.err == nil {
		l.tape.err = err
	}
	return err
}

// refuse refuses what is not recorded.
func (l *lane) refuse(what string) error {
	return l.noted(fmt.Errorf("cuda: %s: %w", what, device.ErrNotRecorded))
}

// count counts operations that were queued, or will be with a recording.
func (l *lane) count(n int64) {
	if l.tape != nil {
		l.tape.counted += n
		return
	}
	l.b.counted.Add(n)
}
