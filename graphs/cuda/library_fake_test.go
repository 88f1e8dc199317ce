package cuda

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/locorun/locorun/graphs/cuda/driver"
	"github.com/locorun/locorun/graphs/cuda/emulate"
)

// clocked is a device with a clock on which only what tests say takes time: a
// convolution by our own kernels takes as long as own says, each of its launches.
type clocked struct {
	driver.Device
	now    time.Duration
	own    time.Duration
	timers map[driver.Event]time.Duration
	convs  map[driver.Function]bool
}

func (d *clocked) Function(m driver.Module, name string) (driver.Function, error) {
	f, err := d.Device.Function(m, name)
	d.convs[f] = strings.HasPrefix(name, "conv")
	return f, err
}

func (d *clocked) NewTimer() (driver.Event, error) { return d.NewEvent() }

func (d *clocked) Record(e driver.Event, s driver.Stream) error {
	d.timers[e] = d.now
	return d.Device.Record(e, s)
}

func (d *clocked) Elapsed(from, to driver.Event) (time.Duration, error) {
	return d.timers[to] - d.timers[from], nil
}

func (d *clocked) Reached(driver.Event) (bool, error) { return true, nil }

func (d *clocked) Launch(f driver.Function, grid, block driver.Dim, shared uint32, s driver.Stream, args []uint64) error {
	if d.convs[f] {
		d.now += d.own
	}
	return d.Device.Launch(f, grid, block, shared, s, args)
}

// fakeLibraries are NVIDIA's libraries by their definitions, on the host. They
// note what they compute, and take the time that costs say by choices' names.
type fakeLibraries struct {
	dev     *clocked
	version string
	algos   []driver.Algo
	ranks   int
	costs   map[string]time.Duration
	fails   map[string]error
	wide    bool // gradients of weights of narrow maps can be float32
	ran     []string
	tf32    []bool
	closed  int
}

// fakeBLAS and fakeDNN are the two.
type (
	fakeBLAS struct{ *fakeLibraries }
	fakeDNN  struct{ *fakeLibraries }
)

func newFakes(t testing.TB, open func(testing.TB) (driver.Device, driver.Compiler)) (*fakeLibraries, driver.Compiler) {
	d, c := open(t)
	f := &fakeLibraries{
		dev: &clocked{Device: d, own: time.Second, timers: map[driver.Event]time.Duration{}, convs: map[driver.Function]bool{}}, version: "1.2.3", ranks: 2,
		algos: []driver.Algo{{ID: 5, Math: 3, Workspace: 96}, {ID: 1, Math: 3}, {ID: 7, Math: 3, Workspace: mostWorkspace + 1}},
		costs: map[string]time.Duration{}, fails: map[string]error{},
	}
	return f, c
}

func (f *fakeLibraries) Version() string { return f.version }
func (f *fakeLibraries) Close() error    { f.closed++; return nil }

// run notes a computation.
func (f *fakeLibraries) run(name, what string, tf32 bool) error {
	if err := f.fails[name]; err != nil {
		return err
	}
	f.dev.now += f.costs[name] + time.Millisecond
	f.ran, f.tf32 = append(f.ran, name+": "+what), append(f.tf32, tf32)
	return nil
}

func (f *fakeLibraries) read(p driver.Pointer, n int, kind driver.Type, s driver.Stream) ([]float32, error) {
	raw := make([]byte, kind.Size()*n)
	err := f.dev.Download(raw, p, s)
	return decodedAs(kind, raw), err
}

// add writes alpha*sums + beta*what is there, which is not read where beta is 0.
func (f *fakeLibraries) add(p driver.Pointer, kind driver.Type, sums []float64, alpha, beta float32, s driver.Stream) error {
	var err error
	before := make([]float32, len(sums))
	if beta != 0 {
		if before, err = f.read(p, len(sums), kind, s); err != nil {
			return err
		}
	}
	now := make([]float32, len(sums))
	for i := range now {
		now[i] = alpha*float32(sums[i]) + beta*before[i]
	}
	return errors.Join(err, f.dev.Upload(p, encodedAs(kind, now), s))
}

// Kernels implements driver.BLAS.
func (f fakeBLAS) Kernels(p *driver.Product, bytes int64, most int) (int, error) {
	return min(f.ranks, most), nil
}

// Multiply implements driver.BLAS; it overwrites the workspace's ends.
func (f fakeBLAS) Multiply(p *driver.Product, alpha float32, a, b driver.Pointer, beta float32, c driver.Pointer, space driver.Pointer, bytes int64, s driver.Stream) error {
	if err := f.run(fmt.Sprintf("rank %d", p.Rank), fmt.Sprintf("%dx%dx%d", p.M, p.N, p.K), p.TF32); err != nil {
		return err
	}
	va, err := f.read(a, p.M*p.K, p.AB, s)
	vb, other := f.read(b, p.N*p.K, p.AB, s)
	if err := errors.Join(err, other, f.dev.Fill(space, 0xff, 8, s), f.dev.Fill(space+driver.Pointer(bytes-8), 0xff, 8, s)); err != nil {
		return err
	}
	sums := make([]float64, p.M*p.N)
	for i := range p.M {
		for j := range p.N {
			for k := range p.K {
				x, y := i*p.StrideA+k, k*p.StrideB+j
				if p.TransA {
					x = k*p.StrideA + i
				}
				if p.TransB {
					y = j*p.StrideB + k
				}
				sums[i*p.StrideC+j] += float64(va[x]) * float64(vb[y])
			}
		}
	}
	return f.add(c, p.C, sums, alpha, beta, s)
}

// Algos implements driver.DNN.
func (f fakeDNN) Algos(c *driver.Conv, w driver.Way) ([]driver.Algo, error) {
	if len(f.algos) == 0 || c.WideFilter && !f.wide {
		return nil, errors.New("none")
	}
	return f.algos, nil
}

// Measure implements driver.DNN; nothing asks for it.
func (f fakeDNN) Measure(*driver.Conv, driver.Way, driver.Maps, driver.Pointer, int64, driver.Stream) ([]driver.Algo, error) {
	return nil, errors.New("not asked for")
}

// Run implements driver.DNN; it overwrites the workspace.
func (f fakeDNN) Run(c *driver.Conv, w driver.Way, a driver.Algo, alpha float32, m driver.Maps, beta float32, space driver.Pointer, bytes int64, s driver.Stream) error {
	if bytes < a.Workspace {
		return fmt.Errorf("a workspace of %d bytes", bytes)
	}
	if err := f.run(fmt.Sprintf("algorithm %d", a.ID), fmt.Sprintf("%v in %d groups", w, c.Groups), c.TF32); err != nil {
		return err
	}
	if bytes > 0 {
		if err := f.dev.Fill(space, 0xff, bytes, s); err != nil {
			return err
		}
	}
	g := shapeOf(c.N, c.H, c.W, c.C/c.Groups, c.K/c.Groups, c.Groups, c.R, c.S, c.Stride, c.Pad)
	kinds := [3]driver.Type{c.Type, c.Type, c.Type}
	if c.WideFilter {
		kinds[1] = driver.F32
	}
	return f.convolve(g, kinds, w, alpha, m, beta, s)
}

// convolve computes of x, w and y of the given types.
func (f fakeDNN) convolve(g geometry, kinds [3]driver.Type, w driver.Way, alpha float32, m driver.Maps, beta float32, s driver.Stream) error {
	at := [3]driver.Pointer{m.X, m.W, m.Y}
	sizes := [3]int{g.n * g.h * g.w * g.c, g.weights(), g.pixels() * g.k}
	to := [...]int{driver.Forward: 2, driver.BackwardData: 0, driver.BackwardFilter: 1}[w]
	var v [3][]float32
	for i := range v {
		if i == to {
			continue
		}
		var err error
		if v[i], err = f.read(at[i], sizes[i], kinds[i], s); err != nil {
			return err
		}
	}
	sums := make([]float64, sizes[to])
	g.eachProduct([]func(x, w, y int){
		func(x, w, y int) { sums[x] += float64(v[1][w]) * float64(v[2][y]) },
		func(x, w, y int) { sums[w] += float64(v[0][x]) * float64(v[2][y]) },
		func(x, w, y int) { sums[y] += float64(v[0][x]) * float64(v[1][w]) },
	}[to])
	return f.add(at[to], kinds[to], sums, alpha, beta, s)
}

// open is a backend with these libraries.
func (f *fakeLibraries) open(t testing.TB, c driver.Compiler, kept images, tf32 bool) *Backend {
	t.Helper()
	b, err := New(Options{Device: f.dev, Compiler: c, Cache: kept, BLAS: fakeBLAS{f}, DNN: fakeDNN{f}, TF32: tf32})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// newLibraryBench is a bench on fake libraries.
func newLibraryBench(t *testing.T, kept images) (*bench, *fakeLibraries) {
	t.Helper()
	f, c := newFakes(t, emulate.Open)
	b := f.open(t, c, kept, false)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if f.closed != 2 {
			t.Errorf("%d libraries are closed, not 2", f.closed)
		}
	})
	return &bench{T: t, b: b, r: run{b: b, lane: b.lane}, seed: 1}, f
}
