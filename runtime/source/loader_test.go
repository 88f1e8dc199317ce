package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/runtime/rng"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is n pictures of 6 x 6 made from their index. Those named in bad fail,
// the one called slow waits.
type fake struct {
	n    int
	bad  []int
	boom int           // picture whose reading panics; 0: none
	wait chan struct{} // read before every picture, where set
}

func (d *fake) Len() int            { return d.n }
func (d *fake) Shape() model.Shape  { return model.Shape{H: 6, W: 6, C: 3} }
func (d *fake) Classes() []string   { return []string{"a", "b"} }
func (d *fake) Label(i int) int     { return i % 2 }
func (d *fake) Fingerprint() string { return fmt.Sprint("fake ", d.n) }
func (d *fake) Close() error        { return nil }

func (d *fake) Picture(i int) (Picture, error) {
	if d.wait != nil {
		<-d.wait
	}
	if slices.Contains(d.bad, i) {
		return Picture{}, wrongRecord("fake.bin", i, int64(100*i), "broken")
	}
	if d.boom != 0 && i == d.boom {
		panic("a bug in a reader")
	}
	return noise(6, 6, 3, uint64(i)), nil
}

func config(d Dataset) LoaderConfig {
	return LoaderConfig{
		Dataset: d, Views: allSteps(4, 4), Shape: model.Shape{H: 4, W: 4, C: 3},
		Norm: Norm{Mean: []float32{0.5, 0.5, 0.5}, Std: []float32{0.2, 0.2, 0.2}},
		Seed: 7, Batch: 8, Microbatch: 4, Epochs: 3,
	}
}

func mustLoader(t *testing.T, cfg LoaderConfig) *Loader {
	t.Helper()
	l, err := NewLoader(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// drain reads a loader to its end.
func drain(t *testing.T, l *Loader) []Microbatch {
	t.Helper()
	var all []Microbatch
	for {
		m, err := l.Next(context.Background())
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		kept := *m
		kept.Images, kept.Pixels, kept.tray = slices.Clone(m.Images), slices.Clone(m.Pixels), nil
		all = append(all, kept)
		l.Release(m)
	}
}

// byDefinition is what a loader has to deliver, written out plainly.
func byDefinition(t *testing.T, cfg LoaderConfig) []Microbatch {
	t.Helper()
	v, err := NewViews(cfg.Views, cfg.Shape, cfg.Norm)
	if err != nil {
		t.Fatal(err)
	}
	perEpoch, passes := cfg.Dataset.Len()/cfg.Batch, 1
	if cfg.Recompute {
		passes = 2
	}
	var all []Microbatch
	for b := cfg.StartBatch; b < cfg.Epochs*perEpoch; b++ {
		epoch := b / perEpoch
		order := rng.Permutation(cfg.Seed, uint64(epoch), cfg.Dataset.Len())[b%perEpoch*cfg.Batch:][:cfg.Batch]
		for pass := range passes {
			for i := range cfg.Batch / cfg.Microbatch {
				m := Microbatch{Epoch: epoch, Batch: b, Index: i, Pass: pass, Images: order[i*cfg.Microbatch:][:cfg.Microbatch]}
				for _, image := range m.Images {
					for k := range 2 {
						p, _ := cfg.Dataset.Picture(image)
						row := make([]float32, cfg.Shape.Elements())
						if err := v.Apply(row, p, Key{cfg.Seed, epoch, image, k}); err != nil {
							t.Fatal(err)
						}
						m.Pixels = append(m.Pixels, row...)
					}
				}
				all = append(all, m)
			}
		}
	}
	return all
}

func sameMicrobatches(t *testing.T, got, want []Microbatch) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d microbatches, want %d", len(got), len(want))
	}
	for i := range got {
		g, w := got[i], want[i]
		if g.Epoch != w.Epoch || g.Batch != w.Batch || g.Index != w.Index || g.Pass != w.Pass {
			t.Fatalf("delivery %d is epoch %d batch %d index %d pass %d, want %d %d %d %d",
				i, g.Epoch, g.Batch, g.Index, g.Pass, w.Epoch, w.Batch, w.Index, w.Pass)
		}
		if !slices.Equal(g.Images, w.Images) || !slices.Equal(g.Pixels, w.Pixels) {
			t.Fatalf("delivery %d has other images or pixels", i)
		}
	}
}

// Workers and what is made ahead change no byte and no order.
func TestLoaderDeliversByDefinition(t *testing.T) {
	for _, recompute := range []bool{false, true} {
		cfg := config(&fake{n: 35})
		cfg.Recompute = recompute
		want := byDefinition(t, cfg)
		for _, workers := range []int{0, 1, 4, 16} {
			for _, ahead := range []int{0, 1, 5} {
				cfg.Workers, cfg.Ahead = workers, ahead
				sameMicrobatches(t, drain(t, mustLoader(t, cfg)), want)
			}
		}
	}
}

func TestLoaderTakenUpAgain(t *testing.T) {
	cfg := config(&fake{n: 35})
	cfg.Recompute, cfg.Workers = true, 2
	whole := byDefinition(t, cfg)
	for start := range 13 {
		cfg.StartBatch = start
		sameMicrobatches(t, drain(t, mustLoader(t, cfg)), whole[start*4:])
	}
}

func TestRecomputedMicrobatchesAreTheSame(t *testing.T) {
	cfg := config(&fake{n: 16})
	cfg.Recompute, cfg.Workers = true, 3
	all := drain(t, mustLoader(t, cfg))
	for i := 0; i < len(all); i += 4 {
		for m := range 2 {
			if !slices.Equal(all[i+m].Pixels, all[i+2+m].Pixels) {
				t.Fatalf("batch %d: microbatch %d differs between the passes", all[i].Batch, m)
			}
		}
	}
}

func TestLoaderSeesEveryImageOnceAnEpoch(t *testing.T) {
	cfg := config(&fake{n: 32})
	seen := map[[2]int]int{}
	for _, m := range drain(t, mustLoader(t, cfg)) {
		for _, i := range m.Images {
			seen[[2]int{m.Epoch, i}]++
		}
	}
	if len(seen) != 3*32 {
		t.Errorf("%d of 96 (epoch, image) pairs", len(seen))
	}
	l := mustLoader(t, config(&fake{n: 39}))
	if l.BatchesPerEpoch() != 4 || len(drain(t, l)) != 3*4*2 {
		t.Error("a partial batch was not dropped")
	}
}

func TestLoaderHoldsNoMoreThanItSays(t *testing.T) {
	cfg := config(&fake{n: 64})
	cfg.Workers, cfg.Ahead, cfg.Hold = 2, 3, 2
	l := mustLoader(t, cfg)
	if want := int64(4 * 2 * 4 * 4 * 3 * 4 * 5); l.BufferBytes() != want {
		t.Errorf("BufferBytes = %d, want %d", l.BufferBytes(), want)
	}
	var held []*Microbatch
	for range 5 {
		m, err := l.Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, m)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := l.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a sixth buffer came from somewhere (%v)", err)
	}
	l.Release(held[0])
	m, err := l.Next(context.Background())
	if err != nil || m.Batch*2+m.Index != 5 {
		t.Errorf("after a release: %+v, %v", m, err)
	}
}

func TestReleasingTwicePanics(t *testing.T) {
	l := mustLoader(t, config(&fake{n: 16}))
	m, err := l.Next(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	l.Release(m)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	l.Release(m)
}

// Errors come in the order of delivery, the first picture's first, and stay.
func TestLoaderStopsAtTheFirstError(t *testing.T) {
	cfg := config(&fake{n: 35})
	cfg.Seed = 1
	order := rng.Permutation(1, 0, 35)
	d := &fake{n: 35, bad: []int{order[10], order[9], order[20]}}
	cfg.Dataset = d
	for _, workers := range []int{0, 1, 8} {
		cfg.Workers = workers
		l := mustLoader(t, cfg)
		for range 2 {
			m, err := l.Next(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			l.Release(m)
		}
		for range 2 {
			_, err := l.Next(context.Background())
			wantTexts(t, err, fmt.Sprintf("fake.bin: record %d, byte %d: broken", order[9], 100*order[9]))
		}
	}
}

func TestLoaderTurnsPanicsIntoErrors(t *testing.T) {
	cfg := config(&fake{n: 8, boom: 3})
	for _, workers := range []int{0, 2} {
		cfg.Workers = workers
		l := mustLoader(t, cfg)
		var err error
		for err == nil {
			var m *Microbatch
			if m, err = l.Next(context.Background()); err == nil {
				l.Release(m)
			}
		}
		wantTexts(t, err, "picture 3: a bug in a reader")
	}
}

func TestLoaderNamesThePictureThatDoesNotFit(t *testing.T) {
	cfg := config(&fake{n: 8})
	cfg.Views = nil
	_, err := mustLoader(t, cfg).Next(context.Background())
	wantTexts(t, err, "picture ", "6 x 6 pixels after the views, want 4 x 4")
}

// The end of a context ends the waiting, and loses nothing.
func TestNextHonoursItsContext(t *testing.T) {
	d := &fake{n: 16, wait: make(chan struct{})}
	cfg := config(d)
	cfg.Workers = 2
	l := mustLoader(t, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := l.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("Next = %v", err)
	}
	close(d.wait)
	want := byDefinition(t, cfg)
	sameMicrobatches(t, drain(t, l), want)
}

// Close ends everything whatever state it is in; goleak sees to the rest.
func TestLoaderClosesAtAnyMoment(t *testing.T) {
	for taken := range 8 {
		cfg := config(&fake{n: 35})
		cfg.Workers = 4
		l := mustLoader(t, cfg)
		for range taken {
			m, err := l.Next(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if taken%2 == 0 {
				l.Release(m)
			} else if m.Index == 1 {
				l.Release(m)
			} else {
				defer l.Release(m)
			}
			if taken%2 == 1 && m.Batch >= 1 {
				break
			}
		}
		l.Close()
		l.Close()
		if _, err := l.Next(context.Background()); err == nil {
			continue // one that was ready when it closed
		} else {
			wantTexts(t, err, "the loader was closed")
		}
	}
}

func TestLoaderRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(*LoaderConfig)
		text   string
	}{
		{"microbatch", func(c *LoaderConfig) { c.Microbatch = 3 }, "a microbatch of 3 images does not divide a batch of 8"},
		{"batch", func(c *LoaderConfig) { c.Batch, c.Microbatch = 64, 64 }, "a batch of 64 images is more than the 35 that the source holds"},
		{"epochs", func(c *LoaderConfig) { c.Epochs = 0 }, "0 epochs"},
		{"start", func(c *LoaderConfig) { c.StartBatch = 13 }, "batch 13 to start from lies outside the run's 12"},
		{"workers", func(c *LoaderConfig) { c.Workers = -1 }, "-1 workers"},
		{"views", func(c *LoaderConfig) { c.Views = []model.View{{Kind: "spin"}} }, `no step of views is called "spin"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := config(&fake{n: 35})
			tt.change(&cfg)
			_, err := NewLoader(cfg)
			wantTexts(t, err, tt.text)
		})
	}
}

func batchesConfig(d Dataset) BatchesConfig {
	c := config(d)
	return BatchesConfig{Dataset: d, Views: c.Views, Shape: c.Shape, Norm: c.Norm, Seed: 7, Epoch: 2, Batch: 10}
}

func TestBatchesGoThroughInOrder(t *testing.T) {
	d := &fake{n: 25}
	cfg := batchesConfig(d)
	v, err := NewViews(cfg.Views, cfg.Shape, cfg.Norm)
	if err != nil {
		t.Fatal(err)
	}
	for _, order := range [][]int{nil, {3, 1, 24, 3}, {}} {
		cfg.Order = order
		want := order
		if order == nil {
			for i := range 25 {
				want = append(want, i)
			}
		}
		for _, workers := range []int{0, 1, 5} {
			cfg.Workers = workers
			var got []int
			for b, err := range Batches(context.Background(), cfg) {
				if err != nil {
					t.Fatal(err)
				}
				if b.Start != len(got) || len(b.Labels) != len(b.Images) || len(b.Pixels) != 48*len(b.Images) {
					t.Fatalf("batch at %d: %d labels, %d values for %d images", b.Start, len(b.Labels), len(b.Pixels), len(b.Images))
				}
				for k, i := range b.Images {
					row := make([]float32, 48)
					if err := v.Apply(row, noise(6, 6, 3, uint64(i)), Key{7, 2, i, 0}); err != nil {
						t.Fatal(err)
					}
					if b.Labels[k] != i%2 || !slices.Equal(b.Pixels[48*k:48*(k+1)], row) {
						t.Fatalf("picture %d: other label or pixels", i)
					}
				}
				got = append(got, b.Images...)
			}
			if !slices.Equal(got, want) {
				t.Errorf("workers %d: pictures %v, want %v", workers, got, want)
			}
		}
	}
}

func TestBatchesEndEarly(t *testing.T) {
	cfg := batchesConfig(&fake{n: 100})
	cfg.Workers = 3
	for range Batches(context.Background(), cfg) {
		break
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	n := 0
	for b, err := range Batches(ctx, cfg) {
		if n++; n == 2 {
			if b != nil || !errors.Is(err, context.Canceled) {
				t.Errorf("after the end of the context: %v, %v", b, err)
			}
		}
		cancel()
	}
	if n != 2 {
		t.Errorf("%d turns, want 2", n)
	}
	cfg.Dataset = &fake{n: 100, bad: []int{13}}
	n = 0
	for _, err := range Batches(context.Background(), cfg) {
		if n++; n == 2 {
			wantTexts(t, err, "fake.bin: record 13")
		}
	}
	if n != 2 {
		t.Errorf("%d turns to the error in the second batch", n)
	}
	cfg.Batch = 0
	for _, err := range Batches(context.Background(), cfg) {
		wantTexts(t, err, "batches of less than one picture")
	}
}
