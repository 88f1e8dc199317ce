package driver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"
)

// names are a library's files, the one to be preferred first, what it is for, and
// how it is without it.
var names = [numLibs]struct {
	files   []string
	does    string
	without string
}{
	libcuda:     {[]string{"libcuda.so.1"}, "the driver", "no card can be used"},
	libnvrtc:    {[]string{"libnvrtc.so.13", "libnvrtc.so.12"}, "the compiler of kernels", "no card can be used"},
	libcublasLt: {[]string{"libcublasLt.so.13", "libcublasLt.so.12"}, "matrix products", "our own kernels make them"},
	libcudnn:    {[]string{"libcudnn.so.9"}, "convolutions", "our own kernels make them"},
	libnvml:     {[]string{"libnvidia-ml.so.1"}, "memory and load of cards", "metrics lack them"},
}

// Found is what this machine has for CUDA.
type Found struct {
	Libraries []Library
	Cards     []Card
	// Err says why there are no cards: no driver, a driver without a card.
	Err error
}

// Library is one of NVIDIA's libraries, found or not.
type Library struct {
	// Name is its file's name, such as libnvrtc.so.13; Does what it is for.
	Name string
	Does string
	// Path and Version are where it was found and what it calls itself.
	Path    string
	Version string
	// Err says, where it was not found or is of no use, where it was looked for
	// and what was wrong; Without what that means.
	Err     error
	Without string
}

// String is one line.
func (l Library) String() string {
	if l.Err != nil {
		return fmt.Sprintf("%s (%s): %v; without it %s", l.Name, l.Does, l.Err, l.Without)
	}
	return fmt.Sprintf("%s (%s): %s, %s", l.Name, l.Does, l.Version, l.Path)
}

// Card is a GPU as the driver lists it.
type Card struct {
	Index int
	Name  string
	// Arch is the compute capability times ten.
	Arch int
	// Memory is all that it has, in bytes.
	Memory int64
}

// String is one line.
func (c Card) String() string {
	return fmt.Sprintf("cuda:%d: %s, compute capability %d.%d, %.1f GiB", c.Index, c.Name, c.Arch/10, c.Arch%10, float64(c.Memory)/(1<<30))
}

// Find looks for the libraries and the cards. Libraries that it opens stay open.
// No context is made on a card.
func Find() Found {
	var f Found
	for l := range numLibs {
		b, err := open(l)
		f.Libraries = append(f.Libraries, describe(l, b, err))
		if l == libcuda && err == nil {
			f.Cards, f.Err = cards(b)
		} else if l == libcuda {
			f.Err = errors.New("no driver")
		}
	}
	return f
}

// describe is a library as one line tells of it.
func describe(l lib, b *library, err error) Library {
	d := Library{Name: names[l].files[0], Does: names[l].does, Err: err, Without: names[l].without}
	if err != nil {
		return d
	}
	d.Name, d.Path = b.name, b.path
	d.Version, d.Err = b.version()
	return d
}

// open opens a library where it first is found: name by name, place by place.
// One of a CUDA newer than the driver knows is passed over, since its kernels
// would not load.
func open(l lib) (*library, error) {
	var wrong []string
	where := places()
	known := driverKnows(l)
	for _, name := range names[l].files {
		if major := strings.TrimPrefix(filepath.Ext(name), "."); known != "" && len(major) >= len(known) && major > known {
			wrong = append(wrong, fmt.Sprintf("%s is of no use with a driver that knows CUDA %s", name, known))
			continue
		}
		for _, p := range where {
			b, err := p.open(l, name)
			if err != nil {
				wrong = append(wrong, err.Error())
			} else if b != nil {
				return b, nil
			}
		}
	}
	if wrong != nil {
		return nil, errors.New(strings.Join(wrong, "; "))
	}
	var looked []string
	for _, p := range where {
		looked = append(looked, p.name)
	}
	return nil, fmt.Errorf("not found; looked for %s in %s", strings.Join(names[l].files, " and "), strings.Join(looked, ", "))
}

// driverKnows is the major version of CUDA that bounds which of a library's
// files are of use, empty where it has but one or there is no driver.
func driverKnows(l lib) string {
	if len(names[l].files) == 1 {
		return ""
	}
	b, err := open(libcuda)
	if err != nil {
		return ""
	}
	var version int32
	if b.do(cuDriverGetVersion, uintptr(unsafe.Pointer(&version))) != nil || version < 10000 {
		return ""
	}
	return fmt.Sprint(version / 1000)
}

// open opens a library in a place; nil where it is not there.
func (p place) open(l lib, name string) (*library, error) {
	if p.loader {
		handle, err := dlopen(name)
		if err != nil && strings.Contains(err.Error(), "No such file") {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return bind(l, name, name, handle)
	}
	for _, dir := range p.dirs {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err != nil {
			continue
		}
		handle, err := dlopen(path)
		if err != nil {
			return nil, err
		}
		return bind(l, name, path, handle)
	}
	return nil, nil
}

// version is what a library calls itself.
func (b *library) version() (string, error) {
	switch b.lib {
	case libcuda:
		var v int32
		err := b.do(cuDriverGetVersion, uintptr(unsafe.Pointer(&v)))
		return fmt.Sprintf("CUDA %d.%d", v/1000, v%1000/10), err
	case libnvrtc:
		var major, minor int32
		err := b.do(nvrtcVersion, uintptr(unsafe.Pointer(&major)), uintptr(unsafe.Pointer(&minor)))
		return fmt.Sprintf("%d.%d", major, minor), err
	case libcublasLt:
		return dotted(b.call(cublasLtGetVersion)), nil
	case libcudnn:
		runtime := b.call(cudnnGetCudartVersion)
		return fmt.Sprintf("%s for CUDA %d.%d", dotted(b.call(cudnnGetVersion)), runtime/1000, runtime%1000/10), nil
	}
	return b.driverVersion()
}

// dotted is a version of the form 92600 as 9.26.0.
func dotted(v uintptr) string { return fmt.Sprintf("%d.%d.%d", v/10000, v/100%100, v%100) }

// cards lists the GPUs.
func cards(b *library) ([]Card, error) {
	if err := b.do(cuInit, 0); err != nil {
		return nil, err
	}
	var n int32
	if err := b.do(cuDeviceGetCount, uintptr(unsafe.Pointer(&n))); err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, errors.New("the driver lists none")
	}
	list := make([]Card, n)
	for i := range list {
		_, c, err := b.card(i)
		if err != nil {
			return nil, fmt.Errorf("cuda:%d: %w", i, err)
		}
		list[i] = c
	}
	return list, nil
}

const (
	attributeMajor = 75 // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
	attributeMinor = 76 // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR
)

// card asks for a GPU by its index; device is CUDA's own word for it.
func (b *library) card(index int) (device int32, c Card, err error) {
	c.Index = index
	if err := b.do(cuDeviceGet, uintptr(unsafe.Pointer(&device)), uintptr(index)); err != nil {
		return 0, c, err
	}
	name := make([]byte, 256)
	if err := b.do(cuDeviceGetName, uintptr(unsafe.Pointer(&name[0])), uintptr(len(name)), uintptr(device)); err != nil {
		return 0, c, err
	}
	var major, minor int32
	if err := b.do(cuDeviceGetAttribute, uintptr(unsafe.Pointer(&major)), attributeMajor, uintptr(device)); err != nil {
		return 0, c, err
	}
	if err := b.do(cuDeviceGetAttribute, uintptr(unsafe.Pointer(&minor)), attributeMinor, uintptr(device)); err != nil {
		return 0, c, err
	}
	var bytes uint64
	if err := b.do(cuDeviceTotalMem, uintptr(unsafe.Pointer(&bytes)), uintptr(device)); err != nil {
		return 0, c, err
	}
	c.Name, c.Arch, c.Memory = cut(name), int(major*10+minor), int64(bytes)
	return device, c, nil
}
