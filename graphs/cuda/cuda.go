// Package cuda is the backend for NVIDIA's GPUs. Values lie in the card's
// memory; ops are launches of our own kernels (package kernels), compiled for the
// card when the backend is opened.
//
//	device.Call --lane--> table --> run: checks, launches --driver.Device--> stream
//	                                convolutions, as chosen: ours, driver.DNN, driver.BLAS
//
// In: Calls as the op table describes them, maps of float32 or bfloat16. Out: the
// same results as every backend, to the tolerances of graphs/conformance.
//
// What always holds: launches go into a lane's stream in the order of the Calls, so
// that a Call reads what those before it wrote; sums have one order, given by
// shapes, so that the same Call gives the same bytes on the same card; nothing is
// computed on the host. Where a library may compute a convolution, what does is
// measured once, while no lane queues anything else, and kept: Choices gives what
// was chosen, and a backend that is told of it by SetChoices gives the same bytes.
//
// Lanes (lane.go) share kernels and choices; a stream, scratch memory and the
// libraries' workspaces are each one's own. They run side by side but for marks
// (marks.go), which are events of the card. The Backend's own methods have a lane
// too: it waits for a mark of each other lane before each of them, and a lane waits
// for that lane's newest mark before whatever it queues, where there is a new one.
// So the host's order is kept between the two, and nobody waits on the host but for
// Read, Free and Sync. A recording (record.go) is a CUDA graph of a lane.
//
// What a lane writes goes to the card in the order of its stream, through pinned
// memory of its own: the copy runs beside the kernels of other lanes and beside the
// host, not beside the lane's own. Pictures of which the card makes views (views.go)
// have a stream of their own, so that those of the next microbatch are copied while
// the kernels of the one before run.
package cuda

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cuda/driver"
	"github.com/locorun/locorun/graphs/device"
)

// Options says where a backend runs.
type Options struct {
	Device   driver.Device
	Compiler driver.Compiler
	// Cache, where set, keeps compiled images: it is asked for a key, and told
	// what was made for one.
	Cache Cache
	// BLAS and DNN, where they are set, may compute convolutions and products,
	// where measuring finds them to be faster than our own kernels. They are the
	// backend's from then on.
	BLAS driver.BLAS
	DNN  driver.DNN
	// TF32 lets the libraries round the factors of convolutions and products to
	// 10 bits behind the point, for tensor cores. Our own kernels never do.
	TF32 bool
	// BF16 makes the kernels for maps of bfloat16 ready at once, which otherwise
	// are when the first Call has such.
	BF16 bool
}

// Cache keeps compiled images by a key that names source, compiler and card.
type Cache interface {
	Get(key string) (image []byte, ok bool)
	Put(key string, image []byte)
}

// Backend is a card with the kernels loaded; it satisfies device.Laned.
type Backend struct {
	dev     driver.Device
	kernels *modules
	counted atomic.Int64

	own  sync.Mutex // over the lane of the Backend's own methods
	lane *lane

	laning   sync.Mutex    // over the lanes
	numbered map[int]*lane // without the Backend's own
	all      []*lane

	// quiet is held for reading while a Call is queued, and for writing while
	// kernels are measured or chosen otherwise.
	quiet     sync.RWMutex
	libraries libraries
	choices   map[problem]choice
	repeats   int // of a measurement

	narrow    bool // made for maps of bfloat16
	foresight foresight
}

var _ device.Laned = (*Backend)(nil)

// New compiles the kernels, or takes them from the cache, and loads them. The
// device is the backend's from then on.
func New(o Options) (*Backend, error) {
	b := &Backend{
		dev: o.Device, kernels: newModules(o), numbered: map[int]*lane{}, narrow: o.BF16,
		libraries: libraries{blas: o.BLAS, dnn: o.DNN, tf32: o.TF32}, choices: map[problem]choice{}, repeats: 5,
	}
	b.libraries.opened = b.libraries.versions()
	err := b.kernels.load(driver.F32)
	if err == nil && o.BF16 {
		err = b.kernels.load(driver.BF16)
	}
	if err != nil {
		return nil, fmt.Errorf("cuda: %w", err)
	}
	if b.lane, err = newLane(b, ownLane); err != nil {
		return nil, err
	}
	b.all = []*lane{b.lane}
	return b, nil
}

// Name is part of a run's identity: cards of one architecture give the same
// bytes.
func (b *Backend) Name() string { return fmt.Sprintf("cuda/sm_%d", b.dev.Arch()) }

// Counted implements device.Backend.
func (b *Backend) Counted() int64 { return b.counted.Load() }

// buffer is a stretch of the card's memory.
type buffer struct {
	at   driver.Pointer
	size int64
}

// Size implements device.Buffer.
func (b *buffer) Size() int64 { return b.size }

// Alloc implements device.Backend.
func (b *Backend) Alloc(bytes int64) (device.Buffer, error) { return b.alloc(bytes) }

func (b *Backend) alloc(bytes int64) (*buffer, error) {
	p, err := b.dev.Alloc(max(bytes, 1))
	if err != nil {
		return nil, fmt.Errorf("cuda: %d bytes: %w", bytes, err)
	}
	if err := b.dev.Fill(p, 0, bytes, b.lane.stream); err != nil {
		return nil, fmt.Errorf("cuda: %w", err)
	}
	b.lane.queued()
	return &buffer{p, bytes}, nil
}

// Free implements device.Backend.
func (b *Backend) Free(m device.Buffer) {
	own, ok := m.(*buffer)
	if !ok || own.at == 0 {
		return
	}
	_ = b.Sync()           // what still runs may use it; its failure is the next call's
	_ = b.dev.Free(own.at) // memory that the driver does not take back is lost with the process
	own.at = 0
}

// Write implements device.Backend.
func (b *Backend) Write(t device.Tensor, src []byte) error {
	p, err := b.place(t, int64(len(src)))
	if err != nil || len(src) == 0 {
		return err
	}
	if err := b.join(); err != nil {
		return err
	}
	defer b.lane.queued()
	return b.dev.Upload(p, src, b.lane.stream)
}

// Read implements device.Backend.
func (b *Backend) Read(dst []byte, t device.Tensor) error {
	p, err := b.place(t, int64(len(dst)))
	if err != nil || len(dst) == 0 {
		return err
	}
	if err := b.join(); err != nil {
		return err
	}
	return b.dev.Download(dst, p, b.lane.stream)
}

// join lets what the Backend's own methods queue from now on come after all that
// was queued on any lane.
func (b *Backend) join() error {
	b.own.Lock()
	defer b.own.Unlock()
	if err := b.lane.waitAll(); err != nil {
		return fmt.Errorf("cuda: %w", err)
	}
	return nil
}

// place is the address of a tensor of so many bytes.
func (b *Backend) place(t device.Tensor, bytes int64) (driver.Pointer, error) {
	m, ok := t.Buffer.(*buffer)
	switch {
	case !ok || m.at == 0:
		return 0, fmt.Errorf("cuda: a tensor that does not lie in the card's memory")
	case t.Bytes() != bytes:
		return 0, fmt.Errorf("cuda: %d bytes for a tensor of %d", bytes, t.Bytes())
	case t.Offset < 0 || t.Offset+bytes > m.size:
		return 0, fmt.Errorf("cuda: bytes %d to %d of a buffer of %d", t.Offset, t.Offset+bytes, m.size)
	}
	return m.at + driver.Pointer(t.Offset), nil
}

// Run implements device.Backend.
func (b *Backend) Run(c *device.Call) error {
	if err := lacks(c); err != nil {
		return err
	}
	b.own.Lock()
	defer b.own.Unlock()
	err := b.lane.waitAll()
	if err == nil {
		err = b.lane.do(c)
	}
	if err != nil {
		return fmt.Errorf("cuda: %v: %w", c.Code, err)
	}
	return nil
}

// lacks refuses what there is no kernel for.
func lacks(c *device.Call) error {
	if c.Code == op.Invalid || int(c.Code) >= len(op.Rows) || table[c.Code] == nil {
		return fmt.Errorf("cuda: no kernel for %v", c.Code)
	}
	return nil
}

// Sync waits until all that was run is over, on all lanes, and tells what failed in
// it.
func (b *Backend) Sync() error {
	if err := b.join(); err != nil {
		return err
	}
	return b.dev.Sync(b.lane.stream)
}

// Close implements device.Backend.
func (b *Backend) Close() error {
	_ = b.Sync() // the device's own Close tells what is wrong with it
	for _, l := range b.lanes() {
		l.free()
	}
	return errors.Join(b.libraries.close(), b.dev.Close())
}
