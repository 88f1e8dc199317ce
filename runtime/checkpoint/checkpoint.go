// Package checkpoint keeps what a run needs to go on: named float32 tensors and
// a few words about the run, in files that are whole or refused.
//
//	Content --Write--> safetensors, its own SHA-256 inside --Read--> Content, or an error
//	           |                                            |
//	         Save   temporary, fsync, rename, fsync       Newest   the newest that verifies
//	           |                                            |
//	           +------ Store: step-00000005.loco-ckpt ------+
//	                          step-00000010.loco-ckpt
//
// In: a Content. Out: a plain safetensors file, which other tools open, and the
// same Content again.
//
// What always holds:
//
//   - A file's bytes are a function of its Content, and Read takes those bytes
//     and no others: each flipped bit, each cut and each other spelling of the
//     same header is refused.
//   - The file names its own SHA-256: that of all its bytes with the 64 digits of
//     that very field replaced by zeros. It guards against accidents, not against
//     somebody who computes it anew; what such a file can do is bounded by the
//     next line.
//   - Reading allocates no more than the file's size and 16 MiB, whatever the
//     header claims.
//   - Save returns without an error only when the checkpoint outlives a power
//     cut; older ones go after that, and never one of the last Keep that this
//     Store saved or verified.
//   - Neither Write nor Save holds a second copy of the tensors.
package checkpoint

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"strconv"
	"strings"

	"github.com/locorun/locorun/runtime/export"
)

// Content is what a checkpoint holds.
type Content struct {
	// Step is the number of batches applied since the run's start.
	Step int
	// About is what else is known of the run. The keys "format", "step" and
	// "sha256" are this package's own and refused.
	About map[string]string
	// Tensors are F32, each of another name, in any order; the order is kept.
	Tensors []export.Tensor
}

// Format is the metadata's "format" of the files that Write writes.
const Format = "locorun checkpoint 1"

// The metadata keys of this package.
const (
	keyFormat = "format"
	keyStep   = "step"
	keyDigest = "sha256"
)

// MaxHeader bounds the header of a checkpoint, in bytes: names, shapes and About
// together. Parsing costs several times the header, so this is what keeps it
// below 16 MiB.
const MaxHeader = 1 << 20

// block is the most bytes that are read at once.
const block = 1 << 18

// digestZeros stands in the place of the digest while it is computed.
var digestZeros = strings.Repeat("0", hex.EncodedLen(sha256.Size))

// Write writes a checkpoint: the tensors in their order, in blocks, twice over
// (once into the hash). Refused, before anything is written: a step below zero,
// an About that uses this package's keys, tensors that safetensors cannot hold,
// a header beyond MaxHeader.
func Write(w io.Writer, c *Content) error {
	if err := c.check(); err != nil {
		return err
	}
	digest, err := c.digest()
	if err != nil {
		return err
	}
	return c.write(w, digest)
}

// check refuses what Read would not give back.
func (c *Content) check() error {
	if c.Step < 0 {
		return fmt.Errorf("step %d is below zero", c.Step)
	}
	for _, k := range []string{keyFormat, keyStep, keyDigest} {
		if _, ok := c.About[k]; ok {
			return fmt.Errorf("about: the key %q is the checkpoint's own", k)
		}
	}
	size, err := c.headerSize()
	if err != nil {
		return err
	}
	if size > MaxHeader {
		return fmt.Errorf("names, shapes and about take %d bytes; at most %d", size, MaxHeader)
	}
	return nil
}

// write writes the file with a digest that is given.
func (c *Content) write(w io.Writer, digest string) error {
	meta := make(map[string]string, len(c.About)+3)
	maps.Copy(meta, c.About)
	meta[keyFormat], meta[keyStep], meta[keyDigest] = Format, strconv.Itoa(c.Step), digest
	return export.WriteSafetensors(w, c.Tensors, meta)
}

// digest is the hex SHA-256 of the file whose digest is zeros.
func (c *Content) digest() (string, error) {
	h := sha256.New()
	if err := c.write(h, digestZeros); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// errEnough ends a write of which only the beginning is asked for.
var errEnough = errors.New("checkpoint: enough")

// headerSize is the bytes of the header, without the length before it.
func (c *Content) headerSize() (int64, error) {
	var f first
	if err := c.write(&f, digestZeros); err != nil && !errors.Is(err, errEnough) {
		return 0, err
	}
	return int64(binary.LittleEndian.Uint64(f)), nil
}

// first takes the first write, which is the length of the header, and refuses
// the second.
type first []byte

func (f *first) Write(p []byte) (int, error) {
	if *f != nil {
		return 0, errEnough
	}
	*f = bytes.Clone(p)
	return len(p), nil
}

// Read reads a checkpoint of size bytes and verifies all of them. Beside the
// Content it gives the hex SHA-256 that the file carries. An error says what is
// wrong; the caller names the file.
func Read(r io.ReaderAt, size int64) (*Content, string, error) {
	head, err := readHead(r, size)
	if err != nil {
		return nil, "", err
	}
	file, err := export.OpenSafetensors(bytes.NewReader(head), size)
	if err != nil {
		return nil, "", err
	}
	c, digest, err := identify(file.Metadata)
	if err != nil {
		return nil, "", err
	}
	if err := c.readTensors(io.NewSectionReader(r, int64(len(head)), size-int64(len(head))), file.Tensors); err != nil {
		return nil, "", err
	}
	if err := c.verify(head, digest); err != nil {
		return nil, "", err
	}
	return c, digest, nil
}

// readHead reads the length of the header and the header, once: what is checked
// is what is used, though the file may change meanwhile.
func readHead(r io.ReaderAt, size int64) ([]byte, error) {
	const length = 8
	if size < length {
		return nil, fmt.Errorf("%d bytes; even an empty checkpoint has more", size)
	}
	var b [length]byte
	if got, err := r.ReadAt(b[:], 0); got < len(b) {
		return nil, fmt.Errorf("length of the header: %w", noEOF(err))
	}
	n := binary.LittleEndian.Uint64(b[:])
	if n > MaxHeader {
		return nil, fmt.Errorf("the header claims %d bytes; at most %d", n, MaxHeader)
	}
	if int64(n) > size-length {
		return nil, fmt.Errorf("the header claims %d bytes; the file has %d after its length", n, size-length)
	}
	head := make([]byte, length+n)
	if got, err := r.ReadAt(head, 0); got < len(head) {
		return nil, fmt.Errorf("header: %w", noEOF(err))
	}
	return head, nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// identify reads the metadata.
func identify(meta map[string]string) (c *Content, digest string, err error) {
	if f, ok := meta[keyFormat]; !ok || f != Format {
		return nil, "", fmt.Errorf("format %q; this program reads %q", f, Format)
	}
	step, err := strconv.Atoi(meta[keyStep])
	if err != nil || step < 0 {
		return nil, "", fmt.Errorf("step %q is no number of batches", meta[keyStep])
	}
	digest = meta[keyDigest]
	if raw, err := hex.DecodeString(digest); err != nil || len(raw) != sha256.Size {
		return nil, "", fmt.Errorf("sha256 %q is no SHA-256", digest)
	}
	about := maps.Clone(meta)
	for _, k := range []string{keyFormat, keyStep, keyDigest} {
		delete(about, k)
	}
	return &Content{Step: step, About: about}, digest, nil
}

// readTensors reads the values, which lie one after the other.
func (c *Content) readTensors(r io.Reader, infos []export.Info) error {
	c.Tensors = make([]export.Tensor, len(infos))
	buf := make([]byte, block)
	for i := range infos {
		t := &infos[i]
		if t.DType != export.F32 {
			return fmt.Errorf("tensor %q: type %s, not F32", t.Name, t.DType)
		}
		data := make([]float32, t.Bytes()/4)
		if err := readValues(r, data, buf); err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		c.Tensors[i] = export.Tensor{Name: t.Name, Shape: t.Shape, DType: t.DType, Data: data}
	}
	return nil
}

// readValues fills data from little-endian float32 values.
func readValues(r io.Reader, data []float32, buf []byte) error {
	for len(data) > 0 {
		n := min(len(data), len(buf)/4)
		if _, err := io.ReadFull(r, buf[:4*n]); err != nil {
			return noEOF(err)
		}
		for i := range n {
			data[i] = math.Float32frombits(binary.LittleEndian.Uint32(buf[4*i:]))
		}
		data = data[n:]
	}
	return nil
}

// verify compares the file with what Write makes of c: the digest over all of
// it, then the header's bytes, whose spelling the digest does not know.
func (c *Content) verify(head []byte, digest string) error {
	have, err := c.digest()
	if err != nil {
		return err
	}
	if have != digest {
		return fmt.Errorf("it is damaged: its SHA-256 is %s, and it says %s", have, digest)
	}
	if err := c.write(&same{head}, digest); err != nil && !errors.Is(err, errEnough) {
		return err
	}
	return nil
}

// same compares what is written with bytes that are there, and ends the write
// after the last of them.
type same struct{ rest []byte }

func (s *same) Write(p []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, errEnough
	}
	n := min(len(p), len(s.rest))
	if !bytes.Equal(p[:n], s.rest[:n]) {
		return 0, errors.New("its header is not spelled as locorun spells it")
	}
	s.rest = s.rest[n:]
	return len(p), nil
}
