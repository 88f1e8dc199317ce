// Package device is the contract between subgraphs and the hardware they run
// on: memory, copies and ops, with nothing in it that assumes a host pointer.
//
//	graphs --Call--> device.Backend (graphs/cpu, graphs/cuda)
//
// A Backend owns Buffers; a Tensor is a typed window into one. A Call runs one
// row of the op table on tensors. The same Call with the same bytes in its
// inputs writes the same bytes to its outputs, whatever the number of workers.
package device

import "github.com/locorun/locorun/compiler/op"

// Buffer is a stretch of a device's memory.
type Buffer interface {
	// Size is the length in bytes.
	Size() int64
}

// Tensor is a window into a Buffer: Shape elements of type Dtype, row-major
// and dense, from byte Offset on. The zero Tensor stands for an absent
// optional argument.
type Tensor struct {
	Buffer Buffer
	Offset int64
	Shape  []int
	Dtype  op.Dtype
}

// Elements is the number of elements of t.
func (t Tensor) Elements() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Bytes is the number of bytes of t.
func (t Tensor) Bytes() int64 { return int64(t.Elements()) * int64(t.Dtype.Size()) }

// Call is one op on tensors, in the order the op's row gives. LR and Step are
// the scalars that change from step to step: the learning rate and the number
// of the update, from 1. A result may lie over an argument exactly where the row
// says so (op.Arg.Over); the kernel must then give the same bytes as apart.
type Call struct {
	Code op.Code
	Attr op.Attr
	In   []Tensor
	Out  []Tensor
	LR   float64
	Step int
}

// Backend is a device. All methods may be called from several goroutines, but
// no two running Calls write the same bytes.
type Backend interface {
	// Name is the device's and tier's name, such as "cpu/portable"; it is part
	// of a run's identity.
	Name() string
	// Alloc returns zeroed memory aligned to 64 bytes.
	Alloc(bytes int64) (Buffer, error)
	// Free gives memory back; the buffer must not be used again.
	Free(Buffer)
	// Write copies src, little-endian elements of t's type, into t.
	Write(t Tensor, src []byte) error
	// Read copies t into dst.
	Read(dst []byte, t Tensor) error
	// Run runs one op. It returns when the results can be read by a later Run.
	// An op the backend lacks, or a shape it refuses, is an error.
	Run(*Call) error
	// Counted is the number of floating-point operations of convolutions and
	// dense products that Run has dispatched, counted tile by tile.
	Counted() int64
	// Close stops the workers and frees what is left.
	Close() error
}
