package driver

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/locorun/locorun/graphs/cuda/kernels"
)

// newCompiler opens NVRTC, or skips where it is not.
func newCompiler(t *testing.T) Compiler {
	t.Helper()
	c, err := NewCompiler()
	if err != nil {
		t.Skip(err)
	}
	return c
}

// TestCompilerKernels compiles all kernels for the cards and the types of maps
// that are meant. The compiler takes its time: for the older card the ordinary
// test looks at the source only, the long one makes the image too.
func TestCompilerKernels(t *testing.T) {
	c := newCompiler(t)
	for name, source := range map[string]string{"f32": kernels.Source(), "bf16": kernels.NarrowSource()} {
		for _, arch := range []int{80, 90} {
			t.Run(fmt.Sprintf("%s for sm_%d", name, arch), func(t *testing.T) {
				if arch == 80 && !long() {
					ok(t, c.(*compiler).look(source, arch))
					return
				}
				holdsKernels(t, must(c.Compile("locorun.cu", source, arch))(t), source)
			})
		}
	}
}

// holdsKernels wants machine code of every kernel of a source.
func holdsKernels(t *testing.T, image []byte, source string) {
	t.Helper()
	if !bytes.HasPrefix(image, []byte("\x7fELF")) {
		t.Errorf("the image begins with %q, not as machine code does", image[:min(8, len(image))])
	}
	for _, k := range regexp.MustCompile(`__global__ void (?:__launch_bounds__\([^)]*\)\s+)?(\w+)\(`).FindAllStringSubmatch(source, -1) {
		if !bytes.Contains(image, []byte(".text."+k[1]+"\x00")) {
			t.Errorf("no kernel %s in the image", k[1])
		}
	}
}

// look checks a source without making an image.
func (c *compiler) look(source string, arch int) error {
	var program uintptr
	text, name := chars(source), chars("locorun.cu")
	err := c.lib.do(nvrtcCreateProgram, uintptr(unsafe.Pointer(&program)), uintptr(unsafe.Pointer(text)), uintptr(unsafe.Pointer(name)), 0, 0, 0)
	if err != nil {
		return err
	}
	defer c.lib.do(nvrtcDestroyProgram, uintptr(unsafe.Pointer(&program)))
	option, _, _, err := c.target(arch)
	if err != nil {
		return err
	}
	if err := c.build(program, append(slices.Clone(options), option, "-fdevice-syntax-only")); err != nil {
		return fmt.Errorf("%w\n%s", err, c.log(program))
	}
	return nil
}

// TestCompilerSameBytes compiles twice.
func TestCompilerSameBytes(t *testing.T) {
	c := newCompiler(t)
	const source = `extern "C" __global__ void k(float *x) { x[0] = x[1] / 3.0f; }`
	one, err := c.Compile("k.cu", source, 90)
	if err != nil {
		t.Fatal(err)
	}
	two, err := c.Compile("k.cu", source, 90)
	if err != nil || !bytes.Equal(one, two) {
		t.Errorf("the same source gave other bytes: %d and %d, %v", len(one), len(two), err)
	}
}

// TestCompilerRefuses holds errors to what a reader needs: the compiler's log
// with the file and the line.
func TestCompilerRefuses(t *testing.T) {
	c := newCompiler(t)
	for _, r := range []struct {
		name, source string
		arch         int
		want         []string
	}{
		{"wrong source", "// one\n// two\nextern \"C\" __global__ void k(float *x) { x[0] = nothing; }\n", 80,
			[]string{"nvrtcCompileProgram: NVRTC_ERROR_COMPILATION", "wrong.cu(3)", "nothing"}},
		{"no include", "#include \"there_is_none.h\"\n", 80, []string{"wrong.cu(1)", "there_is_none.h"}},
		{"a card too old", "", 35, []string{"compiles for compute capability", "not for 3.5"}},
	} {
		t.Run(r.name, func(t *testing.T) {
			_, err := c.Compile("wrong.cu", r.source, r.arch)
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range r.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("want %q in the error, have\n%v", w, err)
				}
			}
		})
	}
}

// TestCompilerNewerCard gives PTX for a card that the compiler does not know.
func TestCompilerNewerCard(t *testing.T) {
	image, err := newCompiler(t).Compile("k.cu", `extern "C" __global__ void k(float *x) { x[0] = 1; }`, 990)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(image, []byte(".entry k")) || image[len(image)-1] != 0 {
		t.Errorf("no PTX: %q", image[:min(200, len(image))])
	}
}

// TestCompilerVersion holds the version to what a file's name can have.
func TestCompilerVersion(t *testing.T) {
	v := newCompiler(t).Version()
	if !strings.HasPrefix(v, "nvrtc-1") || strings.ContainsAny(v, "/ \\:") {
		t.Errorf("version %q", v)
	}
}
