package runtime

import (
	"errors"
	"testing"
	"time"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cpu"
	"github.com/locorun/locorun/graphs/device"
)

// TestSpeed asks only that something is measured and given back.
func TestSpeed(t *testing.T) {
	b := onCPU(t, cpu.Options{})
	defer b.Close()
	got, err := Speed(b, op.F32, time.Microsecond)
	if err != nil || got <= 0 {
		t.Errorf("Speed is %g, %v", got, err)
	}
	if b.Counted() == 0 {
		t.Error("nothing was counted")
	}
}

// queueing is a backend whose calls take no time, as a card's seem to.
type queueing struct {
	device.Backend
	most    int64 // bytes that Alloc gives at most
	pending int
	rows    []int         // calls before each wait
	shapes  map[int]bool  // pictures
	maps    op.Dtype      // of the last call
	slow    time.Duration // of a wait
}

type memory int64

func (m memory) Size() int64 { return int64(m) }

func (q *queueing) Alloc(n int64) (device.Buffer, error) {
	if n > q.most {
		return nil, errors.New("out of memory")
	}
	return memory(n), nil
}
func (q *queueing) Free(device.Buffer)                {}
func (q *queueing) Write(device.Tensor, []byte) error { return nil }
func (q *queueing) Counted() int64                    { return int64(len(q.rows))*1000 + int64(q.pending) }
func (q *queueing) Run(c *device.Call) error {
	q.pending++
	q.shapes[c.In[0].Shape[0]] = true
	q.maps = c.In[0].Dtype
	return nil
}
func (q *queueing) Sync() error {
	time.Sleep(q.slow)
	q.rows = append(q.rows, q.pending)
	q.pending = 0
	return nil
}

// TestSpeedOfQueues: what is over too soon is measured on more pictures, where
// memory has them, and by rows of calls.
func TestSpeedOfQueues(t *testing.T) {
	for _, c := range []struct {
		name string
		most int64
		slow time.Duration
		many bool
		rows bool
	}{
		{"fast", 1 << 40, 0, true, true},
		{"fast and small", 1 << 20, 0, false, true},
		{"slow", 1 << 40, 2 * longEnough, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := &queueing{most: c.most, slow: c.slow, shapes: map[int]bool{}}
			got, err := Speed(q, op.BF16, time.Millisecond)
			if err != nil || got <= 0 || q.maps != op.BF16 {
				t.Errorf("Speed is %g, %v, of %v", got, err, q.maps)
			}
			if !q.shapes[fewPictures] || q.shapes[manyPictures] != c.many {
				t.Errorf("pictures %v", q.shapes)
			}
			if rows := q.rows[1] > 1; rows != c.rows || q.rows[0] != 1 {
				t.Errorf("rows %v", q.rows)
			}
		})
	}
}
