package source

import (
	"fmt"
	"sync"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/runtime/rng"
	"github.com/locorun/locorun/runtime/source/vector"
)

// Key is what the randomness of a view is a function of.
type Key struct {
	Seed  uint64
	Epoch int
	Image int // index into the data set
	View  int // 0 or 1 of a pair; readouts use 0
}

// Norm is how pictures are centred and scaled, per channel, last of all:
// (x - Mean) / Std. The zero Norm leaves them in [0, 1].
type Norm struct{ Mean, Std []float32 }

// Views is a list of steps ready to be applied. In order:
//
//   - the steps as written, on the picture as numbers in [0, 1]; each draws from
//     a stream of its own, keyed by Key, the step's kind and how many of that
//     kind came before, so that adding a blur does not move the crops;
//   - channels: grey repeated to three, three taken to luma (0.299, 0.587,
//     0.114: Rec. ITU-R BT.601), before the first step that minds colours;
//   - Norm.
//
// The kinds: crop (random resized crop), centre (the middle window), resize
// (H and W, or with W 0 the shorter side to H), flip (left to right), jitter,
// grey, blur. Steps with a probability toss a coin of their own first.
type Views struct {
	steps []step
	shape model.Shape
	norm  normal
	kept  kept
	tier  vector.Tier
	spare sync.Pool // of *bench
}

// step is one line of a views list.
type step struct {
	model.View
	cutter  cutter // of a crop
	purpose rng.Purpose
	draw    drawer
}

// NewViews prepares steps whose result is pictures of the given shape.
func NewViews(steps []model.View, shape model.Shape, norm Norm) (*Views, error) {
	if shape.H < 1 || shape.W < 1 || shape.C != 1 && shape.C != 3 {
		return nil, fmt.Errorf("views of shape %d x %d x %d: want one or three channels", shape.H, shape.W, shape.C)
	}
	if n := len(norm.Mean); n != len(norm.Std) || n != 0 && n != shape.C {
		return nil, fmt.Errorf("normalise has %d means and %d deviations for %d channels", n, len(norm.Std), shape.C)
	}
	v := &Views{shape: shape, norm: newNormal(norm), tier: vector.Best()}
	v.kept.rows.m, v.kept.columns.m = shape.H, shape.W
	v.spare.New = func() any { return &bench{kept: &v.kept} }
	count := map[string]int{}
	for _, s := range steps {
		draw, err := stepOf(s)
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("view/%s#%d", s.Kind, count[s.Kind])
		count[s.Kind]++
		v.steps = append(v.steps, step{s, newCutter(s), rng.For(name), draw})
	}
	return v, nil
}

// stepOf finds what draws a step and checks its numbers: they come from a
// checked program, so that a fault here is the checker's.
func stepOf(s model.View) (draw drawer, err error) {
	sound := true
	switch s.Kind {
	case "crop":
		draw = drawCrop
		sound = s.H > 0 && s.W > 0 && ordered(s.Scale) && ordered(s.Ratio)
	case "centre":
		draw, sound = drawCentre, s.H > 0 && s.W > 0
	case "resize":
		draw, sound = drawResize, s.H > 0 && s.W >= 0
	case "flip":
		draw = drawFlip
	case "jitter":
		draw = drawJitter
		sound = min(s.Brightness, s.Contrast, s.Saturation, s.Hue) >= 0 && s.Hue <= 0.5
	case "grey":
		draw = drawGrey
	case "blur":
		draw, sound = drawBlur, ordered(s.Sigma)
	default:
		return nil, fmt.Errorf("no step of views is called %q", s.Kind)
	}
	if !sound || !(s.P >= 0 && s.P <= 1) {
		return nil, fmt.Errorf("step %s of views has impossible settings: %+v", s.Kind, s)
	}
	return draw, nil
}

// ordered reports whether r is a range of numbers above 0.
func ordered(r [2]float64) bool { return r[0] > 0 && r[0] <= r[1] }

// Apply writes the view k of p to dst, H x W x C values of the views' shape.
// A picture whose size after the steps is another is an error, as is one that
// a step cannot be applied to.
func (v *Views) Apply(dst []float32, p Picture, k Key) error {
	b := v.spare.Get().(*bench)
	defer v.spare.Put(b)
	if err := v.Recipe(&b.recipe, p.H, p.W, k); err != nil {
		return err
	}
	v.make(b, dst, p, &b.recipe)
	return nil
}

// Make writes the view of p that was drawn for a picture of its size.
func (v *Views) Make(dst []float32, p Picture, r *Recipe) {
	b := v.spare.Get().(*bench)
	defer v.spare.Put(b)
	v.make(b, dst, p, r)
}

func (v *Views) make(b *bench, dst []float32, p Picture, r *Recipe) {
	b.load(p, v.shape.C, v.tier)
	for i := range r.Actions {
		b.do(&r.Actions[i])
	}
	b.settle()
	b.write(dst[:v.shape.Elements()], v.norm)
}
