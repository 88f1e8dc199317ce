package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/graphs/cpu"
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/runtime/source"
	"go.uber.org/goleak"
)

// failing are the programs whose ops are made to fail: between them they have
// every phase.
func failing() map[string]func() (net *model.Net, recompute bool) {
	short := func(net *model.Net) *model.Net {
		net.Train.Epochs = 1
		return placed(net)
	}
	return map[string]func() (*model.Net, bool){
		"microbatch losses":  func() (*model.Net, bool) { return short(variants()["loco"]()), false },
		"batch's, kept":      func() (*model.Net, bool) { return short(variants()["three batch"]()), false },
		"batch's, recompute": func() (*model.Net, bool) { return short(variants()["loco batch"]()), true },
		"tied":               func() (*model.Net, bool) { return short(variants()["soft"]()), false },
	}
}

// TestAnOpFails fails an op, or lets it panic, in every phase of every unit, at
// its first, a middle and its last op (with LOCORUN_LONG at every op of two
// batches), and wants the unit, the phase, the layer and its place named, all
// goroutines ended, and the next run on the same backend to give the bytes that
// it gives otherwise.
func TestAnOpFails(t *testing.T) {
	for name, program := range failing() {
		t.Run(name, func(t *testing.T) {
			defer goleak.VerifyNone(t)
			net, recompute := program()
			b := &faulty{Backend: onCPU(t, cpu.Options{Workers: 2})}
			defer b.Close()
			want := dump(trainOn(t, b, net, 1, recompute))
			ops := opsOf(t, net, recompute, 2)
			phases := map[string]bool{}
			for _, n := range chosen(ops) {
				phases[ops[n].phase] = true
				for _, way := range ways {
					checkOpFailure(t, b, net, recompute, n, ops[n], way.name, way.do)
				}
			}
			if got := dump(trainOn(t, b, net, 1, recompute)); !bytes.Equal(got, want) {
				t.Error("after the failures the backend gives other bytes")
			}
			t.Logf("%d ops, phases %v", len(ops), phases)
		})
	}
}

// chosen are the numbers of the ops to be made to fail.
func chosen(ops []opRun) (list []int) {
	of := map[string][]int{}
	for n, o := range ops {
		key := o.unit + " " + o.phase
		if long() {
			list = append(list, n)
			continue
		}
		of[key] = append(of[key], n)
	}
	seen := map[int]bool{}
	for n, o := range ops {
		at := of[o.unit+" "+o.phase]
		if len(at) == 0 {
			continue
		}
		if (n == at[0] || n == at[len(at)/2] || n == at[len(at)-1]) && !seen[n] {
			seen[n] = true
			list = append(list, n)
		}
	}
	return list
}

// trainOn trains to the end on a backend.
func trainOn(t *testing.T, b device.Backend, net *model.Net, depth int, recompute bool) *Weights {
	t.Helper()
	r := must(Prepare(Config{Net: net, Backend: b, Depth: depth, Recompute: recompute, Workers: 1}))(t)
	defer r.Close()
	return must(r.Train(context.Background()))(t).Weights
}

func checkOpFailure(t *testing.T, b *faulty, net *model.Net, recompute bool, n int, o opRun, how string, do func() error) {
	t.Helper()
	b.ran.Store(0)
	b.before = func(i int64, _ *device.Call) error {
		if i == int64(n) {
			return do()
		}
		return nil
	}
	defer func() { b.before = nil }()
	r := must(Prepare(Config{Net: net, Backend: b, Depth: 1, Recompute: recompute, Workers: 1}))(t)
	defer r.Close()
	within(t, 10*time.Second, func() {
		_, err := r.Train(context.Background())
		switch {
		case !errors.Is(err, errPlanted):
			t.Errorf("op %d (%s of %s) %s: %v does not wrap its cause", n, o.phase, o.unit, how, err)
		case !strings.Contains(err.Error(), o.text()) || (how == "panics") != strings.Contains(err.Error(), "panic: planted"):
			t.Errorf("op %d (%s of %s) %s:\n\t%v\nwant within\n\t%s", n, o.phase, o.unit, how, err, o.text())
		case o.phase != "publish" && !strings.HasPrefix(err.Error(), fmt.Sprintf("unit %q: %s", o.unit, o.phase)):
			t.Errorf("op %d (%s of %s) %s: %v names another task", n, o.phase, o.unit, how, err)
		}
	})
}

// TestAnOpFailsSideBySide lets ops fail where units work side by side: which op
// is the n-th is then nobody's choice, but the error names one unit, twice, and
// another unit's failure that follows never takes its place.
func TestAnOpFailsSideBySide(t *testing.T) {
	defer goleak.VerifyNone(t)
	net, _ := failing()["microbatch losses"]()
	b := &faulty{Backend: onCPU(t, cpu.Options{Workers: 2})}
	defer b.Close()
	want := dump(trainOn(t, b, net, 3, false))
	total := int(b.ran.Load())
	for i := range rounds(30, 600) {
		n := int64(i * total / rounds(30, 600))
		b.ran.Store(0)
		b.before = func(k int64, _ *device.Call) error {
			switch {
			case k == n:
				return ways[i%2].do()
			case k > n:
				time.Sleep(100 * time.Millisecond) // so that it is the later one in the eyes of the run, too
				return errors.New("a later failure")
			}
			return nil
		}
		r := must(Prepare(Config{Net: net, Backend: b, Depth: 3, Workers: 2}))(t)
		within(t, 10*time.Second, func() {
			_, err := r.Train(context.Background())
			if err == nil {
				t.Errorf("op %d: no error", n)
				return
			}
			unit, rest, _ := strings.Cut(err.Error(), ": ")
			if !errors.Is(err, errPlanted) || !strings.HasPrefix(unit, `unit "u`) || !strings.Contains(rest, unit+": ") || !strings.Contains(rest, net.File+":") {
				t.Errorf("op %d: %v", n, err)
			}
		})
		r.Close()
		b.before = nil
	}
	if got := dump(trainOn(t, b, net, 3, false)); !bytes.Equal(got, want) {
		t.Error("after the failures the backend gives other bytes")
	}
}

// panicky is a data set one of whose pictures panics.
type panicky struct {
	source.Dataset
	at int
}

func (p panicky) Picture(i int) (source.Picture, error) {
	if i == p.at {
		panic(errPlanted)
	}
	return p.Dataset.Picture(i)
}

// TestPanicsElsewhere lets everything panic that is called from a goroutine of a
// run, beside ops, and wants an error, nothing left, and the next run to work.
func TestPanicsElsewhere(t *testing.T) {
	defer goleak.VerifyNone(t)
	b := onCPU(t, cpu.Options{})
	defer b.Close()
	boom := func() { panic(errPlanted) }
	for _, c := range []struct {
		name    string
		config  func(*Config)
		run     func(*Run)
		net     func(*model.Net)
		want    string
		survive bool // the run goes on
	}{
		{name: "loader", run: func(r *Run) { r.images = panicky{r.images, 5} }, want: "unit \"u1\": images of batch "},
		{name: "pictures of readouts", net: readouts, run: func(r *Run) { r.test = panicky{r.test, 3} }, want: "readout: "},
		{name: "batch event", config: func(c *Config) {
			c.Events.Batch = func(r BatchReport) {
				if r.Unit == "u1" { // any unit may be the first
					boom()
				}
			}
		},
			want: "unit \"u1\": update of batch 0: panic: planted"},
		{name: "unapplied event", net: func(n *model.Net) {
			overflow(n)
			for _, u := range n.Units {
				u.OnNaN = "skip"
			}
		}, config: func(c *Config) { c.Events.Unapplied = func(string, int, string) { boom() } }, want: "update of batch 0: panic: planted"},
		{name: "readout event", net: readouts, config: func(c *Config) { c.Events.Readout = func(Readout) { boom() } },
			want: "readout: panic: planted"},
		{name: "stalled event", config: func(c *Config) {
			c.Stall = time.Nanosecond
			c.Events.Stalled = func(string) { boom() }
		}, survive: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			net := tiny(4, pairs, c.net)
			cfg := Config{Net: net, Backend: b, Depth: 2, Workers: 2}
			if c.config != nil {
				c.config(&cfg)
			}
			r := must(Prepare(cfg))(t)
			defer r.Close()
			if c.run != nil {
				c.run(r)
			}
			within(t, 20*time.Second, func() {
				_, err := r.Train(context.Background())
				if c.survive {
					if err != nil {
						t.Errorf("the run ended: %v", err)
					}
					return
				}
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "planted") {
					t.Errorf("the error is %v", err)
				}
			})
		})
	}
	trainOn(t, b, tiny(4, pairs, readouts), 2, false)
}
