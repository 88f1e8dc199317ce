// Package kernels is the CUDA C of the ops. A file holds the kernels of a
// family; all are compiled together, after common.cuh.
//
// A kernel is extern "C" __global__ void name(...), and its parameters are
// pointers, int, long long, float or double, in the order in which package cuda
// passes them. Maps are NHWC; their elements are map_t, which is float32 or
// bfloat16: the same text is compiled for each. All else is float32, or float64
// where sums need it; arithmetic is, whatever maps hold, and an element is rounded
// once, where it is written. Sums have one order, given by shapes: no atomics.
// Kernels use no more of CUDA than grids, blocks, shared memory, __syncthreads and
// math functions, so that tests can run them on the host.
package kernels

import (
	"embed"
	"io/fs"
	"strings"
)

//go:embed *.cu common.cuh
var files embed.FS

// Source is all kernels as one text, for maps of float32.
func Source() string { return source("") }

// NarrowSource is all kernels as one text, for maps of bfloat16.
func NarrowSource() string { return source("#define NARROW_MAPS\n") }

// source is all kernels after some definitions.
func source(definitions string) string {
	var b strings.Builder
	b.WriteString(definitions)
	for _, name := range append([]string{"common.cuh"}, names()...) {
		text, err := files.ReadFile(name)
		if err != nil {
			panic("kernels: " + err.Error()) // embedded, so it is there
		}
		b.WriteString("// " + name + "\n")
		b.Write(text)
		b.WriteByte('\n')
	}
	return b.String()
}

// names are the files of kernels, sorted.
func names() []string {
	list, err := fs.Glob(files, "*.cu")
	if err != nil {
		panic("kernels: " + err.Error()) // the pattern is right
	}
	return list
}
