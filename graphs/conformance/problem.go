package conformance

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// array is an operand: float64 numbers that dtype can hold. A nil array is an
// absent operand.
type array struct {
	shape []int
	dtype op.Dtype
	v     []float64
}

func newArray(dtype op.Dtype, shape ...int) *array {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return &array{slices.Clone(shape), dtype, make([]float64, n)}
}

func (a *array) clone() *array {
	if a == nil {
		return nil
	}
	return &array{slices.Clone(a.shape), a.dtype, slices.Clone(a.v)}
}

// equal compares bits.
func (a *array) equal(b *array) bool { return bytes.Equal(a.encode(), b.encode()) }

func (a *array) encode() []byte {
	var out []byte
	for _, v := range a.v {
		switch a.dtype {
		case op.F32:
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(float32(v)))
		case op.F64:
			out = binary.LittleEndian.AppendUint64(out, math.Float64bits(v))
		case op.BF16:
			out = binary.LittleEndian.AppendUint16(out, op.Narrow(float32(v)))
		default:
			out = binary.LittleEndian.AppendUint32(out, uint32(int32(v)))
		}
	}
	return out
}

func (a *array) decode(src []byte) {
	for i := range a.v {
		switch a.dtype {
		case op.F32:
			a.v[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:])))
		case op.F64:
			a.v[i] = math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:]))
		case op.BF16:
			a.v[i] = float64(op.Widen(binary.LittleEndian.Uint16(src[2*i:])))
		default:
			a.v[i] = float64(int32(binary.LittleEndian.Uint32(src[4*i:])))
		}
	}
}

// at is an element of a map [n,h,w,c].
func (a *array) at(n, i, j, c int) *float64 {
	return &a.v[((n*a.shape[1]+i)*a.shape[2]+j)*a.shape[3]+c]
}

// problem is a Call with its operands' contents.
type problem struct {
	code    op.Code
	attr    op.Attr
	in, out []*array
	lr      float64
	step    int
	over    []overlay
	kept    *array // for the reference, as refer says
}

// overlay puts a result in the memory of an argument, which then holds it.
type overlay struct{ out, in int }

// inPlace: the results are the arguments.
func (p *problem) inPlace() bool {
	return p.code == op.SGD || p.code == op.LARS || p.code == op.AdamW
}

func (p *problem) clone() *problem {
	q := *p
	q.in, q.out = nil, nil
	for _, a := range p.in {
		q.in = append(q.in, a.clone())
	}
	for _, a := range p.out {
		q.out = append(q.out, a.clone())
	}
	return &q
}

func (p *problem) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v %+v", p.code, p.attr)
	for _, a := range p.in {
		if a == nil {
			b.WriteString(" -")
			continue
		}
		fmt.Fprintf(&b, " %v", a.shape)
	}
	return b.String()
}

// guard is how many bytes before and after an operand must stay as they are.
const guard = 64

// placed is an operand in a backend's memory, between guards.
type placed struct {
	*array
	tensor device.Tensor
}

// place copies a into memory of b.
func place(b device.Backend, a *array) (placed, error) {
	if a == nil {
		return placed{}, nil
	}
	data := a.encode()
	buf, err := b.Alloc(int64(len(data) + 2*guard))
	if err != nil {
		return placed{}, err
	}
	p := placed{a, device.Tensor{Buffer: buf, Offset: guard, Shape: a.shape, Dtype: a.dtype}}
	fence := bytes.Repeat([]byte{0xa5}, guard)
	for _, at := range []int64{0, guard + int64(len(data))} {
		if err := b.Write(p.fence(at), fence); err != nil {
			return p, err
		}
	}
	return p, b.Write(p.tensor, data)
}

// fence is the guard at byte offset at, of whole elements that may lie there.
func (p placed) fence(at int64) device.Tensor {
	dtype := op.I32
	if p.dtype == op.BF16 {
		dtype = op.BF16
	}
	return device.Tensor{Buffer: p.tensor.Buffer, Offset: at, Shape: []int{guard / dtype.Size()}, Dtype: dtype}
}

// fetch reads the operand back and checks its guards.
func (p placed) fetch(b device.Backend) error {
	if p.array == nil {
		return nil
	}
	data := make([]byte, p.tensor.Bytes())
	if err := b.Read(data, p.tensor); err != nil {
		return err
	}
	p.decode(data)
	fence := make([]byte, guard)
	for _, at := range []int64{0, guard + int64(len(data))} {
		if err := b.Read(fence, p.fence(at)); err != nil {
			return err
		}
		if bytes.Count(fence, []byte{0xa5}) != guard {
			return fmt.Errorf("bytes beside an operand of shape %v were written", p.shape)
		}
	}
	return nil
}

// rig is a problem's operands in a backend's memory.
type rig struct {
	b       device.Backend
	in, out []placed
	call    device.Call
}

func newRig(b device.Backend, p *problem) (*rig, error) {
	r := &rig{b: b, call: device.Call{Code: p.code, Attr: p.attr, LR: p.lr, Step: p.step}}
	for _, a := range p.in {
		at, err := place(b, a)
		if err != nil {
			return r, err
		}
		r.in = append(r.in, at)
		r.call.In = append(r.call.In, at.tensor)
	}
	if p.inPlace() {
		r.call.Out = r.call.In
		return r, nil
	}
	for i, a := range p.out {
		if at := slices.IndexFunc(p.over, func(o overlay) bool { return o.out == i }); at >= 0 {
			r.call.Out = append(r.call.Out, r.in[p.over[at].in].tensor)
			continue
		}
		at, err := place(b, a)
		if err != nil {
			return r, err
		}
		r.out = append(r.out, at)
		r.call.Out = append(r.call.Out, at.tensor)
	}
	return r, nil
}

// fetch reads all operands back into the problem's arrays.
func (r *rig) fetch() error {
	var errs []error
	for _, p := range append(slices.Clone(r.in), r.out...) {
		errs = append(errs, p.fetch(r.b))
	}
	return errors.Join(errs...)
}

func (r *rig) free() {
	for _, p := range append(slices.Clone(r.in), r.out...) {
		if p.array != nil {
			r.b.Free(p.tensor.Buffer)
		}
	}
}

// run runs p on b; results, and arguments as they are afterwards, replace p's.
func (p *problem) run(b device.Backend) error {
	r, err := newRig(b, p)
	defer r.free()
	if err != nil {
		return err
	}
	if err := b.Run(&r.call); err != nil {
		return err
	}
	return r.fetch()
}
