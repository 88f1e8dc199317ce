package cuda

import (
	"errors"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cuda/driver"
	"github.com/locorun/locorun/graphs/cuda/emulate"
	"github.com/locorun/locorun/graphs/device"
)

// noting notes what is compiled, and refuses what is for narrow maps where broken is
// set. A source stands for what it would be compiled to.
type noting struct {
	broken bool
	of     []string // maps
}

func (*noting) Version() string { return "noting" }

func (n *noting) Compile(_, source string, _ int) ([]byte, error) {
	if !strings.HasPrefix(source, "#define NARROW_MAPS") {
		n.of = append(n.of, "f32")
		return []byte(source), nil
	}
	if n.broken {
		return nil, errors.New("line 1: no")
	}
	n.of = append(n.of, "bf16")
	return []byte(source), nil
}

// loads loads anything, and has any kernel; nothing runs.
type loads struct {
	driver.Device
	modules driver.Module
}

func (l *loads) Load([]byte) (driver.Module, error) { l.modules++; return l.modules, nil }
func (l *loads) Function(m driver.Module, _ string) (driver.Function, error) {
	return driver.Function(m), nil
}
func (l *loads) Launch(driver.Function, driver.Dim, driver.Dim, uint32, driver.Stream, []uint64) error {
	return nil
}

// TestModules: kernels for narrow maps are compiled once, before the first Call
// where that is asked for, else with the first that has such.
func TestModules(t *testing.T) {
	for name, c := range map[string]struct {
		at           Options
		broken       bool
		first, later string
		fails        string
	}{
		"when first needed": {first: "f32", later: "f32 bf16"},
		"at once":           {at: Options{BF16: true}, first: "f32 bf16", later: "f32 bf16"},
		"broken":            {broken: true, first: "f32", fails: "cuda: relu: kernel relu: kernels: line 1: no"},
		"broken at once":    {at: Options{BF16: true}, broken: true, fails: "cuda: kernels: line 1: no"},
	} {
		t.Run(name, func(t *testing.T) {
			card, _ := emulate.Open(t)
			compiler := &noting{broken: c.broken}
			c.at.Device, c.at.Compiler = &loads{Device: card}, compiler
			b, err := New(c.at)
			if err != nil {
				if err.Error() != c.fails {
					t.Errorf("got %v, not %s", err, c.fails)
				}
				return
			}
			defer b.Close()
			if got := strings.Join(compiler.of, " "); got != c.first {
				t.Errorf("at first: %s, not %s", got, c.first)
			}
			r := &rig{t, b, 0}
			x := r.halves([]float32{1, 2}, 1, 1, 1, 2)
			for range 2 {
				err = b.Run(&device.Call{Code: op.ReLU, In: []device.Tensor{x}, Out: []device.Tensor{x}})
				if c.fails == "" && err != nil || c.fails != "" && (err == nil || err.Error() != c.fails) {
					t.Errorf("got %v, not %s", err, c.fails)
				}
			}
			if got := strings.Join(compiler.of, " "); c.fails == "" && got != c.later {
				t.Errorf("then: %s, not %s", got, c.later)
			}
		})
	}
}
