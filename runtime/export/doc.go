// Package export writes and reads the files that carry numbers out of a run:
// safetensors for weights, npy for features.
//
// In: named float32 tensors in memory. Out: bytes that are a function of the
// tensors, their order and the metadata alone; or, reading, tensors that passed
// every check below.
//
//	safetensors   | length u64 | header JSON, blanks up to 8 | tensor | tensor | ...
//	                             name -> dtype, shape, [begin, end) of what follows
//	npy           | magic 1.0 | length u16 | header, blanks up to 64 | values
//
// What always holds: everything is little-endian and row-major; a file that was
// accepted has no holes, no overlaps, no bytes after the last tensor, no name
// twice, and no size that the file does not really have; nothing is allocated
// on the word of a header before that was checked.
//
// The formats: https://github.com/huggingface/safetensors (Format) and
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
package export
