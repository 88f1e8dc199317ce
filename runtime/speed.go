package runtime

import (
	"time"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// Speed is how many floating-point operations a second a backend does in a
// convolution that suits it, 3x3 from 64 to 64 channels: the best of the calls
// that begin within the given time, two at least. The clock is read for the
// user only; no result depends on it. Of several backends it is the first's.
func Speed(b device.Backend, within time.Duration) (float64, error) {
	b = device.First(b)
	const pictures, side, channels, window = 8, 16, 64, 3
	x, err := ones(b, pictures, side, side, channels)
	if err != nil {
		return 0, err
	}
	defer b.Free(x.Buffer)
	w, err := ones(b, channels, window, window, channels)
	if err != nil {
		return 0, err
	}
	defer b.Free(w.Buffer)
	y, err := ones(b, pictures, side, side, channels)
	if err != nil {
		return 0, err
	}
	defer b.Free(y.Buffer)
	conv := &device.Call{
		Code: op.Conv, Attr: op.Attr{KH: window, KW: window, Stride: 1, Pad: window / 2, H: side, W: side},
		In: []device.Tensor{x, w}, Out: []device.Tensor{y},
	}
	return best(b, conv, within)
}

// syncer is a backend whose Run returns before the op is over.
type syncer interface {
	// Sync waits until all that was run is over.
	Sync() error
}

// best is the speed of the fastest of several calls.
func best(b device.Backend, c *device.Call, within time.Duration) (float64, error) {
	var most float64
	for begun, n := time.Now(), 0; n < 2 || time.Since(begun) < within; n++ {
		counted, at := b.Counted(), time.Now()
		if err := b.Run(c); err != nil {
			return 0, err
		}
		if s, ok := b.(syncer); ok {
			if err := s.Sync(); err != nil {
				return 0, err
			}
		}
		most = max(most, float64(b.Counted()-counted)/time.Since(at).Seconds())
	}
	return most, nil
}

// ones is a tensor whose bytes are a small number's each.
func ones(b device.Backend, shape ...int) (device.Tensor, error) {
	t := device.Tensor{Shape: shape, Dtype: op.F32}
	buffer, err := b.Alloc(t.Bytes())
	if err != nil {
		return t, err
	}
	t.Buffer = buffer
	fill := make([]byte, t.Bytes())
	for i := range fill {
		fill[i] = 0x3c // 0x3c3c3c3c is 0.0115 as a float32
	}
	if err := b.Write(t, fill); err != nil {
		b.Free(buffer)
		return t, err
	}
	return t, nil
}
