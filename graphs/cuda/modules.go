package cuda

import (
	"fmt"
	"sync"

	"github.com/locorun/locorun/graphs/cuda/driver"
	"github.com/locorun/locorun/graphs/cuda/kernels"
)

// modules are the kernels on a card, compiled for each type of maps apart and
// loaded when the first of them is asked for. They may be used by several
// goroutines.
type modules struct {
	device   driver.Device
	compiler driver.Compiler
	cache    Cache // nil for none

	mu        sync.Mutex
	loaded    map[driver.Type]driver.Module
	functions map[kernel]driver.Function
}

// kernel is a kernel's name and the type of its maps.
type kernel struct {
	name string
	maps driver.Type
}

func newModules(o Options) *modules {
	return &modules{
		device: o.Device, compiler: o.Compiler, cache: o.Cache,
		loaded: map[driver.Type]driver.Module{}, functions: map[kernel]driver.Function{},
	}
}

// function finds a kernel.
func (m *modules) function(k kernel) (driver.Function, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f, ok := m.functions[k]; ok {
		return f, nil
	}
	module, err := m.module(k.maps)
	if err != nil {
		return 0, err
	}
	f, err := m.device.Function(module, k.name)
	if err == nil {
		m.functions[k] = f
	}
	return f, err
}

// known reports whether a kernel was found before.
func (m *modules) known(k kernel) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.functions[k]
	return ok
}

// load compiles the kernels for a type of maps, or takes them from the cache, and
// loads them.
func (m *modules) load(maps driver.Type) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, err := m.module(maps)
	return err
}

// module is load with the lock held; what is loaded is given at once.
func (m *modules) module(maps driver.Type) (driver.Module, error) {
	if l, ok := m.loaded[maps]; ok {
		return l, nil
	}
	source := kernels.Source()
	if maps == driver.BF16 {
		source = kernels.NarrowSource()
	}
	image, err := m.image(source)
	if err != nil {
		return 0, fmt.Errorf("kernels: %w", err)
	}
	l, err := m.device.Load(image)
	if err != nil {
		return 0, fmt.Errorf("kernels: %w", err)
	}
	m.loaded[maps] = l
	return l, nil
}

// image is what a source is compiled to for the device.
func (m *modules) image(source string) ([]byte, error) {
	key := imageKey(source, m.compiler.Version(), m.device.Arch())
	if m.cache != nil {
		if image, ok := m.cache.Get(key); ok {
			return image, nil
		}
	}
	image, err := m.compiler.Compile("locorun.cu", source, m.device.Arch())
	if err == nil && m.cache != nil {
		m.cache.Put(key, image)
	}
	return image, err
}
