package cuda

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/conformance"
	"github.com/locorun/locorun/graphs/cuda/driver"
	"github.com/locorun/locorun/graphs/cuda/emulate"
	"github.com/locorun/locorun/graphs/device"
)

// TestLibraries is all tests of the choice that need kernels.
func TestLibraries(t *testing.T) {
	kept := images{}
	t.Run("Conformance", func(t *testing.T) { testLibrariesConform(t, kept) })
	t.Run("Norms", func(t *testing.T) {
		b, f := newLibraryBench(t, kept)
		readThroughNorm(b)
		if !f.has("algorithm 5: backward filter in 2 groups") {
			t.Error("the libraries have not computed", f.ran)
		}
	})
	for name, test := range map[string]func(*testing.T, images){
		"Choice": testChoice, "NoClock": testNoClock, "BesideTheBeat": testBesideTheBeat, "Fails": testLibraryFails,
		"Kept": testChoicesKept, "KeptInBF16": testNarrowChoicesKept, "Refused": testChoicesRefused, "Without": testChoicesWithout,
	} {
		t.Run(name, func(t *testing.T) { test(t, kept) })
	}
}

// has reports whether something ran.
func (f *fakeLibraries) has(what string) bool { return slices.Contains(f.ran, what) }

// testLibrariesConform: the ops are right where a library computes all that it
// can, by each of the two.
func testLibrariesConform(t *testing.T, kept images) {
	f32 := conformance.Tolerances{Rel: 1e-3, Abs: 1e-5}
	for _, c := range []struct {
		name  string
		ranks int
		tf32  bool
		maps  op.Dtype
		wide  bool
		tol   conformance.Tolerances
		used  string
	}{
		{"cudnn", 0, false, op.F32, false, f32, "algorithm 5: forward in 1 groups"},
		{"cublaslt", 1, true, op.F32, false, f32, "rank 0"},
		{"cudnn in bf16", 0, false, op.BF16, true, f32, "algorithm 5: forward in 1 groups"},
		{"cublaslt in bf16", 1, false, op.BF16, false, throughNarrow, "rank 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.ranks == 0 && os.Getenv("LOCORUN_LONG") == "" {
				t.Skip("LOCORUN_LONG is not set: the other one has most of it")
			}
			var f *fakeLibraries
			var b *Backend
			conformance.RunAs(t, func() device.Backend {
				var compiler driver.Compiler
				f, compiler = newFakes(t, emulate.Open)
				f.ranks, f.algos, f.wide = c.ranks, f.algos[:1], c.wide
				b = f.open(t, compiler, kept, c.tf32)
				b.repeats = 1
				return emulated{b}
			}, c.maps, c.tol)
			if !slices.ContainsFunc(f.ran, func(s string) bool { return strings.HasPrefix(s, c.used) }) {
				t.Errorf("nothing ran by %s", c.used)
			}
			for _, way := range []driver.Way{driver.Forward, driver.BackwardData, driver.BackwardFilter} {
				if !slices.ContainsFunc(f.ran, func(s string) bool { return strings.Contains(s, way.String()) }) {
					t.Errorf("nothing ran %v", way)
				}
			}
			if got, want := bytes.Contains(b.Choices(), []byte(`"narrow":true`)), c.maps == op.BF16 && !c.wide; got != want {
				t.Errorf("gradients of weights are made narrow: %v, not %v", got, want)
			}
			if slices.Contains(f.tf32, !c.tf32) {
				t.Errorf("a library was not told that TF32 is %v", c.tf32)
			}
		})
	}
}

// small is a product, grouped a convolution that is none.
var (
	small   = shapeOf(2, 3, 3, 4, 8, 1, 1, 1, 1, 0)
	grouped = shapeOf(2, 3, 3, 4, 4, 2, 3, 3, 1, 1)
)

// forward computes a geometry once, and gives the choice for it.
func (b *bench) forward(g geometry) choice {
	b.Helper()
	b.check(b.compute(g))
	g = b.typed(g)
	return b.b.choices[problem{conv: b.b.libraries.conv(g)}]
}

func (b *bench) compute(g geometry) error {
	g = b.typed(g)
	x, w, y := b.putMap(b.numbers(g.n*g.h*g.w*g.c), 0), b.put(b.numbers(g.weights()), 0), b.putMap(make([]float32, g.pixels()*g.k), 0)
	return b.r.conv(g, x, w, 0, y)
}

// testChoice: the fastest is chosen, our own where times are equal; what fails,
// and what needs too much memory, is left out.
func testChoice(t *testing.T, kept images) {
	failed := errors.New("failed")
	for name, c := range map[string]struct {
		g     geometry
		own   time.Duration
		costs map[string]time.Duration
		fails map[string]error
		want  string
	}{
		"ours":          {small, 0, nil, nil, "our own kernels"},
		"equal":         {small, time.Millisecond, nil, nil, "our own kernels"},
		"first of many": {small, time.Second, nil, nil, "cuBLASLt's kernel 0"},
		"second rank":   {small, time.Second, map[string]time.Duration{"rank 0": 2}, nil, "cuBLASLt's kernel 1"},
		"algorithm": {
			small, time.Second, map[string]time.Duration{"rank 0": 2, "rank 1": 3, "algorithm 5": 1}, nil,
			"cuDNN's algorithm 1 with math 3",
		},
		"no product": {grouped, time.Second, nil, nil, "cuDNN's algorithm 5 with math 3"},
		"a failure":  {grouped, time.Second, nil, map[string]error{"algorithm 5": failed}, "cuDNN's algorithm 1 with math 3"},
		"all fail":   {grouped, time.Second, nil, map[string]error{"algorithm 5": failed, "algorithm 1": failed}, "our own kernels"},
	} {
		t.Run(name, func(t *testing.T) {
			b, f := newLibraryBench(t, kept)
			f.dev.own = c.own
			f.costs, f.fails = c.costs, c.fails
			if got := b.forward(c.g).String(); got != c.want {
				t.Errorf("chosen: %s, not %s", got, c.want)
			}
			ran := len(f.ran)
			b.forward(c.g)
			if n := len(f.ran) - ran; n > 1 {
				t.Errorf("%d runs where the choice is made", n)
			}
			if f.has("algorithm 7: forward in 2 groups") {
				t.Error("an algorithm has more memory than it may")
			}
		})
	}
}

// unclocked hides a device's clock.
type unclocked struct{ driver.Device }

// testNoClock: without a clock our own kernels compute.
func testNoClock(t *testing.T, kept images) {
	b, f := newLibraryBench(t, kept)
	b.b.dev = unclocked{f.dev}
	if c := b.forward(small); c.By != byOwn || len(f.ran) > 0 {
		t.Errorf("chosen: %v", c)
	}
}

// testBesideTheBeat: what does not lie at multiples of 16 bytes is not a
// library's.
func testBesideTheBeat(t *testing.T, kept images) {
	b, f := newLibraryBench(t, kept)
	x, w, y := b.put(b.numbers(72), 4), b.put(b.numbers(32), 0), b.put(make([]float32, 144), 0)
	b.check(b.r.conv(small, x, w, 0, y))
	if len(f.ran) > 0 || len(b.b.choices) > 0 {
		t.Errorf("ran %v", f.ran)
	}
}

// testLibraryFails: a library that fails once it is chosen is named.
func testLibraryFails(t *testing.T, kept images) {
	b, f := newLibraryBench(t, kept)
	b.forward(small)
	b.forward(grouped)
	f.fails = map[string]error{"rank 0": errors.New("broken"), "algorithm 5": errors.New("bent")}
	for _, c := range []struct {
		g    geometry
		want string
	}{{small, "by cuBLASLt's kernel 0: broken"}, {grouped, "by cuDNN's algorithm 5 with math 3: bent"}} {
		if err := b.compute(c.g); err == nil || err.Error() != c.want {
			t.Errorf("got %v, not %s", err, c.want)
		}
	}
}

const chosen = `{"cublaslt":"1.2.3","cudnn":"1.2.3","kernels":[` +
	`{"way":"forward","x":[2,3,3,4],"w":[8,1,1,4],"stride":1,"pad":0,"groups":1,"by":"cublaslt"},` +
	`{"way":"forward","x":[2,3,3,8],"w":[8,3,3,4],"stride":1,"pad":1,"groups":2,"by":"cudnn","algorithm":5,"math":3,"workspace":96}]}` + "\n"

// testChoicesKept: a backend that is told of choices computes by them, without
// measuring, and tells of the same.
func testChoicesKept(t *testing.T, kept images) {
	b, _ := newLibraryBench(t, kept)
	b.forward(grouped)
	b.forward(small)
	if got := string(b.b.Choices()); got != chosen {
		t.Errorf("choices:\n%snot\n%s", got, chosen)
	}
	other, f := newLibraryBench(t, kept)
	f.dev.own = 0 // so that measuring would choose our own kernels
	other.forward(small)
	other.check(other.b.SetChoices([]byte(chosen)))
	f.ran = nil
	other.forward(small)
	other.forward(grouped)
	if want := []string{"rank 0: 18x8x4", "algorithm 5: forward in 2 groups"}; !slices.Equal(f.ran, want) {
		t.Errorf("ran %v, not %v", f.ran, want)
	}
	if got := other.b.Choices(); !bytes.Equal(got, []byte(chosen)) {
		t.Errorf("choices then:\n%s", got)
	}
}

const chosenNarrow = `{"cublaslt":"1.2.3","cudnn":"1.2.3","kernels":[` +
	`{"way":"backward filter","x":[2,3,3,8],"w":[8,3,3,4],"stride":1,"pad":1,"groups":2,"maps":"bf16","by":"cudnn","algorithm":5,"math":3,"workspace":96,"narrow":true},` +
	`{"way":"forward","x":[2,3,3,4],"w":[8,1,1,4],"stride":1,"pad":0,"groups":1,"maps":"bf16","by":"cublaslt"},` +
	`{"way":"forward","x":[2,3,3,4],"w":[8,1,1,4],"stride":1,"pad":0,"groups":1,"tf32":true,"by":"cublaslt"},` +
	`{"way":"forward","x":[2,3,3,8],"w":[8,3,3,4],"stride":1,"pad":1,"groups":2,"maps":"bf16","by":"cudnn","algorithm":5,"math":3,"workspace":96}]}` + "\n"

// testNarrowChoicesKept: choices for narrow maps are apart from those for float32,
// are kept, and rest on what the libraries offer for such maps. TF32 is nothing to
// them.
func testNarrowChoicesKept(t *testing.T, kept images) {
	b, f := newLibraryBench(t, kept)
	b.b.libraries.tf32 = true
	b.forward(small)
	if want := []bool{true}; !slices.Equal(slices.Compact(f.tf32), want) {
		t.Errorf("float32 with TF32: %v", f.tf32)
	}
	f.tf32 = nil
	b.r.maps = driver.BF16
	b.forward(small)
	b.forward(grouped)
	b.gradient(grouped)
	if want := []bool{false}; !slices.Equal(slices.Compact(f.tf32), want) {
		t.Errorf("narrow maps with TF32: %v", f.tf32)
	}
	if got := string(b.b.Choices()); got != chosenNarrow {
		t.Fatalf("choices:\n%snot\n%s", got, chosenNarrow)
	}
	other, f := newLibraryBench(t, kept)
	other.check(other.b.SetChoices([]byte(chosenNarrow)))
	other.r.maps = driver.BF16
	f.ran = nil
	other.gradient(grouped)
	if want := []string{"algorithm 5: backward filter in 2 groups"}; !slices.Equal(f.ran, want) {
		t.Errorf("ran %v, not %v", f.ran, want)
	}
	f.wide, f.ran = true, nil
	if c := other.b.libraries.candidates(other.b.libraries.conv(other.typed(grouped)), driver.BackwardFilter); c[1].Narrow || !c[len(c)-1].Narrow {
		t.Errorf("candidates %v", c)
	}
	refused := strings.Replace(chosenNarrow, `"maps":"bf16","by":"cudnn","algorithm":5,"math":3,"workspace":96,"narrow":true`, `"by":"cudnn","algorithm":5,"math":3,"workspace":96,"narrow":true`, 1)
	err := other.b.SetChoices([]byte(refused))
	if said := "cuda: the run computed the convolution backward filter of [2 3 3 8] by [8 3 3 4], stride 1, padding 1, 2 groups by cuDNN's algorithm 5 with math 3 into bf16, which is not offered here"; err == nil || err.Error() != said {
		t.Errorf("got %v, not %s", err, said)
	}
}

// typed is a geometry with maps of the bench's type.
func (b *bench) typed(g geometry) geometry {
	g.maps = b.r.maps
	return g
}

// gradient computes the gradient of a geometry's weights once.
func (b *bench) gradient(g geometry) {
	b.Helper()
	g = b.typed(g)
	x, dy := b.putMap(b.numbers(g.n*g.h*g.w*g.c), 0), b.putMap(b.numbers(g.pixels()*g.k), 0)
	b.check(b.r.convWeight(g, x, dy, b.put(make([]float32, g.weights()), 0), 0))
}

// testChoicesRefused: choices that cannot be kept to are refused by name, and
// nothing changes.
func testChoicesRefused(t *testing.T, kept images) {
	b, f := newLibraryBench(t, kept)
	b.forward(small)
	before := b.b.Choices()
	replaced := func(old, new string) string { return strings.Replace(chosen, old, new, 1) }
	for name, c := range map[string]struct{ text, want string }{
		"no json":        {"x", "cuda: choices of kernels: invalid character 'x' looking for beginning of value"},
		"unknown":        {replaced(`"cudnn"`, `"else"`), `cuda: choices of kernels: json: unknown field "else"`},
		"maps":           {replaced(`"way"`, `"maps":"f16","way"`), "cuda: choices of kernels: the convolution forward of f16 [2 3 3 4] by [8 1 1 4], stride 1, padding 0, 1 groups is no convolution"},
		"way":            {replaced("forward", "up"), "cuda: choices of kernels: the convolution up of [2 3 3 4] by [8 1 1 4], stride 1, padding 0, 1 groups is no convolution"},
		"groups":         {replaced(`"groups":2`, `"groups":0`), "cuda: choices of kernels: the convolution forward of [2 3 3 8] by [8 3 3 4], stride 1, padding 1, 0 groups is no convolution"},
		"rank":           {replaced(`"by":"cublaslt"`, `"by":"cublaslt","algorithm":2`), "cuda: the run computed the convolution forward of [2 3 3 4] by [8 1 1 4], stride 1, padding 0, 1 groups by cuBLASLt's kernel 2, which is not offered here"},
		"algorithm":      {replaced(`"algorithm":5`, `"algorithm":4`), "cuda: the run computed the convolution forward of [2 3 3 8] by [8 3 3 4], stride 1, padding 1, 2 groups by cuDNN's algorithm 4 with math 3, which is not offered here"},
		"other version":  {replaced(`"cudnn":"1.2.3"`, `"cudnn":"1.2.4"`), "cuda: the run computed with cuDNN 1.2.4; here is 1.2.3"},
		"unused library": {replaced(`"cudnn":"1.2.3",`, ""), "cuda: the run computed the convolution forward of [2 3 3 8] by [8 3 3 4], stride 1, padding 1, 2 groups by cuDNN's algorithm 5 with math 3, which is not offered here"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := b.b.SetChoices([]byte(c.text)); err == nil || err.Error() != c.want {
				t.Errorf("got %v, not %s", err, c.want)
			}
			if got := b.b.Choices(); !bytes.Equal(got, before) {
				t.Errorf("choices are now %s", got)
			}
		})
	}
	l := libraries{}
	want := fmt.Sprintf("cuda: the run computed with cuBLASLt %s, which was not found here", f.version)
	if err := l.restrict(versions{BLAS: f.version}); err == nil || err.Error() != want {
		t.Errorf("got %v, not %s", err, want)
	}
}

// testChoicesWithout: a run that began without a library goes on without it.
func testChoicesWithout(t *testing.T, kept images) {
	b, f := newLibraryBench(t, kept)
	b.check(b.b.SetChoices([]byte(`{"kernels":[]}`)))
	b.forward(small)
	b.forward(grouped)
	if len(f.ran) > 0 {
		t.Errorf("ran %v", f.ran)
	}
	if got := string(b.b.Choices()); got != `{"kernels":[]}`+"\n" {
		t.Errorf("choices: %s", got)
	}
}
