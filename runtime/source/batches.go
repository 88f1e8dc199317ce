package source

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/locorun/locorun/compiler/model"
)

// BatchesConfig says what Batches goes through.
type BatchesConfig struct {
	Dataset Dataset
	Views   []model.View
	Shape   model.Shape
	Norm    Norm
	Seed    uint64
	Epoch   int // a key of the views' randomness
	Batch   int // pictures; the last batch may have fewer

	Order   []int // pictures to go through; default: all, by index
	Workers int   // that decode and augment; 0: the loop's own goroutine does
}

// Batch is some pictures with their labels. It is good until the loop's next
// turn.
type Batch struct {
	Start  int       // place of the first in the order
	Images []int     // indices into the data set
	Labels []int     // -1 where there is none
	Pixels []float32 // image x H x W x C, as many as Images
}

// Batches goes through a data set once, one view of each picture, in order. An
// error ends the loop and comes with a nil batch; the end of ctx is one.
// Nothing runs on after the loop.
func Batches(ctx context.Context, cfg BatchesConfig) iter.Seq2[*Batch, error] {
	return func(yield func(*Batch, error) bool) {
		r, err := newRound(cfg)
		if err != nil {
			yield(nil, err)
			return
		}
		defer r.feed.close()
		for {
			t, err := r.feed.take(ctx)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(r.batch(t), nil) {
				return
			}
			r.feed.release(t)
		}
	}
}

// round is one way through a data set.
type round struct {
	cfg   BatchesConfig
	views *Views
	feed  *feed
	n     int // pictures
}

func newRound(cfg BatchesConfig) (*round, error) {
	if cfg.Batch < 1 || cfg.Workers < 0 {
		return nil, errors.New("batches of less than one picture or less than no workers")
	}
	views, err := NewViews(cfg.Views, cfg.Shape, cfg.Norm)
	if err != nil {
		return nil, err
	}
	r := &round{cfg: cfg, views: views, n: cfg.Dataset.Len()}
	if cfg.Order != nil {
		r.n = len(cfg.Order)
	}
	trays := 1
	if cfg.Workers > 0 {
		trays = 2
	}
	most := min(cfg.Batch, max(r.n, 1))
	f := &feed{jobs: (r.n + cfg.Batch - 1) / cfg.Batch, plan: r.plan, draw: r.draw, workers: cfg.Workers}
	r.feed = newFeed(f, trays, room{images: most, values: cfg.Shape.Elements()})
	return r, nil
}

func (r *round) plan(t *tray) {
	for i := t.number * r.cfg.Batch; i < min(r.n, (t.number+1)*r.cfg.Batch); i++ {
		image := i
		if r.cfg.Order != nil {
			image = r.cfg.Order[i]
		}
		t.images = append(t.images, image)
	}
}

func (r *round) draw(t *tray, i int) error {
	key := Key{Seed: r.cfg.Seed, Epoch: r.cfg.Epoch, Image: t.images[i]}
	return drawViews(t.pixels[i*r.cfg.Shape.Elements():], r.cfg.Dataset, r.views, key, 1)
}

func (r *round) batch(t *tray) *Batch {
	b := &Batch{Start: t.number * r.cfg.Batch, Images: t.images}
	b.Pixels = t.pixels[:len(t.images)*r.cfg.Shape.Elements()]
	for _, i := range t.images {
		b.Labels = append(b.Labels, r.cfg.Dataset.Label(i))
	}
	return b
}
