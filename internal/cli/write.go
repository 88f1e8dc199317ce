package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/locorun/locorun/runtime/disk"
)

// writeFile writes a result, whole or not at all. A place that is not there, or
// not the caller's, is the caller's mistake; a full disk is not.
func writeFile(name string, write func(io.Writer) error) error {
	err := disk.WritePath(name, write)
	var place *fs.PathError
	if !errors.As(err, &place) {
		return err
	}
	err = fmt.Errorf("cannot write %s: %w", name, place.Err)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return wrong{err}
	}
	return err
}
