package cuda

import (
	"fmt"

	"github.com/locorun/locorun/graphs/cuda/driver"
)

// Memory is what is free on the card and what there is, in bytes. What other
// processes hold is not free, nor is what this one holds: its context, the loaded
// kernels, buffers.
func (b *Backend) Memory() (free, total int64, err error) {
	if free, total, err = b.dev.Memory(); err != nil {
		return 0, 0, fmt.Errorf("cuda: %w", err)
	}
	return free, total, nil
}

// Monitor tells how the card is used. It is the caller's to close, and outlives
// the backend.
func (b *Backend) Monitor() (driver.Monitor, error) {
	m, err := driver.NewMonitor(b.dev)
	if err != nil {
		return nil, fmt.Errorf("cuda: %w", err)
	}
	return m, nil
}
