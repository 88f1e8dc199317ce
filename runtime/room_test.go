package runtime

import (
	"errors"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// roomy is a backend that only tells of its memory and of what kernels hold.
type roomy struct {
	device.Backend
	free, total, scratch int64
	err                  error
}

func (r *roomy) Memory() (int64, int64, error) { return r.free, r.total, r.err }

func (r *roomy) ScratchBytes(op.Code, op.Attr, [][]int, [][]int) int64 { return r.scratch }

// TestRoom adds up what a run takes, by hand.
func TestRoom(t *testing.T) {
	none := func(*model.Net) {}
	read := func(n *model.Net) { n.Readouts = []model.Readout{{Kind: "linear"}} }
	for _, c := range []struct {
		name     string
		edit     func(*model.Net)
		opt      lower.Options
		readouts bool
	}{
		{"lean", none, lower.Options{Depth: 1}, false},
		{"pipelined", none, lower.Options{Depth: 2}, false},
		{"in turn", func(n *model.Net) { n.Train.InTurn = true }, lower.Options{Depth: 1}, false},
		{"no readouts in the program", none, lower.Options{Depth: 1}, true},
		{"readouts", read, lower.Options{Depth: 1}, true},
		{"readouts that are not made", read, lower.Options{Depth: 1}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			net := tiny(4, pairs, c.edit)
			b := &roomy{free: 5 << 30, total: 8 << 30, scratch: 1000}
			r := must(RoomOf(net, c.opt, b, c.readouts))(t)
			want := Room{Reserve: Reserve, Free: 5 << 30, Total: 8 << 30}
			for _, p := range must(lower.Turns(net, c.opt))(t) {
				want.Program = max(want.Program, p.Bytes())
				want.Kernels = max(want.Kernels, KernelBytes(b, p))
			}
			if c.readouts && len(net.Readouts) > 0 {
				e := must(lower.Encoder(net, 2*net.Train.Microbatch))(t)
				want.Readouts = e.Bytes() + b.scratch
			}
			if *r != want || want.Program == 0 || want.Kernels == 0 {
				t.Errorf("%+v, want %+v", *r, want)
			}
		})
	}
}

// laned is a roomy backend whose kernels go on holding a byte for each element of
// their results.
type laned struct{ roomy }

func (l *laned) LaneBytes(calls []device.Call) (n int64) {
	for _, c := range calls {
		if c.Code == op.Conv {
			n += int64(c.Out[0].Elements()) * int64(c.Out[0].Dtype.Size())
		}
	}
	return n
}

// TestRoomOfSpeed: what measuring the speed leaves behind counts, in the precision
// in which it is measured.
func TestRoomOfSpeed(t *testing.T) {
	net := tiny(4, pairs, func(n *model.Net) { n.Train.Precision = model.BF16 })
	b := &laned{roomy{free: 5 << 30, total: 8 << 30}}
	r := must(RoomOf(net, lower.Options{Depth: 1}, b, false))(t)
	left := int64(2 * (fewPictures + manyPictures) * 16 * 16 * 64)
	if want := kernelsOfAll(b, must(lower.Turns(net, lower.Options{Depth: 1}))(t)) + left; r.Kernels != want {
		t.Errorf("%d bytes for kernels, want %d", r.Kernels, want)
	}
}

// TestRoomEnds: the last byte decides.
func TestRoomEnds(t *testing.T) {
	r := Room{Program: 10, Kernels: 20, Readouts: 30, Reserve: 40, Free: 100}
	if !r.Fits() || r.Need() != 100 || r.Spare() != 30 {
		t.Errorf("%+v fits: %v; it needs %d and spares %d", r, r.Fits(), r.Need(), r.Spare())
	}
	if r.Free--; r.Fits() || r.Spare() != 29 {
		t.Errorf("%+v fits: %v; it spares %d", r, r.Fits(), r.Spare())
	}
}

// TestRoomUnknown: a processor's memory is not asked about; a card that cannot
// tell is an error.
func TestRoomUnknown(t *testing.T) {
	net := tiny(4, pairs, func(*model.Net) {})
	if r, err := RoomOf(net, lower.Options{Depth: 1}, struct{ device.Backend }{}, true); r != nil || err != nil {
		t.Errorf("%+v, %v", r, err)
	}
	_, err := RoomOf(net, lower.Options{Depth: 1}, &roomy{err: errors.New("lost")}, true)
	if err == nil || !strings.HasSuffix(err.Error(), "how much memory is free: lost") {
		t.Errorf("error %v", err)
	}
}
