package runtime

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/compiler/op"
	"github.com/locorun/locorun/graphs/cpu"
	"github.com/locorun/locorun/graphs/cuda/cudatest"
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/runtime/source"
)

// viewing is a processor that makes views as the host does, of what it is asked
// for as a device.
type viewing struct {
	device.Backend
	norm   source.Norm
	views  atomic.Int64 // made
	broken error        // what Views fails with
}

// Views implements device.Viewer.
func (b *viewing) Views(to device.Tensor, w *device.Views) error {
	if b.broken != nil {
		return b.broken
	}
	if mean, scale := b.norm.Affine(); mean != w.Mean || scale != w.Scale {
		return errors.New("another norm than the run's")
	}
	v, err := source.NewViews(nil, model.Shape{H: to.Shape[1], W: to.Shape[2], C: to.Shape[3]}, b.norm)
	if err != nil {
		return err
	}
	row := make([]float32, to.Elements()/to.Shape[0])
	var raw []byte
	for i := range w.Views {
		x := &w.Views[i]
		b.views.Add(1)
		if x.Made != nil {
			raw = append(raw, x.Made...)
			continue
		}
		p := w.Pictures[x.Picture]
		v.Make(row, source.Picture{H: p.H, W: p.W, C: p.C, Pix: p.Pix}, recipeOf(x.Steps))
		for _, value := range row {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(value))
		}
	}
	return b.Write(to, raw)
}

// recipeOf is steps as they were drawn.
func recipeOf(steps []device.ViewStep) *source.Recipe {
	r := &source.Recipe{}
	for _, s := range steps {
		kind := source.ActionKind(slices.Index(stepKinds[:], s.Kind))
		r.Actions = append(r.Actions, source.Action{
			Kind: kind, Y: s.Y, X: s.X, CutH: s.CutH, CutW: s.CutW, H: s.H, W: s.W, Mirrored: s.Mirrored, F: s.F, Kernel: s.Kernel,
		})
	}
	return r
}

// viewed trains with views that the backend makes.
func viewed(t *testing.T, net *model.Net, edit func(*Config, *viewing)) ([]byte, error) {
	t.Helper()
	host := onCPU(t, cpu.Options{})
	defer host.Close()
	b := &viewing{Backend: host}
	cfg := Config{Net: net, Backend: b, Depth: 1, Workers: 1, DeviceViews: true}
	edit(&cfg, b)
	r := must(Prepare(cfg))(t)
	defer r.Close()
	b.norm = r.Norm()
	res, err := r.Train(context.Background())
	if err != nil {
		return nil, err
	}
	if want := int64(2 * net.Train.Batch * res.Batches); cfg.DeviceViews != (b.views.Load() >= want) || !cfg.DeviceViews && b.views.Load() > 0 {
		t.Errorf("%d views were made on the device, of %d", b.views.Load(), want)
	}
	return dump(res.Weights), nil
}

// everyStep has views by all kinds of steps.
func everyStep(n *model.Net) {
	n.Views = append([]model.View{{Kind: "resize", H: 20}, {Kind: "flip", P: 0.5}}, n.Views...)
	n.Views = append(n.Views, model.View{Kind: "grey", P: 0.3}, model.View{Kind: "blur", Sigma: [2]float64{0.1, 1}, P: 0.5},
		model.View{Kind: "centre", H: 12, W: 12})
}

// TestDeviceViews: a device that makes views as the host does trains to the same
// bytes, whichever way microbatches come.
func TestDeviceViews(t *testing.T) {
	net := func() *model.Net { return tiny(3, pairs[:2], everyStep) }
	want := must(viewed(t, net(), func(c *Config, _ *viewing) { c.DeviceViews = false }))(t)
	for name, edit := range map[string]func(*Config, *viewing){
		"one worker":      func(*Config, *viewing) {},
		"no worker":       func(c *Config, _ *viewing) { c.Workers = 0 },
		"several, deeper": func(c *Config, _ *viewing) { c.Workers, c.Depth = 3, 2 },
	} {
		t.Run(name, func(t *testing.T) {
			if got := must(viewed(t, net(), edit))(t); !bytes.Equal(got, want) {
				t.Error("weights differ from those by the host's views")
			}
		})
	}
	t.Run("in turn", func(t *testing.T) {
		again := func() *model.Net {
			n := net()
			n.Train.InTurn = true
			return n
		}
		host := func(c *Config, _ *viewing) { c.DeviceViews = false }
		if got, want := must(viewed(t, again(), func(*Config, *viewing) {}))(t), must(viewed(t, again(), host))(t); !bytes.Equal(got, want) {
			t.Error("weights differ from those by the host's views")
		}
	})
	t.Run("other views", func(t *testing.T) {
		other := net()
		other.Views[1].P = 0
		if got := must(viewed(t, other, func(*Config, *viewing) {}))(t); bytes.Equal(got, want) {
			t.Error("weights are the same by other views")
		}
	})
}

// TestDeviceViewsFail: what a device cannot make ends the run, by name.
func TestDeviceViewsFail(t *testing.T) {
	_, err := viewed(t, tiny(2, pairs[:1], nil), func(_ *Config, b *viewing) { b.broken = errors.New("no light") })
	if err == nil || !strings.Contains(err.Error(), "views into ") || !strings.Contains(err.Error(), "no light") {
		t.Errorf("the error is %v", err)
	}
	b := onCPU(t, cpu.Options{})
	defer b.Close()
	_, err = Prepare(Config{Net: tiny(2, pairs[:1], nil), Backend: b, Depth: 1, DeviceViews: true})
	if want := b.Name() + " makes no views of the images, which the host can"; err == nil || err.Error() != want {
		t.Errorf("the error is %v, want %s", err, want)
	}
}

// TestDeviceViewsAreMeant: who makes the views is a fact of a run.
func TestDeviceViewsAreMeant(t *testing.T) {
	host := onCPU(t, cpu.Options{})
	defer host.Close()
	facts := func(on bool) []Fact {
		r := must(Prepare(Config{Net: tiny(2, pairs[:1], nil), Backend: &viewing{Backend: host}, Depth: 1, DeviceViews: on}))(t)
		defer r.Close()
		return r.Meaning()
	}
	for _, c := range []struct {
		was, is bool
		want    string
	}{
		{false, true, "device.views: the checkpoint has none, the program device"},
		{true, false, "device.views: the checkpoint has device, the program none"},
	} {
		d := Differences(facts(c.was), facts(c.is))
		if len(d) != 1 || d[0].Cut || d[0].String() != c.want {
			t.Errorf("differences are %v, want %s", d, c.want)
		}
	}
	if d := Differences(facts(true), facts(true)); len(d) > 0 {
		t.Errorf("differences are %v", d)
	}
}

// TestMakesViews asks the places of those units that may read images.
func TestMakesViews(t *testing.T) {
	host := onCPU(t, cpu.Options{})
	defer host.Close()
	can := &viewing{Backend: host}
	placed := func(first device.Backend) device.Backend {
		return must(device.NewPlaced([]device.Place{{Device: "a", Backend: first, Units: []string{"u1"}}, {Device: "b", Backend: host, Units: []string{"u2"}}}))(t)
	}
	together := tiny(3, pairs[:2], nil)
	inTurn := tiny(3, pairs[:2], func(n *model.Net) { n.Train.InTurn = true })
	for _, c := range []struct {
		name string
		net  *model.Net
		b    device.Backend
		want bool
	}{
		{"a viewer", together, can, true}, {"none", together, host, false},
		{"the lowest unit on one", together, placed(can), true}, {"on none", together, placed(host), false},
		{"in turn", inTurn, can, true}, {"in turn, one unit elsewhere", inTurn, placed(can), false},
	} {
		if got := MakesViews(c.net, c.b); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// photo is h x w pixels of c channels: smooth, with edges and noise.
func photo(h, w, c int, seed uint64) source.Picture {
	r := rand.New(rand.NewPCG(seed, 3))
	p := source.Picture{H: h, W: w, C: c, Pix: make([]uint8, h*w*c)}
	for i := range p.Pix {
		y, x := i/c/w, i/c%w
		v := 120 + 90*math.Sin(float64(x*(1+i%c))/7)*math.Cos(float64(y)/9) + 20*r.NormFloat64()
		if (x/8+y/8)%5 == 0 {
			v = 255 - v
		}
		p.Pix[i] = uint8(min(255, max(0, v)))
	}
	return p
}

// simclr is the list of Chen et al. 2020 at a size.
func simclr(side int) []model.View {
	return []model.View{
		{Kind: "crop", H: side, W: side, Scale: [2]float64{0.08, 1}, Ratio: [2]float64{0.75, 4.0 / 3}, P: 1},
		{Kind: "flip", P: 0.5}, {Kind: "jitter", Brightness: 0.8, Contrast: 0.8, Saturation: 0.8, Hue: 0.2, P: 0.8},
		{Kind: "grey", P: 0.2}, {Kind: "blur", Sigma: [2]float64{0.1, 2}, P: 0.5},
	}
}

// sketchesOf draws both views of pictures.
func sketchesOf(t *testing.T, v *source.Views, pictures []source.Picture, seed uint64) []source.Sketch {
	t.Helper()
	list := make([]source.Sketch, len(pictures))
	for i, p := range pictures {
		list[i].Picture = p
		for k := range list[i].Views {
			if err := v.Recipe(&list[i].Views[k], p.H, p.W, source.Key{Seed: seed, Image: i, View: k}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return list
}

// TestViewsOnCUDA: views that a card makes are the host's, to 5e-5 of [0, 1], of
// pictures of several sizes in one microbatch. Views of another seed are far off.
func TestViewsOnCUDA(t *testing.T) {
	b := cudatest.Open(t)
	norm := func(c int) source.Norm {
		return source.Norm{Mean: []float32{0.4, 0.5, 0.45}[:c], Std: []float32{0.2, 0.25, 0.3}[:c]}
	}
	resized := func(h, w int, more ...model.View) []model.View {
		return append([]model.View{{Kind: "resize", H: h, W: w}}, more...)
	}
	for _, c := range []struct {
		name     string
		pictures []source.Picture
		steps    []model.View
		shape    model.Shape
	}{
		{"simclr at 32", []source.Picture{photo(32, 32, 3, 1), photo(32, 32, 3, 2), photo(32, 32, 3, 3), photo(32, 32, 3, 4)}, simclr(32), model.Shape{H: 32, W: 32, C: 3}},
		{"simclr at 96, pictures as they are", []source.Picture{photo(96, 96, 3, 1), photo(150, 111, 3, 2), photo(33, 200, 3, 3), photo(1, 1, 3, 4)}, simclr(96), model.Shape{H: 96, W: 96, C: 3}},
		{"clothes", []source.Picture{photo(28, 28, 1, 1), photo(28, 28, 1, 2), photo(28, 28, 1, 3)}, simclr(28), model.Shape{H: 28, W: 28, C: 1}},
		{"clothes in colour", []source.Picture{photo(28, 28, 1, 1), photo(28, 28, 1, 2)}, simclr(24), model.Shape{H: 24, W: 24, C: 3}},
		{"colours as grey", []source.Picture{photo(28, 30, 3, 1), photo(17, 19, 3, 2)}, simclr(21), model.Shape{H: 21, W: 21, C: 1}},
		{"odd sizes", []source.Picture{photo(7, 13, 3, 1), photo(13, 7, 1, 2), photo(61, 3, 3, 3)}, resized(5, 17, model.View{Kind: "flip", P: 0.5}), model.Shape{H: 5, W: 17, C: 3}},
		{"a pixel", []source.Picture{photo(1, 1, 3, 1), photo(1, 2, 3, 2), photo(2, 1, 1, 3)}, resized(1, 1, model.View{Kind: "jitter", Contrast: 0.5, P: 1}, model.View{Kind: "blur", Sigma: [2]float64{0.5, 2}, P: 1}), model.Shape{H: 1, W: 1, C: 3}},
		{"nothing", []source.Picture{photo(9, 9, 3, 1), photo(9, 9, 3, 2)}, nil, model.Shape{H: 9, W: 9, C: 3}},
		{"there and back", []source.Picture{photo(40, 30, 3, 1), photo(30, 40, 3, 2)},
			resized(64, 0, model.View{Kind: "flip", P: 0.5}, model.View{Kind: "jitter", Hue: 0.5, P: 1}, model.View{Kind: "centre", H: 50, W: 50},
				model.View{Kind: "blur", Sigma: [2]float64{3, 9}, P: 1}, model.View{Kind: "resize", H: 12, W: 14}, model.View{Kind: "flip", P: 0.5}), model.Shape{H: 12, W: 14, C: 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := norm(c.shape.C)
			v := must(source.NewViews(c.steps, c.shape, n))(t)
			sketches := sketchesOf(t, v, c.pictures, 1)
			want := madeBy(v, c.shape, sketches)
			var easel canvas
			got := onDevice(t, b, easel.of(sketches, n), c.shape, op.F32)
			sameViews(t, n, c.shape.C, got, want, 5e-5)
			for i, x := range onDevice(t, b, easel.of(sketches, n), c.shape, op.BF16) {
				if x != op.Widen(op.Narrow(got[i])) {
					t.Fatalf("value %d is %g as bf16, %g as f32", i, x, got[i])
				}
			}
			if len(c.steps) == 0 || c.shape.H == 1 {
				return // nothing that is drawn shows
			}
			other := onDevice(t, b, easel.of(sketchesOf(t, v, c.pictures, 2), n), c.shape, op.F32)
			if far := farthest(other, want); far < 0.1 {
				t.Errorf("views of another seed are off by %g only", far)
			}
		})
	}
}

// madeBy are the views of sketches by the host.
func madeBy(v *source.Views, shape model.Shape, sketches []source.Sketch) (all []float32) {
	for i := range sketches {
		for k := range sketches[i].Views {
			row := make([]float32, shape.Elements())
			v.Make(row, sketches[i].Picture, &sketches[i].Views[k])
			all = append(all, row...)
		}
	}
	return all
}

// onDevice are views by a device.
func onDevice(t *testing.T, b device.Backend, w *device.Views, shape model.Shape, dtype op.Dtype) []float32 {
	t.Helper()
	to := device.Tensor{Shape: []int{len(w.Views), shape.H, shape.W, shape.C}, Dtype: dtype}
	to.Buffer = must(b.Alloc(to.Bytes()))(t)
	defer b.Free(to.Buffer)
	if err := b.(device.Viewer).Views(to, w); err != nil {
		t.Fatal(err)
	}
	raw := make([]byte, to.Bytes())
	if err := b.Read(raw, to); err != nil {
		t.Fatal(err)
	}
	values := make([]float32, to.Elements())
	for i := range values {
		if dtype == op.BF16 {
			values[i] = op.Widen(binary.LittleEndian.Uint16(raw[2*i:]))
		} else {
			values[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		}
	}
	return values
}

// sameViews compares normalised values by what they were before.
func sameViews(t *testing.T, n source.Norm, channels int, got, want []float32, most float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d values, want %d", len(got), len(want))
	}
	for i := range got {
		if off := math.Abs(float64(got[i]-want[i])) * float64(n.Std[i%channels]); !(off <= most) {
			t.Fatalf("value %d is %g, want %g: off by %g of [0, 1]", i, got[i], want[i], off)
		}
	}
}

func farthest(a, b []float32) (far float64) {
	for i := range a {
		far = max(far, math.Abs(float64(a[i]-b[i])))
	}
	return far
}

// TestTrainsOnViewsOfCUDA: losses on views that the card makes follow those on the
// host's, whatever the views.
func TestTrainsOnViewsOfCUDA(t *testing.T) {
	b := cudatest.Open(t)
	losses := func(on bool, seed uint64) (list []float64) {
		net := tiny(2, pairs[:1], func(n *model.Net) {
			everyStep(n)
			n.Train.Epochs, n.Train.Seed = 1, seed
		})
		r := must(Prepare(Config{Net: net, Backend: b, Depth: 1, Workers: 1, DeviceViews: on, Events: Events{Batch: func(r BatchReport) {
			list = append(list, r.Losses[0].Loss)
		}}}))(t)
		defer r.Close()
		must(r.Train(context.Background()))(t)
		return list
	}
	want, got := losses(false, 1), losses(true, 1)
	if len(want) != 5 || len(got) != 5 {
		t.Fatalf("%d and %d losses", len(want), len(got))
	}
	for i, w := range want {
		if !(math.Abs(got[i]/w-1) < tolerance(i)) {
			t.Errorf("batch %d: the loss is %v, on the host's views %v", i, got[i], w)
		}
	}
	if again := losses(true, 1); !slices.Equal(got, again) {
		t.Errorf("losses differ from run to run: %v, %v", got, again)
	}
}
