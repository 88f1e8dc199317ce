package cuda

import (
	"fmt"
	"testing"

	"github.com/locorun/locorun/graphs/device"
)

// relay is work that two lanes hand to each other, a map at a time, through one
// place: the first waits until the second has read it before it writes again. Its
// waits have numbers, so that a test can leave one out.
type relay struct {
	*laneRig
	from, to   device.Lane
	x, y, z    device.Tensor
	leave, now int // the wait that is left out, and the number of the next
}

const relayed = 4

func newRelay(r *laneRig, leave int) *relay {
	return &relay{r, r.lane(0), r.lane(1), r.tensor(), r.tensor(), r.tensor(), leave, 0}
}

func (r *relay) wait(l device.Lane, m device.Mark) {
	r.Helper()
	if r.now != r.leave {
		r.check(l.Wait(m))
	}
	r.now++
}

// run gives what the second lane has added up.
func (r *relay) run() float32 {
	r.Helper()
	var read device.Mark
	for i := range relayed {
		r.check(r.from.Write(r.x, r.all(float32(int(1)<<(4*i)))))
		r.wait(r.from, read)
		r.check(r.from.Run(add(r.x, r.x, r.y)))
		r.wait(r.to, r.marked(r.from))
		r.check(r.to.Run(add(r.z, r.y, r.z)))
		read = r.marked(r.to)
	}
	return r.read(r.to, r.z)
}

// TestOrder: on devices that work as late as events allow, or by chance, what lanes
// hand to each other is right where they wait for each other, and wrong where they
// do not.
func TestOrder(t *testing.T) {
	kept := images{}
	const want = 2 * 0x1111
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			if got := newRelay(newLaneRig(t, late(kept, seed), 40), -1).run(); got != want {
				t.Errorf("the sum is %g, not %d", got, want)
			}
		})
	}
	for leave := 1; leave < 2*relayed; leave++ { // the first waits for nothing
		t.Run(fmt.Sprint("without wait ", leave), func(t *testing.T) {
			for seed := range uint64(20) {
				if newRelay(newLaneRig(t, late(kept, seed), 40), leave).run() != want {
					return
				}
			}
			t.Error("the sum is right all the same")
		})
	}
	t.Run("the backend's own", func(t *testing.T) { testOwnOrder(t, kept) })
}

// testOwnOrder: the backend's own methods come after what lanes have queued, and
// lanes after them.
func testOwnOrder(t *testing.T, kept images) {
	for seed := range uint64(6) {
		r := newLaneRig(t, late(kept, seed), 40)
		x, y, z := r.tensor(), r.tensor(), r.tensor()
		lanes := []device.Lane{r.lane(0), r.lane(1), r.lane(2)}
		for i := range 3 {
			r.check(r.b.Write(x, r.all(float32(i+1))))
			r.check(lanes[i].Run(add(x, y, y)))
			r.check(r.b.Run(add(y, z, z)))
			r.check(lanes[(i+1)%3].Run(add(z, z, z)))
		}
		if got := r.read(r.b, z); got != 2*(2*(2*1+3)+6) {
			t.Errorf("seed %d: %g", seed, got)
		}
		m, err := r.b.Alloc(int64(4 * r.n))
		r.check(err)
		r.check(lanes[0].Run(add(x, x, device.Tensor{Buffer: m, Shape: x.Shape, Dtype: x.Dtype})))
		r.b.Free(m) // while its work waits: the emulator tells if nobody did
		r.check(r.b.Sync())
	}
}
