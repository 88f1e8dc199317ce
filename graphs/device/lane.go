package device

import (
	"errors"
	"time"
)

// Laned is a Backend on which the work of several units may run side by side.
// What its own methods Run, Write and Read do comes after everything that was
// queued on any lane before.
type Laned interface {
	Backend
	// Lane is lane n, from 0, made when it is first asked for. It lives as long as
	// the backend.
	Lane(n int) (Lane, error)
}

// Lane is a queue of a device's work: what is queued on it runs in order, while
// other lanes run beside it. Its methods return when the work is queued, and then
// need nothing of a Call or of src any more; Read returns when the bytes are there.
// A lane is used by one goroutine at a time; Marks of it may be given to other lanes.
type Lane interface {
	Run(*Call) error
	Write(t Tensor, src []byte) error
	Read(dst []byte, t Tensor) error
	// Mark is the point behind all that was queued so far.
	Mark() (Mark, error)
	// Wait lets what is queued from now on begin only once the mark, of any lane
	// of the same backend, has been reached. The host does not wait.
	Wait(Mark) error
}

// Mark is a point in a lane's work. The zero Mark has been reached.
type Mark struct {
	Lane int
	At   uint64 // from 1
}

// Recorder is a Lane that can keep Calls and queue them again at once, which
// costs the host less than queueing one after another.
type Recorder interface {
	Lane
	// Record keeps what f queues on this lane, and runs none of it. f may Run
	// Calls and nothing else. Where a Call needs the host, as the first of its
	// shape may, the error is ErrNotRecorded; Run it once and try again.
	Record(f func() error) (Recording, error)
	// Replay queues a recording. Its Calls read and write the same memory as when
	// they were recorded; they count for Counted.
	Replay(Recording) error
	// Forget lets a recording go.
	Forget(Recording)
}

// Recording is what a Recorder keeps, in its own terms.
type Recording any

// ErrNotRecorded: what was to be recorded needs the host.
var ErrNotRecorded = errors.New("needs the host, so that it cannot be recorded")

// Joiner is a Lane that does some Calls together that it would do one by one, such
// as the updates of many small tensors. Their results are the same bytes.
type Joiner interface {
	Lane
	// Join calls f, which Runs Calls; all of them are queued when it returns.
	Join(f func() error) error
}

// Timed is a Lane that measures for how long its device works.
type Timed interface {
	Lane
	// Begin and End stand around a piece of work, of the unit of that index: nothing
	// waits for them.
	Begin(unit int) error
	End() error
	// Busy is how long all pieces of a unit took that have come to their end.
	Busy(unit int) time.Duration
}
