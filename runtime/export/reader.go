package export

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Info is what the header says of one tensor.
type Info struct {
	Name  string
	Shape []int
	DType DType
	begin int64 // within the values
	end   int64
}

// Bytes is the size of the tensor's values.
func (i *Info) Bytes() int64 { return i.end - i.begin }

// File is an opened safetensors file whose header passed every check. Its
// values have not been read.
type File struct {
	Tensors  []Info // in the order of their values
	Metadata map[string]string

	r      io.ReaderAt
	values int64 // where the values begin
	byName map[string]int
}

// OpenSafetensors reads and checks the header of a file of size bytes. It
// allocates in proportion to the header, which lies within the file. The error
// says what is wrong; the caller names the file.
func OpenSafetensors(r io.ReaderAt, size int64) (*File, error) {
	raw, err := readHeader(r, size)
	if err != nil {
		return nil, err
	}
	f := &File{r: r, values: 8 + int64(len(raw)), byName: map[string]int{}}
	if err := f.parse(raw); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	slices.SortStableFunc(f.Tensors, func(a, b Info) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	for i := range f.Tensors {
		f.byName[f.Tensors[i].Name] = i
	}
	return f, f.checkCover(size - f.values)
}

// readHeader reads the JSON, not trusting its length.
func readHeader(r io.ReaderAt, size int64) ([]byte, error) {
	if size < 8 {
		return nil, fmt.Errorf("%d bytes; even an empty safetensors file has more", size)
	}
	var length [8]byte
	if _, err := r.ReadAt(length[:], 0); err != nil && err != io.EOF {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > MaxHeader {
		return nil, fmt.Errorf("the header claims %d bytes; at most %d", n, MaxHeader)
	}
	if int64(n) > size-8 {
		return nil, fmt.Errorf("the header claims %d bytes; the file has %d after its length", n, size-8)
	}
	raw := make([]byte, n)
	if got, err := r.ReadAt(raw, 8); got < len(raw) {
		return nil, fmt.Errorf("header at offset 8: %w", noEOF(err))
	}
	if n == 0 || raw[0] != '{' {
		return nil, errors.New("the header does not begin with {")
	}
	if !utf8.Valid(raw) {
		return nil, errors.New("the header is not UTF-8")
	}
	return raw, nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// checkCover checks that the tensors, in order, tile the values exactly.
func (f *File) checkCover(have int64) error {
	at := int64(0)
	for i := range f.Tensors {
		t := &f.Tensors[i]
		switch {
		case t.begin < at:
			return fmt.Errorf("tensor %q begins at %d, inside the one before it, which ends at %d", t.Name, t.begin, at)
		case t.begin > at:
			return fmt.Errorf("a hole before tensor %q: bytes %d to %d belong to none", t.Name, at, t.begin)
		}
		at = t.end
	}
	if at != have {
		return fmt.Errorf("the tensors end at %d, the values have %d bytes", at, have)
	}
	return nil
}

// Find is the tensor of a name, or nil.
func (f *File) Find(name string) *Info {
	if i, ok := f.byName[name]; ok {
		return &f.Tensors[i]
	}
	return nil
}

// Read reads the values of an F32 tensor.
func (f *File) Read(name string) ([]float32, error) {
	t := f.Find(name)
	if t == nil {
		return nil, fmt.Errorf("no tensor %q", name)
	}
	if t.DType != F32 {
		return nil, fmt.Errorf("tensor %q: type %s, not F32", name, t.DType)
	}
	raw := make([]byte, t.Bytes())
	if got, err := f.r.ReadAt(raw, f.values+t.begin); got < len(raw) {
		return nil, fmt.Errorf("tensor %q at offset %d: %w", name, f.values+t.begin, noEOF(err))
	}
	data := make([]float32, len(raw)/4)
	for i := range data {
		data[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return data, nil
}

// ReadSafetensors opens a file and reads every tensor of it.
func ReadSafetensors(r io.ReaderAt, size int64) ([]Tensor, map[string]string, error) {
	f, err := OpenSafetensors(r, size)
	if err != nil {
		return nil, nil, err
	}
	tensors := make([]Tensor, len(f.Tensors))
	for i := range f.Tensors {
		t := &f.Tensors[i]
		data, err := f.Read(t.Name)
		if err != nil {
			return nil, nil, err
		}
		tensors[i] = Tensor{Name: t.Name, Shape: t.Shape, DType: t.DType, Data: data}
	}
	return tensors, f.Metadata, nil
}

// headerParser walks the header's JSON token by token: encoding/json's own
// decoding into structs would take a key twice, in any case, and numbers like
// 1.0 for whole ones.
type headerParser struct{ dec *json.Decoder }

func (f *File) parse(raw []byte) error {
	p := headerParser{json.NewDecoder(bytes.NewReader(raw))}
	p.dec.UseNumber()
	seen := map[string]bool{}
	err := p.object(func(key string) error {
		if seen[key] {
			return fmt.Errorf("%q occurs twice", key)
		}
		seen[key] = true
		if key == metadataKey {
			return p.metadata(f)
		}
		return p.tensor(f, key)
	})
	if err != nil {
		return err
	}
	rest := bytes.TrimLeft(raw[p.dec.InputOffset():], " ")
	if len(rest) > 0 {
		return fmt.Errorf("%d bytes after the closing brace that are not blanks", len(rest))
	}
	return nil
}

// object reads {"key": ..., ...}, leaving each value to the function.
func (p headerParser) object(value func(key string) error) error {
	if err := p.delim('{'); err != nil {
		return err
	}
	for p.dec.More() {
		t, err := p.token()
		if err != nil {
			return err
		}
		key, ok := t.(string)
		if !ok {
			return fmt.Errorf("%v where a key was expected", t)
		}
		if err := value(key); err != nil {
			return err
		}
	}
	return p.delim('}')
}

func (p headerParser) token() (json.Token, error) {
	t, err := p.dec.Token()
	if err != nil {
		return nil, noEOF(err)
	}
	return t, nil
}

func (p headerParser) delim(want json.Delim) error {
	t, err := p.token()
	if err != nil {
		return err
	}
	if t != want {
		return fmt.Errorf("%v where %v was expected", t, want)
	}
	return nil
}

func (p headerParser) text() (string, error) {
	t, err := p.token()
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", fmt.Errorf("%v where a string was expected", t)
	}
	return s, nil
}

// numbers reads a list of at most limit whole numbers that fit an int64.
func (p headerParser) numbers(limit int) ([]uint64, error) {
	if err := p.delim('['); err != nil {
		return nil, err
	}
	var list []uint64
	for p.dec.More() {
		if len(list) == limit {
			return nil, fmt.Errorf("a list of more than %d numbers", limit)
		}
		t, err := p.token()
		if err != nil {
			return nil, err
		}
		n, ok := t.(json.Number)
		if !ok {
			return nil, fmt.Errorf("%v where a number was expected", t)
		}
		v, err := strconv.ParseUint(n.String(), 10, 63)
		if err != nil {
			return nil, fmt.Errorf("%s is not a whole number from 0 to 2^63-1", n)
		}
		list = append(list, v)
	}
	return list, p.delim(']')
}

func (p headerParser) metadata(f *File) error {
	f.Metadata = map[string]string{}
	return p.object(func(key string) error {
		if _, ok := f.Metadata[key]; ok {
			return fmt.Errorf("metadata: %q occurs twice", key)
		}
		v, err := p.text()
		if err != nil {
			return fmt.Errorf("metadata %q: %w", key, err)
		}
		f.Metadata[key] = v
		return nil
	})
}

// entry is the three fields of a tensor as read.
type entry struct {
	dtype          DType
	shape, offsets []uint64
	seen           [3]bool
}

func (p headerParser) tensor(f *File, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if len(f.Tensors) == MaxTensors {
		return fmt.Errorf("more than %d tensors", MaxTensors)
	}
	var e entry
	if err := p.object(func(key string) error { return p.field(&e, key) }); err != nil {
		return fmt.Errorf("tensor %q: %w", name, err)
	}
	info, err := e.info()
	if err != nil {
		return fmt.Errorf("tensor %q: %w", name, err)
	}
	info.Name = name
	f.Tensors = append(f.Tensors, info)
	return nil
}

func (p headerParser) field(e *entry, key string) (err error) {
	i := slices.Index([]string{"dtype", "shape", "data_offsets"}, key)
	if i < 0 {
		return fmt.Errorf("unknown field %q", key)
	}
	if e.seen[i] {
		return fmt.Errorf("field %q occurs twice", key)
	}
	e.seen[i] = true
	switch i {
	case 0:
		var s string
		s, err = p.text()
		e.dtype = DType(s)
	case 1:
		e.shape, err = p.numbers(MaxRank)
	case 2:
		e.offsets, err = p.numbers(2)
	}
	return err
}

// info checks that the fields agree with each other.
func (e *entry) info() (Info, error) {
	if e.seen != [3]bool{true, true, true} {
		return Info{}, errors.New("needs dtype, shape and data_offsets")
	}
	size, ok := e.dtype.size()
	if !ok {
		return Info{}, fmt.Errorf("unknown type %q", e.dtype)
	}
	if len(e.offsets) != 2 || e.offsets[0] > e.offsets[1] {
		return Info{}, fmt.Errorf("data_offsets %d are not a begin and an end", e.offsets)
	}
	n, err := product(e.shape)
	if err != nil {
		return Info{}, err
	}
	have := e.offsets[1] - e.offsets[0]
	if have%size != 0 || have/size != n {
		return Info{}, fmt.Errorf("shape %d of %s does not fill the %d bytes of data_offsets", e.shape, e.dtype, have)
	}
	info := Info{DType: e.dtype, Shape: make([]int, len(e.shape)), begin: int64(e.offsets[0]), end: int64(e.offsets[1])}
	for i, d := range e.shape {
		if d > math.MaxInt {
			return Info{}, fmt.Errorf("side %d of the shape does not fit", d)
		}
		info.Shape[i] = int(d)
	}
	return info, nil
}
