package export

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/bits"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of what is written and read. MaxHeader is the reference reader's.
const (
	MaxHeader  = 100_000_000 // bytes of JSON
	MaxTensors = 1 << 16
	MaxRank    = 8
	MaxName    = 1024 // bytes
)

// metadataKey is the one header key that is no tensor.
const metadataKey = "__metadata__"

// DType is the type of a tensor's values, as the format spells it.
type DType string

// F32 is float32, the one type that is written; others are only read past.
const F32 DType = "F32"

// size is the bytes of one value of each type of the format.
func (t DType) size() (uint64, bool) {
	switch t {
	case "BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0":
		return 1, true
	case "U16", "I16", "F16", "BF16":
		return 2, true
	case "U32", "I32", F32:
		return 4, true
	case "U64", "I64", "F64", "C64":
		return 8, true
	}
	return 0, false
}

// Tensor is a named array, row-major. An empty Shape is a single value.
type Tensor struct {
	Name  string
	Shape []int
	DType DType // "" is F32
	Data  []float32
}

// WriteSafetensors writes tensors in the order given, with metadata (which may
// be nil) ahead of them. The header is padded with blanks so that the values
// start at a multiple of 8. Refused: a name that checkName refuses or that
// occurs twice, a type other than F32, a shape that is not Data's length.
func WriteSafetensors(w io.Writer, tensors []Tensor, metadata map[string]string) error {
	header, err := header(tensors, metadata)
	if err != nil {
		return err
	}
	if _, err := w.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(header)))); err != nil {
		return err
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	for i := range tensors {
		if err := writeValues(w, tensors[i].Data); err != nil {
			return fmt.Errorf("tensor %q: %w", tensors[i].Name, err)
		}
	}
	return nil
}

// header is the JSON of a file, padded.
func header(tensors []Tensor, metadata map[string]string) ([]byte, error) {
	if err := checkTensors(tensors); err != nil {
		return nil, err
	}
	if err := checkMetadata(metadata); err != nil {
		return nil, err
	}
	b := []byte{'{'}
	if len(metadata) > 0 {
		b = appendMetadata(b, metadata)
	}
	end := uint64(0)
	for i := range tensors {
		if len(b) > 1 {
			b = append(b, ',')
		}
		begin := end
		end += 4 * uint64(len(tensors[i].Data))
		b = appendEntry(b, &tensors[i], begin, end)
	}
	b = append(b, '}')
	if pad := -len(b) & 7; pad > 0 {
		b = append(b, strings.Repeat(" ", pad)...)
	}
	if len(b) > MaxHeader {
		return nil, fmt.Errorf("the header has %d bytes; at most %d", len(b), MaxHeader)
	}
	return b, nil
}

// checkMetadata refuses text that JSON would change on its way.
func checkMetadata(metadata map[string]string) error {
	for _, k := range slices.Sorted(maps.Keys(metadata)) {
		if !utf8.ValidString(k) || !utf8.ValidString(metadata[k]) {
			return fmt.Errorf("metadata %q is not UTF-8", k)
		}
	}
	return nil
}

func appendMetadata(b []byte, metadata map[string]string) []byte {
	b = append(b, `"`+metadataKey+`":{`...)
	for i, k := range slices.Sorted(maps.Keys(metadata)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, k)
		b = append(b, ':')
		b = appendString(b, metadata[k])
	}
	return append(b, '}')
}

func appendEntry(b []byte, t *Tensor, begin, end uint64) []byte {
	b = appendString(b, t.Name)
	b = append(b, `:{"dtype":"F32","shape":[`...)
	for i, d := range t.Shape {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, "%d", d)
	}
	return fmt.Appendf(b, `],"data_offsets":[%d,%d]}`, begin, end)
}

// appendString appends s as a JSON string, without a copy where nothing in it
// is escaped.
func appendString(b []byte, s string) []byte {
	if !strings.ContainsFunc(s, escaped) {
		return append(append(append(b, '"'), s...), '"')
	}
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic("export: a string that JSON cannot hold: " + err.Error())
	}
	return append(b, bytes.TrimSuffix(buf.Bytes(), []byte{'\n'})...)
}

// escaped reports what may not stand in a JSON string as it is, or what
// encoding/json would not leave so.
func escaped(r rune) bool {
	return r < ' ' || r == '"' || r == '\\' || r >= utf8.RuneSelf
}

// checkTensors refuses what could not be read back.
func checkTensors(tensors []Tensor) error {
	if len(tensors) > MaxTensors {
		return fmt.Errorf("%d tensors; at most %d", len(tensors), MaxTensors)
	}
	seen := make(map[string]bool, len(tensors))
	for i := range tensors {
		t := &tensors[i]
		if err := checkName(t.Name); err != nil {
			return err
		}
		if seen[t.Name] {
			return fmt.Errorf("tensor %q occurs twice", t.Name)
		}
		seen[t.Name] = true
		if t.DType != F32 && t.DType != "" {
			return fmt.Errorf("tensor %q: type %q; only F32 is written", t.Name, t.DType)
		}
		shape, err := unsigned(t.Shape)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		n, err := product(shape)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if n != uint64(len(t.Data)) {
			return fmt.Errorf("tensor %q: shape %v holds %d values, not %d", t.Name, t.Shape, n, len(t.Data))
		}
	}
	return nil
}

func unsigned(shape []int) ([]uint64, error) {
	out := make([]uint64, len(shape))
	for i, d := range shape {
		if d < 0 {
			return nil, fmt.Errorf("shape %v has a side below zero", shape)
		}
		out[i] = uint64(d)
	}
	return out, nil
}

// product is the number of values of a shape.
func product(shape []uint64) (uint64, error) {
	if len(shape) > MaxRank {
		return 0, fmt.Errorf("%d dimensions; at most %d", len(shape), MaxRank)
	}
	n := uint64(1)
	for _, d := range shape {
		hi, lo := bits.Mul64(n, d)
		if hi != 0 || lo > math.MaxInt64 {
			return 0, fmt.Errorf("shape %v holds more values than can be counted", shape)
		}
		n = lo
	}
	return n, nil
}

// checkName refuses tensor names that no program of ours writes and that some
// reader might take for a path out of its folder.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("a tensor without a name")
	case len(name) > MaxName:
		return fmt.Errorf("a tensor's name of %d bytes; at most %d", len(name), MaxName)
	case name == metadataKey:
		return fmt.Errorf("%q names the metadata, not a tensor", metadataKey)
	case !utf8.ValidString(name):
		return fmt.Errorf("tensor name %q is not UTF-8", name)
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("tensor name %q has a control character", name)
	case strings.HasPrefix(name, "/"), slices.Contains(strings.Split(name, "/"), ".."):
		return fmt.Errorf("tensor name %q looks like a path out of its folder", name)
	}
	return nil
}

// writeValues writes float32 values, a buffer at a time.
func writeValues(w io.Writer, data []float32) error {
	buf := make([]byte, 0, min(1<<16, 4*len(data)))
	for len(data) > 0 {
		n := min(len(data), cap(buf)/4)
		buf = buf[:0]
		for _, v := range data[:n] {
			buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(v))
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}
