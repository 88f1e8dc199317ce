package cuda

import (
	"slices"
	"sync"
	"time"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cuda/driver"
	"github.com/locorun/locorun/graphs/device"
)

// ScratchBytes bounds the bytes that one Call of these shapes takes beside its
// operands, of maps of float32, or of bfloat16 where the backend is made for them.
// Shapes are nil for absent arguments. A lane keeps the largest of each of its
// pieces of memory, so that several Calls may make it hold more than the largest of
// them takes: LaneBytes tells.
func (b *Backend) ScratchBytes(code op.Code, attr op.Attr, in, out [][]int) int64 {
	types := []op.Dtype{op.F32}
	if lacks(&device.Call{Code: code}) != nil {
		return 0
	}
	if b.narrow {
		types = append(types, op.BF16)
	}
	var most int64
	for _, maps := range types {
		c := device.Call{Code: code, Attr: attr, In: ofShapes(op.Rows[code].In, in, maps), Out: ofShapes(op.Rows[code].Out, out, maps)}
		most = max(most, b.LaneBytes([]device.Call{c}))
	}
	return most
}

// ofShapes are tensors without memory.
func ofShapes(row []op.Arg, shapes [][]int, maps op.Dtype) []device.Tensor {
	ts := make([]device.Tensor, len(shapes))
	for i, s := range shapes {
		ts[i] = device.Tensor{Shape: s, Dtype: op.F32}
		if len(row) > 0 && row[min(i, len(row)-1)].Map {
			ts[i].Dtype = maps
		}
	}
	return ts
}

// LaneBytes bounds what a lane holds beside operands while it runs these Calls in
// any order and as often as one likes, the memory included in which kernels are
// measured against each other the first time. Of their tensors shapes and types are
// looked at; those without a shape are absent. A Call that would be refused counts
// as far as it comes.
//
// The Calls are queued on a card on which nothing happens, so that what is counted
// is what is asked for. NVIDIA's libraries are asked what they offer, which runs
// nothing, and remembered.
func (b *Backend) LaneBytes(calls []device.Call) int64 {
	b.foresight.mu.Lock()
	defer b.foresight.mu.Unlock()
	dry, card := b.foresight.backend(b)
	lane, err := newLane(dry, 0)
	if err != nil {
		return 0 // this card makes streams
	}
	// The second time all pieces are as large as they become when the kernels of
	// each problem are measured, whatever came first.
	for range 2 {
		clear(dry.choices)
		lane.freeTables()            // the Calls are placed anew
		_ = lane.Join(func() error { // no launch of this card fails
			for i := range calls {
				if c := &calls[i]; lacks(c) == nil {
					_ = lane.do(card.placed(c))
				}
			}
			return nil
		})
	}
	return card.most
}

// foresight is a backend on a card on which nothing happens, with what the
// libraries said.
type foresight struct {
	mu   sync.Mutex
	blas askedBLAS
	dnn  askedDNN
}

// backend is one whose card is empty, and the card.
func (f *foresight) backend(b *Backend) (*Backend, *nothing) {
	card := &nothing{next: 1 << 20, sizes: map[driver.Pointer]int64{}}
	b.quiet.RLock()
	l := b.libraries
	b.quiet.RUnlock()
	if l.blas != nil {
		f.blas.BLAS, l.blas = l.blas, &f.blas
	}
	if l.dnn != nil {
		f.dnn.DNN, l.dnn = l.dnn, &f.dnn
	}
	m := newModules(Options{Device: card})
	m.loaded[driver.F32], m.loaded[driver.BF16] = 1, 1
	return &Backend{dev: card, kernels: m, libraries: l, choices: map[problem]choice{}}, card
}

// askedBLAS is a library that is asked once for each product, and multiplies
// nothing.
type askedBLAS struct {
	driver.BLAS
	known map[driver.Product]offered[int]
}

// offered is what a library answered.
type offered[T any] struct {
	list T
	err  error
}

// Kernels implements driver.BLAS.
func (l *askedBLAS) Kernels(p *driver.Product, bytes int64, most int) (int, error) {
	o, ok := l.known[*p]
	if !ok {
		o.list, o.err = l.BLAS.Kernels(p, bytes, most)
		if l.known == nil {
			l.known = map[driver.Product]offered[int]{}
		}
		l.known[*p] = o
	}
	return o.list, o.err
}

// Multiply implements driver.BLAS.
func (l *askedBLAS) Multiply(*driver.Product, float32, driver.Pointer, driver.Pointer, float32, driver.Pointer, driver.Pointer, int64, driver.Stream) error {
	return nil
}

// askedDNN is a library that is asked once for each convolution, and convolves
// nothing.
type askedDNN struct {
	driver.DNN
	known map[wanted]offered[[]driver.Algo]
}

type wanted struct {
	conv driver.Conv
	way  driver.Way
}

// Algos implements driver.DNN.
func (n *askedDNN) Algos(c *driver.Conv, w driver.Way) ([]driver.Algo, error) {
	key := wanted{*c, w}
	o, ok := n.known[key]
	if !ok {
		o.list, o.err = n.DNN.Algos(c, w)
		if n.known == nil {
			n.known = map[wanted]offered[[]driver.Algo]{}
		}
		n.known[key] = o
	}
	return o.list, o.err
}

// Run implements driver.DNN.
func (n *askedDNN) Run(*driver.Conv, driver.Way, driver.Algo, float32, driver.Maps, float32, driver.Pointer, int64, driver.Stream) error {
	return nil
}

// nothing is a card on which nothing happens and no time passes. It gives addresses,
// and knows how much memory is taken; it satisfies driver.Device and driver.Clock.
type nothing struct {
	next       driver.Pointer
	sizes      map[driver.Pointer]int64
	held, most int64
}

// address is one that was not given before, aligned as a card's are.
func (n *nothing) address(bytes int64) driver.Pointer {
	p := n.next
	n.next += driver.Pointer((bytes/256 + 1) * 256)
	return p
}

// placed is a Call with memory for its tensors, which is not counted. Results of an
// argument's name lie on it.
func (n *nothing) placed(c *device.Call) *device.Call {
	at := *c
	row := &op.Rows[c.Code]
	at.In, at.Out, at.Step = slices.Clone(c.In), slices.Clone(c.Out), max(c.Step, 1)
	for i := range at.In {
		n.place(&at.In[i])
	}
	for i := range at.Out {
		n.place(&at.Out[i])
		for j := range min(len(at.In), len(row.In)) {
			if i < len(row.Out) && row.Out[i].Name == row.In[j].Name && slices.Equal(at.Out[i].Shape, at.In[j].Shape) {
				at.Out[i].Buffer = at.In[j].Buffer
			}
		}
	}
	return &at
}

func (n *nothing) place(t *device.Tensor) {
	t.Buffer, t.Offset = nil, 0
	if t.Shape != nil {
		t.Buffer = &buffer{n.address(t.Bytes()), t.Bytes()}
	}
}

// Alloc implements driver.Device.
func (n *nothing) Alloc(bytes int64) (driver.Pointer, error) {
	p := n.address(bytes)
	n.sizes[p] = bytes
	n.held += bytes
	n.most = max(n.most, n.held)
	return p, nil
}

// Free implements driver.Device.
func (n *nothing) Free(p driver.Pointer) error {
	n.held -= n.sizes[p]
	delete(n.sizes, p)
	return nil
}

// The rest of driver.Device and driver.Clock.

func (n *nothing) Name() string                                                 { return "nothing" }
func (n *nothing) Arch() int                                                    { return 0 }
func (n *nothing) Memory() (free, total int64, err error)                       { return 0, 0, nil }
func (n *nothing) Fill(driver.Pointer, byte, int64, driver.Stream) error        { return nil }
func (n *nothing) Upload(driver.Pointer, []byte, driver.Stream) error           { return nil }
func (n *nothing) Download([]byte, driver.Pointer, driver.Stream) error         { return nil }
func (n *nothing) Copy(dst, src driver.Pointer, _ int64, _ driver.Stream) error { return nil }
func (n *nothing) Load([]byte) (driver.Module, error)                           { return 1, nil }
func (n *nothing) Function(driver.Module, string) (driver.Function, error)      { return 1, nil }
func (n *nothing) NewStream() (driver.Stream, error)                            { return 1, nil }
func (n *nothing) Sync(driver.Stream) error                                     { return nil }
func (n *nothing) NewEvent() (driver.Event, error)                              { return 1, nil }
func (n *nothing) Record(driver.Event, driver.Stream) error                     { return nil }
func (n *nothing) Wait(driver.Stream, driver.Event) error                       { return nil }
func (n *nothing) Close() error                                                 { return nil }
func (n *nothing) NewTimer() (driver.Event, error)                              { return 1, nil }
func (n *nothing) Reached(driver.Event) (bool, error)                           { return true, nil }
func (n *nothing) Elapsed(from, to driver.Event) (time.Duration, error)         { return 0, nil }

// Launch implements driver.Device.
func (n *nothing) Launch(driver.Function, driver.Dim, driver.Dim, uint32, driver.Stream, []uint64) error {
	return nil
}
