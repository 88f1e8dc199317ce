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
//     header claims; where the header itself, which lists every tensor, is larger
//     than 1 MiB, some sixteen times what it has more.
//   - Save returns without an error only when the checkpoint outlives a power
//     cut; older ones go after that, and never one of the last Keep that this
//     Store saved or verified.
//   - Neither Write nor Save holds a second copy of the tensors.
package checkpoint

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
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

// Bounds of a checkpoint beside those of safetensors. A header of MaxHeader is
// that of a net of many thousand layers.
const (
	MaxHeader = 32 << 20 // bytes of names, shapes and About together, as JSON
	MaxAbout  = 1024     // entries
)

// block is the most bytes that are read at once.
const block = 1 << 18

func ownKeys() []string { return []string{keyFormat, keyStep, keyDigest} }

// digestZeros stands in the place of the digest while it is computed.
var digestZeros = strings.Repeat("0", hex.EncodedLen(sha256.Size))

// Write writes a checkpoint: the tensors in their order, in blocks, twice over
// (once into the hash). Refused, before anything is written: a step below zero,
// an About that uses this package's keys, tensors that safetensors cannot hold,
// what is beyond MaxHeader or MaxAbout.
func Write(w io.Writer, c *Content) error {
	if err := c.check(); err != nil {
		return err
	}
	zeros, err := c.head(digestZeros)
	if err != nil {
		return err
	}
	if n := len(zeros) - lengthBytes; n > MaxHeader {
		return fmt.Errorf("names, shapes and about take %d bytes; at most %d", n, MaxHeader)
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
	for _, k := range ownKeys() {
		if _, ok := c.About[k]; ok {
			return fmt.Errorf("about: the key %q is the checkpoint's own", k)
		}
	}
	if len(c.About) > MaxAbout {
		return fmt.Errorf("about: %d entries; at most %d", len(c.About), MaxAbout)
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

// head is the file up to its values, with a digest that is given.
func (c *Content) head(digest string) ([]byte, error) {
	var h head
	if err := c.write(&h, digest); err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	return h, nil
}

// errEnough ends a write of which only the beginning is asked for.
var errEnough = errors.New("checkpoint: enough")

// head takes what is written up to the values: the length of the header and the
// header.
type head []byte

func (h *head) Write(p []byte) (int, error) {
	if len(*h) >= lengthBytes && uint64(len(*h)-lengthBytes) == binary.LittleEndian.Uint64(*h) {
		return 0, errEnough
	}
	*h = append(*h, p...)
	return len(p), nil
}

// Read reads a checkpoint of size bytes and verifies all of them. Beside the
// Content it gives the hex SHA-256 that the file carries. An error says what is
// wrong; the caller names the file.
func Read(r io.ReaderAt, size int64) (*Content, string, error) {
	h, err := readHeader(r, size)
	if err != nil {
		return nil, "", err
	}
	c, err := h.parse()
	if err != nil {
		return nil, "", err
	}
	digest, err := h.verify(c)
	if err != nil {
		return nil, "", err
	}
	sum := sha256.New()
	sum.Write(h.text)
	n := int64(len(h.text))
	if err := c.readTensors(io.NewSectionReader(r, n, size-n), sum); err != nil {
		return nil, "", err
	}
	if have := hex.EncodeToString(sum.Sum(nil)); have != digest {
		return nil, "", fmt.Errorf("it is damaged: its SHA-256 is %s, and it says %s", have, digest)
	}
	return c, digest, nil
}

// readTensors reads the values, which lie one after the other, past the hash.
func (c *Content) readTensors(r io.Reader, h hash.Hash) error {
	buf := make([]byte, block)
	r = io.TeeReader(r, h)
	for i := range c.Tensors {
		if err := readValues(r, c.Tensors[i].Data, buf); err != nil {
			return fmt.Errorf("tensor %q: %w", c.Tensors[i].Name, err)
		}
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
