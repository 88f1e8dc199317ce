package runtime

import (
	"fmt"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// Reserve is how much of a card's memory a run leaves alone, in bytes: for the
// kernels that NVIDIA's libraries load when they are first used, for those of
// ours that a precision needs, and for what the driver rounds allocations up to.
// The context is there by the time that memory is looked at.
const Reserve = 512 << 20

// holder is a backend whose memory is of a fixed size, and is shared with other
// processes, as a card's is.
type holder interface {
	// Memory is what is free and what there is, in bytes.
	Memory() (free, total int64, err error)
}

// Room is what a run takes of its device's memory beside what is free there, in
// bytes.
type Room struct {
	Program  int64 `json:"program"`  // all planned spaces, of the turn that takes most
	Kernels  int64 `json:"kernels"`  // what kernels hold beside them
	Readouts int64 `json:"readouts"` // the encoder that readouts run meanwhile, its kernels included
	Reserve  int64 `json:"reserve"`  // left alone
	Free     int64 `json:"free"`
	Total    int64 `json:"total"`
}

// RoomOf foresees a run of a net with frames held so, readouts included where it
// makes them. It is nil where the backend does not say how much memory is free.
func RoomOf(net *model.Net, opt lower.Options, b device.Backend, readouts bool) (*Room, error) {
	h, ok := b.(holder)
	if !ok {
		return nil, nil
	}
	turns, err := lower.Turns(net, opt)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", net.File, err)
	}
	r := &Room{Kernels: kernelsOfAll(b, turns) + viewBytes(net, turns[0], b) + speedBytes(b, mapsOf(net)), Reserve: Reserve}
	for _, p := range turns {
		r.Program = max(r.Program, p.Bytes())
	}
	if readouts && len(net.Readouts) > 0 {
		if r.Readouts, err = readoutBytes(net, b); err != nil {
			return nil, err
		}
	}
	if r.Free, r.Total, err = h.Memory(); err != nil {
		return nil, fmt.Errorf("how much memory is free: %w", err)
	}
	return r, nil
}

// mapsOf is the type of a training's maps.
func mapsOf(net *model.Net) op.Dtype {
	if net.Train.Precision == model.BF16 {
		return op.BF16
	}
	return op.F32
}

// readoutBytes bounds what the encoder of readouts takes.
func readoutBytes(net *model.Net, b device.Backend) (int64, error) {
	p, err := lower.Encoder(net, min(encoderPictures, 2*net.Train.Microbatch))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", net.File, err)
	}
	return p.Bytes() + kernelsOfAll(b, []*ir.Program{p}), nil
}

// Need is all that the run takes.
func (r *Room) Need() int64 { return r.Program + r.Kernels + r.Readouts + r.Reserve }

// Fits reports whether what is free is enough.
func (r *Room) Fits() bool { return r.Need() <= r.Free }

// Spare is how much of what is free the program and its kernels may take; it may
// be below 0.
func (r *Room) Spare() int64 { return r.Free - r.Readouts - r.Reserve }
