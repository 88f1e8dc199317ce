package checkpoint

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/locorun/locorun/runtime/export"
)

// header is what stands before the values of a file: a length, then JSON in the
// one spelling that Write writes.
//
//	{"__metadata__":{KEY:TEXT,...},NAME:{"dtype":"F32","shape":[N,...],"data_offsets":[N,N]},...}   blanks
//
// The parser takes a header apart that has this shape, without the garbage of a
// general one; that it is spelled so to the byte, and legal, is seen by writing
// it again.
type header struct {
	text []byte // with the length before it
	at   int    // where the parser stands

	values int64             // bytes of values that the file has
	ended  int64             // where the last tensor's end
	meta   map[string]string // as read
	digest int               // where the digits of the digest are
}

// lengthBytes is what stands before the JSON: its length.
const lengthBytes = 8

// readHeader reads the length and the JSON, once: what is checked is what is
// used, though the file may change meanwhile.
func readHeader(r io.ReaderAt, size int64) (*header, error) {
	if size < lengthBytes {
		return nil, fmt.Errorf("%d bytes; even an empty checkpoint has more", size)
	}
	var b [lengthBytes]byte
	if got, err := r.ReadAt(b[:], 0); got < len(b) {
		return nil, fmt.Errorf("length of the header: %w", noEOF(err))
	}
	n := binary.LittleEndian.Uint64(b[:])
	if n > MaxHeader {
		return nil, fmt.Errorf("the header claims %d bytes; at most %d", n, MaxHeader)
	}
	if int64(n) > size-lengthBytes {
		return nil, fmt.Errorf("the header claims %d bytes; the file has %d after its length", n, size-lengthBytes)
	}
	text := make([]byte, lengthBytes+n)
	if got, err := r.ReadAt(text, 0); got < len(text) {
		return nil, fmt.Errorf("header: %w", noEOF(err))
	}
	return &header{text: text, at: lengthBytes, values: size - int64(len(text))}, nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// parse reads the metadata, and the tensors with room for values that the file
// has.
func (h *header) parse() (*Content, error) {
	if err := h.metadata(); err != nil {
		return nil, err
	}
	c, err := identify(h.meta)
	if err != nil {
		return nil, err
	}
	for h.take(",") {
		t, err := h.tensor()
		if err != nil {
			return nil, err
		}
		c.Tensors = append(c.Tensors, t)
	}
	if err := h.need("}"); err != nil {
		return nil, err
	}
	if h.ended != h.values {
		return nil, fmt.Errorf("the tensors end at %d, the values have %d bytes", h.ended, h.values)
	}
	return c, nil
}

// identify takes this package's own keys out of the metadata.
func identify(meta map[string]string) (*Content, error) {
	if f := meta[keyFormat]; f != Format {
		return nil, fmt.Errorf("format %q; this program reads %q", f, Format)
	}
	step, err := strconv.Atoi(meta[keyStep])
	if err != nil || step < 0 {
		return nil, fmt.Errorf("step %q is no number of batches", meta[keyStep])
	}
	if raw, err := hex.DecodeString(meta[keyDigest]); err != nil || len(raw) != len(digestZeros)/2 {
		return nil, fmt.Errorf("sha256 %q is no SHA-256", meta[keyDigest])
	}
	for _, k := range ownKeys() {
		delete(meta, k)
	}
	return &Content{Step: step, About: meta}, nil
}

// metadata reads the words about the run and notes where the digest is.
func (h *header) metadata() error {
	if err := h.need(`{"__metadata__":{`); err != nil {
		return err
	}
	h.meta = map[string]string{}
	for !h.take("}") {
		if len(h.meta) == MaxAbout+len(ownKeys()) {
			return fmt.Errorf("about: more than %d entries", MaxAbout)
		}
		if err := h.word(); err != nil {
			return err
		}
	}
	return nil
}

// word reads a key and its text.
func (h *header) word() error {
	if len(h.meta) > 0 {
		if err := h.need(","); err != nil {
			return err
		}
	}
	key, err := h.quoted()
	if err != nil {
		return err
	}
	if _, ok := h.meta[key]; ok {
		return fmt.Errorf("metadata: %q occurs twice", key)
	}
	if err := h.need(":"); err != nil {
		return err
	}
	if key == keyDigest {
		h.digest = h.at + len(`"`)
	}
	h.meta[key], err = h.quoted()
	return err
}

// tensor reads a name, a shape and a place, and makes room.
func (h *header) tensor() (t export.Tensor, err error) {
	if t.Name, err = h.quoted(); err != nil {
		return t, err
	}
	t.DType = export.F32
	if err := h.need(`:{"dtype":"F32","shape":[`); err != nil {
		return t, err
	}
	if t.Shape, err = h.shape(); err != nil {
		return t, err
	}
	n, err := h.place()
	if err != nil {
		return t, fmt.Errorf("tensor %.100q: %w", t.Name, err)
	}
	t.Data = make([]float32, n/4)
	return t, nil
}

// shape reads the sides, and the bracket that ends them.
func (h *header) shape() ([]int, error) {
	shape := make([]int, 0, 4) // the usual rank
	for !h.take("]") {
		if len(shape) == export.MaxRank {
			return nil, fmt.Errorf("a shape of more than %d sides", export.MaxRank)
		}
		if len(shape) > 0 {
			if err := h.need(","); err != nil {
				return nil, err
			}
		}
		n, err := h.number()
		if err != nil {
			return nil, err
		}
		shape = append(shape, int(n))
	}
	return shape, nil
}

// place reads where a tensor's values lie, which is after those before them,
// and gives their bytes.
func (h *header) place() (int64, error) {
	if err := h.need(`,"data_offsets":[`); err != nil {
		return 0, err
	}
	begin, err := h.number()
	if err != nil {
		return 0, err
	}
	if err := h.need(","); err != nil {
		return 0, err
	}
	end, err := h.number()
	if err != nil {
		return 0, err
	}
	n := end - begin
	switch {
	case begin != h.ended:
		return 0, fmt.Errorf("it begins at %d; what is before it ends at %d", begin, h.ended)
	case n < 0 || n%4 != 0:
		return 0, fmt.Errorf("values from %d to %d are not whole", begin, end)
	case end > h.values:
		return 0, fmt.Errorf("it ends at %d; the values have %d bytes", end, h.values)
	}
	h.ended = end
	return n, h.need("]}")
}

// verify compares the header with what Write makes of c. It leaves zeros in the
// place of the digest and gives that.
func (h *header) verify(c *Content) (digest string, err error) {
	field := h.text[h.digest:][:len(digestZeros)]
	digest = string(field)
	copy(field, digestZeros)
	want, err := c.head(digestZeros)
	if err != nil {
		return "", err
	}
	if !bytes.Equal(h.text, want) {
		return "", errors.New("its header is not spelled as locorun spells it")
	}
	return digest, nil
}

// take passes a text that stands next.
func (h *header) take(text string) bool {
	if !bytes.HasPrefix(h.text[h.at:], []byte(text)) {
		return false
	}
	h.at += len(text)
	return true
}

// need passes a text that must stand next.
func (h *header) need(text string) error {
	if !h.take(text) {
		return h.wrong(text)
	}
	return nil
}

// wrong is the refusal of what stands next.
func (h *header) wrong(want string) error {
	return fmt.Errorf("header, byte %d: %.20q where %q was expected", h.at-lengthBytes, h.text[h.at:], want)
}

// quoted reads a JSON string.
func (h *header) quoted() (string, error) {
	if err := h.need(`"`); err != nil {
		return "", err
	}
	begin := h.at
	escapes := false
	for ; h.at < len(h.text) && h.text[h.at] != '"'; h.at++ {
		if h.text[h.at] == '\\' {
			escapes = true
			h.at++
		}
	}
	if h.at >= len(h.text) {
		return "", errors.New("header: a string that does not end")
	}
	h.at++
	if !escapes {
		return string(h.text[begin : h.at-1]), nil
	}
	var s string
	if err := json.Unmarshal(h.text[begin-1:h.at], &s); err != nil {
		return "", fmt.Errorf("header, byte %d: %w", begin-lengthBytes, err)
	}
	return s, nil
}

// number reads a whole number that fits an int.
func (h *header) number() (int64, error) {
	begin, n := h.at, int64(0)
	for ; h.at < len(h.text); h.at++ {
		digit := int64(h.text[h.at]) - '0'
		if digit < 0 || digit > 9 {
			break
		}
		if n > (math.MaxInt-digit)/10 {
			return 0, fmt.Errorf("header, byte %d: a number beyond %d", begin-lengthBytes, math.MaxInt)
		}
		n = 10*n + digit
	}
	if h.at == begin {
		return 0, h.wrong("a whole number")
	}
	return n, nil
}
