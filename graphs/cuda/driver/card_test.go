package driver

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

// content is bytes that look like nothing else.
func content(seed uint64, n int) []byte {
	r := rand.NewPCG(seed, 7)
	b := make([]byte, 0, n+8)
	for len(b) < n {
		b = binary.LittleEndian.AppendUint64(b, r.Uint64())
	}
	return b[:n]
}

// TestCardAttributes asks a card what it is.
func TestCardAttributes(t *testing.T) {
	f := newFake(t)
	d := f.device()
	free, total, err := d.Memory()
	if d.Name() != "Imaginary A100" || d.Arch() != 80 || free != fakeMemory || total != fakeMemory || err != nil {
		t.Errorf("%s, %d, %d of %d, %v", d.Name(), d.Arch(), free, total, err)
	}
	second := must(Open(1))(t)
	if second.Name() != "Imaginary B200" || second.Arch() != 90 {
		t.Errorf("the second card is %s, %d", second.Name(), second.Arch())
	}
	ok(t, second.Close())
}

// TestOpenRefuses holds Open to its errors.
func TestOpenRefuses(t *testing.T) {
	f := newFake(t)
	for _, c := range []struct {
		name         string
		cards, index int
		fail, want   string
	}{
		{"an index too far", 2, 2, "", "cuda:2: the driver lists cards 0 to 1"},
		{"an index below", 2, -1, "", "cuda:-1: the driver lists cards 0 to 1"},
		{"no card", 0, 0, "", "the driver lists none"},
		{"no device", -1, 0, "", "cuInit: CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected"},
		{"no context", 2, 0, "cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRetain: CUDA_ERROR_OUT_OF_MEMORY: out of memory"},
		{"no name", 2, 0, "cuDeviceGetName", "cuda:0: cuDeviceGetName: CUDA_ERROR_OUT_OF_MEMORY: out of memory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.reset(c.cards, 13000)
			if c.fail != "" {
				f.fail(c.fail, 2, 0)
			}
			d, err := Open(c.index)
			if err == nil || err.Error() != c.want || d != nil {
				t.Errorf("want %q, have %v, %v", c.want, err, d)
			}
			if n := f.live(liveContexts); n != 0 {
				t.Errorf("%d contexts are left", n)
			}
		})
	}
}

// TestCardCopies sends bytes to the card, around on it, and back; what the host
// had is changed as soon as an Upload returns, and the card works late.
func TestCardCopies(t *testing.T) {
	f := newFake(t)
	d := f.device()
	s := must(d.NewStream())(t)
	for _, n := range []int{0, 1, 255, smallChunk, smallChunk + 1, readChunk, 2*readChunk + 1, largeChunk, largeSlots*largeChunk + readChunk + 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			p, q := must(d.Alloc(int64(n)+8))(t), must(d.Alloc(int64(n)+8))(t)
			src := content(uint64(n), n)
			want := bytes.Clone(src)
			ok(t, d.Fill(p, 0x5a, int64(n)+8, s))
			ok(t, d.Upload(p+4, src, s))
			clear(src)
			ok(t, d.Copy(q, p, int64(n)+8, s))
			got := make([]byte, n+8)
			ok(t, d.Download(got, q, s))
			if !bytes.Equal(got[4:n+4], want) || !bytes.Equal(got[:4], []byte("ZZZZ")) || !bytes.Equal(got[n+4:], []byte("ZZZZ")) {
				t.Error("other bytes came back")
			}
			ok(t, d.Free(p))
			ok(t, d.Free(q))
		})
	}
	if most, bound := f.live(mostPinned), smallSlots*smallChunk+largeSlots*largeChunk+readers*2*readChunk; most > bound {
		t.Errorf("%d bytes of pinned memory, more than %d", most, bound)
	}
}

// TestCardManyUploads lets more uploads wait than there are slots.
func TestCardManyUploads(t *testing.T) {
	d := newFake(t).device()
	s := must(d.NewStream())(t)
	const n, size = 3 * smallSlots, 100
	p := must(d.Alloc(n * size))(t)
	var want []byte
	for i := range n {
		part := content(uint64(i), size)
		want = append(want, part...)
		ok(t, d.Upload(p+Pointer(i*size), part, s))
		clear(part)
	}
	got := make([]byte, n*size)
	ok(t, d.Download(got, p, s))
	if !bytes.Equal(got, want) {
		t.Error("other bytes came back")
	}
}

// TestCardGoroutines uses a card from many goroutines, each with its stream.
func TestCardGoroutines(t *testing.T) {
	d := newFake(t).device()
	rounds := 6
	if long() {
		rounds = 300
	}
	var all sync.WaitGroup
	for g := range 8 {
		s := must(d.NewStream())(t)
		all.Go(func() {
			for i := range rounds {
				n := []int{40, smallChunk + 77, readChunk + 5}[(g+i)%3]
				if err := around(d, s, content(uint64(g*rounds+i), n)); err != nil {
					t.Errorf("goroutine %d, round %d: %v", g, i, err)
				}
			}
		})
	}
	all.Wait()
}

// around sends bytes to the card and back.
func around(d Device, s Stream, want []byte) error {
	p, err := d.Alloc(int64(len(want)))
	if err != nil {
		return err
	}
	if err := d.Upload(p, want, s); err != nil {
		return err
	}
	got := make([]byte, len(want))
	if err := d.Download(got, p, s); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return errors.New("other bytes came back")
	}
	return d.Free(p)
}

// TestCardStreams lets one stream wait for another's event.
func TestCardStreams(t *testing.T) {
	d := newFake(t).device()
	s, u := must(d.NewStream())(t), must(d.NewStream())(t)
	e := must(d.NewEvent())(t)
	p := must(d.Alloc(16))(t)
	ok(t, d.Upload(p, []byte("first"), s))
	ok(t, d.Record(e, s))
	ok(t, d.Wait(u, e))
	ok(t, d.Copy(p+8, p, 5, u))
	got := make([]byte, 5)
	ok(t, d.Download(got, p+8, u))
	if string(got) != "first" {
		t.Errorf("the second stream copied %q", got)
	}
}

// TestCardClock measures.
func TestCardClock(t *testing.T) {
	d := newFake(t).device()
	s := must(d.NewStream())(t)
	a, b := must(d.NewTimer())(t), must(d.NewTimer())(t)
	ok(t, d.Record(a, s))
	ok(t, d.Record(b, s))
	if took, err := d.Elapsed(a, b); took != 500*time.Microsecond || err != nil {
		t.Errorf("%v, %v", took, err)
	}
	plain := must(d.NewEvent())(t)
	if _, err := d.Elapsed(a, plain); err == nil || !strings.Contains(err.Error(), "CUDA_ERROR_INVALID_HANDLE") {
		t.Errorf("an event without a time: %v", err)
	}
}

// TestCardLaunch looks at what a launch hands over.
func TestCardLaunch(t *testing.T) {
	f := newFake(t)
	d := f.device()
	s := must(d.NewStream())(t)
	m := must(d.Load([]byte("fake none0 two2 many40")))(t)
	launch := func(name string, grid, block Dim, shared uint32, args ...uint64) error {
		k, err := d.Function(m, name)
		if err != nil {
			return err
		}
		return d.Launch(k, grid, block, shared, s, args)
	}
	one := Dim{1, 1, 1}
	many := make([]uint64, 40)
	want := "none0<1,1,1|1,1,1|0>\ntwo2<3,2,1|256,1,1|48>  7fffffffffff 3f800000\nmany40<1,1,1|32,1,1|65536>"
	for i := range many {
		many[i] = 0xabcdef0123450000 + uint64(i)
		want += fmt.Sprintf(" %x", many[i])
	}
	ok(t, launch("none0", one, one, 0))
	ok(t, launch("two2", Dim{3, 2, 1}, Dim{256, 1, 1}, 48, 0x7fffffffffff, 0x3f800000))
	ok(t, launch("many40", one, Dim{32, 1, 1}, 64<<10, many...))
	if got := f.launches(); strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(want), " ") {
		t.Errorf("launched\n%swant\n%s", got, want)
	}
	for _, c := range []struct {
		name, kernel string
		grid, block  Dim
		args         []uint64
		want         string
	}{
		{"no kernel", "absent", one, one, nil, "cuModuleGetFunction: CUDA_ERROR_NOT_FOUND: named symbol not found"},
		{"empty grid", "none0", Dim{0, 1, 1}, one, nil, "an empty launch: a grid of {0 1 1}, blocks of {1 1 1}"},
		{"large block", "none0", one, Dim{32, 33, 1}, nil, "a block of {32 33 1}; 1024 threads are the most"},
		{"parameters", "none0", one, one, make([]uint64, 513), "513 parameters; a kernel has 512 at most"},
	} {
		if err := launch(c.kernel, c.grid, c.block, 0, c.args...); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestCardRefuses holds errors to the call and CUDA's words.
func TestCardRefuses(t *testing.T) {
	f := newFake(t)
	d := f.device()
	s := must(d.NewStream())(t)
	p := must(d.Alloc(64))(t)
	for _, c := range []struct {
		name, want string
		memory     bool
		do         func() error
	}{
		{"too much", fmt.Sprintf("cuMemAlloc_v2: CUDA_ERROR_OUT_OF_MEMORY: out of memory (%d bytes of %d are free)", fakeMemory-64, fakeMemory), true,
			func() error { _, err := d.Alloc(1 << 40); return err }},
		{"nothing", "memory of 0 bytes", false, func() error { _, err := d.Alloc(0); return err }},
		{"freed twice", "cuMemFree_v2: 0x10 was not made here, or is freed", false, func() error { return d.Free(0x10) }},
		{"beyond", "cuMemsetD8Async: CUDA_ERROR_INVALID_VALUE: invalid argument", false, func() error { return d.Fill(p, 0, 65, s) }},
		{"no image", "cuModuleLoadData: CUDA_ERROR_INVALID_VALUE: invalid argument", false, func() error { _, err := d.Load([]byte("text")); return err }},
		{"late failure", "cuStreamSynchronize: CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure", false,
			func() error { f.fail("cuStreamSynchronize", 719, 0); return d.Sync(s) }},
		{"a status without words", "cuStreamSynchronize: error 12345", false,
			func() error { f.fail("cuStreamSynchronize", 12345, 0); return d.Sync(s) }},
		{"context", "cuCtxSetCurrent: CUDA_ERROR_INVALID_CONTEXT: invalid device context", false,
			func() error { f.fail("cuCtxSetCurrent", 201, 0); return d.Sync(s) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.do()
			if err == nil || err.Error() != c.want || errors.Is(err, ErrOutOfMemory) != c.memory {
				t.Errorf("want %q, have %v", c.want, err)
			}
		})
	}
}

// TestCardFailures lets each call of a transfer fail in turn, once for each time
// that it is made; the next transfer is as if nothing had been.
func TestCardFailures(t *testing.T) {
	f := newFake(t)
	d := f.device()
	s := must(d.NewStream())(t)
	for _, function := range []string{"cuMemAllocHost_v2", "cuEventCreate", "cuEventRecord", "cuEventSynchronize", "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuMemAlloc_v2", "cuMemFree_v2"} {
		for after := range 20 {
			f.fail(function, 719, after)
			err := around(d, s, content(uint64(after), 2*readChunk+9))
			if f.armed() {
				f.fail("", 0, 0)
				break
			}
			if err == nil || !strings.HasPrefix(err.Error(), function+": CUDA_ERROR_LAUNCH_FAILED") {
				t.Errorf("%s fails after %d: %v", function, after, err)
			}
			if err := around(d, s, content(uint64(after+50), smallChunk+9)); err != nil {
				t.Errorf("after %s failed: %v", function, err)
			}
			freeAll(t, d)
		}
	}
}

// freeAll frees the memory that a failure left.
func freeAll(t *testing.T, d *card) {
	for r := range d.live {
		if r.free == cuMemFree {
			ok(t, d.Free(Pointer(r.at)))
		}
	}
}

// TestCardClose frees what is left, once, and refuses what comes after.
func TestCardClose(t *testing.T) {
	f := newFake(t)
	d, err := Open(0)
	ok(t, err)
	s := must(d.NewStream())(t)
	p := must(d.Alloc(100))(t)
	ok(t, d.Upload(p, make([]byte, 100), s))
	must(d.Load([]byte("fake x0")))(t)
	must(d.NewEvent())(t)
	ok(t, d.Close())
	ok(t, d.Close())
	for what := liveContexts; what <= liveGraphs; what++ {
		if n := f.live(what); n != 0 {
			t.Errorf("%d of %d are left", n, what)
		}
	}
	if _, err := d.Alloc(1); err == nil || err.Error() != "cuMemAlloc_v2: the card is closed" {
		t.Errorf("after Close: %v", err)
	}
}

// TestCardCloseTells gives all that goes wrong, and frees the rest.
func TestCardCloseTells(t *testing.T) {
	f := newFake(t)
	d, err := Open(0)
	ok(t, err)
	must(d.NewStream())(t)
	must(d.Alloc(100))(t)
	f.fail("cuStreamSynchronize", 719, 0)
	err = d.Close()
	if err == nil || err.Error() != "cuStreamSynchronize: CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure" {
		t.Errorf("Close: %v", err)
	}
	if f.live(liveContexts) != 0 || f.live(liveBytes) != 0 || f.live(liveStreams) != 0 {
		t.Error("something is left")
	}
}

// TestMonitor asks the imaginary cards.
func TestMonitor(t *testing.T) {
	f := newFake(t)
	d := f.device()
	if _, err := NewMonitor(d); err == nil || err.Error() != "nvmlDeviceGetHandleByPciBusId_v2: Not Found" {
		t.Errorf("a card that it does not know: %v", err)
	}
	other, err := Open(1)
	ok(t, err)
	m, err := NewMonitor(other)
	ok(t, err)
	used, total, err := m.Memory()
	kernels, memory, err2 := m.Utilisation()
	if used != 600 || total != 1000 || kernels != 93 || memory != 41 || err != nil || err2 != nil {
		t.Errorf("%d of %d, %d%%, %d%%, %v, %v", used, total, kernels, memory, err, err2)
	}
	ok(t, m.Close())
	ok(t, other.Close())
	if n := call(dlsym(f.open("libnvidia-ml.so.1"), "fake_ml_live")); n != 0 {
		t.Errorf("opened %d times more than closed", n)
	}
}
