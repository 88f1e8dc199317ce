package cli

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/graphs/cpu"
	"github.com/locorun/locorun/graphs/device"
)

// card is a backend under another name, that chooses kernels.
type card struct {
	device.Backend
	name string
	choosing
	free   int64
	closed *int
}

func (c *card) Name() string                  { return "card/" + c.name }
func (c *card) Memory() (int64, int64, error) { return c.free, 2 * c.free, nil }
func (c *card) Close() error                  { *c.closed++; return c.Backend.Close() }

// bench is devices that are all the processor.
type benchOf struct {
	opened []string
	closed int
	free   int64
	fails  string
}

func (b *benchOf) open(name string) (device.Backend, error) {
	if name == b.fails {
		return nil, errors.New(name + " is not there")
	}
	b.opened = append(b.opened, name)
	tier, err := cpu.TierNamed("portable")
	if err != nil {
		return nil, err
	}
	free := b.free
	if free == 0 {
		free = 1 << 40
	}
	kind, _, _ := strings.Cut(name, ":")
	return &card{
		Backend: cpu.New(cpu.Options{Workers: 1, Tier: tier}), name: kind,
		choosing: choosing{has: "of " + kind}, free: free, closed: &b.closed,
	}, nil
}

// threeUnits is a net of three units.
func threeUnits() *model.Net {
	return &model.Net{Units: []*model.Unit{{Name: "low"}, {Name: "mid"}, {Name: "high"}}}
}

// placesGiven reads --place flags.
func placesGiven(t *testing.T, texts ...string) (f placeFlag) {
	t.Helper()
	for _, text := range texts {
		if err := f.Place.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// TestPlace starts a backend for each device, once.
func TestPlace(t *testing.T) {
	for name, c := range map[string]struct {
		flags  []string
		base   string
		given  bool
		opened string
		name   string
	}{
		"none":                 {nil, "cpu", false, "cpu", "card/cpu"},
		"two cards":            {[]string{"low=cuda:0,mid=cuda:1"}, "cpu", false, "cpu cuda:0 cuda:1", "card/cpu; low on card/cuda, mid on card/cuda"},
		"two flags":            {[]string{"mid=cuda:1", "low=cuda:0"}, "cpu", false, "cpu cuda:0 cuda:1", "card/cpu; low on card/cuda, mid on card/cuda"},
		"cuda is card 0":       {[]string{"low=cuda,mid=cuda:0"}, "cpu", false, "cpu cuda:0", "card/cpu; low on card/cuda, mid on card/cuda"},
		"all are named":        {[]string{"high=cuda:1,mid=cuda:0,low=cuda:0"}, "cpu", false, "cuda:1 cuda:0", "card/cuda; high on card/cuda, low on card/cuda, mid on card/cuda"},
		"all and a device":     {[]string{"high=cuda,mid=cuda,low=cuda"}, "cpu", true, "cpu cuda:0", "card/cpu; high on card/cuda, low on card/cuda, mid on card/cuda"},
		"all on one":           {[]string{"high=cuda,mid=cuda,low=cuda"}, "cpu", false, "cuda:0", "card/cuda"},
		"where the rest is":    {[]string{"low=cpu"}, "cpu", true, "cpu", "card/cpu"},
		"one on the processor": {[]string{"low=cpu"}, "cuda", true, "cuda:0 cpu", "card/cuda; low on card/cpu"},
	} {
		t.Run(name, func(t *testing.T) {
			var on benchOf
			b, err := placesGiven(t, c.flags...).backends(threeUnits(), c.base, c.given, on.open)
			if err != nil {
				t.Fatal(err)
			}
			if b.Name() != c.name || strings.Join(on.opened, " ") != c.opened {
				t.Errorf("%s, of %s", b.Name(), on.opened)
			}
			if err := b.Close(); err != nil || on.closed != len(on.opened) {
				t.Errorf("%d of %d closed, %v", on.closed, len(on.opened), err)
			}
		})
	}
}

// TestPlaceRefuses wants the call's fault said, with a remedy, and nothing started
// or left open.
func TestPlaceRefuses(t *testing.T) {
	for _, c := range []struct {
		flag string
		in   model.Precision
		want string
	}{
		{"lwo=cuda", model.F32, "--place lwo=cuda: there is no such unit; did you mean low?"},
		{"stem=cuda", model.F32, "--place stem=cuda: there is no such unit; the units are low, mid, high"},
		{"low=cuda:0,low=cuda:1", model.F32, "--place names unit low twice; it runs on one device, so leave one out"},
		{"low=tpu", model.F32, "--place low=tpu: no such device; write cpu, cuda, or cuda:N for card N"},
		{"low=cuda:x", model.F32, "--place low=cuda:x: no such device; write cpu, cuda, or cuda:N for card N"},
		{"low=cuda:-1", model.F32, "--place low=cuda:-1: no such device; write cpu, cuda, or cuda:N for card N"},
		{"low=cpu", model.BF16, "--place low=cpu: precision bf16 is a card's: a processor computes in f32; place the unit on a card, or write precision f32"},
		{"mid=cuda,low=cpu", model.TF32, "--place low=cpu: precision tf32 is a card's: a processor computes in f32; place the unit on a card, or write precision f32"},
	} {
		var on benchOf
		net := threeUnits()
		net.Train.Precision = c.in
		_, err := placesGiven(t, c.flag).backends(net, "cuda", true, on.open)
		if err == nil || err.Error() != c.want || !misuse(err) || len(on.opened) > 0 {
			t.Errorf("%v (%v started)\nnot %s", err, on.opened, c.want)
		}
	}
	on := benchOf{fails: "cuda:1"}
	_, err := placesGiven(t, "low=cuda:0,mid=cuda:1").backends(threeUnits(), "cpu", false, on.open)
	if err == nil || err.Error() != "cuda:1 is not there" || on.closed != 2 {
		t.Errorf("%v, %d closed", err, on.closed)
	}
	for _, text := range []string{"", "low", "=cuda", "low=", "low=cuda,,mid=cuda"} {
		var p places
		if err := p.UnmarshalText([]byte(text)); err == nil || !strings.HasSuffix(err.Error(), "names no unit with its device; write low=cuda:0,mid=cuda:1") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestChoosersOfPlaces keeps each place's choices of kernels under its units.
func TestChoosersOfPlaces(t *testing.T) {
	on := benchOf{}
	b, err := placesGiven(t, "low=cuda:0,high=cuda:0,mid=cuda:1").backends(threeUnits(), "cpu", true, on.open)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c := chooserOf(b)
	if got, want := string(c.Choices()), `{"":"of cpu","low,high":"of cuda","mid":"of cuda"}`; got != want {
		t.Errorf("choices %s, not %s", got, want)
	}
	if err := c.SetChoices([]byte(`{"":"x","low,high":"y","mid":"z"}`)); err != nil {
		t.Fatal(err)
	}
	if got, want := string(c.Choices()), `{"":"x","low,high":"y","mid":"z"}`; got != want {
		t.Errorf("choices %s, not %s", got, want)
	}
	b.(*device.Placed).Places()[2].Backend.(*card).refuses = "gone"
	for text, want := range map[string]string{
		`[1]`:                                  "its choices of kernels are not by units, as those of a run with --place are",
		`{"":"x","low":"y"}`:                   "it has no choices of kernels for the units of cuda:0: low,high",
		`{"":"x","low,high":"y","mid":"gone"}`: "cuda:1: cuda: gone is not offered here",
	} {
		if err := c.SetChoices([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("%v\nnot %s", err, want)
		}
	}
	host := cpu.New(cpu.Options{Workers: 1})
	defer host.Close()
	other := cpu.New(cpu.Options{Workers: 1})
	defer other.Close()
	p, err := device.NewPlaced([]device.Place{{Device: "cpu", Backend: host}, {Device: "cpu:1", Backend: other, Units: []string{"low"}}})
	if err != nil || chooserOf(p) != nil || chooserOf(host) != nil {
		t.Errorf("processors choose, or %v", err)
	}
}

// placeProgram copies the script's program of two units into a directory.
func placeProgram(t *testing.T) (dir, file string) {
	t.Helper()
	text, err := os.ReadFile("../../testdata/script/tiny.loco")
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	file = filepath.Join(dir, "tiny.loco")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, file
}

// TestPlacedRun runs a program with a unit on a device of its own: the first lines
// say where units run, the journal and checkpoints remember it, a run that is to
// go on elsewhere is refused, and the weights are those of one device.
func TestPlacedRun(t *testing.T) {
	dir, file := placeProgram(t)
	on := benchOf{}
	env := Env{Device: on.open}
	weights := func(out string) []byte {
		to := filepath.Join(dir, filepath.Base(out)+".safetensors")
		if code, _, errs := call(Env{}, "export", "-o", to, out); code != 0 {
			t.Fatalf("export: exit %d\n%s", code, errs)
		}
		data, err := os.ReadFile(to)
		if err != nil {
			t.Fatal(err)
		}
		_, data, _ = bytes.Cut(data, []byte("graph.loco")) // the directory differs
		return data
	}
	run := func(out string, more ...string) (int, string, string) {
		return call(env, append([]string{"run", file, "--out", filepath.Join(dir, out), "--listen", "off", "--depth", "2"}, more...)...)
	}
	code, text, errs := run("two", "--place", "high=cuda:1")
	if code != 0 || !strings.Contains(text, "\non cpu: units low") || !strings.Contains(text, "\non cuda:1: units high; ") {
		t.Fatalf("exit %d\n%s%s", code, text, errs)
	}
	if code, _, errs = run("one"); code != 0 {
		t.Fatalf("exit %d\n%s", code, errs)
	}
	if len(weights(filepath.Join(dir, "one"))) < 1000 || !bytes.Equal(weights(filepath.Join(dir, "one")), weights(filepath.Join(dir, "two"))) {
		t.Error("other weights on two devices")
	}
	about, err := os.ReadFile(filepath.Join(dir, "two", "run.json"))
	if err != nil || !bytes.Contains(about, []byte(`"card/cpu; high on card/cuda"`)) {
		t.Errorf("%v, run.json:\n%s", err, about)
	}
	kernels, err := os.ReadFile(filepath.Join(dir, "two", "kernels.json"))
	if err != nil || !bytes.Contains(kernels, []byte(`"high":"of cuda"`)) {
		t.Errorf("%v, kernels.json:\n%s", err, kernels)
	}
	if code, _, errs = run("two"); code != exitWrong || !strings.Contains(errs, "card/cpu; high on card/cuda") {
		t.Errorf("going on elsewhere: exit %d\n%s", code, errs)
	}
	if code, text, errs = run("two", "--place", "high=cuda:0"); code != 0 {
		t.Errorf("going on on another card: exit %d\n%s%s", code, text, errs)
	}
}

// TestPlacedPlan plans for two devices, as tables and as JSON, and refuses what
// does not fit one of them.
func TestPlacedPlan(t *testing.T) {
	_, file := placeProgram(t)
	on := benchOf{}
	code, text, errs := call(Env{Device: on.open}, "plan", file, "--place", "high=cuda:1")
	if code != 0 || !strings.Contains(text, "\non cuda:1: units high; ") {
		t.Errorf("exit %d\n%s%s", code, text, errs)
	}
	code, text, errs = call(Env{Device: on.open}, "plan", file, "--json", "--place", "high=cuda:1")
	if code != 0 || !strings.Contains(text, `"device": "cuda:1"`) {
		t.Errorf("exit %d\n%s%s", code, text, errs)
	}
	small := benchOf{free: 1 << 20}
	for _, verb := range []string{"plan", "run"} {
		code, _, errs = call(Env{Device: small.open}, verb, file, "--place", "high=cuda:1")
		if code != exitWrong || !strings.Contains(errs, "of the memory of cpu") || !strings.Contains(errs, "place fewer units there, or take a smaller microbatch") {
			t.Errorf("%s: exit %d\n%s", verb, code, errs)
		}
	}
	if on.closed != len(on.opened) || small.closed != len(small.opened) || !slices.Contains(small.opened, "cuda:1") {
		t.Errorf("%d of %d closed, %d of %d", on.closed, len(on.opened), small.closed, len(small.opened))
	}
}

// TestNoRecording is taken, and changes nothing where nothing is recorded.
func TestNoRecording(t *testing.T) {
	dir, file := placeProgram(t)
	code, _, errs := call(Env{}, "run", file, "--no-recording", "--listen", "off", "--out", filepath.Join(dir, "out"))
	if code != 0 {
		t.Errorf("exit %d\n%s", code, errs)
	}
}
