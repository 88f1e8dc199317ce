package runtime

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler"
	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/graphs"
	"github.com/locorun/locorun/graphs/cpu"
	"github.com/locorun/locorun/graphs/cuda/cudatest"
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/runtime/export"
)

// goldens are the folder of the tensors that PyTorch made; its make.py says
// what each is.
const goldens = "../testdata/golden"

// golden is one case: the program, and the tensors it must give.
type golden struct {
	t       *testing.T
	p       *ir.Program
	g       *graphs.Program
	tensors map[string]export.Tensor
}

func openGolden(t *testing.T, b device.Backend, name string) *golden {
	t.Helper()
	src, err := os.ReadFile(filepath.Join(goldens, name+".loco"))
	if err != nil {
		t.Fatal(err)
	}
	net, found := compiler.Compile(name+".loco", src, compiler.Options{})
	if net == nil {
		t.Fatal(found)
	}
	p, err := lower.Train(net, lower.Options{Depth: 1, Turn: -1})
	if err != nil {
		t.Fatal(err)
	}
	g, err := graphs.Build(p, b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return &golden{t: t, p: p, g: g, tensors: readGolden(t, name)}
}

func readGolden(t *testing.T, name string) map[string]export.Tensor {
	t.Helper()
	f, err := os.Open(filepath.Join(goldens, name+".safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	list, _, err := export.ReadSafetensors(f, s.Size())
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]export.Tensor{}
	for _, x := range list {
		m[x.Name] = x
	}
	return m
}

// want is a golden tensor, convolutions in our layout.
func (g *golden) want(name string) []float32 {
	g.t.Helper()
	x, ok := g.tensors[name]
	if !ok {
		g.t.Fatalf("no golden %s", name)
	}
	if s := x.Shape; len(s) == 4 && name != "images" {
		return export.OIHWToOHWI(x.Data, s[0], s[1], s[2], s[3])
	}
	return x.Data
}

func (g *golden) read(v ir.ValueID) []float32 {
	g.t.Helper()
	x, err := g.g.Read(v, 0)
	if err != nil {
		g.t.Fatal(err)
	}
	return x
}

// compare demands ||got-want|| <= tolerance*||want||.
func (g *golden) compare(name string, got []float32, tolerance float64) {
	g.t.Helper()
	want := g.want(name)
	if len(got) != len(want) {
		g.t.Fatalf("%s: %d values, want %d", name, len(got), len(want))
	}
	d, n := 0.0, 0.0
	for i := range want {
		d += math.Pow(float64(got[i])-float64(want[i]), 2)
		n += math.Pow(float64(want[i]), 2)
	}
	if d, n = math.Sqrt(d), math.Sqrt(n); !(d <= tolerance*n) {
		g.t.Errorf("%s: ||a-b||/||b|| is %.2g", name, d/n)
	}
}

// params compares every parameter of a kind with the goldens of a prefix.
func (g *golden) params(prefix string, tolerance float64, kinds ...ir.Kind) {
	g.t.Helper()
	for i := range g.p.Params {
		q := &g.p.Params[i]
		for _, k := range kinds {
			if q.Kind != k {
				continue
			}
			v := q.Value
			if prefix == "grad/" {
				v = q.Grad
			}
			g.compare(prefix+q.Name, g.read(v), tolerance)
		}
	}
}

// step runs one batch; before the updates it calls see.
func (g *golden) step(batch int, see func()) {
	g.t.Helper()
	seen := false
	for _, turn := range g.p.Order() {
		if !seen && turn.Loop < 0 && g.p.Segments[turn.Task[0]].Phase == ir.PhaseUpdate {
			see()
			seen = true
		}
		if err := g.g.RunTask(turn.Task, batch, 0.05, batch+1); err != nil {
			g.t.Fatal(err)
		}
	}
}

func TestGoldens(t *testing.T) {
	b := onCPU(t, cpu.Options{})
	t.Cleanup(func() { b.Close() })
	checkGoldens(t, b)
}

// TestGoldensOnCUDA is the same on a card, or on its kernels.
func TestGoldensOnCUDA(t *testing.T) { checkGoldens(t, cudatest.Open(t)) }

func checkGoldens(t *testing.T, b device.Backend) {
	for _, name := range []string{"overlap", "chain", "upper"} {
		t.Run(name, func(t *testing.T) {
			g := openGolden(t, b, name)
			for i := range g.p.Params {
				q := &g.p.Params[i]
				if err := g.g.Write(q.Value, 0, g.want("init/"+q.Name)); err != nil {
					t.Fatal(err)
				}
			}
			losses := map[string][]float32{}
			for batch := range 10 {
				if err := g.g.Write(g.p.Units[0].In, batch, g.want("images")); err != nil {
					t.Fatal(err)
				}
				g.step(batch, func() {
					for u := range g.p.Units {
						l := g.p.Units[u].Losses[0]
						losses[l.Name] = append(losses[l.Name], g.read(l.Value)[0])
					}
					if batch == 0 {
						g.params("grad/", 1e-4, ir.Weight)
						g.params("stats/", 1e-4, ir.Statistic)
					}
				})
			}
			for unit, list := range losses {
				want := g.want("loss/" + unit)
				for i, l := range list {
					tolerance := 1e-3
					if i == 0 {
						tolerance = 1e-4
					}
					if math.Abs(float64(l/want[i]-1)) > tolerance {
						t.Errorf("loss of %s, step %d: %v, want %v", unit, i+1, l, want[i])
					}
				}
			}
			g.params("final/", 1e-3, ir.Weight, ir.Statistic)
			for name := range g.tensors {
				if unit, ok := strings.CutPrefix(name, "loss/"); ok && len(losses[unit]) != 10 {
					t.Errorf("no losses of %s", unit)
				}
			}
		})
	}
}
