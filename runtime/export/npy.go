package export

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
)

// WriteNpy writes an array in numpy's format, version 1.0, row-major: float32
// values (features, pictures) or int64 ones (labels). numpy.load reads it.
func WriteNpy[T float32 | int64](w io.Writer, shape []int, data []T) error {
	sides, err := unsigned(shape)
	if err != nil {
		return fmt.Errorf("npy: %w", err)
	}
	n, err := product(sides)
	if err != nil {
		return fmt.Errorf("npy: %w", err)
	}
	if n != uint64(len(data)) {
		return fmt.Errorf("npy: shape %v holds %d values, not %d", shape, n, len(data))
	}
	descr := "<f4"
	if _, whole := any(data).([]int64); whole {
		descr = "<i8"
	}
	if _, err := w.Write(npyHeader(descr, shape)); err != nil {
		return err
	}
	if f, ok := any(data).([]float32); ok {
		return writeValues(w, f)
	}
	return binary.Write(w, binary.LittleEndian, data)
}

// npyHeader is all that stands before the values; its length is a multiple of
// 64, as the format asks.
func npyHeader(descr string, shape []int) []byte {
	var sides strings.Builder
	for _, d := range shape {
		fmt.Fprintf(&sides, "%d, ", d)
	}
	text := strings.TrimSuffix(sides.String(), " ") // one side needs its comma
	if len(shape) != 1 {
		text = strings.TrimSuffix(text, ",")
	}
	dict := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, text)
	const fixed = 10
	dict += strings.Repeat(" ", -(fixed+len(dict)+1)&63) + "\n"
	b := append([]byte("\x93NUMPY\x01\x00"), 0, 0)
	binary.LittleEndian.PutUint16(b[8:], uint16(len(dict)))
	return append(b, dict...)
}
