package runtime

import (
	"context"
	"fmt"
	"slices"

	"github.com/locorun/locorun/compiler/ir"
	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/dsl/diag"
	"github.com/locorun/locorun/graphs"
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/runtime/readout"
	"github.com/locorun/locorun/runtime/source"
)

// encoderPictures is how many pictures an encoder takes at a time at most; few
// enough that its arena is small beside training's.
const encoderPictures = 64

// encoder runs the stages on frozen weights.
type encoder struct {
	run      *Run
	ir       *ir.Program
	prog     *graphs.Program
	pictures int
	cache    map[featureKey]readout.Features
}

// featureKey names features that have been computed for the loaded weights.
type featureKey struct {
	of    string // images, train, test
	views string
	stage int
}

func newEncoder(r *Run) (*encoder, error) {
	n := min(encoderPictures, 2*r.net.Train.Microbatch)
	if r.train != nil { // at least one whole batch, for statistics
		n = min(n, max(r.train.Len(), 2))
	}
	p, err := lower.Encoder(r.net, n)
	if err != nil {
		return nil, err
	}
	o := r.options()
	o.Lane = graphs.LaneCount(r.first)
	g, err := graphs.BuildWith(p, device.First(r.cfg.Backend), o)
	if err != nil {
		return nil, err
	}
	return &encoder{run: r, ir: p, prog: g, pictures: n}, nil
}

func (e *encoder) close() { e.prog.Close() }

// load puts weights in place.
func (e *encoder) load(w *Weights) error {
	e.cache = map[featureKey]readout.Features{}
	return load(e.prog, e.ir, w)
}

// statistics moves the running statistics by one pass over the training
// pictures, seen as the readouts see test pictures.
func (e *encoder) statistics(ctx context.Context) error {
	views := plainViews(e.run.net)
	pixels := e.buffer()
	for b, err := range e.batches(ctx, e.run.train, views, 0, nil) {
		if err != nil {
			return err
		}
		if len(b.Pixels) < len(pixels) {
			break // a partial batch would weigh as much as a whole one
		}
		if err := e.feed(b.Pixels, pixels); err != nil {
			return err
		}
		if err := e.prog.RunTask(e.ir.Units[lower.Statistics].Forward, 0, 0, 0); err != nil {
			return err
		}
	}
	return nil
}

// plainViews is how pictures are seen without augmentation: as the first
// readout's test view, which the checker fills in.
func plainViews(n *model.Net) []model.View {
	if len(n.Readouts) > 0 {
		return n.Readouts[0].TestView
	}
	if n.Input.H != n.Input.W {
		return []model.View{{Kind: "resize", H: n.Input.H, W: n.Input.W, P: 1}}
	}
	return []model.View{
		{Kind: "resize", H: n.Input.H, P: 1}, // the shorter side
		{Kind: "centre", H: n.Input.H, W: n.Input.W, P: 1},
	}
}

func (e *encoder) buffer() []float32 {
	return make([]float32, e.pictures*e.run.net.Input.Elements())
}

// feed writes pictures into the input, zeros after the last.
func (e *encoder) feed(pixels, buffer []float32) error {
	if len(pixels) < len(buffer) {
		clear(buffer[copy(buffer, pixels):])
		pixels = buffer
	}
	return e.prog.Write(e.ir.Units[lower.Infer].In, 0, pixels)
}

// batches goes through a data set, or the given pictures of it, in order.
func (e *encoder) batches(ctx context.Context, ds source.Dataset, views []model.View, epoch int, order []int) func(func(*source.Batch, error) bool) {
	return source.Batches(ctx, source.BatchesConfig{
		Dataset: ds, Views: views, Shape: e.run.net.Input, Norm: e.run.norm, Seed: e.run.net.Train.Seed,
		Epoch: epoch, Batch: e.pictures, Order: order, Workers: e.run.cfg.Workers,
	})
}

// features computes the mean-pooled maps of a stage for all pictures of a data
// set. With labelled, pictures without a label are left out. saw, if not nil, is
// shown the pictures, NHWC, batch by batch.
func (e *encoder) features(ctx context.Context, ds source.Dataset, views []model.View, epoch, stage int, labelled bool, saw func([]float32)) (readout.Features, error) {
	feature := e.ir.Features[stage].Value
	f := readout.Features{D: e.run.net.Stages[stage].Out.C, Classes: len(ds.Classes())}
	f.X = make([]float32, 0, ds.Len()*f.D)
	buffer := e.buffer()
	for b, err := range e.batches(ctx, ds, views, epoch, order(ds, labelled)) {
		if err != nil {
			return f, err
		}
		if saw != nil {
			saw(b.Pixels)
		}
		if err := e.feed(b.Pixels, buffer); err != nil {
			return f, err
		}
		if err := e.prog.RunTask(e.upTo(stage), 0, 0, 0); err != nil {
			return f, err
		}
		x, err := e.prog.Read(feature, 0)
		if err != nil {
			return f, err
		}
		f.X = append(f.X, x[:len(b.Images)*f.D]...)
		f.Labels = append(f.Labels, b.Labels...)
	}
	f.N = len(f.Labels)
	return f, nil
}

// upTo is the inference task up to a stage.
func (e *encoder) upTo(stage int) ir.Task { return e.ir.Units[lower.Infer].Forward[:stage+1] }

// order lists the pictures to go through; nil is all.
func order(ds source.Dataset, labelled bool) []int {
	if !labelled {
		return nil
	}
	list := make([]int, 0, ds.Len())
	for i := range ds.Len() {
		if ds.Label(i) >= 0 {
			list = append(list, i)
		}
	}
	if len(list) == ds.Len() {
		return nil
	}
	return list
}

// cached is features, computed once for the loaded weights.
func (e *encoder) cached(ctx context.Context, of string, ds source.Dataset, views []model.View, stage int) (readout.Features, error) {
	key := featureKey{of, viewsKey(views), stage}
	if f, ok := e.cache[key]; ok {
		return f, nil
	}
	f, err := e.features(ctx, ds, views, 0, stage, true, nil)
	if err == nil {
		e.cache[key] = f
	}
	return f, err
}

// viewsKey tells lists of views apart by what they do, not by where they are
// written.
func viewsKey(views []model.View) string {
	vs := slices.Clone(views)
	for i := range vs {
		vs[i].Range = diag.Range{}
	}
	return fmt.Sprint(vs)
}

// readout runs one readout on one stage with the loaded weights.
func (e *encoder) readout(ctx context.Context, ro *model.Readout, stage int) (readout.Result, error) {
	test, err := e.cached(ctx, "test", e.run.test, ro.TestView, stage)
	if err != nil {
		return readout.Result{}, err
	}
	views := ro.TrainView
	if len(views) == 0 {
		views = ro.TestView
	}
	train, err := e.cached(ctx, "train", e.run.train, views, stage)
	if err != nil {
		return readout.Result{}, err
	}
	o := e.options(ctx, ro)
	if random(views) {
		o.Redraw = func(epoch int) (readout.Features, error) {
			return e.features(ctx, e.run.train, views, epoch, stage, true, nil)
		}
	}
	return fit(ro, train, test, o)
}

// random reports whether views draw anything.
func random(views []model.View) bool {
	return slices.ContainsFunc(views, func(v model.View) bool { return v.Kind != "resize" && v.Kind != "centre" })
}

func (e *encoder) options(ctx context.Context, ro *model.Readout) readout.Options {
	return readout.Options{Standardise: ro.Standardise, Seed: e.run.net.Train.Seed, Done: ctx.Done()}
}

// fit dispatches on the readout's kind.
func fit(ro *model.Readout, train, test readout.Features, o readout.Options) (readout.Result, error) {
	if ro.Kind == "knn" {
		return readout.KNN(train, test, ro.KNN, o)
	}
	return readout.Linear(train, test, ro.Linear, o)
}

// pixels runs a readout on raw pixels, the same fit on pictures of at most 32 x
// 32.
func (e *encoder) pixels(ctx context.Context, ro *model.Readout) (readout.Result, error) {
	train, err := e.pixelFeatures(ctx, e.run.train, ro)
	if err != nil {
		return readout.Result{}, err
	}
	test, err := e.pixelFeatures(ctx, e.run.test, ro)
	if err != nil {
		return readout.Result{}, err
	}
	return fit(ro, train, test, e.options(ctx, ro))
}

func (e *encoder) pixelFeatures(ctx context.Context, ds source.Dataset, ro *model.Readout) (readout.Features, error) {
	in := e.run.net.Input
	h, w := readout.PixelShape(in.H, in.W)
	f := readout.Features{D: h * w * in.C, Classes: len(ds.Classes())}
	f.X = make([]float32, 0, ds.Len()*f.D)
	for b, err := range e.batches(ctx, ds, ro.TestView, 0, order(ds, true)) {
		if err != nil {
			return f, err
		}
		for i := range b.Images {
			at := len(f.X)
			f.X = f.X[:at+f.D]
			readout.Pixels(f.X[at:], b.Pixels[i*in.Elements():(i+1)*in.Elements()], in.H, in.W, in.C)
		}
		f.Labels = append(f.Labels, b.Labels...)
	}
	f.N = len(f.Labels)
	return f, nil
}

// normalise settles how pictures are normalised.
func (r *Run) normalise() error {
	n, err := source.NormOf(r.net.Data.Normalise, r.images, r.net.Input.C)
	r.norm = n
	return err
}

// Judge runs all readouts on weights, with their floors.
func (r *Run) Judge(ctx context.Context, w *Weights) ([]Readout, error) {
	initial, err := r.initial()
	if err != nil {
		return nil, err
	}
	j := r.startReadouts(ctx, initial, func(error) {})
	j.at(r.turns()*r.net.Train.Epochs, w.Batch, w)
	return j.wait(true)
}

// Embed computes the features of a stage for the pictures of images, train or
// test; labels are -1 where there are none. saw, if not nil, is shown the
// pictures as the encoder sees them, NHWC, batch by batch.
func (r *Run) Embed(ctx context.Context, w *Weights, of string, stage int, saw func([]float32)) (readout.Features, error) {
	ds := map[string]source.Dataset{"images": r.images, "train": r.train, "test": r.test}[of]
	if ds == nil {
		return readout.Features{}, fmt.Errorf("%s declares no %s data", r.net.File, of)
	}
	e, err := newEncoder(r)
	if err != nil {
		return readout.Features{}, err
	}
	defer e.close()
	if err := e.load(w); err != nil {
		return readout.Features{}, err
	}
	return e.features(ctx, ds, plainViews(r.net), 0, stage, false, saw)
}
