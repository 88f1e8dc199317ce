package driver

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"
)

// headers are where the functions of a library are declared.
var headers = [numLibs]string{libcuda: "cuda.h", libnvrtc: "nvrtc.h", libcublasLt: "cublasLt.h", libcudnn: "cudnn.h", libnvml: "nvml.h"}

// markers stands for a header that some packages leave out: it gives the words
// that the others put before declarations.
const markers = `
#define __host__
#define __device__
#define __builtin_align__(n) __attribute__((aligned(n)))
#define __device_builtin__
#define __device_builtin_texture_type__
#define __device_builtin_surface_type__
#define __cudart_builtin__
#define __no_return__
#define __align__(n) __attribute__((aligned(n)))
#define CUDARTAPI
#define CUDARTAPI_CDECL
#define CUDART_CB
`

// includes are the folders of headers beside where libraries are looked for.
func includes() (dirs []string) {
	for _, p := range places() {
		for _, dir := range p.dirs {
			dirs = append(dirs, glob(dir, "include", "../include", "../../include")...)
		}
	}
	return unique(append(dirs, "/usr/include"))
}

// compiles lets gcc look at a text of C with the headers that there are.
func compiles(t *testing.T, dirs []string, text string) {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no gcc to read headers with")
	}
	own := t.TempDir()
	ok(t, os.MkdirAll(filepath.Join(own, "crt"), 0o700))
	ok(t, os.WriteFile(filepath.Join(own, "crt", "host_defines.h"), []byte(markers), 0o600))
	source := filepath.Join(own, "look.c")
	ok(t, os.WriteFile(source, []byte(text), 0o600))
	args := []string{"-fsyntax-only", "-w", "-std=gnu11"}
	for _, dir := range dirs {
		args = append(args, "-I"+dir)
	}
	out, err := exec.Command(gcc, append(args, "-idirafter", own, source)...).CombinedOutput()
	if err != nil {
		t.Errorf("the headers say otherwise: %s", out[:min(len(out), 4000)])
	}
}

// header begins a text of C with a library's header, or skips without it.
func header(t *testing.T, l lib, dirs []string) string {
	t.Helper()
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, headers[l])); err == nil {
			return "#include <stddef.h>\n#include <stdint.h>\n#include <" + headers[l] + ">\n"
		}
	}
	t.Skipf("no %s beside the libraries", headers[l])
	return ""
}

// TestBindings compares every row with the header: the same result and the same
// arguments, of the same types.
func TestBindings(t *testing.T) {
	dirs := includes()
	for l := range numLibs {
		t.Run(headers[l], func(t *testing.T) {
			text := strings.Builder{}
			text.WriteString(header(t, l, dirs))
			for _, r := range rows {
				if r.lib == l {
					fmt.Fprintf(&text, "%s;\n", r.prototype) // declared again: it must be the same
					fmt.Fprintf(&text, "_Static_assert(__builtin_types_compatible_p(__typeof__(%s), %s), \"%s\");\n", plain(r.name), asType(r), r.name)
				}
			}
			compiles(t, dirs, text.String())
		})
	}
}

// plain is a function's name without the number of its version, as headers
// declare it: a macro adds the number that is the library's.
func plain(name string) string {
	if n := len(name) - 3; n > 0 && name[n:n+2] == "_v" && !strings.HasSuffix(name, "_v7") {
		return name[:n]
	}
	return name
}

// asType is a row's prototype as a type, which is the name cut out.
func asType(r row) string { return strings.Replace(r.prototype, r.name+"(", "(", 1) }

// TestBindingClasses holds every prototype to what can be passed: integers and
// pointers of at most 8 bytes, by their number.
func TestBindingClasses(t *testing.T) {
	dirs := includes()
	for l := range numLibs {
		t.Run(headers[l], func(t *testing.T) {
			text := strings.Builder{}
			text.WriteString(header(t, l, dirs))
			for _, r := range rows {
				for _, a := range arguments(r.prototype) {
					if r.lib == l {
						fmt.Fprintf(&text, "_Static_assert(sizeof(%s) <= 8 && !_Generic(*(%s *)0, float: 1, double: 1, default: 0), \"%s\");\n", a, a, r.name)
					}
				}
			}
			compiles(t, dirs, text.String())
		})
	}
}

// arguments are the types of a prototype's arguments.
func arguments(prototype string) (types []string) {
	_, list, _ := strings.Cut(strings.TrimSuffix(prototype, ")"), "(")
	if list == "void" {
		return nil
	}
	for a := range strings.SplitSeq(list, ", ") {
		a = strings.TrimPrefix(a, "const ") // what a callee does with its copy
		if name, found := strings.CutSuffix(a, "[]"); found {
			a = name[:strings.LastIndexByte(name, ' ')] + " *"
		} else {
			a = a[:strings.LastIndexAny(a, " *")+1]
		}
		types = append(types, strings.TrimSpace(a))
	}
	return types
}

// TestBindingConstants compares the numbers and structures of Go with the
// headers'.
func TestBindingConstants(t *testing.T) {
	dirs := includes()
	for l, list := range map[lib]map[string]uintptr{
		libcuda: {
			"CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR": attributeMajor, "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR": attributeMinor,
			"CU_STREAM_NON_BLOCKING": streamApart, "CU_EVENT_DISABLE_TIMING": eventNoTiming,
			"CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES": sharedLimit, "CUDA_ERROR_OUT_OF_MEMORY": 2,
			"CU_STREAM_CAPTURE_MODE_THREAD_LOCAL": captureThread, "CUDA_ERROR_NOT_READY": notReady,
			"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED": firstCapture, "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD": lastCapture,
		},
		libnvrtc: {"NVRTC_SUCCESS": 0},
		libcublasLt: {
			"CUBLAS_COMPUTE_32F": ltCompute32F, "CUBLAS_COMPUTE_32F_FAST_TF32": ltComputeTF32, "CUDA_R_32F": ltR32F, "CUDA_R_16BF": ltR16BF,
			"CUBLASLT_MATMUL_DESC_TRANSA": ltTransA, "CUBLASLT_MATMUL_DESC_TRANSB": ltTransB, "CUBLAS_OP_T": ltTransposed,
			"CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT": ltBatchCount, "CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET": ltBatchStep,
			"CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES": ltWorkspace, "CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK": ltReductions,
			"CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES": ltAlignA, "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES": ltAlignB,
			"CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES": ltAlignC, "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES": ltAlignD,
			"CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE":                   ltReduceSeparate,
			"sizeof(cublasLtMatmulHeuristicResult_t)":                  unsafe.Sizeof(ltResult{}),
			"sizeof(cublasLtMatmulAlgo_t)":                             unsafe.Sizeof(ltResult{}.algo),
			"offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize)": unsafe.Offsetof(ltResult{}.workspace),
			"offsetof(cublasLtMatmulHeuristicResult_t, state)":         unsafe.Offsetof(ltResult{}.state),
		},
		libcudnn: dnnConstants(),
		libnvml: {
			"sizeof(nvmlMemory_t)": unsafe.Sizeof(memoryInfo{}), "offsetof(nvmlMemory_t, free)": unsafe.Offsetof(memoryInfo{}.free),
			"offsetof(nvmlMemory_t, used)": unsafe.Offsetof(memoryInfo{}.used), "sizeof(nvmlUtilization_t)": unsafe.Sizeof(utilization{}),
			"offsetof(nvmlUtilization_t, memory)": unsafe.Offsetof(utilization{}.memory),
		},
	} {
		t.Run(headers[l], func(t *testing.T) {
			text := strings.Builder{}
			text.WriteString(header(t, l, dirs))
			for name, value := range list {
				fmt.Fprintf(&text, "_Static_assert((%s) == %d, \"%s\");\n", name, value, name)
			}
			compiles(t, dirs, text.String())
		})
	}
}

// dnnConstants are those of cuDNN, with its three results of one form.
func dnnConstants() map[string]uintptr {
	list := map[string]uintptr{
		"CUDNN_TENSOR_NHWC": dnnNHWC, "CUDNN_DATA_FLOAT": dnnFloat, "CUDNN_DATA_BFLOAT16": dnnBF16,
		"CUDNN_CROSS_CORRELATION": dnnCorrelation, "CUDNN_DETERMINISTIC": dnnDeterministic,
		"CUDNN_DEFAULT_MATH": dnnDefaultMath, "CUDNN_TENSOR_OP_MATH": dnnTensorMath, "CUDNN_FMA_MATH": dnnFMAMath,
	}
	for _, way := range []string{"Fwd", "BwdData", "BwdFilter"} {
		name := "cudnnConvolution" + way + "AlgoPerf_t"
		list["sizeof("+name+")"] = unsafe.Sizeof(dnnPerf{})
		for field, at := range map[string]uintptr{
			"status": unsafe.Offsetof(dnnPerf{}.status), "time": unsafe.Offsetof(dnnPerf{}.time), "memory": unsafe.Offsetof(dnnPerf{}.memory),
			"determinism": unsafe.Offsetof(dnnPerf{}.deterministic), "mathType": unsafe.Offsetof(dnnPerf{}.math),
		} {
			list["offsetof("+name+", "+field+")"] = at
		}
	}
	return list
}

// callers are the functions that pass arguments on, by how many of their own
// come before.
var callers = map[string]int{"call": 1, "do": 1, "in": 2}

// TestBindingCalls counts the arguments of every call of a bound function in
// this package, and finds rows that nobody calls.
func TestBindingCalls(t *testing.T) {
	counts := map[string]int{}
	index := procNames(t)
	called := map[string]bool{}
	files, err := filepath.Glob("*.go")
	ok(t, err)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") || file == "binding.go" {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		ok(t, err)
		ast.Inspect(tree, func(n ast.Node) bool {
			if name, isName := n.(*ast.Ident); isName {
				called[name.Name] = true
			}
			c, isCall := n.(*ast.CallExpr)
			if !isCall || c.Ellipsis.IsValid() {
				return true
			}
			f, isMethod := c.Fun.(*ast.SelectorExpr)
			before, known := 0, false
			if isMethod {
				before, known = callers[f.Sel.Name]
			}
			if !known || len(c.Args) < before {
				return true
			}
			name, isName := c.Args[before-1].(*ast.Ident)
			if p, bound := index[identifier(name, isName)]; bound {
				counts[name.Name]++
				if got, want := len(c.Args)-before, len(arguments(rows[p].prototype)); got != want {
					t.Errorf("%s: %s is called with %d arguments, not %d", file, rows[p].name, got, want)
				}
			}
			return true
		})
	}
	for name := range index {
		if !called[name] {
			t.Errorf("nobody calls %s", name)
		}
	}
	if len(counts) < 60 {
		t.Errorf("%d functions were counted: the others were not seen", len(counts))
	}
}

func identifier(name *ast.Ident, there bool) string {
	if !there {
		return ""
	}
	return name.Name
}

// procNames are the constants of binding.go by their names.
func procNames(t *testing.T) map[string]proc {
	t.Helper()
	tree, err := parser.ParseFile(token.NewFileSet(), "binding.go", nil, 0)
	ok(t, err)
	index := map[string]proc{}
	for _, d := range tree.Decls {
		g, isDecl := d.(*ast.GenDecl)
		if !isDecl || g.Tok != token.CONST {
			continue
		}
		for i, s := range g.Specs {
			if name := s.(*ast.ValueSpec).Names[0].Name; g.Specs[0].(*ast.ValueSpec).Names[0].Name == "cuInit" && name != "numProcs" {
				index[name] = proc(i)
			}
		}
	}
	if len(index) != int(numProcs) {
		t.Fatalf("%d constants for %d rows", len(index), numProcs)
	}
	return index
}

// TestBindingRows holds each row to a name and a place.
func TestBindingRows(t *testing.T) {
	seen := map[string]bool{}
	for p, r := range rows {
		if r.name == "" || seen[r.name] || !strings.Contains(r.prototype, r.name+"(") {
			t.Errorf("row %d is %+v", p, r)
		}
		seen[r.name] = true
	}
}
