package emulate

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/locorun/locorun/graphs/cuda/driver"
)

const source = `
typedef long long ll;
#define KERNEL extern "C" __global__ void
KERNEL scale(const float *x, float *__restrict__ y, float by, ll n) {
  for (ll i = (ll)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (ll)gridDim.x * blockDim.x) y[i] = by * x[i];
}
// A sum of a block by halves.
KERNEL __launch_bounds__(64) sums(const float *x, float *y, int n) {
  __shared__ float part[64];
  extern __shared__ float more[];
  int t = threadIdx.x;
  part[t] = t < n ? x[t] : 0.0f;
  more[t] = 1.0f;
  __syncthreads();
  for (int d = 32; d > 0; d /= 2) {
    if (t < d) part[t] += part[t + d], more[t] += more[t + d];
    __syncthreads();
  }
  if (t == 0) y[0] = part[0], y[1] = more[0];
}
KERNEL forgets(float *y) {
  __shared__ float part[64];
  part[threadIdx.x] = threadIdx.x;
  y[threadIdx.x] = part[63 - threadIdx.x];
}
KERNEL unwritten(float *y) {
  __shared__ float part[64];
  y[threadIdx.x] = part[threadIdx.x];
}
KERNEL divergent(float *y) {
  if (threadIdx.x < 3) __syncthreads();
}
KERNEL crossed(float *y) {
  if (threadIdx.x < 3) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}
KERNEL beside(float *y, ll at) { y[at] = 1.0f; }
KERNEL wide(double *y, double v, float4 *z) { y[0] = v; z[0] = make_float4(1.0f, 2.0f, 3.0f, max(3, 4.5f)); }
KERNEL reads(const float4 *x, float *y) { y[0] = x[0].y; }
KERNEL index(int *y) {
  int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  y[block * blockDim.x * blockDim.y * blockDim.z + thread] = 1000 * block + thread;
}
`

// rig is a device with the source above loaded.
type rig struct {
	t *testing.T
	driver.Device
	module driver.Module
	stream driver.Stream
}

func newRig(t *testing.T, open func(testing.TB) (driver.Device, driver.Compiler)) *rig {
	d, c := open(t)
	image, err := c.Compile("test.cu", source, d.Arch())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, Device: d}
	if r.module, err = d.Load(image); err != nil {
		t.Fatal(err)
	}
	if r.stream, err = d.NewStream(); err != nil {
		t.Fatal(err)
	}
	return r
}

// memory is an allocation of so many floats, with these at its start.
func (r *rig) memory(floats int, v ...float32) driver.Pointer {
	r.t.Helper()
	p, err := r.Alloc(int64(4 * floats))
	if err == nil {
		mem, _ := binary.Append(nil, binary.LittleEndian, v)
		err = r.Upload(p, mem, r.stream)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *rig) read(p driver.Pointer, to any) {
	r.t.Helper()
	mem := make([]byte, binary.Size(to))
	err := r.Download(mem, p, r.stream)
	if err == nil {
		_, err = binary.Decode(mem, binary.LittleEndian, to)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) launch(name string, grid, block driver.Dim, shared uint32, args ...uint64) error {
	r.t.Helper()
	f, err := r.Function(r.module, name)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.Launch(f, grid, block, shared, r.stream, args)
}

func line(n uint32) driver.Dim { return driver.Dim{X: n, Y: 1, Z: 1} }

func TestKernelsRun(t *testing.T) {
	for name, open := range map[string]func(testing.TB) (driver.Device, driver.Compiler){"forwards": Open, "backwards": OpenBackwards} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, open)
			x, y := r.memory(5, 1, 2, 3, 4, 5), r.memory(5)
			if err := r.launch("scale", line(2), line(2), 0, uint64(x), uint64(y), 0x40000000, 5); err != nil {
				t.Fatal(err)
			}
			var got [5]float32
			if r.read(y, &got); got != [5]float32{2, 4, 6, 8, 10} {
				t.Errorf("scale: %v", got)
			}
			if err := r.launch("sums", line(1), line(64), 256, uint64(x), uint64(y), 5); err != nil {
				t.Fatal(err)
			}
			if r.read(y, &got); got[0] != 15 || got[1] != 64 {
				t.Errorf("sums: %v", got)
			}
			var d float64
			if err := r.launch("wide", line(1), line(1), 0, uint64(x), 0x3ff8000000000000, uint64(r.memory(4))); err != nil {
				t.Fatal(err)
			}
			if r.read(x, &d); d != 1.5 {
				t.Errorf("wide: %v", d)
			}
		})
	}
}

func TestNumbersOfThreads(t *testing.T) {
	r := newRig(t, Open)
	y := r.memory(2 * 3 * 2 * 2 * 2 * 2)
	if err := r.launch("index", driver.Dim{X: 2, Y: 3, Z: 2}, driver.Dim{X: 2, Y: 2, Z: 2}, 0, uint64(y)); err != nil {
		t.Fatal(err)
	}
	var got [96]int32
	r.read(y, &got)
	for i, v := range got {
		if want := int32(i/8*1000 + i%8); v != want {
			t.Fatalf("place %d holds %d, not %d", i, v, want)
		}
	}
}

// TestOrderShows: a missing barrier gives other bytes backwards, and memory that
// nobody wrote is no number.
func TestOrderShows(t *testing.T) {
	var got [2][64]float32
	for i, open := range []func(testing.TB) (driver.Device, driver.Compiler){Open, OpenBackwards} {
		r := newRig(t, open)
		y := r.memory(64)
		if err := r.launch("forgets", line(1), line(64), 0, uint64(y)); err != nil {
			t.Fatal(err)
		}
		r.read(y, &got[i])
		if err := r.launch("unwritten", line(1), line(64), 0, uint64(y)); err != nil {
			t.Fatal(err)
		}
		var v [64]float32
		if r.read(y, &v); v[5] == v[5] {
			t.Errorf("unwritten shared memory holds %v", v[5])
		}
	}
	if got[0] == got[1] {
		t.Error("a missing barrier does not show")
	}
}

func TestFaultsAreErrors(t *testing.T) {
	r := newRig(t, Open)
	y := r.memory(16)
	const far = 1 << 40
	for _, c := range []struct {
		name, kernel string
		grid, block  driver.Dim
		shared       uint32
		args         []uint64
		want         string
	}{
		{"some threads end", "divergent", line(1), line(8), 0, []uint64{uint64(y)}, "emulate: kernel divergent: thread 3 is done while thread 0 waits at the barrier of line 31"},
		{"two barriers", "crossed", line(1), line(8), 0, []uint64{uint64(y)}, "kernel crossed: thread 0 waits at the barrier of line 35, thread 3 at that of line 37"},
		{"write behind", "beside", line(1), line(1), 0, []uint64{uint64(y), 16}, "kernel beside: bytes beside an allocation of 64 were written"},
		{"write before", "beside", line(1), line(1), 0, []uint64{uint64(y), ^uint64(0)}, "kernel beside: bytes beside an allocation of 64 were written"},
		{"write far behind", "beside", line(1), line(1), 0, []uint64{uint64(y), 64}, "kernel beside: block 0,0,0 thread 0,0,0 touches address "},
		{"null", "beside", line(1), line(1), 0, []uint64{0, 0}, "touches address (nil), which is not its own"},
		{"unaligned vector", "wide", line(1), line(1), 0, []uint64{uint64(y), 0, uint64(y) + 4}, "kernel wide: block 0,0,0 thread 0,0,0 touches memory at an address that its type is not aligned to"},
		{"unaligned vector read", "reads", line(1), line(1), 0, []uint64{uint64(y) + 4, uint64(y)}, "kernel reads: block 0,0,0 thread 0,0,0 touches memory at an address that its type is not aligned to"},
		{"no address", "beside", line(1), line(1), 0, []uint64{far, 0}, "argument 0, 0x10000000000, is no address of the device"},
		{"wide word", "sums", line(1), line(64), 256, []uint64{uint64(y), uint64(y), far}, "argument 2, 0x10000000000, has more than 32 bits"},
		{"few arguments", "beside", line(1), line(1), 0, []uint64{uint64(y)}, "1 arguments for 2 parameters"},
		{"large block", "beside", line(1), line(1025), 0, []uint64{uint64(y), 0}, "a block of 1025x1x1 threads"},
		{"no grid", "beside", line(0), line(1), 0, []uint64{uint64(y), 0}, "a grid of 0x1x1 blocks"},
		{"high grid", "beside", driver.Dim{X: 1, Y: 65536, Z: 1}, line(1), 0, []uint64{uint64(y), 0}, "a grid of 1x65536x1 blocks"},
		{"shared memory", "beside", line(1), line(1), 49153, []uint64{uint64(y), 0}, "49153 bytes of shared memory"},
		{"shared memory too short", "sums", line(1), line(64), 128, []uint64{uint64(y), uint64(y), 5}, "touches address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := r.launch(c.kernel, c.grid, c.block, c.shared, c.args...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, not %s", err, c.want)
			}
		})
	}
	if err := r.launch("beside", line(1), line(1), 0, uint64(y), 15); err != nil {
		t.Errorf("after faults: %v", err)
	}
}

// TestFaultsOfOthers: a fault that is no kernel's goes where it went before.
func TestFaultsOfOthers(t *testing.T) {
	newRig(t, Open)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	var p *rig
	_ = p.t
}

func TestRefusals(t *testing.T) {
	r := newRig(t, Open)
	p := r.memory(4)
	_, function := r.Function(r.module, "none")
	_, module := r.Function(9, "scale")
	_, image := r.Load([]byte("no library"))
	_, size := r.Alloc(0)
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"kernel", function, "emulate: no kernel none"},
		{"module", module, "emulate: 9 is no module"},
		{"image", image, "emulate: "},
		{"size", size, "emulate: 0 bytes asked for"},
		{"free", r.Free(p + 1), "is no allocation"},
		{"upload", r.Upload(p+8, make([]byte, 9), r.stream), "emulate: bytes 8 to 17 of an allocation of 16"},
		{"download", r.Download(make([]byte, 4), p+300, r.stream), "lies in no allocation"},
		{"copy", r.Copy(p, p+4, 8, r.stream), "emulate: copy of 8 bytes between places that overlap"},
		{"stream", r.Sync(0), "emulate: 0 is no stream"},
		{"event", r.Wait(r.stream, 1), "emulate: 1 is no event"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%s: got %v, not %s", c.name, c.err, c.want)
		}
	}
}

func TestSourcesRefused(t *testing.T) {
	_, c := Open(t)
	for _, s := range []struct{ name, text, want string }{
		{"wrong", "extern \"C\" __global__ void f(int n) {\n  m = n;\n}", "wrong.cu:2:3: error: 'm' was not declared"},
		{"none", "typedef int t;", "emulate: no kernel"},
		{"mangled", `__global__ void f(int n) {}`, `1 kernels, of which 0 are written extern "C" __global__ void`},
	} {
		_, err := c.Compile(s.name+".cu", s.text, Arch)
		if err == nil || !strings.Contains(strings.NewReplacer("‘", "'", "’", "'").Replace(err.Error()), s.want) {
			t.Errorf("%s: got %v, not %s", s.name, err, s.want)
		}
	}
}
