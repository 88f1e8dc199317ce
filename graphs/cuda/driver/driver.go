// Package driver is all that the CUDA backend asks of NVIDIA's libraries:
// memory, copies, kernels, streams. The libraries are opened while the program
// runs; nothing of them is needed to build it.
//
//	graphs/cuda --Device, Compiler--> libcuda, libnvrtc     (Open, NewCompiler)
//	            --Clock, Capturer-->  libcuda, by the same Device
//	            --BLAS, DNN-->        libcublasLt, libcudnn (NewBLAS, NewDNN)
//	            --Monitor-->          libnvidia-ml          (NewMonitor)
//	                                  fakes in tests
//
// Libraries are looked for by places.go, opened by dl_linux.go, the one file that
// calls C, and bound by the table of binding.go, which a test compares with
// NVIDIA's headers. Find tells what there is.
//
// In: sizes, bytes, CUDA C. Out: device pointers, images, errors that name the
// call and CUDA's own word for what went wrong.
//
// What always holds: no call panics where a library is missing or too old; a
// Device may be used by several goroutines; work on one Stream runs in the order
// of its calls.
package driver

// Pointer is an address in a device's memory; 0 is none.
type Pointer uint64

// Stream is a queue of work. The zero Stream is not one.
type Stream uint64

// Module is a loaded image of kernels, Function one kernel of it.
type (
	Module   uint64
	Function uint64
)

// Event is a point in a stream's work.
type Event uint64

// Dim is the size of a grid or block.
type Dim struct{ X, Y, Z uint32 }

// Device is one GPU with its primary context.
type Device interface {
	// Name is the card's, such as "NVIDIA H100 80GB HBM3".
	Name() string
	// Arch is the compute capability times ten: 80, 90.
	Arch() int
	// Memory is what is free and what there is, in bytes.
	Memory() (free, total int64, err error)

	// Alloc gives memory of undefined content, aligned to 256 bytes.
	Alloc(bytes int64) (Pointer, error)
	Free(p Pointer) error
	// Fill sets bytes to a value, Upload and Download copy; all in a stream's
	// order. Upload has read src, and Download has written dst, on return.
	Fill(p Pointer, value byte, bytes int64, s Stream) error
	Upload(p Pointer, src []byte, s Stream) error
	Download(dst []byte, p Pointer, s Stream) error
	// Copy copies between places that do not overlap.
	Copy(dst, src Pointer, bytes int64, s Stream) error

	// Load loads what Compiler made.
	Load(image []byte) (Module, error)
	Function(m Module, name string) (Function, error)
	// Launch runs a kernel. Each argument is one parameter of at most 8 bytes in
	// the low bytes of its word: a Pointer, an int32, an int64, a float32, a
	// float64.
	Launch(f Function, grid, block Dim, shared uint32, s Stream, args []uint64) error

	NewStream() (Stream, error)
	// Sync waits for a stream, and tells of what failed in it.
	Sync(s Stream) error
	NewEvent() (Event, error)
	Record(e Event, s Stream) error
	// Wait lets a stream's later work wait for an event.
	Wait(s Stream, e Event) error

	Close() error
}

// Compiler compiles CUDA C.
type Compiler interface {
	// Version is the compiler's, for the names of cached images.
	Version() string
	// Compile makes an image for an Arch. The error holds the compiler's log.
	Compile(name, source string, arch int) (image []byte, err error)
}
