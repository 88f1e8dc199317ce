package journal

import (
	"fmt"
	"io"

	"github.com/locorun/locorun/runtime/disk"
)

// appender adds whole records to a file. When a write fails, what it left is
// cut off; when that fails too, nothing is written until the cut succeeds.
type appender struct {
	name string
	file disk.File
	size int64 // of the whole records
	torn bool  // bytes beyond size may be in the file
}

// add writes one record with one call, so that it is the operating system's
// when add returns.
func (a *appender) add(record []byte) error {
	if a.torn {
		if err := a.cut(); err != nil {
			return err
		}
	}
	n, err := a.file.Write(record)
	if err == nil && n < len(record) {
		err = io.ErrShortWrite
	}
	if err != nil {
		a.torn = true
		_ = a.cut() // the write's error is the one to tell; the cut is tried again
		return fmt.Errorf("%s: %w", a.name, err)
	}
	a.size += int64(n)
	return nil
}

func (a *appender) cut() error {
	if err := a.file.Truncate(a.size); err != nil {
		return fmt.Errorf("%s: cutting off a half-written record: %w", a.name, err)
	}
	a.torn = false
	return nil
}

func (a *appender) close() error {
	if err := a.file.Close(); err != nil {
		return fmt.Errorf("%s: %w", a.name, err)
	}
	return nil
}
