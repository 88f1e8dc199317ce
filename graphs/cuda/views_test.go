package cuda

import (
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// viewRig is a backend that makes views, for a test.
type viewRig struct {
	*testing.T
	b *Backend
}

// picture is h x w pixels of c channels of any bytes.
func picture(h, w, c int, seed uint64) device.Picture {
	r := rand.New(rand.NewPCG(seed, 7))
	p := device.Picture{H: h, W: w, C: c, Pix: make([]byte, h*w*c)}
	for i := range p.Pix {
		p.Pix[i] = byte(r.IntN(256))
	}
	return p
}

// rows are the views of w as numbers; the tensor lies off in its buffer, and what
// lies about it stays.
func (r *viewRig) rows(w *device.Views, h, width, c int, dtype op.Dtype) []float32 {
	r.Helper()
	raw, err := r.make(w, h, width, c, dtype)
	if err != nil {
		r.Fatal(err)
	}
	values := make([]float32, len(raw)/dtype.Size())
	for i := range values {
		if dtype == op.BF16 {
			values[i] = op.Widen(binary.LittleEndian.Uint16(raw[2*i:]))
		} else {
			values[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		}
	}
	return values
}

func (r *viewRig) make(w *device.Views, h, width, c int, dtype op.Dtype) ([]byte, error) {
	r.Helper()
	const apart = 64
	to := device.Tensor{Shape: []int{len(w.Views), h, width, c}, Dtype: dtype, Offset: apart}
	m, err := r.b.Alloc(to.Bytes() + 2*apart)
	if err != nil {
		r.Fatal(err)
	}
	defer r.b.Free(m)
	to.Buffer = m
	if err := r.b.Views(to, w); err != nil {
		return nil, err
	}
	all := device.Tensor{Buffer: m, Shape: []int{int(m.Size()) / 2}, Dtype: op.BF16}
	raw := make([]byte, m.Size())
	if err := r.b.Read(raw, all); err != nil {
		r.Fatal(err)
	}
	end := len(raw) - apart
	if !slices.Equal(raw[:apart], make([]byte, apart)) || !slices.Equal(raw[end:], make([]byte, apart)) {
		r.Error("something was written beside the views")
	}
	return raw[apart:end], nil
}

// plain leaves values as they are.
var plain = [3]float32{1, 1, 1}

// resample is a step that brings a window to h x w.
func resampleStep(y, x, cutH, cutW, h, w int, mirrored bool) device.ViewStep {
	return device.ViewStep{Y: y, X: x, CutH: cutH, CutW: cutW, H: h, W: w, Mirrored: mirrored}
}

// testViewsByDefinition compares steps with what they are defined to be, in
// float64.
func testViewsByDefinition(t *testing.T, open opener) {
	r := &viewRig{t, open(t).(emulated).Backend}
	kernel := []float32{0.4, 0.2, 0.06, 0.04}
	for _, c := range []struct {
		name    string
		p       device.Picture
		steps   []device.ViewStep
		h, w, c int
	}{
		{"none", picture(5, 7, 3, 1), nil, 5, 7, 3},
		{"a pixel", picture(1, 1, 3, 2), []device.ViewStep{resampleStep(0, 0, 1, 1, 3, 2, true)}, 3, 2, 3},
		{"to a pixel", picture(9, 6, 1, 3), []device.ViewStep{resampleStep(1, 2, 7, 3, 1, 1, false)}, 1, 1, 1},
		{"larger", picture(5, 7, 3, 4), []device.ViewStep{resampleStep(1, 1, 3, 5, 11, 13, true)}, 11, 13, 3},
		{"smaller", picture(40, 31, 3, 5), []device.ViewStep{resampleStep(2, 3, 37, 28, 11, 9, false)}, 11, 9, 3},
		{"one way each", picture(9, 40, 1, 6), []device.ViewStep{resampleStep(0, 0, 9, 40, 21, 7, true)}, 21, 7, 1},
		{"a strip", picture(3, 2000, 3, 7), []device.ViewStep{resampleStep(0, 0, 3, 2000, 5, 4, false)}, 5, 4, 3},
		{"twice", picture(20, 20, 3, 8), []device.ViewStep{resampleStep(0, 0, 20, 20, 9, 30, true), resampleStep(1, 2, 8, 20, 7, 6, true)}, 7, 6, 3},
		{"grey of colours", picture(12, 12, 3, 9), []device.ViewStep{resampleStep(0, 0, 12, 12, 8, 8, false)}, 8, 8, 1},
		{"colours of grey", picture(12, 12, 1, 10), []device.ViewStep{{Kind: device.ViewBrightness, F: 0.5}}, 12, 12, 3},
		{"brightness", picture(6, 7, 3, 11), []device.ViewStep{{Kind: device.ViewBrightness, F: 1.4}}, 6, 7, 3},
		{"contrast", picture(30, 31, 3, 12), []device.ViewStep{{Kind: device.ViewContrast, F: 1.3}, {Kind: device.ViewContrast, F: 0.4}}, 30, 31, 3},
		{"contrast of grey", picture(30, 31, 1, 13), []device.ViewStep{{Kind: device.ViewContrast, F: 0.2}}, 30, 31, 1},
		{"saturation", picture(6, 7, 3, 14), []device.ViewStep{{Kind: device.ViewSaturate, F: 1.7}}, 6, 7, 3},
		{"hue", picture(6, 7, 3, 15), []device.ViewStep{{Kind: device.ViewHue, F: -0.31}, {Kind: device.ViewHue, F: 0.5}}, 6, 7, 3},
		{"colours of one channel", picture(6, 7, 1, 16), []device.ViewStep{{Kind: device.ViewSaturate, F: 0.3}, {Kind: device.ViewHue, F: 0.2}, {Kind: device.ViewGrey}}, 6, 7, 1},
		{"grey", picture(6, 7, 3, 17), []device.ViewStep{{Kind: device.ViewGrey}}, 6, 7, 3},
		{"blur", picture(6, 17, 3, 18), []device.ViewStep{{Kind: device.ViewBlur, Kernel: kernel}}, 6, 17, 3},
		{"blur of few pixels", picture(2, 1, 1, 19), []device.ViewStep{{Kind: device.ViewBlur, Kernel: kernel}}, 2, 1, 1},
		{"all", picture(25, 33, 3, 20), []device.ViewStep{
			resampleStep(3, 1, 20, 30, 16, 16, true), {Kind: device.ViewHue, F: 0.07}, {Kind: device.ViewBrightness, F: 1.2},
			{Kind: device.ViewContrast, F: 0.7}, {Kind: device.ViewSaturate, F: 0.6}, {Kind: device.ViewBlur, Kernel: kernel},
			{Kind: device.ViewGrey},
		}, 16, 16, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &viewRig{t, r.b}
			w := &device.Views{
				Pictures: []device.Picture{c.p}, Views: []device.View{{Steps: c.steps}},
				Mean: [3]float32{0.1, 0.2, 0.3}, Scale: [3]float32{2, 3, 4},
			}
			want := viewByDefinition(c.p, c.steps, c.c).row(w.Mean, w.Scale)
			if far := farthest(r.rows(w, c.h, c.w, c.c, op.F32), want); far > 4*2e-5 {
				t.Errorf("a value is off by %g", far)
			}
			// Of bfloat16 the same values, rounded.
			if got := r.rows(w, c.h, c.w, c.c, op.BF16); !slices.Equal(got, narrowed(r.rows(w, c.h, c.w, c.c, op.F32))) {
				t.Errorf("as bf16 %v", got[:min(8, len(got))])
			}
			if other := changed(c.steps, c.c); other != nil {
				w.Views[0].Steps = other
				if far := farthest(r.rows(w, c.h, c.w, c.c, op.F32), want); far < 1e-3 {
					t.Errorf("a number of the first step makes a difference of %g", far)
				}
			}
		})
	}
}

// changed is steps with one number of the first changed; nil where that has none
// that matters for so many channels.
func changed(steps []device.ViewStep, channels int) []device.ViewStep {
	if len(steps) == 0 {
		return nil
	}
	steps = slices.Clone(steps)
	s := &steps[0]
	switch {
	case s.Kind == device.ViewResample && s.CutH > 1:
		s.CutH--
	case s.Kind == device.ViewResample:
		return nil
	case s.Kind == device.ViewBlur:
		s.Kernel = []float32{0.5, 0.1, 0.1, 0.05}
	case s.Kind == device.ViewBrightness || s.Kind == device.ViewContrast || s.Kind != device.ViewGrey && channels == 3:
		s.F += 0.2
	default:
		return nil
	}
	return steps
}

func narrowed(values []float32) []float32 {
	for i, v := range values {
		values[i] = op.Widen(op.Narrow(v))
	}
	return values
}

func farthest(got []float32, want []float64) (far float64) {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	for i := range got {
		far = max(far, math.Abs(float64(got[i])-want[i]))
		if got[i] != got[i] {
			return math.Inf(1)
		}
	}
	return far
}

// A view is what it is alone: whatever is made beside it, of pictures of whatever
// sizes, on however many blocks.
func testViewsStandAlone(t *testing.T, open opener) {
	r := &viewRig{t, open(t).(emulated).Backend}
	w := &device.Views{Scale: plain}
	for i := range 12 {
		p := picture(4+3*i, 30-2*i, 1+i%2*2, uint64(i))
		w.Pictures = append(w.Pictures, p)
		for k := range 2 {
			w.Views = append(w.Views, device.View{Picture: i, Steps: []device.ViewStep{
				resampleStep(k, 0, p.H-k, p.W, 9, 8, k == 1), {Kind: device.ViewContrast, F: 0.5 + float32(k)},
			}})
		}
	}
	large := picture(300, 310, 3, 99) // goes to the card on its own
	w.Pictures = slices.Insert(w.Pictures, 5, large)
	for i := range w.Views {
		if w.Views[i].Picture >= 5 {
			w.Views[i].Picture++
		}
	}
	w.Views = append(w.Views, device.View{Picture: 5, Steps: []device.ViewStep{resampleStep(0, 0, 300, 310, 9, 8, false)}})
	made := make([]byte, 4*9*8*3)
	for i := range 9 * 8 * 3 {
		binary.LittleEndian.PutUint32(made[4*i:], math.Float32bits(float32(i)/7))
	}
	w.Views = slices.Insert(w.Views, 3, device.View{Made: made})
	for _, dtype := range []op.Dtype{op.F32, op.BF16} {
		all := r.rows(w, 9, 8, 3, dtype)
		for i := range w.Views {
			one := &device.Views{Pictures: w.Pictures, Views: w.Views[i : i+1], Scale: plain}
			if got := r.rows(one, 9, 8, 3, dtype); !slices.Equal(got, all[i*9*8*3:][:9*8*3]) {
				t.Errorf("view %d of %v differs from what it is alone", i, dtype)
			}
		}
		if got := all[3*9*8*3+5]; got != narrowIf(dtype, 5.0/7) {
			t.Errorf("a value that was made is %g as %v", got, dtype)
		}
	}
	r.onFewBlocks(w)
}

func narrowIf(dtype op.Dtype, v float32) float32 {
	if dtype == op.BF16 {
		return op.Widen(op.Narrow(v))
	}
	return v
}

// onFewBlocks makes views on one block, and compares.
func (r *viewRig) onFewBlocks(w *device.Views) {
	r.Helper()
	want := r.rows(w, 9, 8, 3, op.F32)
	b := r.b
	to := device.Tensor{Shape: []int{len(w.Views), 9, 8, 3}, Dtype: op.F32}
	m, err := b.Alloc(to.Bytes())
	if err != nil {
		r.Fatal(err)
	}
	defer b.Free(m)
	to.Buffer = m
	v := b.lane.viewer
	if err := v.table.fill(to, w); err != nil {
		r.Fatal(err)
	}
	if err := v.upload(w.Pictures); err != nil {
		r.Fatal(err)
	}
	if err := v.write(to, m.(*buffer).at, w, 1); err != nil {
		r.Fatal(err)
	}
	if err := b.dev.Sync(v.stream); err != nil {
		r.Fatal(err)
	}
	raw := make([]byte, to.Bytes())
	if err := b.Read(raw, to); err != nil {
		r.Fatal(err)
	}
	if !slices.Equal(raw, encoded(want)) {
		r.Error("views differ on one block")
	}
}

// testViewRefusals: what makes no sense, and what is too large, is refused before
// anything is written.
func testViewRefusals(t *testing.T, open opener) {
	b := open(t).(emulated).Backend
	p := picture(6, 5, 3, 1)
	with := func(steps ...device.ViewStep) *device.Views {
		return &device.Views{Pictures: []device.Picture{p}, Views: []device.View{{Steps: steps}}}
	}
	of := func(p device.Picture) *device.Views {
		return &device.Views{Pictures: []device.Picture{p}, Views: []device.View{{}}}
	}
	fit := resampleStep(0, 0, 6, 5, 4, 4, false)
	for _, c := range []struct {
		name  string
		w     *device.Views
		shape []int
		dtype op.Dtype
		want  string
	}{
		{"shape", with(fit), []int{1, 4, 4, 2}, op.F32, "views of shape [1 4 4 2]: want [views,h,w,c], c being 1 or 3"},
		{"type", with(fit), []int{1, 4, 4, 3}, op.I32, "views of type i32: want f32 or bf16"},
		{"count", with(fit), []int{2, 4, 4, 3}, op.F32, "1 views for 2 rows"},
		{"channels", of(device.Picture{H: 4, W: 4, C: 2, Pix: make([]byte, 32)}), nil, op.F32, "picture 0 of 4 x 4 x 2: want one or three channels"},
		{"long side", of(device.Picture{H: 1, W: 1 << 14, C: 1, Pix: make([]byte, 1<<14)}), nil, op.F32, "picture 0 of 1 x 16384 is larger than the 16383 that a side may have"},
		{"bytes", of(device.Picture{H: 4, W: 4, C: 3, Pix: make([]byte, 47)}), nil, op.F32, "picture 0 of 4 x 4 x 3 has 47 bytes"},
		{"no picture", &device.Views{Views: []device.View{{Picture: 1}}}, nil, op.F32, "view 0: there is no picture 1"},
		{"size", with(), nil, op.F32, "view 0: 6 x 5 pixels after the steps, not 4 x 4"},
		{"window", with(fit, resampleStep(1, 0, 4, 4, 4, 4, false)), nil, op.F32, "view 0: step 1: a window of 4 x 4 at 1, 0 of 4 x 4 pixels"},
		{"no pixels", with(resampleStep(0, 0, 6, 5, 0, 4, false)), nil, op.F32, "view 0: step 0: a resample to 0 x 4 pixels"},
		{"too many", with(resampleStep(0, 0, 6, 5, 2000, 2000, false)), nil, op.F32, "view 0: step 0: a resample from 6 x 5 to 2000 x 2000 pixels is more than a device does"},
		{"too long", with(resampleStep(0, 0, 6, 5, 1, 1<<14, false)), nil, op.F32, "view 0: step 0: a resample from 6 x 5 to 1 x 16384 pixels is more than a device does"},
		{"no weights", with(fit, device.ViewStep{Kind: device.ViewBlur}), nil, op.F32, "view 0: step 1: a blur without weights"},
		{"weights", with(fit, device.ViewStep{Kind: device.ViewBlur, Kernel: make([]float32, 1<<15)}), nil, op.F32, "view 0: step 1: a blur of 32768 weights, more than 16384"},
		{"kind", with(fit, device.ViewStep{Kind: 99}), nil, op.F32, "view 0: step 1: no step of kind 99"},
		{"made", &device.Views{Views: []device.View{{Made: make([]byte, 4)}}}, nil, op.F32, "view 0: 4 bytes, not 192"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.shape == nil {
				c.shape = []int{1, 4, 4, 3}
			}
			to := device.Tensor{Shape: c.shape, Dtype: c.dtype}
			m, err := b.Alloc(to.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			defer b.Free(m)
			to.Buffer = m
			if err := b.Views(to, c.w); err == nil || !strings.HasSuffix(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "cuda: views: ") {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	nowhere := device.Tensor{Shape: []int{1, 4, 4, 3}, Dtype: op.F32}
	if err := b.Views(nowhere, with(fit)); err == nil || !strings.Contains(err.Error(), "does not lie in the card's memory") {
		t.Errorf("without memory: %v", err)
	}
	l, err := b.Lane(0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.(device.Recorder).Record(func() error { return l.(device.Viewer).Views(nowhere, with(fit)) })
	if !errors.Is(err, device.ErrNotRecorded) || !strings.HasPrefix(err.Error(), "cuda: views: ") {
		t.Errorf("recorded: %v", err)
	}
}
