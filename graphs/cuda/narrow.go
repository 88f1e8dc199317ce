package cuda

import (
	"fmt"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cuda/driver"
	"github.com/locorun/locorun/graphs/device"
)

// mapsOf is the type of a Call's maps, which are all of one; nothing else is BF16,
// but what is copied as it is.
func mapsOf(row *op.Row, c *device.Call) (driver.Type, error) {
	narrow, wide := "", ""
	for _, side := range [...]struct {
		args []op.Arg
		ts   []device.Tensor
	}{{row.In, c.In}, {row.Out, c.Out}} {
		for i := range side.ts {
			t, a := &side.ts[i], &side.args[min(i, len(side.args)-1)]
			typed := a.Map || row.Code == op.Copy
			switch {
			case t.Buffer == nil:
			case t.Dtype == op.BF16 && !typed:
				return 0, fmt.Errorf("%s is bf16, but no map", a.Name)
			case t.Dtype == op.BF16:
				narrow = a.Name
			case typed:
				wide = a.Name
			}
		}
	}
	switch {
	case narrow == "":
		return driver.F32, nil
	case wide != "":
		return 0, fmt.Errorf("%s is bf16 and %s is not", narrow, wide)
	}
	return driver.BF16, nil
}

// Scratch memory of products of narrow maps.
const (
	slotWeights  slot = iota + 400 // as a library multiplies them
	slotGradient                   // of weights, as a library made it
)

// narrowed is weights as a library multiplies them with maps.
func (r *run) narrowed(g geometry, w driver.Pointer) (driver.Pointer, error) {
	if g.maps == driver.F32 {
		return w, nil
	}
	n := g.weights()
	to, err := r.scratch(slotWeights, n*g.maps.Size())
	if err != nil {
		return 0, err
	}
	return to, r.each("narrow", n, uint64(w), uint64(to), i64(n))
}
