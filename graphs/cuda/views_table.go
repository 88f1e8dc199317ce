package cuda

import (
	"errors"
	"fmt"
	"math"

	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/device"
)

// viewTable is the views of a microbatch as their kernel reads them: words of
// views.cu's table, and where each picture lies among the bytes.
type viewTable struct {
	words  []int32
	count  int     // of views that the kernel makes
	starts []int64 // of pictures, in bytes; multiples of viewAlign
	bytes  int64   // of all pictures
	plane  int     // the most values of a view after any step
	made   []int   // rows that are made already
}

const (
	viewHead  = 8 // VIEWS_HEAD
	viewWords = 8 // VIEWS_STEP
	viewAlign = 16
)

// rowsOfViews is how many views a tensor has, and the size of each.
func rowsOfViews(to device.Tensor) (n, h, w, c int, err error) {
	s := to.Shape
	switch {
	case len(s) != 4 || s[3] != 1 && s[3] != 3 || min(s[0], s[1], s[2]) < 1:
		return 0, 0, 0, 0, fmt.Errorf("views of shape %v: want [views,h,w,c], c being 1 or 3", s)
	case to.Dtype != op.F32 && to.Dtype != op.BF16:
		return 0, 0, 0, 0, fmt.Errorf("views of type %v: want f32 or bf16", to.Dtype)
	}
	return s[0], s[1], s[2], s[3], nil
}

// fill writes the table for views into a tensor, and refuses what makes no sense.
func (t *viewTable) fill(to device.Tensor, w *device.Views) error {
	n, _, _, _, err := rowsOfViews(to)
	if err != nil {
		return err
	}
	if n != len(w.Views) {
		return fmt.Errorf("%d views for %d rows", len(w.Views), n)
	}
	if err := t.pictures(w.Pictures); err != nil {
		return err
	}
	t.words, t.made, t.count, t.plane = t.words[:0], t.made[:0], 0, 0
	for i := range w.Views {
		if w.Views[i].Made == nil {
			t.count++
		}
	}
	t.words = append(t.words, make([]int32, t.count*viewHead)...)
	at := 0
	for i := range w.Views {
		if w.Views[i].Made == nil {
			err = t.view(to, w, i, at)
			at += viewHead
		} else {
			err = t.ready(to, w.Views[i].Made, i)
		}
		if err != nil {
			return fmt.Errorf("view %d: %w", i, err)
		}
	}
	return nil
}

// pictures settles where pictures lie.
func (t *viewTable) pictures(list []device.Picture) error {
	t.starts, t.bytes = t.starts[:0], 0
	for i := range list {
		p := &list[i]
		switch {
		case p.C != 1 && p.C != 3 || min(p.H, p.W) < 1:
			return fmt.Errorf("picture %d of %d x %d x %d: want one or three channels", i, p.H, p.W, p.C)
		case max(p.H, p.W) > device.MostViewSide:
			return fmt.Errorf("picture %d of %d x %d is larger than the %d that a side may have", i, p.H, p.W, device.MostViewSide)
		case len(p.Pix) != p.H*p.W*p.C:
			return fmt.Errorf("picture %d of %d x %d x %d has %d bytes", i, p.H, p.W, p.C, len(p.Pix))
		}
		t.starts = append(t.starts, t.bytes)
		t.bytes += int64(parts(len(p.Pix), viewAlign) * viewAlign)
	}
	if t.bytes/viewAlign > math.MaxInt32 {
		return fmt.Errorf("%d bytes of pictures are more than a kernel reads", t.bytes)
	}
	return nil
}

// ready notes a view that is made already.
func (t *viewTable) ready(to device.Tensor, made []byte, row int) error {
	if want := 4 * to.Elements() / to.Shape[0]; len(made) != want {
		return fmt.Errorf("%d bytes, not %d", len(made), want)
	}
	t.made = append(t.made, row)
	return nil
}

// view writes view i: its head, which is at a word, and its steps.
func (t *viewTable) view(to device.Tensor, w *device.Views, i, at int) error {
	v := &w.Views[i]
	if v.Picture < 0 || v.Picture >= len(w.Pictures) {
		return fmt.Errorf("there is no picture %d", v.Picture)
	}
	p := &w.Pictures[v.Picture]
	size := viewSize{p.H, p.W}
	first, begin := len(t.words), 0
	if len(v.Steps) == 0 || v.Steps[0].Kind != device.ViewResample {
		begin = -1 // the whole is brought into a plane
	}
	t.words = append(t.words, make([]int32, (len(v.Steps)-begin)*viewWords)...)
	for k := begin; k < len(v.Steps); k++ {
		s := &device.ViewStep{CutH: p.H, CutW: p.W, H: p.H, W: p.W}
		if k >= 0 {
			s = &v.Steps[k]
		}
		var err error
		if size, err = size.after(s); err != nil {
			return fmt.Errorf("step %d: %w", k, err)
		}
		t.plane = max(t.plane, size.h*size.w*to.Shape[3])
		t.step(first+(k-begin)*viewWords, s)
	}
	if size.h != to.Shape[1] || size.w != to.Shape[2] {
		return fmt.Errorf("%d x %d pixels after the steps, not %d x %d", size.h, size.w, to.Shape[1], to.Shape[2])
	}
	head := [viewHead]int32{
		int32(t.starts[v.Picture] / viewAlign), int32(p.H), int32(p.W), int32(p.C), int32(i), int32(first), int32(len(v.Steps) - begin),
	}
	copy(t.words[at:], head[:])
	return nil
}

// step writes a step at a word, and a blur's weights behind all that is there.
func (t *viewTable) step(at int, s *device.ViewStep) {
	words := [viewWords]int32{int32(s.Kind)}
	switch s.Kind {
	case device.ViewResample:
		for i, n := range [...]int{s.Y, s.X, s.CutH, s.CutW, s.H, s.W, int(flag(s.Mirrored))} {
			words[1+i] = int32(n)
		}
	case device.ViewBlur:
		words[1], words[2] = int32(len(t.words)), int32(len(s.Kernel)-1)
		for _, weight := range s.Kernel {
			t.words = append(t.words, int32(math.Float32bits(weight)))
		}
	default:
		words[1] = int32(math.Float32bits(s.F))
	}
	copy(t.words[at:], words[:])
}

// viewSize is a picture's height and width between two steps.
type viewSize struct{ h, w int }

// after is the size after a step; a step that cannot be is refused.
func (z viewSize) after(s *device.ViewStep) (viewSize, error) {
	switch {
	case s.Kind > device.ViewBlur:
		return z, fmt.Errorf("no step of kind %d", s.Kind)
	case s.Kind == device.ViewBlur && len(s.Kernel) == 0:
		return z, errors.New("a blur without weights")
	case s.Kind == device.ViewBlur && len(s.Kernel) > device.MostViewSide+1:
		return z, fmt.Errorf("a blur of %d weights, more than %d", len(s.Kernel), device.MostViewSide+1)
	case s.Kind != device.ViewResample:
		return z, nil
	case min(s.CutH, s.CutW) < 1 || min(s.Y, s.X) < 0 || s.Y+s.CutH > z.h || s.X+s.CutW > z.w:
		return z, fmt.Errorf("a window of %d x %d at %d, %d of %d x %d pixels", s.CutH, s.CutW, s.Y, s.X, z.h, z.w)
	case min(s.H, s.W) < 1:
		return z, fmt.Errorf("a resample to %d x %d pixels", s.H, s.W)
	case max(s.H, s.W) > device.MostViewSide || 3*max(s.H, s.CutH)*max(s.W, s.CutW) > device.MostViewValues:
		return z, fmt.Errorf("a resample from %d x %d to %d x %d pixels is more than a device does", s.CutH, s.CutW, s.H, s.W)
	}
	return viewSize{s.H, s.W}, nil
}
