package driver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"unsafe"
)

// fakes are the libraries that are built from testdata, by the names under which
// they are looked for.
var fakes = map[string]string{
	"libcuda.so.1": "libcuda.c", "libcublasLt.so.13": "libcublasLt.c",
	"libcudnn.so.9": "libcudnn.c", "libnvidia-ml.so.1": "libnvidia-ml.c",
}

// The fakes lie in a folder; they are built when the first test asks.
var (
	fakeFolder string
	built      func() error
)

var errNoCompiler = errors.New("no gcc to build a driver without a card with")

// build makes the fakes.
func build(folder string) error {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		return errNoCompiler
	}
	for name, source := range fakes {
		made := exec.Command(gcc, "-shared", "-fPIC", "-O1", "-pthread", "-o", filepath.Join(folder, name), filepath.Join("testdata", source))
		if out, err := made.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", source, err, out)
		}
	}
	return nil
}

// TestMain takes the fakes away again.
func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "locorun-driver-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	built = sync.OnceValue(func() error { return build(folder) })
	fakeFolder = folder
	code := m.Run()
	os.RemoveAll(folder)
	os.Exit(code)
}

// fake speaks with the imaginary driver.
type fake struct {
	t      *testing.T
	handle uintptr
}

// What fake.live counts.
const (
	liveContexts = iota
	liveBytes
	livePinned
	liveStreams
	liveEvents
	liveModules
	liveGraphs
	mostPinned
)

const fakeMemory = 256 << 20 // bytes of an imaginary card

// newFake builds the libraries and lets them be found before any others: two
// cards, CUDA 13.0.
func newFake(t *testing.T) *fake {
	t.Helper()
	if err := built(); errors.Is(err, errNoCompiler) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Setenv("LOCORUN_CUDA_PATH", fakeFolder)
	f := &fake{t: t}
	f.handle = f.open("libcuda.so.1")
	f.reset(2, 13000)
	return f
}

// open opens one of the built libraries.
func (f *fake) open(name string) uintptr {
	f.t.Helper()
	handle, err := dlopen(filepath.Join(fakeFolder, name))
	if err != nil {
		f.t.Fatal(err)
	}
	return handle
}

// ask calls one of the driver's functions that are for tests.
//
//go:uintptrescapes
func (f *fake) ask(name string, args ...uintptr) uintptr { return call(dlsym(f.handle, name), args...) }

// reset begins anew with so many cards and a version; below 0 cards, cuInit
// fails.
func (f *fake) reset(cards, version int) {
	f.ask("fake_reset", uintptr(cards), uintptr(version), fakeMemory)
}

// fail lets a function fail, after it went well so many times.
func (f *fake) fail(function string, code, after int) {
	f.ask("fake_fail", uintptr(unsafe.Pointer(chars(function))), uintptr(code), uintptr(after))
}

// armed reports whether a failure has not happened yet.
func (f *fake) armed() bool { return int32(f.ask("fake_armed")) != 0 }

// live is a count of what there is.
func (f *fake) live(what int) int { return int(f.ask("fake_live", uintptr(what))) }

// launches is what was launched.
func (f *fake) launches() string { return text(f.ask("fake_log")) }

// device opens the imaginary card, and looks at the test's end for what is left.
func (f *fake) device() *card {
	f.t.Helper()
	d, err := Open(0)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		if err := d.Close(); err != nil {
			f.t.Errorf("Close: %v", err)
		}
		for what, name := range []string{"contexts", "bytes", "pinned bytes", "streams", "events", "modules", "graphs"} {
			if n := f.live(what); n != 0 {
				f.t.Errorf("%d %s are left", n, name)
			}
		}
	})
	return d.(*card)
}

// must is a result that has no error, for a test that ends otherwise.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		ok(t, err)
		return v
	}
}

// ok ends a test at an error.
func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// long reports whether the long versions of tests are wanted.
func long() bool { return os.Getenv("LOCORUN_LONG") != "" }
