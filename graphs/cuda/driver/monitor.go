package driver

import (
	"fmt"
	"unsafe"
)

// Monitor tells how a card is used, by NVML. It asks the system, not the card's
// streams: it may be asked at any time, and waits for nothing.
type Monitor interface {
	// Memory is what all processes together use, and what there is, in bytes.
	Memory() (used, total int64, err error)
	// Utilisation is the share of the last moments, at most a second, in which a
	// kernel ran, and in which memory was read or written; in percent.
	Utilisation() (kernels, memory int, err error)
	Close() error
}

// monitor satisfies Monitor.
type monitor struct {
	lib    *library
	device uintptr
}

// NewMonitor opens NVML for a Device that Open gave.
func NewMonitor(d Device) (Monitor, error) {
	c, err := opened(d)
	if err != nil {
		return nil, err
	}
	id, err := c.busID()
	if err != nil {
		return nil, err
	}
	b, err := open(libnvml)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", names[libnvml].files[0], err)
	}
	if err := b.do(nvmlInit); err != nil {
		return nil, err
	}
	m := &monitor{lib: b}
	if err := b.do(nvmlDeviceGetHandleByPciBusID, uintptr(unsafe.Pointer(chars(id))), uintptr(unsafe.Pointer(&m.device))); err != nil {
		_ = b.do(nvmlShutdown) // the first failure is the one to tell
		return nil, err
	}
	return m, nil
}

// memoryInfo is nvmlMemory_t.
type memoryInfo struct{ total, free, used uint64 }

// utilization is nvmlUtilization_t.
type utilization struct{ kernels, memory uint32 }

// Memory implements Monitor.
func (m *monitor) Memory() (used, total int64, err error) {
	var v memoryInfo
	err = m.lib.do(nvmlDeviceGetMemoryInfo, m.device, uintptr(unsafe.Pointer(&v)))
	return int64(v.used), int64(v.total), err
}

// Utilisation implements Monitor.
func (m *monitor) Utilisation() (kernels, memory int, err error) {
	var v utilization
	err = m.lib.do(nvmlDeviceGetUtilizationRates, m.device, uintptr(unsafe.Pointer(&v)))
	return int(v.kernels), int(v.memory), err
}

// Close implements Monitor.
func (m *monitor) Close() error { return m.lib.do(nvmlShutdown) }

// driverVersion is the version of NVIDIA's driver, such as 580.65.06.
func (b *library) driverVersion() (string, error) {
	if err := b.do(nvmlInit); err != nil {
		return "", err
	}
	version := make([]byte, 96)
	err := b.do(nvmlSystemGetDriverVersion, uintptr(unsafe.Pointer(&version[0])), uintptr(len(version)))
	_ = b.do(nvmlShutdown) // counted by the library; nothing depends on it
	return "driver " + cut(version), err
}
