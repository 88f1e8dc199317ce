package cuda

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cuda/driver"
	"github.com/locorun/locorun/graphs/cuda/emulate"
	"github.com/locorun/locorun/graphs/device"
)

// overheard is a device that writes down what is queued on which stream, and can
// fail at one of it.
type overheard struct {
	driver.Device
	log  []string
	fail string // the call that fails; "" for none
}

func (d *overheard) note(format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	d.log = append(d.log, text)
	if d.fail != "" && strings.HasPrefix(text, d.fail) {
		return fmt.Errorf("no %s today", d.fail)
	}
	return nil
}

func (d *overheard) Upload(p driver.Pointer, src []byte, s driver.Stream) error {
	if err := d.note("upload on %d", s); err != nil {
		return err
	}
	return d.Device.Upload(p, src, s)
}

func (d *overheard) Launch(f driver.Function, grid, block driver.Dim, shared uint32, s driver.Stream, args []uint64) error {
	if err := d.note("launch on %d", s); err != nil {
		return err
	}
	return d.Device.Launch(f, grid, block, shared, s, args)
}

func (d *overheard) Record(e driver.Event, s driver.Stream) error {
	if err := d.note("record %d on %d", e, s); err != nil {
		return err
	}
	return d.Device.Record(e, s)
}

func (d *overheard) Wait(s driver.Stream, e driver.Event) error {
	if err := d.note("wait for %d on %d", e, s); err != nil {
		return err
	}
	return d.Device.Wait(s, e)
}

// TestViewsAreQueuedInOrder: pictures go to the card before the lane's work is
// waited for, the kernel behind it, and the lane waits for the views. What fails on
// the way is told, and the next views are made.
func TestViewsAreQueuedInOrder(t *testing.T) {
	inner, c := emulate.Open(t)
	d := &overheard{Device: inner}
	b, err := New(Options{Device: d, Compiler: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	to := device.Tensor{Shape: []int{1, 5, 7, 3}, Dtype: op.F32}
	if to.Buffer, err = b.Alloc(to.Bytes()); err != nil {
		t.Fatal(err)
	}
	l, err := b.Lane(0)
	if err != nil {
		t.Fatal(err)
	}
	w := &device.Views{Pictures: []device.Picture{picture(5, 7, 3, 1)}, Views: []device.View{{}}, Scale: plain}
	views := func() error {
		d.log = nil
		return l.(device.Viewer).Views(to, w)
	}
	if err := views(); err != nil { // makes the lane's viewer, and waits for Alloc
		t.Fatal(err)
	}
	v, on := l.(*lane).viewer, l.(*lane).stream
	want := []string{
		fmt.Sprintf("upload on %d", v.stream), fmt.Sprintf("upload on %d", v.stream),
		fmt.Sprintf("record %d on %d", v.before, on), fmt.Sprintf("wait for %d on %d", v.before, v.stream),
		fmt.Sprintf("launch on %d", v.stream),
		fmt.Sprintf("record %d on %d", v.behind, v.stream), fmt.Sprintf("wait for %d on %d", v.behind, on),
	}
	if err := views(); err != nil || !slices.Equal(d.log, want) {
		t.Errorf("queued %q (%v), want %q", d.log, err, want)
	}
	for _, d.fail = range []string{"upload", "record", "wait", "launch"} {
		if err := views(); err == nil || !strings.Contains(err.Error(), "no "+d.fail+" today") {
			t.Errorf("got %v where the %s fails", err, d.fail)
		}
	}
	d.fail = ""
	if err := views(); err != nil {
		t.Errorf("after failures: %v", err)
	}
	if mark, err := l.Mark(); err != nil || mark.At == 0 {
		t.Errorf("views leave no mark for other lanes: %v, %v", mark, err)
	}
}

// testViewsGiveTheSameBytes compares two backends, to the bit.
func testViewsGiveTheSameBytes(t *testing.T, one, other opener) {
	w := &device.Views{Pictures: []device.Picture{picture(25, 33, 3, 1)}, Scale: plain}
	for k := range 3 {
		w.Views = append(w.Views, device.View{Steps: []device.ViewStep{
			resampleStep(k, 1, 20, 30, 16, 16, k == 1), {Kind: device.ViewHue, F: 0.07}, {Kind: device.ViewContrast, F: 0.7},
			{Kind: device.ViewBlur, Kernel: []float32{0.4, 0.2, 0.1}},
		}})
	}
	a := (&viewRig{t, one(t).(emulated).Backend}).rows(w, 16, 16, 3, op.F32)
	if b := (&viewRig{t, other(t).(emulated).Backend}).rows(w, 16, 16, 3, op.F32); !slices.Equal(a, b) {
		t.Error("the views differ")
	}
}

// deaf is a device whose streams do not wait for each other.
type deaf struct{ driver.Device }

func (deaf) Wait(driver.Stream, driver.Event) error { return nil }

// TestViewsOnLateStreams: what a lane has queued before views is done before, and
// what it queues behind them after, though they have a stream of their own, on which
// one microbatch's pictures follow another's. Where streams do not wait, that shows.
func TestViewsOnLateStreams(t *testing.T) {
	kept := images{}
	opened := func(seed uint64, wrap func(driver.Device) driver.Device) opener {
		return emulatedBackend(kept, func(t testing.TB) (driver.Device, driver.Compiler) {
			d, c := emulate.OpenLate(t, seed)
			return wrap(d), c
		})
	}
	want := viewsBetweenCopies(t, emulatedBackend(kept, emulate.Open))
	for seed := range uint64(6) {
		got := viewsBetweenCopies(t, opened(seed, func(d driver.Device) driver.Device { return d }))
		if !slices.Equal(got, want) {
			t.Errorf("seed %d: the bytes differ", seed)
		}
	}
	if got := viewsBetweenCopies(t, opened(0, func(d driver.Device) driver.Device { return deaf{d} })); slices.Equal(got, want) {
		t.Error("the bytes are the same where streams do not wait")
	}
}

// viewsBetweenCopies makes three microbatches of views in one slot, and copies what
// was there before and after each.
func viewsBetweenCopies(t *testing.T, open opener) (all []byte) {
	b := open(t).(emulated).Backend
	l, err := b.Lane(0)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(err)
	tensor := func() device.Tensor {
		to := device.Tensor{Shape: []int{2, 6, 5, 3}, Dtype: op.F32}
		to.Buffer, err = b.Alloc(to.Bytes())
		check(err)
		return to
	}
	slot := tensor()
	var copies []device.Tensor
	keep := func() {
		copies = append(copies, tensor())
		check(l.Run(&device.Call{Code: op.Copy, In: []device.Tensor{slot}, Out: copies[len(copies)-1:]}))
	}
	for i := range 3 {
		keep()
		check(l.(device.Viewer).Views(slot, &device.Views{
			Pictures: []device.Picture{picture(6+i, 5, 3, uint64(i))}, Scale: plain,
			Views: []device.View{{Steps: []device.ViewStep{resampleStep(i, 0, 6, 5, 6, 5, false)}}, {Steps: []device.ViewStep{resampleStep(0, 0, 6, 5, 6, 5, true)}}},
		}))
		keep()
	}
	for _, c := range copies {
		raw := make([]byte, c.Bytes())
		check(l.Read(raw, c))
		all = append(all, raw...)
	}
	return all
}
