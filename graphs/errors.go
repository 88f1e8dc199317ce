package graphs

import (
	"fmt"
	"strings"

	"github.com/locorun/locorun/dsl/diag"
)

// Error says where in the program a run or a build failed.
type Error struct {
	Unit  string     // the unit's name; "" outside units
	Layer string     // "s3.0.conv1", or the segment's name
	Range diag.Range // the layer's place in the source; may be zero
	Err   error
	Stack []byte // of a panic; nil otherwise
}

// Error gives `unit "mid": s3.0.conv1 (graph.loco:31:5): what went wrong`.
func (e *Error) Error() string {
	b := &strings.Builder{}
	if e.Unit != "" {
		fmt.Fprintf(b, "unit %q: ", e.Unit)
	}
	b.WriteString(e.Layer)
	if !e.Range.IsZero() {
		fmt.Fprintf(b, " (%s)", e.Range)
	}
	fmt.Fprintf(b, ": %v", e.Err)
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// panicError makes an error of what recover returned.
func panicError(v any) error {
	if err, ok := v.(error); ok {
		return fmt.Errorf("panic: %w", err)
	}
	return fmt.Errorf("panic: %v", v)
}
