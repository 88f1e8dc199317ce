package runtime

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cpu"
	"github.com/locorun/locorun/graphs/device"
	"go.uber.org/goleak"
)

// planter is a backend that spoils a value when its time has come, and goes on
// doing so where the value is made anew.
type planter struct {
	t     *testing.T
	b     *faulty
	p     *ir.Program
	armed atomic.Bool
}

// holds reports whether a tensor is a value of the program.
func (pl *planter) holds(t device.Tensor, v ir.ValueID) bool {
	of := &pl.p.Values[v]
	return t.Buffer != nil && t.Offset == of.Offset && t.Buffer.Size() == pl.p.Sizes[of.Space] && t.Elements() == elements(of.Shape)
}

// fill writes one number all over a tensor, or in its first element.
func (pl *planter) fill(t device.Tensor, x float32, all bool) {
	n := 1
	if all {
		n = t.Elements()
	}
	raw := make([]byte, 4*n)
	for i := range n {
		binary.LittleEndian.PutUint32(raw[4*i:], math.Float32bits(x))
	}
	t.Shape = []int{n}
	ok(pl.t, pl.b.Backend.Write(t, raw))
}

// param finds a parameter by its name.
func (pl *planter) param(name string) *ir.Param {
	for i := range pl.p.Params {
		if pl.p.Params[i].Name == name {
			return &pl.p.Params[i]
		}
	}
	pl.t.Fatalf("no parameter %s", name)
	return nil
}

// updates reports whether a call is the update of a parameter that ends a batch,
// counted from 0; from then on the planter is armed.
func (pl *planter) updates(c *device.Call, p *ir.Param, batch int) bool {
	now := c.Code == op.SGD && c.Step == batch+1 && pl.holds(c.In[0], p.Value)
	if now {
		pl.armed.Store(true)
	}
	return now
}

// plant spoils something so that a batch is the first not to be finite. What it
// returns is the error's text behind the step: a regular expression.
type plant struct {
	name string
	in   func(pl *planter, u *ir.Unit, batch int) (hook func(c *device.Call), unit, text string)
}

const remedy = "; lower the learning rate"

// place is how the layer of a parameter is named.
func place(p *ir.Param) string {
	return regexp.QuoteMeta(fmt.Sprintf("%s (%s)", strings.TrimSuffix(p.Name, filepath.Ext(p.Name)), p.Range))
}

// spoil writes to a parameter when the batch before is updated for.
func spoil(pl *planter, p *ir.Param, batch int, x float32, all bool) func(*device.Call) {
	return func(c *device.Call) {
		if pl.updates(c, p, batch-1) {
			pl.fill(c.In[0], x, all)
		}
	}
}

var plants = []plant{
	{"decoder's weights", func(pl *planter, u *ir.Unit, batch int) (func(*device.Call), string, string) {
		p := pl.param(u.Name + "/proj.fc1.weight")
		return spoil(pl, p, batch, float32(math.NaN()), false), u.Name,
			place(p) + ": the weights " + p.Name + ` were not finite before the batch \(NaN at element 0\)` + remedy + "$"
	}},
	{"stage's weights", func(pl *planter, u *ir.Unit, batch int) (func(*device.Call), string, string) {
		p := pl.param(u.Owns[len(u.Owns)-1] + ".conv1.weight")
		return spoil(pl, p, batch, float32(math.Inf(-1)), false), u.Name,
			place(p) + ": the weights " + p.Name + ` were not finite before the batch \((NaN|-Inf) at element 0\)` + remedy + "$"
	}},
	{"momentum", func(pl *planter, u *ir.Unit, batch int) (func(*device.Call), string, string) {
		p := pl.param(u.Owns[0] + ".bn1.bias")
		return func(c *device.Call) {
				if pl.updates(c, p, batch-1) {
					pl.fill(c.In[2], float32(math.NaN()), false)
				}
			}, u.Name,
			place(p) + ": the (weights|optimiser's) " + p.Name + `(:\w+)? (were|was) not finite before the batch \(NaN at element 0\)` + remedy + "$"
	}},
	{"decoder's output", func(pl *planter, u *ir.Unit, batch int) (func(*device.Call), string, string) {
		p := pl.param(u.Name + "/proj.fc1.weight")
		return spoil(pl, p, batch, 3e38, true), u.Name,
			place(p) + `: the output of dense is not finite \((NaN|[+-]Inf)\), its inputs are` + remedy + ", or let"
	}},
	{"images", func(pl *planter, u *ir.Unit, batch int) (func(*device.Call), string, string) {
		first := &pl.p.Units[0]
		return pl.whenArmed(pl.param(first.Owns[0]+".conv1.weight"), batch, func(c *device.Call) {
			if c.Code == op.ConvNorm && pl.p.Sizes[ir.Input] == c.In[0].Buffer.Size() {
				pl.fill(c.In[0], float32(math.Inf(1)), false)
			}
		}), first.Name, `.*: the input x of conv_norm is not finite \(\+Inf\)` + remedy + ", or let"
	}},
	{"gradient", func(pl *planter, u *ir.Unit, batch int) (func(*device.Call), string, string) {
		stage := u.Owns[len(u.Owns)-1]
		p := pl.param(stage + ".bn1.weight")
		return pl.whenArmed(p, batch, func(c *device.Call) {
			if c.Code == op.ConvNormGrad && pl.holds(c.In[3], p.Value) {
				pl.fill(c.In[0], float32(math.NaN()), true) // a relu's mask may stop a single one
			}
		}), u.Name, regexp.QuoteMeta(stage) + `\.(conv1|bn1) \(.*\): the input dy of conv_norm_grad is not finite \(NaN\)` + remedy + ", or let"
	}},
}

// whenArmed spoils from a batch's begin on in the unit that owns the parameter:
// from the parameter's update before.
func (pl *planter) whenArmed(p *ir.Param, batch int, spoil func(c *device.Call)) func(*device.Call) {
	return func(c *device.Call) {
		if !pl.updates(c, p, batch-1) && pl.armed.Load() {
			spoil(c)
		}
	}
}

// overlapping are programs of one, two and three units, and units in turn.
func overlapping() map[string]func() *model.Net {
	return map[string]func() *model.Net{
		"e2e":     func() *model.Net { return tiny(3, [][2]int{{0, 2}}, nil) },
		"two":     func() *model.Net { return tiny(3, [][2]int{{0, 1}, {1, 2}}, nil) },
		"three":   func() *model.Net { return tiny(4, pairs, nil) },
		"batch":   func() *model.Net { return tiny(4, pairs, batchLoss) },
		"in turn": variants()["in turn"],
	}
}

// TestNotFiniteIsLocated plants what is not finite everywhere, in each unit, at
// several batches and depths, and wants the unit, the step, the layer and its
// place named, and no goroutine left. A step of 10 is planted in the second
// epoch of 5 batches.
func TestNotFiniteIsLocated(t *testing.T) {
	defer goleak.VerifyNone(t)
	batches := []int{1, 4, 9}
	if long() {
		batches = []int{1, 2, 3, 4, 5, 6, 7, 8, 9}
	}
	for name, net := range overlapping() {
		for _, pt := range plants {
			t.Run(name+"/"+pt.name, func(t *testing.T) {
				for unit := range net().Units {
					for i, batch := range batches {
						for _, depth := range []int{1, 3} {
							if !long() && (i+unit+depth/2)%3 > 0 {
								continue
							}
							located(t, placed(net()), pt, unit, batch, depth)
						}
					}
				}
			})
		}
	}
}

func located(t *testing.T, net *model.Net, pt plant, unit, batch, depth int) {
	t.Helper()
	b := &faulty{Backend: onCPU(t, cpu.Options{Workers: 2})}
	defer b.Close()
	recompute := net.Units[0].Loss.Batch && batch%2 == 0
	r := must(Prepare(Config{Net: net, Backend: b, Depth: depth, Workers: 1, Recompute: recompute}))(t)
	defer r.Close()
	turn, u := 0, unit
	if net.Train.InTurn {
		turn, u = unit, 0
	}
	p := must(r.lower(turn))(t)
	pl := &planter{t: t, b: b, p: p}
	hook, name, text := pt.in(pl, &p.Units[u], batch)
	begun := atomic.Bool{} // the turns before are left alone
	begun.Store(turn == 0)
	r.cfg.Events.Batch = func(rep BatchReport) {
		if rep.Step == turn*10 {
			begun.Store(true)
		}
	}
	b.before = func(_ int64, c *device.Call) error {
		if begun.Load() {
			hook(c)
		}
		return nil
	}
	_, err := r.Train(context.Background())
	step := turn*10 + batch + 1
	want := fmt.Sprintf(`^unit "%s": batch %d \(epoch %d, step %d\): %s`, name, batch, (step-1)/5+1, step, text)
	if err == nil || !regexp.MustCompile(want).MatchString(err.Error()) {
		t.Errorf("unit %d, batch %d, depth %d:\n\t%v\nis not\n\t%s", unit, batch, depth, err, want)
	}
	var e *NotFinite
	if !errors.As(err, &e) || e.Unit != name || e.Batch != batch || e.Step != step {
		t.Errorf("unit %d, batch %d, depth %d: %+v", unit, batch, depth, e)
	}
}

// TestLocatorFindsNothingElse lets a unit claim that a batch is not finite, in
// every kind of program: the second run looks at every number and says that all
// are.
func TestLocatorFindsNothingElse(t *testing.T) {
	for name, net := range variants() {
		for _, depth := range []int{1, 3} {
			for _, recompute := range []bool{false, true} {
				if recompute && !net().Units[0].Loss.Batch {
					continue
				}
				t.Run(fmt.Sprintf("%s/%d/%t", name, depth, recompute), func(t *testing.T) {
					err := claim(t, net(), depth, recompute, nil)
					want := `: something is not finite, but everything was when the batch was run again; do something`
					if err == nil || !strings.HasSuffix(err.Error(), want) || !strings.Contains(err.Error(), ": batch 3 (epoch 1, step 4): ") {
						t.Errorf("the error is %v", err)
					}
				})
			}
		}
	}
}

// claim ends a run at the update of batch 3 by a unit's word.
func claim(t *testing.T, net *model.Net, depth int, recompute bool, then func(*Run)) error {
	t.Helper()
	b := &faulty{Backend: onCPU(t, cpu.Options{Workers: 2})}
	defer b.Close()
	r := must(Prepare(Config{Net: net, Backend: b, Depth: depth, Workers: 1, Recompute: recompute}))(t)
	defer r.Close()
	b.before = func(_ int64, c *device.Call) error {
		if c.Code != op.SGD || c.Step != 4 {
			return nil
		}
		if then != nil {
			then(r)
		}
		return &detection{unit: net.Units[0].Name, batch: 3, what: "something is not finite", advice: "do something"}
	}
	_, err := r.Train(context.Background())
	return err
}

// TestLocatorStops gives the search up where the run is asked to stop.
func TestLocatorStops(t *testing.T) {
	defer goleak.VerifyNone(t)
	err := claim(t, tiny(4, pairs, nil), 2, false, (*Run).Stop)
	wantError(t, err, `unit "u1": batch 3 (epoch 1, step 4): something is not finite, and where that began is not known: the run was asked to stop; do something`)
}

// TestImagesNotFinite names the file.
func TestImagesNotFinite(t *testing.T) {
	dir := t.TempDir()
	pictures(t, filepath.Join(dir, "train"), 20, "ant", "bee")
	net := tiny(4, pairs, folders(dir))
	overflow(net)
	net.Data.Test, net.Readouts = nil, nil
	_, err := attempt(t, net, func(c *Config) { c.Depth, c.Workers = 3, 2 })
	want := `^unit "u1": batch 0 \(epoch 1, step 1\): the views of ` + regexp.QuoteMeta(filepath.Join(dir, "train")) +
		`/(ant|bee)/\d+\.png are not finite \(\+Inf\); give .normalise. other means and deviations$`
	if err == nil || !regexp.MustCompile(want).MatchString(err.Error()) {
		t.Errorf("%v\nis not %s", err, want)
	}
}

// TestSkippingEnds leaves out batches that are all not finite, but not for ever.
func TestSkippingEnds(t *testing.T) {
	net := tiny(4, pairs, overflow)
	net.Train.Epochs = 100
	for _, u := range net.Units {
		u.OnNaN = "skip"
	}
	told := atomic.Int64{}
	_, err := attempt(t, net, func(c *Config) {
		c.Events.Unapplied = func(unit string, batch int, what string) {
			if what == "" || batch >= 100 {
				t.Errorf("unit %s, batch %d: %q", unit, batch, what)
			}
			told.Add(1)
		}
	})
	if err == nil || !regexp.MustCompile(`^unit "u1": batch 99 \(epoch 20, step 100\): 100 batches in a row were not finite and were left out, this is the last: the views of image \d+ are not finite \(\+Inf\); give .normalise. other means and deviations$`).MatchString(err.Error()) {
		t.Errorf("the error is %v", err)
	}
	if n := told.Load(); n < 99 || n > 3*99 {
		t.Errorf("%d batches were told of", n)
	}
}

func TestNotFiniteIn(t *testing.T) {
	ts := []Tensor{{Name: "a", Data: []float32{1, 2}}, {Name: "none"}, {Name: "b", Data: make([]float32, 100)}}
	if name, at, bad := notFiniteIn(ts); bad {
		t.Errorf("%s at %d", name, at)
	}
	ts[2].Data[77], ts[2].Data[88] = float32(math.Inf(-1)), float32(math.NaN())
	if name, at, bad := notFiniteIn(ts); name != "b" || at != 77 || !bad {
		t.Errorf("%s at %d, %t", name, at, bad)
	}
}
