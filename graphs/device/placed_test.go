package device_test

import (
	"errors"
	"testing"

	"github.com/locorun/locorun/graphs/cpu"
	"github.com/locorun/locorun/graphs/device"
)

// named is a backend with a name.
type named struct {
	device.Backend
	name   string
	counts int64
	fails  bool
	closed int
}

func (n *named) Name() string   { return n.name }
func (n *named) Counted() int64 { return n.counts }

func (n *named) Close() error {
	n.closed++
	if n.fails {
		return errors.New("it hangs")
	}
	return nil
}

func TestPlaced(t *testing.T) {
	host, card := &named{name: "cpu/avx2", counts: 3}, &named{name: "cuda/sm_90", counts: 4, fails: true}
	p, err := device.NewPlaced([]device.Place{
		{Device: "cpu", Backend: host}, {Device: "cuda:1", Backend: card, Units: []string{"low", "high"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := p.Name(), "cpu/avx2; high on cuda/sm_90, low on cuda/sm_90"; got != want {
		t.Errorf("name %q, not %q", got, want)
	}
	if p.Counted() != 7 {
		t.Errorf("counted %d", p.Counted())
	}
	for unit, want := range map[string]device.Backend{"low": card, "high": card, "mid": host, "": host} {
		if got := device.On(p, unit); got != want {
			t.Errorf("unit %q is on %s", unit, got.Name())
		}
	}
	if device.On(host, "low") != host || device.First(host) != host || device.First(p) != host {
		t.Error("the first is another")
	}
	if err := p.Close(); err == nil || err.Error() != "cuda:1: it hangs" || host.closed != 1 || card.closed != 1 {
		t.Errorf("closed %d and %d times: %v", host.closed, card.closed, err)
	}
	same, err := device.NewPlaced([]device.Place{{Device: "cpu", Backend: host}})
	if err != nil || same.Name() != "cpu/avx2" || len(same.Places()) != 1 {
		t.Errorf("one place: %v", err)
	}
}

func TestPlacedRefuses(t *testing.T) {
	b := cpu.New(cpu.Options{Workers: 1})
	defer b.Close()
	for want, places := range map[string][]device.Place{
		"no backend to place units on": nil,
		`unit "mid" has two places`: {
			{Backend: b, Units: []string{"low", "mid"}}, {Backend: b, Units: []string{"mid"}},
		},
	} {
		if _, err := device.NewPlaced(places); err == nil || err.Error() != want {
			t.Errorf("%v\nnot %s", err, want)
		}
	}
}
