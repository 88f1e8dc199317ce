package cuda

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cuda/driver"
	"github.com/locorun/locorun/graphs/device"
)

// viewer makes the views that are written on a lane. It has a stream of its own, so
// that pictures go to the card while the lane's work before them still runs:
//
//	own stream   pictures, table --+--> views --+
//	lane         ... what reads the rows now ---+    +--> what reads the views
type viewer struct {
	lane   *lane
	stream driver.Stream
	before driver.Event // behind the lane's work so far
	behind driver.Event // behind the views

	table    viewTable
	raw      []byte // small pictures side by side, or a table
	pictures *buffer
	words    *buffer
	planes   *buffer
}

func newViewer(l *lane) (v *viewer, err error) {
	v = &viewer{lane: l, pictures: &buffer{}, words: &buffer{}, planes: &buffer{}}
	dev := l.b.dev
	if v.stream, err = dev.NewStream(); err != nil {
		return nil, err
	}
	if v.before, err = dev.NewEvent(); err != nil {
		return nil, err
	}
	v.behind, err = dev.NewEvent()
	return v, err
}

var (
	_ device.Viewer = (*Backend)(nil)
	_ device.Viewer = (*lane)(nil)
)

// Views implements device.Viewer.
func (b *Backend) Views(to device.Tensor, w *device.Views) error {
	b.own.Lock()
	defer b.own.Unlock()
	if err := b.lane.waitAll(); err != nil {
		return fmt.Errorf("cuda: views: %w", err)
	}
	return b.lane.views(to, w)
}

// Views implements device.Viewer.
func (l *lane) Views(to device.Tensor, w *device.Views) error {
	if l.recording() {
		return l.refuse("views")
	}
	if err := l.ready(); err != nil {
		return fmt.Errorf("cuda: views: %w", err)
	}
	return l.views(to, w)
}

// views queues views. Nothing is measured meanwhile.
func (l *lane) views(to device.Tensor, w *device.Views) (err error) {
	l.b.quiet.RLock()
	defer func() {
		l.b.quiet.RUnlock()
		l.queued()
		if err != nil {
			err = fmt.Errorf("cuda: views: %w", err)
		}
	}()
	at, err := l.b.place(to, to.Bytes())
	if err != nil {
		return err
	}
	if l.viewer == nil {
		v, err := newViewer(l)
		if err != nil {
			return err
		}
		l.viewer = v
	}
	return l.viewer.views(to, at, w)
}

// views queues views into a tensor at an address.
func (v *viewer) views(to device.Tensor, at driver.Pointer, w *device.Views) error {
	if err := v.table.fill(to, w); err != nil {
		return err
	}
	blocks, err := v.room()
	if err != nil {
		return err
	}
	if err := v.upload(w.Pictures); err != nil {
		return err
	}
	dev, lane := v.lane.b.dev, v.lane.stream
	if err := dev.Record(v.before, lane); err != nil {
		return err
	}
	if err := dev.Wait(v.stream, v.before); err != nil {
		return err
	}
	if err := v.write(to, at, w, blocks); err != nil {
		return err
	}
	if err := dev.Record(v.behind, v.stream); err != nil {
		return err
	}
	return dev.Wait(lane, v.behind)
}

const (
	viewThreads = 512       // VIEWS_THREADS
	viewBlocks  = 1024      // more are not under way on any card
	viewPlanes  = 256 << 20 // bytes of all planes; the table has what is left of MostViewerBytes
)

// room sees to the memory for the table's views, and says how many blocks there is
// memory for.
func (v *viewer) room() (blocks int, err error) {
	pair := 2 * 4 * v.table.plane
	if v.table.count > 0 {
		blocks = min(v.table.count, viewBlocks, max(1, viewPlanes/pair))
	}
	if err := v.grow(v.pictures, v.table.bytes); err != nil {
		return 0, fmt.Errorf("pictures: %w", err)
	}
	if err := v.grow(v.words, int64(4*len(v.table.words))); err != nil {
		return 0, err
	}
	return blocks, v.grow(v.planes, int64(blocks*pair))
}

// grow makes a buffer as large as it is to be. What it holds is lost.
func (v *viewer) grow(m *buffer, bytes int64) (err error) {
	if bytes <= m.size {
		return nil
	}
	v.release(m)
	if m.at, err = v.lane.b.dev.Alloc(bytes); err != nil {
		return fmt.Errorf("%d bytes: %w", bytes, err)
	}
	m.size = bytes
	return nil
}

// release gives a buffer's memory back, once nothing queued needs it.
func (v *viewer) release(m *buffer) {
	if m.at != 0 {
		_ = v.lane.b.dev.Sync(v.stream) // its failure is the next call's
		_ = v.lane.b.dev.Free(m.at)     // memory that the driver does not take back is lost with the process
	}
	*m = buffer{}
}

// free gives all memory back.
func (v *viewer) free() {
	for _, m := range []*buffer{v.pictures, v.words, v.planes} {
		v.release(m)
	}
}

// gathered is about how many bytes of small pictures go to the card together: a copy
// of less costs the host more than its bytes do.
const gathered = 256 << 10

// upload brings the pictures and the table to the card.
func (v *viewer) upload(list []device.Picture) error {
	v.raw = v.raw[:0]
	begin := int64(0) // of raw
	flush := func(next int64) error {
		raw := v.raw
		v.raw = v.raw[:0]
		at := begin
		if begin = next; len(raw) == 0 {
			return nil
		}
		return v.lane.b.dev.Upload(v.pictures.at+driver.Pointer(at), raw, v.stream)
	}
	for i := range list {
		pix, start := list[i].Pix, v.table.starts[i]
		if len(v.raw)+len(pix) > gathered {
			if err := flush(start); err != nil {
				return err
			}
		}
		if len(pix) > gathered {
			if err := v.lane.b.dev.Upload(v.pictures.at+driver.Pointer(start), pix, v.stream); err != nil {
				return err
			}
			begin = start + int64(parts(len(pix), viewAlign)*viewAlign)
			continue
		}
		v.raw = append(v.raw, pix...)
		v.raw = append(v.raw, make([]byte, parts(len(pix), viewAlign)*viewAlign-len(pix))...)
	}
	if err := flush(0); err != nil {
		return err
	}
	return v.uploadTable()
}

func (v *viewer) uploadTable() error {
	if v.table.count == 0 {
		return nil
	}
	v.raw = v.raw[:0]
	for _, word := range v.table.words {
		v.raw = binary.LittleEndian.AppendUint32(v.raw, uint32(word))
	}
	return v.lane.b.dev.Upload(v.words.at, v.raw, v.stream)
}

// write queues the kernel, and the rows that are made already.
func (v *viewer) write(to device.Tensor, at driver.Pointer, w *device.Views, blocks int) error {
	if blocks > 0 {
		if err := v.launch(to, at, w, blocks); err != nil {
			return err
		}
	}
	row := int(to.Bytes()) / to.Shape[0]
	for _, i := range v.table.made {
		raw := w.Views[i].Made
		if to.Dtype == op.BF16 {
			raw = v.narrow(raw)
		}
		if err := v.lane.b.dev.Upload(at+driver.Pointer(i*row), raw, v.stream); err != nil {
			return err
		}
	}
	return nil
}

// narrow is float32s as BF16.
func (v *viewer) narrow(wide []byte) []byte {
	v.raw = v.raw[:0]
	for ; len(wide) > 0; wide = wide[4:] {
		x := math.Float32frombits(binary.LittleEndian.Uint32(wide))
		v.raw = binary.LittleEndian.AppendUint16(v.raw, op.Narrow(x))
	}
	return v.raw
}

func (v *viewer) launch(to device.Tensor, at driver.Pointer, w *device.Views, blocks int) error {
	f, err := v.lane.b.kernels.function(kernel{"views", driver.F32})
	if err != nil {
		return err
	}
	args := []uint64{
		uint64(v.words.at), i32(v.table.count), uint64(v.pictures.at), uint64(v.planes.at), i64(v.table.plane),
		uint64(at), flag(to.Dtype == op.BF16), i32(to.Shape[3]),
	}
	for _, x := range append(w.Mean[:], w.Scale[:]...) {
		args = append(args, uint64(math.Float32bits(x)))
	}
	grid, block := driver.Dim{X: uint32(blocks), Y: 1, Z: 1}, driver.Dim{X: viewThreads, Y: 1, Z: 1}
	if err := v.lane.b.dev.Launch(f, grid, block, 0, v.stream, args); err != nil {
		return fmt.Errorf("kernel views: %w", err)
	}
	return nil
}
