package emulate

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/locorun/locorun/graphs/cuda/driver"
)

// device runs kernels on the host; it satisfies driver.Device, driver.Clock and
// driver.Capturer. All its work is done when a call returns, or as its pace says.
type device struct {
	folder    string
	backwards bool
	pace      pace

	mu        sync.Mutex
	blocks    map[driver.Pointer]*block
	starts    []driver.Pointer // of blocks, sorted
	modules   []*module
	functions []function
	streams   []*stream
	events    []*event
	graphs    [][]func() error // nil for one that was dropped
	now       time.Duration
	failed    error // of work that nobody has asked for yet
}

// module is a loaded image: emulate_launch, and its kernels' numbers.
type module struct {
	launch  uintptr
	kernels map[string]kernel
}

type kernel struct {
	index   int
	classes string // of the parameters, as class tells them
}

type function struct {
	kernel
	name   string
	module *module
}

func newDevice(folder string, backwards bool, p pace) *device {
	return &device{folder: folder, backwards: backwards, pace: p, blocks: map[driver.Pointer]*block{}}
}

// Name implements driver.Device.
func (d *device) Name() string { return "emulated" }

// Arch implements driver.Device.
func (d *device) Arch() int { return Arch }

// Memory implements driver.Device.
func (d *device) Memory() (free, total int64, err error) { return 1 << 34, 1 << 34, nil }

// Fill implements driver.Device.
func (d *device) Fill(p driver.Pointer, value byte, size int64, s driver.Stream) error {
	return d.queue(s, func() error {
		mem, err := d.bytes(p, size)
		if err == nil {
			fill(mem, value)
		}
		return err
	})
}

// Upload implements driver.Device.
func (d *device) Upload(p driver.Pointer, src []byte, s driver.Stream) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	st, err := d.of(s)
	if err == nil {
		err = d.host("Upload")
	}
	if err == nil {
		err = st.plain("Upload")
	}
	if err != nil {
		return err
	}
	pinned := bytes.Clone(src)
	return d.push(st, work{do: func() error {
		mem, err := d.bytes(p, int64(len(pinned)))
		copy(mem, pinned)
		return err
	}})
}

// Download implements driver.Device.
func (d *device) Download(dst []byte, p driver.Pointer, s driver.Stream) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.wait("Download", s); err != nil {
		return err
	}
	mem, err := d.bytes(p, int64(len(dst)))
	copy(dst, mem)
	return err
}

// Copy implements driver.Device; places that overlap are an error.
func (d *device) Copy(dst, src driver.Pointer, size int64, s driver.Stream) error {
	return d.queue(s, func() error {
		to, err := d.bytes(dst, size)
		if err != nil {
			return err
		}
		from, err := d.bytes(src, size)
		if err != nil {
			return err
		}
		if dst < src+driver.Pointer(size) && src < dst+driver.Pointer(size) {
			return fmt.Errorf("emulate: copy of %d bytes between places that overlap", size)
		}
		copy(to, from)
		return nil
	})
}

// Load implements driver.Device.
func (d *device) Load(image []byte) (driver.Module, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.host("Load"); err != nil {
		return 0, err
	}
	path := filepath.Join(d.folder, fmt.Sprintf("module-%d.so", len(d.modules)))
	if err := os.WriteFile(path, image, 0o600); err != nil {
		return 0, err
	}
	m, err := loaded(path)
	if err != nil {
		return 0, fmt.Errorf("emulate: %w", err)
	}
	d.modules = append(d.modules, m)
	return driver.Module(len(d.modules)), nil
}

// loaded opens an image. It stays open: it may have become part of how the
// process handles faults.
func loaded(path string) (*module, error) {
	library, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, err
	}
	var address [3]uintptr
	for i, name := range []string{"emulate_open", "emulate_list", "emulate_launch"} {
		if address[i], err = purego.Dlsym(library, name); err != nil {
			return nil, err
		}
	}
	if r, _, _ := purego.SyscallN(address[0]); r != 0 {
		return nil, errors.New("no memory for stacks")
	}
	size, _, _ := purego.SyscallN(address[1], 0, 0)
	list := make([]byte, size)
	if len(list) > 0 {
		purego.SyscallN(address[1], uintptr(unsafe.Pointer(&list[0])), size)
	}
	m := &module{address[2], map[string]kernel{}}
	for line := range strings.Lines(string(list)) {
		name, classes, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		m.kernels[name] = kernel{len(m.kernels), classes}
	}
	return m, nil
}

// Function implements driver.Device.
func (d *device) Function(m driver.Module, name string) (driver.Function, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m == 0 || int(m) > len(d.modules) {
		return 0, fmt.Errorf("emulate: %d is no module", m)
	}
	module := d.modules[m-1]
	k, ok := module.kernels[name]
	if !ok {
		return 0, fmt.Errorf("emulate: no kernel %s", name)
	}
	d.functions = append(d.functions, function{k, name, module})
	return driver.Function(len(d.functions)), nil
}

// The most that a launch may ask for.
const (
	mostThreads = 1024
	mostShared  = 48 << 10
	mostBlocks  = 1<<31 - 1 // along x; mostBlocksYZ along the others
	mostYZ      = 1<<16 - 1
)

// Launch implements driver.Device.
func (d *device) Launch(f driver.Function, grid, block driver.Dim, shared uint32, s driver.Stream, args []uint64) error {
	d.mu.Lock()
	if f == 0 || int(f) > len(d.functions) {
		d.mu.Unlock()
		return fmt.Errorf("emulate: %d is no kernel", f)
	}
	fn := d.functions[f-1]
	d.mu.Unlock()
	named := func(err error) error {
		if err != nil {
			return fmt.Errorf("emulate: kernel %s: %w", fn.name, err)
		}
		return nil
	}
	if err := fits(grid, block, shared); err != nil {
		return named(err)
	}
	args = slices.Clone(args)
	return d.queue(s, func() error {
		if err := d.parameters(fn.classes, args); err != nil {
			return named(err)
		}
		return named(d.launch(&fn, grid, block, shared, args))
	})
}

// fits refuses what a card would.
func fits(grid, block driver.Dim, shared uint32) error {
	threads := uint64(block.X) * uint64(block.Y) * uint64(block.Z)
	switch {
	case threads == 0 || threads > mostThreads || block.Z > 64:
		return fmt.Errorf("a block of %dx%dx%d threads", block.X, block.Y, block.Z)
	case uint64(grid.X)*uint64(grid.Y)*uint64(grid.Z) == 0 || grid.X > mostBlocks || grid.Y > mostYZ || grid.Z > mostYZ:
		return fmt.Errorf("a grid of %dx%dx%d blocks", grid.X, grid.Y, grid.Z)
	case shared > mostShared:
		return fmt.Errorf("%d bytes of shared memory", shared)
	}
	return nil
}

// parameters compares the words of a launch with the kernel's declaration.
func (d *device) parameters(classes string, args []uint64) error {
	if len(args) != len(classes) {
		return fmt.Errorf("%d arguments for %d parameters", len(args), len(classes))
	}
	for i, w := range args {
		switch {
		case classes[i] == 'p' && w != 0 && d.holder(driver.Pointer(w)) == nil:
			return fmt.Errorf("argument %d, %#x, is no address of the device", i, w)
		case classes[i] == 'i' && w>>32 != 0:
			return fmt.Errorf("argument %d, %#x, has more than 32 bits", i, w)
		}
	}
	return nil
}

func (d *device) launch(f *function, grid, block driver.Dim, shared uint32, args []uint64) error {
	dims := &[8]uint32{grid.X, grid.Y, grid.Z, block.X, block.Y, block.Z, shared}
	if d.backwards {
		dims[7] = 1
	}
	words := append(slices.Clone(args), 0) // so that there is a first
	report := make([]byte, 256)
	r, _, _ := purego.SyscallN(f.module.launch, uintptr(f.index), uintptr(unsafe.Pointer(dims)),
		uintptr(unsafe.Pointer(&words[0])), uintptr(unsafe.Pointer(&report[0])), uintptr(len(report)))
	runtime.KeepAlive(words)
	if int64(r) < 0 {
		text, _, _ := strings.Cut(string(report), "\x00")
		return errors.New(text)
	}
	return d.guards()
}

// Close implements driver.Device: it frees what is left.
func (d *device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, st := range d.streams {
		d.drain(st)
	}
	err := d.failure()
	for _, b := range d.blocks {
		if err := syscall.Munmap(b.pages); err != nil {
			return fmt.Errorf("emulate: %w", err)
		}
	}
	clear(d.blocks)
	d.starts = nil
	return err
}
