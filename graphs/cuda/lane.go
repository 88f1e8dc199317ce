package cuda

import (
	"fmt"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cuda/driver"
	"github.com/locorun/locorun/graphs/device"
)

// lane is a stream, with what the Call that is queued on it holds.
type lane struct {
	b       *Backend
	stream  driver.Stream
	scratch map[slot]*buffer
	run     run
	timers  [2]driver.Event // 0 until something is measured
}

func newLane(b *Backend) (*lane, error) {
	stream, err := b.dev.NewStream()
	if err != nil {
		return nil, fmt.Errorf("cuda: %w", err)
	}
	return &lane{b: b, stream: stream, scratch: map[slot]*buffer{}}, nil
}

// do queues a Call.
func (l *lane) do(c *device.Call) error {
	r := &l.run
	if err := r.begin(l, c); err != nil {
		return err
	}
	if err := table[c.Code](r); err != nil {
		return err
	}
	if row := &op.Rows[c.Code]; row.MultiplyAdds != nil {
		l.b.counted.Add(2 * row.MultiplyAdds(c.Attr, r.in, r.out))
	}
	return nil
}

// free gives scratch memory back.
func (l *lane) free() {
	for _, s := range l.scratch {
		l.b.Free(s)
	}
}
