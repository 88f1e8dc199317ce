package cuda

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"slices"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cuda/driver"
	"github.com/locorun/locorun/graphs/device"
)

// table is the ops, each as the launches it takes.
var table = [len(op.Rows)]func(*run) error{
	op.Conv: conv, op.ConvInput: convInput, op.ConvWeight: convWeight,
	op.Dense: conv, op.DenseInput: convInput, op.DenseWeight: convWeight,
	op.NTXent: ntxent,

	op.Norm: norm, op.NormGrad: normGrad, op.ConvNorm: convNorm, op.ConvNormGrad: convNormGrad,
	op.PoolMax: poolMax, op.PoolMaxGrad: poolMaxGrad, op.PoolMean: poolMean, op.PoolMeanGrad: poolMeanGrad,
	op.Mean: mean, op.MeanGrad: meanGrad, op.Resize: resize, op.ResizeGrad: resizeGrad,
	op.Shuffle: shuffle, op.Split: split, op.Concat: concat,
	op.SGD: note, op.LARS: note, op.AdamW: note,

	op.ReLU:     func(r *run) error { return r.each("relu", r.n(0), r.x(0), r.y(0), r.count(0)) },
	op.ReLUGrad: func(r *run) error { return r.each("relu_grad", r.n(0), r.x(0), r.x(1), r.y(0), r.count(0)) },
	op.Add:      func(r *run) error { return r.each("add", r.n(0), r.x(0), r.x(1), r.y(0), r.count(0)) },
	op.Copy:     func(r *run) error { return r.b.dev.Copy(r.outAt[0], r.inAt[0], r.call.In[0].Bytes(), r.lane.stream) },
	op.Pull: func(r *run) error {
		return r.each("pull", r.n(0), r.x(0), r.x(1), r.y(0), f32(2*r.attr.Scale), r.count(0))
	},
}

// run is one Call under way: shapes and addresses of its arguments and results,
// nil and 0 where one is absent; as many as the op's row has, or more where the
// last is many.
type run struct {
	b     *Backend
	lane  *lane
	call  *device.Call
	attr  op.Attr
	maps  driver.Type // of the Call
	in    [][]int
	out   [][]int
	inAt  []driver.Pointer
	outAt []driver.Pointer
}

// begin checks a Call against its row and finds where everything lies.
func (r *run) begin(l *lane, c *device.Call) error {
	b := l.b
	r.b, r.lane, r.call, r.attr = b, l, c, c.Attr
	row := &op.Rows[c.Code]
	var err error
	if r.maps, err = mapsOf(row, c); err != nil {
		return err
	}
	if r.in, r.inAt, err = b.operands(row.In, c.In, r.in[:0], r.inAt[:0]); err != nil {
		return err
	}
	if r.out, r.outAt, err = b.operands(row.Out, c.Out, r.out[:0], r.outAt[:0]); err != nil {
		return err
	}
	if row.Shape == nil {
		return nil
	}
	want, err := row.Shape(c.Attr, r.in)
	if err != nil {
		return err
	}
	for i, s := range want {
		if i < len(r.out) && r.out[i] != nil && !slices.Equal(r.out[i], s) {
			return fmt.Errorf("result %s has shape %v, not %v", row.Out[min(i, len(row.Out)-1)].Name, r.out[i], s)
		}
	}
	return nil
}

// operands finds the shapes and places of a row's arguments or results.
func (b *Backend) operands(row []op.Arg, ts []device.Tensor, shapes [][]int, at []driver.Pointer) ([][]int, []driver.Pointer, error) {
	for i := range max(len(row), len(ts)) {
		a := row[min(i, len(row)-1)]
		if i >= len(row) && !a.Many {
			return nil, nil, fmt.Errorf("%d operands, not %d", len(ts), len(row))
		}
		if i >= len(ts) || ts[i].Buffer == nil {
			if !a.Optional {
				return nil, nil, fmt.Errorf("%s is absent", a.Name)
			}
			shapes, at = append(shapes, nil), append(at, 0)
			continue
		}
		if ts[i].Dtype == op.F64 {
			return nil, nil, fmt.Errorf("%s is float64; a card computes in float32", a.Name)
		}
		p, err := b.place(ts[i], ts[i].Bytes())
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", a.Name, err)
		}
		shapes, at = append(shapes, ts[i].Shape), append(at, p)
	}
	return shapes, at, nil
}

// n is the number of elements of argument i.
func (r *run) n(i int) int { return elements(r.in[i]) }

func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// x and y are argument and result i as a kernel's parameter, null where absent;
// count is the number of an argument's elements as one.
func (r *run) x(i int) uint64     { return uint64(r.inAt[i]) }
func (r *run) y(i int) uint64     { return uint64(r.outAt[i]) }
func (r *run) count(i int) uint64 { return i64(r.n(i)) }

// i32, i64, f32 and f64 are numbers as parameters.
func i32(n int) uint64     { return uint64(uint32(int32(n))) }
func i64(n int) uint64     { return uint64(int64(n)) }
func f32(x float64) uint64 { return uint64(math.Float32bits(float32(x))) }
func f64(x float64) uint64 { return math.Float64bits(x) }

// flag is a truth as an int parameter.
func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

const (
	threads    = 256     // in a block: THREADS of common.cuh
	mostBlocks = 1 << 16 // in a grid of each
)

// each launches a kernel that goes through n elements by EACH.
func (r *run) each(kernel string, n int, args ...uint64) error {
	if n == 0 {
		return nil
	}
	blocks := min((n+threads-1)/threads, mostBlocks)
	return r.launch(kernel, driver.Dim{X: uint32(blocks), Y: 1, Z: 1}, driver.Dim{X: threads, Y: 1, Z: 1}, 0, args...)
}

// launch launches a kernel for the Call's type of maps.
func (r *run) launch(name string, grid, block driver.Dim, shared int, args ...uint64) error {
	f, err := r.function(kernel{name, r.maps})
	if err != nil {
		return fmt.Errorf("kernel %s: %w", name, err)
	}
	if err := r.b.dev.Launch(f, grid, block, uint32(shared), r.lane.stream, args); err != nil {
		return fmt.Errorf("kernel %s: %w", name, err)
	}
	return nil
}

// function finds a kernel. One that was not asked for yet may have to be loaded.
func (r *run) function(k kernel) (driver.Function, error) {
	if r.lane.recording() && !r.b.kernels.known(k) {
		return 0, device.ErrNotRecorded
	}
	return r.b.kernels.function(k)
}

// slot names a piece of scratch memory, so that an op can hold several.
type slot int

const (
	slotA slot = iota
	slotB
	slotC
	slotD
)

// scratch is memory of so many bytes for the ops of a lane, of any content.
// It grows to the largest need and stays.
func (r *run) scratch(s slot, bytes int) (driver.Pointer, error) {
	if have := r.lane.scratch[s]; have != nil {
		if have.size >= int64(bytes) {
			return have.at, nil
		}
	}
	if r.lane.recording() {
		return 0, fmt.Errorf("scratch memory: %w", device.ErrNotRecorded)
	}
	r.lane.outgrow(s)
	m, err := r.lane.alloc(int64(bytes))
	if err != nil {
		return 0, err
	}
	r.lane.scratch[s] = m
	return m.at, nil
}

// imageKey names a compiled image.
func imageKey(source, compiler string, arch int) string {
	h := sha256.Sum256([]byte(source))
	return fmt.Sprintf("%s-sm_%d-%s", compiler, arch, hex.EncodeToString(h[:8]))
}
