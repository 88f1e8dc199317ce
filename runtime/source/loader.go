package source

import (
	"context"
	"fmt"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/runtime/rng"
)

// perImage is the number of views of an image in a microbatch.
const perImage = 2

// LoaderConfig says what a Loader delivers. Workers, Ahead and Hold change when
// a microbatch is ready, never what is in it.
type LoaderConfig struct {
	Dataset Dataset
	Views   []model.View
	Shape   model.Shape // of one view
	Norm    Norm
	Seed    uint64

	Batch, Microbatch int  // images; Microbatch divides Batch
	Epochs            int  // at least 1
	StartBatch        int  // number of the first batch delivered, from 0; for a run taken up again
	Recompute         bool // every batch's microbatches come twice

	Workers int // that decode and augment; 0: the caller of Next does
	Ahead   int // microbatches made ahead; 0: 2 with workers, none without
	Hold    int // microbatches the caller keeps at once before it releases; 0: 1

	// Sketches, where it is set, has views of pictures within these bounds drawn, not
	// made: a microbatch then comes as sketches.
	Sketches *Bounds
}

// Microbatch is one slice of a batch, ready to be run. It belongs to the caller
// until it is released.
type Microbatch struct {
	Epoch  int
	Batch  int       // since the beginning of the run, from 0
	Index  int       // within the batch
	Pass   int       // 0; with Recompute 0, then 1
	Images []int     // indices into the data set
	Pixels []float32 // [image, view] x H x W x C: view v of Images[i] is row 2*i+v
	// Sketches are those of Images, in place of Pixels, where the loader was asked for
	// them.
	Sketches []Sketch

	tray *tray
}

// Loader delivers the microbatches of a run in order: epoch by epoch, each a
// keyed permutation of the data set cut into whole batches; batch by batch,
// with Recompute each twice, with the same bytes; microbatch by microbatch.
// What is left of an epoch after its last whole batch is not seen in it.
//
// It never holds more than BufferBytes of pictures.
type Loader struct {
	cfg   LoaderConfig
	views *Views
	feed  *feed

	epoch int // that order is of; -1 before the first
	order []int
}

// NewLoader starts a loader. Close ends it.
func NewLoader(cfg LoaderConfig) (*Loader, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	views, err := NewViews(cfg.Views, cfg.Shape, cfg.Norm)
	if err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	l := &Loader{cfg: cfg, views: views, epoch: -1}
	f := &feed{jobs: l.jobs(), plan: l.plan, draw: l.draw, workers: cfg.Workers}
	r := room{images: cfg.Microbatch, values: l.values()}
	if cfg.Sketches != nil {
		f.draw = l.sketch
		r.values, r.bytes = 0, l.room()
	}
	l.feed = newFeed(f, cfg.Buffers(), r)
	return l, nil
}

// withDefaults fills in how many microbatches are held.
func (c LoaderConfig) withDefaults() LoaderConfig {
	c.Hold = max(c.Hold, 1)
	switch {
	case c.Workers == 0:
		c.Ahead = 0
	case c.Ahead == 0:
		c.Ahead = 2
	}
	return c
}

// Buffers is the microbatches that a loader of this configuration holds at
// once, those its caller has not released among them.
func (c LoaderConfig) Buffers() int {
	c = c.withDefaults()
	return c.Hold + c.Ahead
}

// BufferBytes is the memory that a loader of this configuration holds for
// pictures on their way.
func (c LoaderConfig) BufferBytes() int64 {
	return 4 * int64(perImage*c.Shape.Elements()) * int64(c.Microbatch) * int64(c.Buffers())
}

func (c LoaderConfig) check() error {
	n := c.Dataset.Len()
	switch {
	case c.Batch < 1 || c.Microbatch < 1 || c.Batch%c.Microbatch != 0:
		return fmt.Errorf("a microbatch of %d images does not divide a batch of %d", c.Microbatch, c.Batch)
	case c.Batch > n:
		return fmt.Errorf("a batch of %d images is more than the %d that the source holds", c.Batch, n)
	case c.Epochs < 1:
		return fmt.Errorf("%d epochs", c.Epochs)
	case c.StartBatch < 0 || c.StartBatch > c.Epochs*(n/c.Batch):
		return fmt.Errorf("batch %d to start from lies outside the run's %d", c.StartBatch, c.Epochs*(n/c.Batch))
	case min(c.Workers, c.Ahead, c.Hold) < 0:
		return fmt.Errorf("%d workers, %d ahead, %d held", c.Workers, c.Ahead, c.Hold)
	}
	return nil
}

// values is the number of values of one image, both views.
func (l *Loader) values() int { return perImage * l.cfg.Shape.Elements() }

// BatchesPerEpoch is the number of whole batches in the data set.
func (l *Loader) BatchesPerEpoch() int { return l.cfg.Dataset.Len() / l.cfg.Batch }

// passes is how often a batch's microbatches come.
func (l *Loader) passes() int {
	if l.cfg.Recompute {
		return 2
	}
	return 1
}

// jobs is the number of microbatches that will be delivered.
func (l *Loader) jobs() int {
	batches := l.cfg.Epochs*l.BatchesPerEpoch() - l.cfg.StartBatch
	return batches * l.passes() * (l.cfg.Batch / l.cfg.Microbatch)
}

// BufferBytes is the memory held for pictures on their way, all of it taken at
// the start.
func (l *Loader) BufferBytes() int64 { return l.cfg.BufferBytes() }

// Next waits for the next microbatch. After the last it is io.EOF. An error of
// the data comes back from the call that would have delivered the picture, and
// from every call after it. It is for one goroutine at a time; Release may be
// called from any.
func (l *Loader) Next(ctx context.Context) (*Microbatch, error) {
	t, err := l.feed.take(ctx)
	if err != nil {
		return nil, err
	}
	m := l.name(t.number)
	m.Images, m.Pixels, m.Sketches, m.tray = t.images, t.pixels, t.sketches, t
	return &m, nil
}

// Release gives the memory of a microbatch back. It must not be used again.
func (l *Loader) Release(m *Microbatch) { l.feed.release(m.tray) }

// Close stops the workers and waits for them. It may be called twice.
func (l *Loader) Close() { l.feed.close() }

// name gives the place of the microbatch that is delivered as number j.
func (l *Loader) name(j int) Microbatch {
	micros := l.cfg.Batch / l.cfg.Microbatch
	batch := l.cfg.StartBatch + j/(micros*l.passes())
	return Microbatch{
		Epoch: batch / l.BatchesPerEpoch(),
		Batch: batch,
		Pass:  j / micros % l.passes(),
		Index: j % micros,
	}
}

// plan names the images of a tray. Trays come in order, so that one epoch's
// order is kept at a time.
func (l *Loader) plan(t *tray) {
	m := l.name(t.number)
	if m.Epoch != l.epoch {
		l.epoch = m.Epoch
		l.order = rng.Permutation(l.cfg.Seed, uint64(m.Epoch), l.cfg.Dataset.Len())
	}
	first := m.Batch%l.BatchesPerEpoch()*l.cfg.Batch + m.Index*l.cfg.Microbatch
	t.images = append(t.images, l.order[first:first+l.cfg.Microbatch]...)
}

// draw fills in the views of image number i of a tray.
func (l *Loader) draw(t *tray, i int) error {
	return drawViews(t.pixels[i*l.values():], l.cfg.Dataset, l.views, l.key(t, i), perImage)
}

// key is that of the views of image number i of a tray.
func (l *Loader) key(t *tray, i int) Key {
	return Key{Seed: l.cfg.Seed, Epoch: l.name(t.number).Epoch, Image: t.images[i]}
}

// drawViews writes n views of picture k.Image, one after the other, to dst.
func drawViews(dst []float32, ds Dataset, views *Views, k Key, n int) error {
	p, err := ds.Picture(k.Image)
	if err != nil {
		return err
	}
	size := views.shape.Elements()
	for k.View = range n {
		if err := views.Apply(dst[k.View*size:][:size], p, k); err != nil {
			return fmt.Errorf("%s: %w", nameOf(ds, k.Image), err)
		}
	}
	return nil
}

// nameOf says which picture is meant: its file where it has one to itself.
func nameOf(ds Dataset, i int) string {
	if named, ok := ds.(interface{ Name(i int) string }); ok {
		return named.Name(i)
	}
	return fmt.Sprintf("picture %d", i)
}
