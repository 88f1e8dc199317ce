package source

import (
	"fmt"

	"github.com/locorun/locorun/runtime/rng"
)

// Recipe is a view of a picture with all its numbers drawn: what is left is
// arithmetic, so that it may be done elsewhere. In order: the actions; channels,
// after the first of them that is a Resample, or before the first that minds
// colours; the Norm of the Views.
//
// A Recipe may be used again for the next view; its memory then is, too.
type Recipe struct {
	H, W    int // what the actions end with
	Actions []Action

	kernels [][]float32
	blurs   int
	draws   rng.Stream
}

// Action is one thing that is done to all pixels. Of its numbers those count
// that its Kind names.
type Action struct {
	Kind ActionKind
	// Resample: the window of CutH x CutW pixels from row Y and column X on becomes
	// H x W pixels, by a triangle filter that is as wide as the step between the
	// samples where it shrinks; left and right change places where Mirrored.
	Y, X, CutH, CutW int
	H, W             int
	Mirrored         bool
	// Brightness, Contrast and Saturate: the factor. Hue: what is added, in whole
	// turns.
	F float32
	// Blur: half of a symmetric kernel, the weights at 0, 1, 2, ... pixels from its
	// middle.
	Kernel []float32
}

// ActionKind is what an Action does to a picture of values in [0, 1].
type ActionKind uint8

// The kinds. Saturate, Hue and Grey leave a picture of one channel alone.
const (
	Resample   ActionKind = iota
	Brightness            // v*F, clamped
	Contrast              // away from the picture's mean grey: v*F + (1-F)*mean, clamped
	Saturate              // away from the pixel's grey: v*F + (1-F)*grey, clamped
	Hue                   // F of a turn on the hexcone
	Grey                  // three channels of grey
	Blur                  // mirrored at the first and last pixel
)

// Recipe draws the view k of a picture of h x w pixels. The errors are those of
// Apply.
func (v *Views) Recipe(r *Recipe, h, w int, k Key) error {
	r.H, r.W, r.Actions, r.blurs = h, w, r.Actions[:0], 0
	for i := range v.steps {
		s := &v.steps[i]
		r.draws = s.purpose.Stream(k.Seed, uint64(k.Epoch), uint64(k.Image), uint64(k.View))
		if err := s.draw(r, s, &r.draws); err != nil {
			return err
		}
	}
	if r.H != v.shape.H || r.W != v.shape.W {
		return fmt.Errorf("%d x %d pixels after the views, want %d x %d", r.H, r.W, v.shape.H, v.shape.W)
	}
	return nil
}

// add adds an action with a factor.
func (r *Recipe) add(kind ActionKind, f float32) {
	r.Actions = append(r.Actions, Action{Kind: kind, F: f})
}

// resample adds that the picture becomes a window of it, brought to h x w.
func (r *Recipe) resample(win window, h, w int) {
	r.Actions = append(r.Actions, Action{Kind: Resample, Y: win.y, X: win.x, CutH: win.h, CutW: win.w, H: h, W: w})
	r.H, r.W = h, w
}

// mirror adds that left and right change places, to a resampling where one comes
// last.
func (r *Recipe) mirror() {
	n := len(r.Actions)
	if n == 0 || r.Actions[n-1].Kind != Resample {
		r.resample(window{0, 0, r.H, r.W}, r.H, r.W)
		n++
	}
	last := &r.Actions[n-1]
	last.Mirrored = !last.Mirrored
}

// blur adds a blur by a Gaussian.
func (r *Recipe) blur(sigma float64) {
	if r.blurs == len(r.kernels) {
		r.kernels = append(r.kernels, nil)
	}
	kernel := gaussian(r.kernels[r.blurs], sigma, max(r.H, r.W))
	r.kernels[r.blurs] = kernel
	r.blurs++
	r.Actions = append(r.Actions, Action{Kind: Blur, Kernel: kernel})
}

// do carries out an action.
func (b *bench) do(a *Action) {
	if a.Kind == Resample {
		b.resample(window{a.Y, a.X, a.CutH, a.CutW}, a.H, a.W)
		b.mirrored = a.Mirrored
		return
	}
	b.settle()
	switch a.Kind {
	case Brightness:
		b.scale(a.F, 0)
	case Contrast:
		b.contrast(a.F)
	case Saturate:
		b.saturate(a.F)
	case Hue:
		b.turnHue(a.F)
	case Grey:
		b.grey()
	case Blur:
		b.blur(a.Kernel)
	}
}

// drawer adds what a step draws to a recipe.
type drawer func(r *Recipe, s *step, draws *rng.Stream) error
