package driver

import (
	"errors"
	"fmt"
	"strings"
	"unsafe"
)

// library is one of NVIDIA's libraries, opened, with all that is bound of it.
type library struct {
	lib  lib
	name string // as it was opened: libnvrtc.so.13
	path string
	at   [numProcs]uintptr
}

// bind finds the functions of a library; the error names what is missing.
func bind(l lib, name, path string, handle uintptr) (*library, error) {
	b := &library{lib: l, name: name, path: path}
	var missing []string
	first := uintptr(0)
	for p := range numProcs {
		if rows[p].lib != l {
			continue
		}
		if b.at[p] = dlsym(handle, rows[p].name); b.at[p] == 0 {
			missing = append(missing, rows[p].name)
			continue
		}
		if first == 0 {
			first = b.at[p]
		}
	}
	if missing != nil {
		return nil, fmt.Errorf("%s has no %s", path, strings.Join(missing, ", "))
	}
	if file := dlpath(first); file != "" {
		b.path = file
	}
	return b, nil
}

// call calls a function that is of this library and gives its result.
//
//go:uintptrescapes
func (b *library) call(p proc, args ...uintptr) uintptr { return call(b.at[p], args...) }

// do calls a function whose result is a status, 0 where all is well.
//
//go:uintptrescapes
func (b *library) do(p proc, args ...uintptr) error {
	return b.status(p, call(b.at[p], args...))
}

// status is a function's result as an error.
func (b *library) status(p proc, result uintptr) error {
	code := int32(uint32(result)) // the upper half of the register is undefined
	if code == 0 {
		return nil
	}
	e := &Error{Call: rows[p].name, Code: int(code), lib: b.lib}
	e.Name, e.Text = b.words(uintptr(uint32(code)))
	return e
}

// words are a library's name and text for a status.
func (b *library) words(code uintptr) (name, explained string) {
	switch b.lib {
	case libcuda:
		var n, t uintptr
		b.call(cuGetErrorName, code, uintptr(unsafe.Pointer(&n)))
		b.call(cuGetErrorString, code, uintptr(unsafe.Pointer(&t)))
		return text(n), text(t)
	case libnvrtc:
		return text(b.call(nvrtcGetErrorString, code)), ""
	case libcublasLt:
		return text(b.call(cublasLtGetStatusName, code)), text(b.call(cublasLtGetStatusString, code))
	case libcudnn:
		last := make([]byte, 1024)
		b.call(cudnnGetLastErrorString, uintptr(unsafe.Pointer(&last[0])), uintptr(len(last)))
		return text(b.call(cudnnGetErrorString, code)), cut(last)
	}
	return "", text(b.call(nvmlErrorString, code))
}

// ErrOutOfMemory is what a call that found too little memory on the card is, for
// errors.Is.
var ErrOutOfMemory = errors.New("out of the card's memory")

// Error is a call that one of NVIDIA's libraries refused.
type Error struct {
	// Call is the function's name in its library.
	Call string
	// Code, Name and Text are the library's: 2, CUDA_ERROR_OUT_OF_MEMORY, "out
	// of memory". Name or Text is empty where the library has none.
	Code int
	Name string
	Text string
	lib  lib
}

// Error implements error.
func (e *Error) Error() string {
	b := strings.Builder{}
	fmt.Fprintf(&b, "%s: ", e.Call)
	switch {
	case e.Name == "" && e.Text == "":
		fmt.Fprintf(&b, "error %d", e.Code)
	case e.Name == "" || e.Text == "":
		b.WriteString(e.Name + e.Text)
	default:
		fmt.Fprintf(&b, "%s: %s", e.Name, e.Text)
	}
	return b.String()
}

// Is implements errors.Is: CUDA's status 2 is ErrOutOfMemory, those of captures are
// ErrCapture.
func (e *Error) Is(target error) bool {
	if e.lib != libcuda {
		return false
	}
	return target == ErrOutOfMemory && e.Code == 2 || target == ErrCapture && e.Code >= firstCapture && e.Code <= lastCapture
}

// text is a C string at an address, empty for none.
func text(at uintptr) string {
	if at == 0 {
		return ""
	}
	p := pointer(at)
	n := 0
	for *(*byte)(unsafe.Add(p, n)) != 0 {
		n++
	}
	return string(unsafe.Slice((*byte)(p), n))
}

// pointer is an address that a library gave, which the garbage collector does
// not know and does not move.
func pointer(at uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&at)) }

// chars is a string as C has it.
func chars(s string) *byte {
	b := make([]byte, len(s)+1)
	copy(b, s)
	return &b[0]
}

// cut is a string up to its NUL.
func cut(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}
