package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/locorun/locorun/runtime/export"
)

// writeFile writes a result, whole or not at all. A place that cannot be
// written to is the caller's mistake.
func writeFile(name string, write func(io.Writer) error) error {
	err := export.WriteFile(name, write)
	var place *fs.PathError
	if errors.As(err, &place) {
		return wrong{fmt.Errorf("cannot write %s: %w", name, place.Err)}
	}
	return err
}
