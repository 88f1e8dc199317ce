package source

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/locorun/locorun/compiler/model"
)

// A step of training as the loader sees it: all processors take tiles of one
// layer after the other, 6 ms of them, between one microbatch of 128 images and
// the next. The metric is how long steps take with views over steps without.
func BenchmarkOverlap(b *testing.B) {
	shape := model.Shape{H: 28, W: 28, C: 1}
	l, err := NewLoader(LoaderConfig{
		Dataset: &still{fake{n: 60_000}, noise(28, 28, 1, 1)}, Shape: shape, Seed: 7,
		Views: fashionViews(),
		Norm:  Norm{Mean: []float32{0.3}, Std: []float32{0.3}},
		Batch: 128, Microbatch: 128, Epochs: 1 << 30, Workers: 1,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	t := &training{input: make([]float32, 256*shape.Elements())}
	t.calibrate()
	var with, without, waited, copied time.Duration
	for b.Loop() {
		begun := time.Now()
		m, err := l.Next(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		waited += time.Since(begun)
		copy(t.input, m.Pixels)
		l.Release(m)
		copied += time.Since(begun)
		t.step()
		with += time.Since(begun)
	}
	for range b.N {
		begun := time.Now()
		t.step()
		without += time.Since(begun)
	}
	b.ReportMetric(float64(without)/float64(with), "ratio")
	b.ReportMetric(float64(waited.Microseconds())/float64(b.N), "us-waited/op")
	b.ReportMetric(float64((copied-waited).Microseconds())/float64(b.N), "us-copied/op")
	b.ReportMetric(float64(without.Microseconds())/float64(b.N), "us-alone/op")
}

type training struct {
	input []float32
	tile  int // rounds of work in one
	sink  atomic.Uint64
}

const (
	layers = 40
	tiles  = 32 // of a layer
)

// calibrate makes a step about 6 ms.
func (t *training) calibrate() {
	t.tile = 1000
	const tries = 100
	for range tries {
		t.step() // so that the processors are awake
	}
	begun := time.Now()
	for range tries {
		t.step()
	}
	t.tile = int(float64(t.tile) * float64(6*time.Millisecond) / (float64(time.Since(begun)) / tries))
}

func (t *training) step() {
	for range layers {
		var next atomic.Int64
		var group sync.WaitGroup
		for range runtime.GOMAXPROCS(0) {
			group.Go(func() {
				for next.Add(1) <= tiles {
					t.work()
				}
			})
		}
		group.Wait()
	}
}

func (t *training) work() {
	x := uint64(1)
	for range t.tile {
		x = x*6364136223846793005 + 1442695040888963407
	}
	t.sink.Add(x)
}
