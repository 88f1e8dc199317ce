package runtime

import (
	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/runtime/source"
)

// MakesViews reports whether views of a net's images can be made on a backend,
// where the images are read. The net may be trained in turn: then wherever they
// may be read.
func MakesViews(net *model.Net, b device.Backend) bool {
	units := net.Units
	if !net.Train.InTurn {
		units = units[:1]
	}
	for _, u := range units {
		if _, ok := device.On(b, u.Name).(device.Viewer); !ok {
			return false
		}
	}
	return true
}

// viewBytes bounds what a backend holds while it makes views, 0 where it makes
// none: the pictures of a microbatch, and what it needs for itself.
func viewBytes(net *model.Net, p *ir.Program, b device.Backend) int64 {
	if !MakesViews(net, b) {
		return 0
	}
	c := source.LoaderConfig{Shape: net.Input, Microbatch: p.Microbatch}
	return c.BufferBytes()/int64(c.Buffers()) + device.MostViewerBytes
}

// bounds are those of a device that makes views.
func bounds() *source.Bounds {
	return &source.Bounds{Side: device.MostViewSide, Values: device.MostViewValues}
}

// canvas is a microbatch's views as a device is asked for them. Its memory is used
// again for the next one.
type canvas struct {
	views device.Views
	steps []device.ViewStep
}

// of is the views of sketches.
func (c *canvas) of(sketches []source.Sketch, norm source.Norm) *device.Views {
	w := &c.views
	w.Pictures, w.Views, c.steps = w.Pictures[:0], w.Views[:0], c.steps[:0]
	w.Mean, w.Scale = norm.Affine()
	for i := range sketches {
		c.add(&sketches[i])
	}
	return w
}

// add adds the views of an image.
func (c *canvas) add(s *source.Sketch) {
	w := &c.views
	n := len(s.Views)
	for k := range s.Views {
		v := device.View{Picture: len(w.Pictures)}
		if s.Made != nil {
			size := len(s.Made) / n
			v.Made = s.Made[k*size:][:size]
		} else {
			v.Steps = c.stepsOf(s.Views[k].Actions)
		}
		w.Views = append(w.Views, v)
	}
	if s.Made == nil {
		p := s.Picture
		w.Pictures = append(w.Pictures, device.Picture{H: p.H, W: p.W, C: p.C, Pix: p.Pix})
	}
}

// stepKinds are actions as steps.
var stepKinds = [...]device.ViewKind{
	source.Resample: device.ViewResample, source.Brightness: device.ViewBrightness, source.Contrast: device.ViewContrast,
	source.Saturate: device.ViewSaturate, source.Hue: device.ViewHue, source.Grey: device.ViewGrey, source.Blur: device.ViewBlur,
}

func (c *canvas) stepsOf(actions []source.Action) []device.ViewStep {
	from := len(c.steps)
	for i := range actions {
		a := &actions[i]
		c.steps = append(c.steps, device.ViewStep{
			Kind: stepKinds[a.Kind], Y: a.Y, X: a.X, CutH: a.CutH, CutW: a.CutW, H: a.H, W: a.W, Mirrored: a.Mirrored,
			F: a.F, Kernel: a.Kernel,
		})
	}
	return c.steps[from:]
}

// show brings a microbatch into its slot: its pixels, or views that the device
// makes.
func (t *turn) show(v ir.ValueID, micro int, mb *source.Microbatch) error {
	if mb.Sketches == nil {
		return t.prog.Write(v, micro, mb.Pixels)
	}
	return t.prog.Views(v, micro, t.canvas.of(mb.Sketches, t.run.norm))
}
