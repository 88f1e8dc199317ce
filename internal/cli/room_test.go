package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/compiler/plan"
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/runtime"
)

// small is a card of little memory, which only tells of it.
type small struct {
	device.Backend
	free, total int64
}

func (s *small) Memory() (int64, int64, error) { return s.free, s.total, nil }

func (s *small) ScratchBytes(op.Code, op.Attr, [][]int, [][]int) int64 { return 1 << 20 }

// roomNet is a net whose kept frames outweigh recomputed ones.
func roomNet(t *testing.T) *model.Net {
	t.Helper()
	p := program{File: "../../examples/quickstart.loco", settings: settings{Method: "loco"}}
	net, _, found, err := p.check()
	if err != nil || found.HasErrors() {
		t.Fatal(err, found)
	}
	net.Train.Batch, net.Train.Microbatch = 4096, 4
	return net
}

// TestFit: what a card cannot hold is refused to the byte, with what needs less.
func TestFit(t *testing.T) {
	net, lean := roomNet(t), lower.Options{Depth: 1, Turn: -1}
	card := &small{total: 80 << 30}
	r, err := runtime.RoomOf(net, lean, card, true)
	if err != nil {
		t.Fatal(err)
	}
	need := r.Need()
	for _, c := range []struct {
		name string
		free int64 // what is not free is another's
		all  int64
		edit func(*model.Net)
		want []string // of the refusal; none: it fits
		not  string
	}{
		{"just fits", need, 80 << 30, nil, nil, ""},
		{"a byte too few", need - 1, 80 << 30, nil, []string{
			"the run needs " + plan.Bytes(need) + " of the card's memory (" + plan.Bytes(r.Program) + " planned, 1.00 MiB for kernels, ",
			" for readouts, 512 MiB in reserve), 1 B more than the " + plan.Bytes(need-1) + " that are free of 80.0 GiB; --memory ",
			"MiB alone leads to frames recomputed, depth 2, which needs ", " and fits; what holds the other ", " may end: `nvidia-smi` names it",
			"; a smaller microbatch, or `precision bf16`, needs less; --device cuda:N takes another card",
		}, ""},
		{"a card that is too small", need - 1, need - 1, nil, []string{"--memory "}, "nvidia-smi"},
		{"nothing fits", 1 << 20, 1 << 20, nil, []string{"; a smaller microbatch, or `precision bf16`, needs less; "}, "--memory"},
		{"bf16 already", 1 << 20, 1 << 20, func(n *model.Net) { n.Train.Precision = model.BF16 }, []string{"; a smaller microbatch needs less; "}, "bf16"},
		{"one image already", 1 << 20, 1 << 20, func(n *model.Net) { n.Train.Microbatch = 1 }, []string{"; smaller pictures or fewer channels, or "}, "microbatch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			card := &small{free: c.free, total: c.all}
			net := *net
			if c.edit != nil {
				c.edit(&net)
			}
			err := memoryFlags{}.fit(&net, lean, 1, card, true)
			if (err == nil) != (c.want == nil) {
				t.Fatalf("error %v", err)
			}
			if err == nil {
				return
			}
			if !misuse(err) {
				t.Errorf("%v is no misuse", err)
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v\nlacks %q", err, part)
				}
			}
			if c.not != "" && strings.Contains(err.Error(), c.not) {
				t.Errorf("%v\nspeaks of %s", err, c.not)
			}
		})
	}
}

// TestRemedyHolds: the --memory that a refusal names leads to a run that fits.
func TestRemedyHolds(t *testing.T) {
	net := roomNet(t)
	lean, card := lower.Options{Depth: 1, Turn: -1}, &small{total: 80 << 30}
	r, err := runtime.RoomOf(net, lean, card, true)
	if err != nil {
		t.Fatal(err)
	}
	card.free = r.Need() - 1
	_, after, ok := strings.Cut(fmt.Sprint(memoryFlags{}.fit(net, lean, 1, card, true)), "--memory ")
	if !ok {
		t.Fatal("no --memory is named")
	}
	size, _, _ := strings.Cut(after, " ")
	m := memoryFlags{Frames: "auto", Memory: size}
	opt, _, err := m.choose(net, 1, card)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.fit(net, opt, 1, card, true); err != nil {
		t.Error(err)
	}
}

// TestPrintRoom: what is known is printed, and nothing where there is no card.
func TestPrintRoom(t *testing.T) {
	for want, r := range map[string]*runtime.Room{
		"": nil,
		"\nMemory of the card: 4.00 GiB are needed (1.00 GiB planned, 1.00 GiB for kernels, 1.00 GiB for readouts, 1.00 GiB in reserve), 5.00 GiB of 8.00 GiB are free: it fits\n": {Program: 1 << 30, Kernels: 1 << 30, Readouts: 1 << 30, Reserve: 1 << 30, Free: 5 << 30, Total: 8 << 30},
		"\nMemory of the card: 3.00 GiB are needed (1.00 GiB planned, 1.00 GiB for kernels, 1.00 GiB in reserve), 2.00 GiB of 8.00 GiB are free: it does not fit\n":                {Program: 1 << 30, Kernels: 1 << 30, Reserve: 1 << 30, Free: 2 << 30, Total: 8 << 30},
	} {
		var b bytes.Buffer
		if err := printRoom(&b, r); err != nil || b.String() != want {
			t.Errorf("%q, %v, want %q", b.String(), err, want)
		}
	}
}

// TestFreeOn: only a card tells.
func TestFreeOn(t *testing.T) {
	if n := freeOn(&small{free: 5}); n != 5 {
		t.Errorf("%d of 5", n)
	}
	if n := freeOn(&named{}); n != 0 {
		t.Errorf("%d without a card", n)
	}
}

// TestCardTooSmall: nothing of a run is there when its card is too small; a plan
// is printed first, and says what is free.
func TestCardTooSmall(t *testing.T) {
	dir, file := placeProgram(t)
	little, much := benchOf{free: 1 << 20}, benchOf{}
	refused := "of the card's memory ("
	for _, c := range []struct {
		name string
		on   *benchOf
		args []string
		code int
		out  string // "": nothing
		errs string
	}{
		{"run", &little, []string{"run", file, "--out", filepath.Join(dir, "out"), "--listen", "off"}, exitWrong, "", refused},
		{"step", &little, []string{"bench", "step", file}, exitWrong, "", refused},
		{"plan", &little, []string{"plan", file}, exitWrong, "1.00 MiB of 2.00 MiB are free: it does not fit\n", refused},
		{"plan as JSON", &little, []string{"plan", "--json", file}, exitWrong, `"free": 1048576,`, refused},
		{"plan of what fits", &much, []string{"plan", file}, exitOK, "1.00 TiB of 2.00 TiB are free: it fits\n", ""},
		{"JSON of what fits", &much, []string{"plan", "--json", file}, exitOK, `"reserve": 536870912,`, ""},
		{"step that fits", &much, []string{"bench", "step", "--steps", "1", "--warmup", "0", file}, exitOK, "card/cuda, f32, ", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := call(Env{Device: c.on.open}, append(c.args, "--device", "cuda")...)
			if code != c.code || !strings.Contains(out, c.out) || (c.out == "") != (out == "") || !strings.Contains(errs, c.errs) {
				t.Errorf("exit %d\n%s%s", code, out, errs)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "out")); !os.IsNotExist(err) {
		t.Errorf("the run's directory: %v", err)
	}
	if little.closed != len(little.opened) || much.closed != len(much.opened) {
		t.Errorf("%d of %d closed, %d of %d", little.closed, len(little.opened), much.closed, len(much.opened))
	}
}
