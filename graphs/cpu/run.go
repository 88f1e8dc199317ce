package cpu

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cpu/vector"
	"github.com/locorun/locorun/graphs/device"
)

// float is the type of the elements a kernel computes with.
type float interface{ float32 | float64 }

// run is one Call under way: its operands as memory, their shapes, and the
// scratch that its tiles share. Runs are used again.
type run struct {
	b      *Backend
	call   *device.Call
	attr   op.Attr
	in     [][]int // shapes, nil where absent; as many as the row's arguments
	out    [][]int
	inMem  [][]byte
	outMem [][]byte
	shared workspace
}

// forget drops everything but the scratch.
func (r *run) forget() {
	clear(r.inMem)
	clear(r.outMem)
	clear(r.in)
	clear(r.out)
	r.call = nil
	r.in, r.out, r.inMem, r.outMem = r.in[:0], r.out[:0], r.inMem[:0], r.outMem[:0]
}

// perform checks the Call and runs its kernel.
func (r *run) perform() (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicError(v)
		}
	}()
	r.attr = r.call.Attr
	dtype, err := r.check()
	if err != nil {
		return err
	}
	k := r.b.kernels[r.call.Code]
	if dtype == op.F64 {
		return k.f64(r)
	}
	return k.f32(r)
}

// each computes n tiles on the workers.
func (r *run) each(n int, do func(tile int, ws *workspace)) error {
	return r.b.pool.each(n, do)
}

// eachCounted is each for convolutions and dense products: a tile returns the
// multiply-adds it has done.
func (r *run) eachCounted(n int, do func(tile int, ws *workspace) (multiplyAdds int)) error {
	return r.each(n, func(t int, ws *workspace) {
		if skip := r.b.skipTile; skip != nil && skip(r.call.Code, t) {
			return
		}
		r.b.counted.Add(2 * int64(do(t, ws)))
	})
}

// input is argument i, nil where absent.
func input[T float](r *run, i int) []T { return typed[T](r.inMem[i]) }

// output is result i, nil where absent.
func output[T float](r *run, i int) []T { return typed[T](r.outMem[i]) }

// typed reads memory as elements of T.
func typed[T any](mem []byte) []T {
	if len(mem) == 0 {
		return nil
	}
	var t T
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(mem))), len(mem)/int(unsafe.Sizeof(t)))
}

// slot names a piece of scratch, so that a kernel can hold several.
type slot int

const (
	slotA slot = iota
	slotB
	slotC
	slotD
	slotStart   // first values of sums
	slotList    // segments
	slotPad     // inputs with a border
	slotPadGrad // gradients with a border
	slotPartial // sums that are joined later
	slotGrad    // a gradient between two parts of one op
	slotRead    // inputs behind a norm
	slotFactors // of a norm
	slotMask    // of a relu
	slotStats   // partial sums of a norm
	slotSums    // sums of channels
	slotPanel   // a factor of a product, packed
	slotAdded   // a gradient that is added where it belongs
	slotGroup   // of pixels: factors, or sums in float64
	slots
)

// workspace is scratch memory of one worker, or of one run, by slot. It grows
// to the largest need and stays.
type workspace struct {
	mem  [slots][]byte
	held atomic.Int64
	// Arguments of kernels, which must not lie on a stack.
	conv  vector.ConvTile
	ahead ahead
	outer vector.OuterTile
	soft  vector.SoftmaxTile
	norm  vector.NormTile
	flat  vector.FlatTile
	maps  mapKernels
}

// scratch is n elements in a slot of ws, with whatever they held before. It is
// valid until the slot is asked for again.
func scratch[T any](ws *workspace, s slot, n int) []T {
	var t T
	need := n * int(unsafe.Sizeof(t))
	if need > len(ws.mem[s]) {
		ws.held.Add(int64(need - len(ws.mem[s])))
		ws.mem[s] = aligned(need)
	}
	return typed[T](ws.mem[s][:need])
}

// zeroed is scratch filled with zeros.
func zeroed[T any](ws *workspace, s slot, n int) []T {
	m := scratch[T](ws, s, n)
	clear(m)
	return m
}

func (ws *workspace) bytes() int64 { return ws.held.Load() }

// span is part i of n when total is cut into n nearly equal parts.
func span(i, n, total int) (from, to int) { return i * total / n, (i + 1) * total / n }

// parts is how many parts of about size elements total is cut into: at least
// one.
func parts(total, size int) int { return max(1, (total+size-1)/size) }

// kernel is the code of one op, for both types.
type kernel struct {
	f32, f64 func(*run) error
}

// unfit is an error about a shape.
func unfit(what string, got, want []int) error {
	return fmt.Errorf("%s has shape %v, not %v", what, got, want)
}
