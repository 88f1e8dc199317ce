package runtime

import (
	"errors"
	"slices"
	"testing"

	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/graphs/cpu"
	"github.com/locorun/locorun/graphs/device"
)

// sized is a backend of fixed memory.
type sized struct {
	device.Backend
	free int64
	err  error
}

func (r sized) Memory() (int64, int64, error) { return r.free, 2 * r.free, r.err }

// TestShares tells where units are, together and in turn.
func TestShares(t *testing.T) {
	for _, inTurn := range []bool{false, true} {
		net := tiny(4, pairs, func(n *model.Net) { n.Train.InTurn = inTurn })
		one := onCPU(t, cpu.Options{Workers: 1})
		b := onTwo(t, net, one, onCPU(t, cpu.Options{Workers: 1}))
		opt := lower.Options{Depth: 1}
		shares := must(Shares(net, opt, b))(t)
		if len(shares) != 2 || !slices.Equal(shares[0].Units, []string{"u2"}) || !slices.Equal(shares[1].Units, []string{"u1", "u3"}) {
			t.Fatalf("in turn %v: %+v", inTurn, shares)
		}
		turns := must(lower.Turns(net, opt))(t)
		for i, s := range shares {
			var most int64
			for _, p := range turns {
				most = max(most, p.Bytes())
			}
			if s.Bytes <= 0 || s.Bytes > 2*most {
				t.Errorf("in turn %v: place %d takes %d bytes of %d", inTurn, i, s.Bytes, most)
			}
		}
		if got := must(Shares(net, opt, one))(t); got != nil {
			t.Errorf("on one device: %+v", got)
		}
	}
}

// TestRoomsOf foresees each place that knows its memory: readouts at the first
// alone.
func TestRoomsOf(t *testing.T) {
	net := tiny(4, pairs, nil)
	net.Readouts = []model.Readout{{Kind: "knn", On: []int{2}}}
	host := func(free int64) device.Backend { return sized{onCPU(t, cpu.Options{Workers: 1}), free, nil} }
	b := onTwo(t, net, host(1<<30), host(1<<20))
	rooms := must(RoomsOf(net, lower.Options{Depth: 1}, b, true))(t)
	first, second := rooms["cpu:0"], rooms["cpu:1"]
	if !first.Fits() || second.Fits() || first.Readouts == 0 || second.Readouts != 0 || first.Total != 2<<30 {
		t.Errorf("%+v, %+v", first, second)
	}
	for i, s := range must(Shares(net, lower.Options{Depth: 1}, b))(t) {
		if got := []*Room{first, second}[i].Program; got != s.Bytes {
			t.Errorf("place %d: %d bytes, its share is %d", i, got, s.Bytes)
		}
	}
	silent := onTwo(t, net, onCPU(t, cpu.Options{Workers: 1}), onCPU(t, cpu.Options{Workers: 1}))
	if rooms := must(RoomsOf(net, lower.Options{Depth: 1}, silent, true))(t); len(rooms) != 0 {
		t.Errorf("processors: %v", rooms)
	}
	gone := onTwo(t, net, host(1), sized{Backend: onCPU(t, cpu.Options{Workers: 1}), err: errors.New("the card is gone")})
	_, err := RoomsOf(net, lower.Options{Depth: 1}, gone, true)
	if want := "cpu:1: how much memory is free: the card is gone"; err == nil || err.Error() != want {
		t.Errorf("%v\nnot %s", err, want)
	}
}
