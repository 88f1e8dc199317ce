package driver

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unsafe"
)

// options are what every kernel is compiled with. Functions without a mark are
// the device's, so that a helper needs none. The mathematics is the exact one:
// divisions and roots are rounded correctly, denormals are kept. Products and
// sums do contract: a*b+c is one fused operation, rounded once, where the
// compiler sees both; so the bytes of a result are a matter of source, compiler
// and card, and not those of a processor that rounds twice.
var options = []string{
	"--std=c++17", "-default-device",
	"--fmad=true", "--prec-div=true", "--prec-sqrt=true", "--ftz=false",
}

// compiler compiles by NVRTC; it satisfies Compiler.
type compiler struct {
	lib     *library
	version string
	archs   []int // what it knows, ascending
}

var _ Compiler = (*compiler)(nil)

// NewCompiler opens NVRTC. It needs no card. It may be used by several
// goroutines.
func NewCompiler() (Compiler, error) {
	b, err := open(libnvrtc)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", names[libnvrtc].files[0], err)
	}
	c := &compiler{lib: b}
	if c.version, err = b.version(); err != nil {
		return nil, err
	}
	if c.archs, err = b.archs(); err != nil {
		return nil, err
	}
	return c, nil
}

// archs are the architectures that NVRTC knows, ascending.
func (b *library) archs() ([]int, error) {
	var n int32
	if err := b.do(nvrtcGetNumSupportedArchs, uintptr(unsafe.Pointer(&n))); err != nil {
		return nil, err
	}
	if n <= 0 {
		return nil, fmt.Errorf("%s knows no architecture", b.path)
	}
	list := make([]int32, n)
	if err := b.do(nvrtcGetSupportedArchs, uintptr(unsafe.Pointer(&list[0]))); err != nil {
		return nil, err
	}
	archs := make([]int, n)
	for i, a := range list {
		archs[i] = int(a)
	}
	slices.Sort(archs)
	return archs, nil
}

// Version names the compiler and its options: nvrtc-13.2-1f0a63bd.
func (c *compiler) Version() string {
	h := sha256.Sum256([]byte(strings.Join(options, " ")))
	return "nvrtc-" + c.version + "-" + hex.EncodeToString(h[:4])
}

// Compile gives machine code for the Arch where the compiler knows it. For a
// card newer than the compiler it gives PTX of the newest architecture before
// it, which the card's driver finishes when it is loaded.
func (c *compiler) Compile(name, source string, arch int) ([]byte, error) {
	option, size, get, err := c.target(arch)
	if err != nil {
		return nil, err
	}
	var program uintptr
	text, title := chars(source), chars(name)
	err = c.lib.do(nvrtcCreateProgram, uintptr(unsafe.Pointer(&program)), uintptr(unsafe.Pointer(text)), uintptr(unsafe.Pointer(title)), 0, 0, 0)
	if err != nil {
		return nil, err
	}
	defer c.lib.do(nvrtcDestroyProgram, uintptr(unsafe.Pointer(&program)))
	if err := c.build(program, append(slices.Clone(options), option)); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, c.log(program))
	}
	return c.output(program, size, get)
}

// target is how to ask for an Arch, and which functions give what was made.
func (c *compiler) target(arch int) (option string, size, get proc, err error) {
	i, exact := slices.BinarySearch(c.archs, arch)
	switch {
	case exact:
		return fmt.Sprintf("--gpu-architecture=sm_%d", arch), nvrtcGetCUBINSize, nvrtcGetCUBIN, nil
	case i == 0:
		return "", 0, 0, fmt.Errorf("NVRTC %s compiles for compute capability %d.%d and later, not for %d.%d", c.version, c.archs[0]/10, c.archs[0]%10, arch/10, arch%10)
	}
	return fmt.Sprintf("--gpu-architecture=compute_%d", c.archs[i-1]), nvrtcGetPTXSize, nvrtcGetPTX, nil
}

// build compiles a program.
func (c *compiler) build(program uintptr, options []string) error {
	list := make([]*byte, len(options))
	for i, o := range options {
		list[i] = chars(o) // which the list keeps, and nothing moves
	}
	return c.lib.do(nvrtcCompileProgram, program, uintptr(len(list)), uintptr(unsafe.Pointer(&list[0])))
}

// log is what the compiler said.
func (c *compiler) log(program uintptr) string {
	said, err := c.output(program, nvrtcGetProgramLogSize, nvrtcGetProgramLog)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(cut(said))
}

// output is what a function gives of a program, after another gave its size.
func (c *compiler) output(program uintptr, size, get proc) ([]byte, error) {
	var n uint64
	if err := c.lib.do(size, program, uintptr(unsafe.Pointer(&n))); err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, fmt.Errorf("%s: nothing was made", rows[get].name)
	}
	made := make([]byte, n)
	err := c.lib.do(get, program, uintptr(unsafe.Pointer(&made[0])))
	return made, err
}
