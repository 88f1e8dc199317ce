// Package emulate runs CUDA C on the host, for tests: the same kernels, launched
// by the same backend, without a card.
//
//	CUDA C --Compiler: g++ between shim.h and host.h--> image, a shared library
//	       --Device: Load, Launch--> threads as fibers, blocks one after another
//
// In: CUDA C of grids, blocks, shared memory, __syncthreads and math functions,
// its kernels extern "C". Out: what the kernels write, and errors that name the
// kernel: where threads of a block reach different barriers, where memory that
// is none of the device's is read or written, or at an address that its type is
// not aligned to, where parameters are not those of the declaration.
//
// A device works when it is called, or late (OpenLate): then work that no event puts
// behind other work is done before it, so that a missing event shows as wrong bytes.
// Captures are lists of what to do again; what a card refuses while a thread
// captures is refused: memory, waiting, copies from and to the host, events.
//
// What always holds: memory starts as NaNs, and so does the shared memory of the
// first and the last block; threads, and blocks, run in order of their numbers
// between barriers, or backwards where asked, so that kernels which depend on the
// order give other bytes; an allocation ends at a page that cannot be touched.
package emulate

import (
	"testing"

	"github.com/locorun/locorun/graphs/cuda/driver"
)

// Arch is the compute capability that the device says it has, times ten.
const Arch = 90

// Open gives a device for as long as the test runs, and the compiler for it. It
// skips the test where there is no g++ or the system is not Linux.
func Open(t testing.TB) (driver.Device, driver.Compiler) { return open(t, false) }

// OpenBackwards is Open with a device that runs threads and blocks in the order
// of falling numbers.
func OpenBackwards(t testing.TB) (driver.Device, driver.Compiler) { return open(t, true) }

// OpenLate is Open with a device that does nothing before the host waits for it, and
// then only what it waits for: the stream's own work, and of other streams what
// events say. With a seed that is not 0, some of the rest is done at times, in an
// order that is drawn from it among those that events allow. What fails is an error
// of the call that waits. Memory that is given back while work needs it is an error
// then.
func OpenLate(t testing.TB, seed uint64) (driver.Device, driver.Compiler) { return openLate(t, seed) }
