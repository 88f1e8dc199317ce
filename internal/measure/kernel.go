package measure

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/runtime/rng"
)

// Kernel is one call of the op table to be timed. Its results follow from the
// op's shape rule; optional ones are there where the settings have a use for
// them.
type Kernel struct {
	Code op.Code
	Attr op.Attr
	In   [][]int // shapes in the row's order; nil for an absent argument
	Name string  // of the shape, for people
}

// Timing is how long a kernel took.
type Timing struct {
	Seconds Summary
	FLOPs   int64   // floating-point operations of a call; 0: not counted
	Bytes   int64   // that a call reads and writes, each argument and result once
	Peak    float64 // FLOP/s, the higher of before and after; 0: not known
	Runs    string  // what the backend runs it as; "" where it does not say
}

// namer is a backend that says which of its kernels an op gets.
type namer interface {
	KernelName(c op.Code, a op.Attr, in, out [][]int, dtype op.Dtype) string
}

// Limits say how long a kernel is timed.
type Limits struct {
	Time    time.Duration  // repeats begin within it
	Repeats int            // but this many at least
	Peak    func() float64 // FLOP/s that the backend can reach now; nil: not known
}

// Time times calls of a kernel after one that does not count. Its maps are of the
// type given, op.F32 or op.BF16; all else is op.F32.
func Time(b device.Backend, k Kernel, maps op.Dtype, l Limits) (Timing, error) {
	r, err := prepare(b, k, maps)
	defer r.free()
	if err != nil {
		return Timing{}, fmt.Errorf("%v of %s: %w", k.Code, k.Name, err)
	}
	t := Timing{FLOPs: k.flops(r.call), Bytes: traffic(r.call)}
	if n, ok := b.(namer); ok {
		t.Runs = n.KernelName(k.Code, k.Attr, shapes(r.call.In), shapes(r.call.Out), maps)
	}
	seconds, err := r.repeat(l, &t.Peak)
	if err != nil {
		return t, fmt.Errorf("%v of %s: %w", k.Code, k.Name, err)
	}
	t.Seconds = Summarise(seconds)
	return t, nil
}

// flops counts the operations of a call: those of the op table, or of NT-Xent's
// two products, the rows' similarities and the gradient through them.
func (k Kernel) flops(c *device.Call) int64 {
	if count := op.Rows[k.Code].MultiplyAdds; count != nil {
		return 2 * count(k.Attr, shapes(c.In), shapes(c.Out))
	}
	if k.Code == op.NTXent {
		rows, width := int64(k.In[0][0]), int64(k.In[0][3])
		return 2 * 2 * rows * rows * width
	}
	return 0
}

// shapes are the tensors' shapes, nil for an absent one.
func shapes(ts []device.Tensor) (s [][]int) {
	for _, t := range ts {
		s = append(s, t.Shape)
	}
	return s
}

// traffic is the bytes of a call's arguments and results.
func traffic(c *device.Call) (n int64) {
	for _, ts := range [][]device.Tensor{c.In, c.Out} {
		for _, t := range ts {
			if t.Buffer != nil {
				n += t.Bytes()
			}
		}
	}
	return n
}

// rig is a kernel's operands in a backend's memory.
type rig struct {
	b       device.Backend
	call    *device.Call
	maps    op.Dtype // their elements' type
	buffers []device.Buffer
	pattern []float32 // numbers to fill operands with
}

// prepare makes the operands; what has been made is in the rig even with an
// error.
func prepare(b device.Backend, k Kernel, maps op.Dtype) (*rig, error) {
	r := &rig{b: b, maps: maps, pattern: noise(), call: &device.Call{Code: k.Code, Attr: k.Attr, LR: 1e-3, Step: 1}}
	row := op.Rows[k.Code]
	for i, shape := range k.In {
		t, err := r.argument(k, row.In[min(i, len(row.In)-1)], shape)
		if err != nil {
			return r, err
		}
		r.call.In = append(r.call.In, t)
	}
	if k.Code == op.SGD || k.Code == op.LARS || k.Code == op.AdamW {
		r.call.Out = r.call.In // in place
		return r, nil
	}
	want, err := row.Shape(k.Attr, k.In)
	if err != nil {
		return r, err
	}
	for i, arg := range row.Out {
		t, err := r.result(k, arg, want[i])
		if err != nil {
			return r, err
		}
		r.call.Out = append(r.call.Out, t)
	}
	return r, nil
}

// argument makes an argument; its contents are fit for its name.
func (r *rig) argument(k Kernel, arg op.Arg, shape []int) (device.Tensor, error) {
	switch {
	case shape == nil:
		return device.Tensor{}, nil
	case arg.Name == "index":
		return r.winners(k, shape)
	}
	t, err := r.alloc(shape, r.typeOf(arg))
	if err != nil {
		return t, err
	}
	return t, r.fill(t, arg.Name == "var" || arg.Name == "saved_invstd" || arg.Name == "v")
}

// typeOf is the type of an argument's or a result's elements.
func (r *rig) typeOf(arg op.Arg) op.Dtype {
	switch {
	case arg.Name == "index":
		return op.I32
	case arg.Map:
		return r.maps
	}
	return op.F32
}

// winners is the index of a max pool over noise.
func (r *rig) winners(k Kernel, shape []int) (device.Tensor, error) {
	index, err := r.alloc(shape, op.I32)
	if err != nil {
		return index, err
	}
	pool, err := prepare(r.b, Kernel{Code: op.PoolMax, Attr: k.Attr, In: [][]int{{shape[0], k.Attr.H, k.Attr.W, shape[3]}}}, r.maps)
	defer pool.free()
	if err != nil {
		return index, err
	}
	pool.call.Out[1] = index
	return index, r.b.Run(pool.call)
}

// result makes a result, or nothing where the settings want none.
func (r *rig) result(k Kernel, arg op.Arg, shape []int) (device.Tensor, error) {
	a := k.Attr
	absent := map[string]bool{
		"dbias": !a.Bias, "dscale": !a.Weights, "dshift": !a.Weights, "dresidual": !a.Residual,
		"dw": !a.Weights && k.Code == op.ConvNormGrad,
	}
	if absent[arg.Name] {
		return device.Tensor{}, nil
	}
	return r.alloc(shape, r.typeOf(arg))
}

// alloc takes zeroed memory.
func (r *rig) alloc(shape []int, d op.Dtype) (device.Tensor, error) {
	t := device.Tensor{Shape: shape, Dtype: d}
	buffer, err := r.b.Alloc(t.Bytes())
	if err != nil {
		return t, err
	}
	r.buffers = append(r.buffers, buffer)
	t.Buffer = buffer
	return t, nil
}

func (r *rig) free() {
	for _, b := range r.buffers {
		r.b.Free(b)
	}
}

// patternSize is how many numbers are drawn; larger operands repeat them.
const patternSize = 1 << 14

// noise draws normal numbers.
func noise() []float32 {
	s := rng.New(0, "measure")
	out := make([]float32, patternSize)
	for i := range out {
		out[i] = float32(s.Normal())
	}
	return out
}

// wire is numbers as a backend takes them, without their signs where wanted.
func wire(xs []float32, d op.Dtype, positive bool) []byte {
	out := make([]byte, 0, d.Size()*len(xs))
	for _, x := range xs {
		if positive {
			x = float32(math.Abs(float64(x)))
		}
		if d == op.BF16 {
			out = binary.LittleEndian.AppendUint16(out, op.Narrow(x))
		} else {
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(x))
		}
	}
	return out
}

// fill writes the pattern over and over, without its signs where wanted.
func (r *rig) fill(t device.Tensor, positive bool) error {
	pattern := wire(r.pattern, t.Dtype, positive)
	for at, n := 0, t.Elements(); at < n; at += patternSize {
		part := t
		part.Offset += int64(t.Dtype.Size()) * int64(at)
		part.Shape = []int{min(patternSize, n-at)}
		if err := r.b.Write(part, pattern[:part.Bytes()]); err != nil {
			return err
		}
	}
	return nil
}

// repeat runs the call over and over between two looks at the peak.
func (r *rig) repeat(l Limits, peak *float64) (seconds []float64, err error) {
	if _, err := r.run(1); err != nil {
		return nil, err
	}
	row, err := r.row()
	if err != nil {
		return nil, err
	}
	look := func() {
		if l.Peak != nil {
			*peak = max(*peak, l.Peak())
		}
	}
	look()
	for begun := time.Now(); len(seconds) < max(l.Repeats, 1) || time.Since(begun) < l.Time; {
		took, err := r.run(row)
		if err != nil {
			return nil, err
		}
		seconds = append(seconds, took/float64(row))
	}
	look()
	return seconds, nil
}

// syncer is a backend whose Run returns before the op is over.
type syncer interface {
	// Sync waits until all that was run is over.
	Sync() error
}

// A repeat on a backend that queues is a row of calls with one wait behind it, so
// that the wait and the way there do not count: as many calls as take about
// rowTime, and rowMost at most.
const (
	rowTime = time.Millisecond
	rowMost = 256
)

// row is how many calls a repeat has.
func (r *rig) row() (int, error) {
	if _, queues := r.b.(syncer); !queues {
		return 1, nil
	}
	took, err := r.run(1)
	return min(max(int(rowTime.Seconds()/max(took, 1e-9)), 1), rowMost), err
}

// run gives the seconds that so many calls take.
func (r *rig) run(calls int) (float64, error) {
	at := time.Now()
	for range calls {
		if err := r.b.Run(r.call); err != nil {
			return 0, err
		}
	}
	if s, ok := r.b.(syncer); ok {
		if err := s.Sync(); err != nil {
			return 0, err
		}
	}
	return time.Since(at).Seconds(), nil
}
