package runtime

import (
	"time"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// Speed is how many floating-point operations a second a backend does in a
// convolution that suits it, 3x3 from 64 to 64 channels, with maps of the type
// given: the best of the calls that begin within the given time, two at least.
// Where calls are queued and end too soon to be told from the way there, it takes
// more pictures, and rows of calls. The clock is read for the user only; no result
// depends on it. Of several backends it is the first's.
func Speed(b device.Backend, maps op.Dtype, within time.Duration) (float64, error) {
	b = device.First(b)
	most, took, err := speedOf(b, maps, fewPictures, within)
	if _, queues := b.(syncer); !queues || err != nil || took >= longEnough {
		return most, err
	}
	speed, _, err := speedOf(b, maps, manyPictures, within)
	if err != nil {
		return most, nil // such as no memory for so many: the few were measured
	}
	return max(most, speed), nil
}

// How many pictures Speed takes, how many calls it queues at once at most, and
// how long they are to take for the wait behind them not to count.
const (
	fewPictures  = 8
	manyPictures = 512
	manyCalls    = 64
	longEnough   = time.Millisecond
)

// speedOf measures the convolution on so many pictures; took is the shortest call.
func speedOf(b device.Backend, maps op.Dtype, pictures int, within time.Duration) (speed float64, took time.Duration, err error) {
	conv := speedCall(maps, pictures)
	for _, t := range []*device.Tensor{&conv.In[0], &conv.In[1], &conv.Out[0]} {
		if err := ones(b, t); err != nil {
			return 0, 0, err
		}
		defer b.Free(t.Buffer)
	}
	return best(b, conv, within)
}

// speedCall is the convolution on so many pictures, without memory.
func speedCall(maps op.Dtype, pictures int) *device.Call {
	const side, channels, window = 16, 64, 3
	at := []int{pictures, side, side, channels}
	return &device.Call{
		Code: op.Conv, Attr: op.Attr{KH: window, KW: window, Stride: 1, Pad: window / 2, H: side, W: side},
		In:  []device.Tensor{{Shape: at, Dtype: maps}, {Shape: []int{channels, window, window, channels}, Dtype: op.F32}},
		Out: []device.Tensor{{Shape: at, Dtype: maps}},
	}
}

// speedBytes bounds what kernels go on holding after Speed; 0 where the backend
// does not know.
func speedBytes(b device.Backend, maps op.Dtype) int64 {
	k, ok := device.First(b).(laneScratcher)
	if !ok {
		return 0
	}
	return k.LaneBytes([]device.Call{*speedCall(maps, fewPictures), *speedCall(maps, manyPictures)})
}

// syncer is a backend whose Run returns before the op is over.
type syncer interface {
	// Sync waits until all that was run is over.
	Sync() error
}

// best is the speed of the fastest of several calls, and how long it took.
func best(b device.Backend, c *device.Call, within time.Duration) (most float64, took time.Duration, err error) {
	_, queues := b.(syncer)
	row := 1
	for begun, n := time.Now(), 0; n < 2 || time.Since(begun) < within; n++ {
		counted := b.Counted()
		all, err := runRow(b, c, row)
		if err != nil {
			return 0, 0, err
		}
		if speed := float64(b.Counted()-counted) / all.Seconds(); speed > most {
			most, took = speed, all/time.Duration(row)
		}
		if queues && all < longEnough {
			row = min(4*row, manyCalls)
		}
	}
	return most, took, nil
}

// runRow runs a call so many times, and tells how long all took.
func runRow(b device.Backend, c *device.Call, calls int) (time.Duration, error) {
	at := time.Now()
	for range calls {
		if err := b.Run(c); err != nil {
			return 0, err
		}
	}
	if s, ok := b.(syncer); ok {
		if err := s.Sync(); err != nil {
			return 0, err
		}
	}
	return time.Since(at), nil
}

// ones gives a tensor memory whose bytes are a small number's each.
func ones(b device.Backend, t *device.Tensor) error {
	buffer, err := b.Alloc(t.Bytes())
	if err != nil {
		return err
	}
	t.Buffer = buffer
	fill := make([]byte, t.Bytes())
	for i := range fill {
		fill[i] = 0x3c // 0x3c3c3c3c is 0.0115 as a float32, 0x3c3c as a bfloat16
	}
	if err := b.Write(*t, fill); err != nil {
		b.Free(buffer)
		return err
	}
	return nil
}
