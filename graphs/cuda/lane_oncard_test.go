package cuda

import (
	"errors"
	"os"
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cuda/emulate"
	"github.com/locorun/locorun/graphs/device"
)

// TestLanesOnCard is the tests of lanes and recordings on a card, which it asks for
// as TestOnCard does.
func TestLanesOnCard(t *testing.T) {
	if os.Getenv("LOCORUN_TEST_CARD") != "1" {
		t.Skip("LOCORUN_TEST_CARD is not 1")
	}
	kept := images{}
	for _, c := range []struct {
		name string
		test func(*laneRig)
	}{
		{"OneAfterAnother", testLanesInOrder},
		{"Marks", testMarks},
		{"OldMarks", testOldMarks},
		{"Refused", testLanesRefuse},
		{"SideBySide", testLanesSideBySide},
		{"Replayed", testReplayed},
		{"Beside", testRecordedBeside},
		{"NotRecorded", testNotRecorded},
		{"Scratch", testScratchOfRecordings},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(newLaneRig(t, cardBackend(kept, false), 100)) })
	}
	t.Run("LibrariesReplayed", func(t *testing.T) { testConvolutionsReplayed(newLaneRig(t, cardBackend(kept, true), 4096)) })
	t.Run("Busy", func(t *testing.T) {
		r := newLaneRig(t, cardBackend(kept, false), 4096)
		l := r.lane(0)
		d, x := l.(device.Timed), r.tensor()
		r.check(errors.Join(d.Begin(1), l.Run(add(x, x, x)), d.End(), r.b.Sync()))
		if d.Busy(1) <= 0 {
			t.Error("a kernel took no time")
		}
	})
}

// TestConvolutionsReplayed is what a card is asked for, on the host.
func TestConvolutionsReplayed(t *testing.T) {
	testConvolutionsReplayed(newLaneRig(t, emulatedBackend(images{}, emulate.Open), 4096))
}

// testConvolutionsReplayed: a convolution and its gradients give the same bytes
// replayed as run, by whatever computes them.
func testConvolutionsReplayed(r *laneRig) {
	l := r.lane(0).(device.Recorder)
	x, w, y, dw := r.tensor(), r.tensor(), r.tensor(), r.tensor()
	values := make([]float32, r.n)
	for i := range values {
		values[i] = float32(i*7919%1000)/500 - 1
	}
	r.check(errors.Join(l.Write(x, encoded(values)), l.Write(w, encoded(values))))
	x.Shape, y.Shape, w.Shape, dw.Shape = []int{4, 8, 8, 16}, []int{4, 8, 8, 16}, []int{16, 3, 3, 16}, []int{16, 3, 3, 16}
	a := op.Attr{KH: 3, KW: 3, Stride: 1, Pad: 1, Groups: 1}
	all := func() error {
		return errors.Join(
			l.Run(&device.Call{Code: op.Conv, Attr: a, In: []device.Tensor{x, w, {}}, Out: []device.Tensor{y}}),
			l.Run(&device.Call{Code: op.ConvWeight, Attr: a, In: []device.Tensor{x, y}, Out: []device.Tensor{dw, {}}}))
	}
	zero := func() error { return errors.Join(l.Write(r.whole(y), r.all(0)), l.Write(r.whole(dw), r.all(0))) }
	r.check(errors.Join(all(), zero(), all()))
	want := string(r.bytes(l, r.whole(y))) + string(r.bytes(l, r.whole(dw)))
	rec, err := l.Record(all)
	r.check(err)
	r.check(zero())
	if got := string(r.bytes(l, r.whole(y))) + string(r.bytes(l, r.whole(dw))); got == want {
		r.Error("there is nothing to compare")
	}
	for range 2 {
		r.check(errors.Join(zero(), l.Replay(rec)))
		if got := string(r.bytes(l, r.whole(y))) + string(r.bytes(l, r.whole(dw))); got != want {
			r.Error("a replay gives other bytes")
		}
	}
	l.Forget(rec)
}
