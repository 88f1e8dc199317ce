// Package readout judges frozen features: it fits a classifier on those of the
// training pictures and scores it on those of the test pictures.
//
// In: two matrices of float32 features with labels. Out: a Result, whose
// Protocol says every setting that the numbers depend on.
//
//	pictures --> frozen encoder --> mean-pooled map --\
//	pictures --> at most 32x32, as they are ----------->  Features --> Linear --> Result
//	             (Pixels)                                          \-> KNN   --/
//
// What always holds: a Result is a function of the features, the settings and
// the seed. Work is cut into tiles by shape, every sum runs in one order, ties
// go to the lower index; the number of workers changes no bit. The features are
// only read.
package readout

import (
	"errors"
	"fmt"
	"math"
	"runtime"
)

// Features are n rows of d numbers, one row a picture, with its class.
type Features struct {
	N, D    int
	X       []float32 // N x D, row-major
	Labels  []int     // N, each in 0..Classes-1
	Classes int
}

// Options are what both readouts take beside their own settings.
type Options struct {
	// Standardise takes each feature's mean over the training rows away and
	// divides by its deviation, in both matrices.
	Standardise bool
	Seed        uint64 // of the order of the rows in a linear fit
	Workers     int    // 0: as many as Go runs at once
	// Done, once closed, ends the work with ErrStopped. nil: never.
	Done <-chan struct{}
	// Redraw, for a linear fit on augmented pictures, gives the training
	// features of each epoch after the first: as many rows, in the same order,
	// from new views. Standardising stays with the first epoch's. nil: the same
	// features in every epoch.
	Redraw func(epoch int) (Features, error)
}

// ErrStopped is the error of a readout that Options.Done ended.
var ErrStopped = errors.New("stopped before it was finished")

// Result is what a readout found.
type Result struct {
	Kind string // linear or knn
	// Top1 and Top5 are shares of the test rows, 0 to 1: the right class is the
	// best one, or among the best five. Top5 is 0 where there are five classes
	// or fewer.
	Top1, Top5 float64
	// TrainLoss is the mean cross-entropy over the training rows with the final
	// weights, in nats, and TrainTop1 the share of them classified rightly.
	// Linear only.
	TrainLoss, TrainTop1 float64
	Train, Test          int // rows
	Protocol             string
	// Warning is a doubt about the number, in words; mostly empty.
	Warning string
}

func (o *Options) workers() int {
	if o.Workers > 0 {
		return o.Workers
	}
	return runtime.GOMAXPROCS(0)
}

func (o *Options) stopped() bool {
	select {
	case <-o.Done:
		return true
	default:
		return false
	}
}

// check refuses matrices that cannot be fitted on and scored.
func check(train, test Features) error {
	for _, p := range []struct {
		name string
		f    *Features
	}{{"training", &train}, {"test", &test}} {
		if err := p.f.check(); err != nil {
			return fmt.Errorf("%s features: %w", p.name, err)
		}
	}
	if train.D != test.D {
		return fmt.Errorf("training rows have %d features, test rows %d", train.D, test.D)
	}
	if train.Classes != test.Classes {
		return fmt.Errorf("training rows have %d classes, test rows %d", train.Classes, test.Classes)
	}
	return nil
}

func (f *Features) check() error {
	switch {
	case f.N < 1:
		return errors.New("no rows")
	case f.D < 1:
		return errors.New("rows without features")
	case f.N > math.MaxInt/f.D || len(f.X) != f.N*f.D:
		return fmt.Errorf("%d values for %d rows of %d", len(f.X), f.N, f.D)
	case len(f.Labels) == 0:
		return errors.New("no labels")
	case len(f.Labels) != f.N:
		return fmt.Errorf("%d labels for %d rows", len(f.Labels), f.N)
	case f.Classes < 2:
		return fmt.Errorf("%d classes; a readout needs two", f.Classes)
	}
	for i, c := range f.Labels {
		if c < 0 || c >= f.Classes {
			return fmt.Errorf("row %d has label %d; there are %d classes", i, c, f.Classes)
		}
	}
	for i, v := range f.X {
		if v-v != 0 { // NaN, or an infinity
			return fmt.Errorf("row %d, feature %d is %v", i/f.D, i%f.D, v)
		}
	}
	return nil
}

// head is the part of a protocol that says what was fitted and scored.
func head(train, test *Features, standardise bool) string {
	how := "as they are"
	if standardise {
		how = "standardised by the training rows"
	}
	return fmt.Sprintf("%d features %s, %d classes, fitted on %d pictures, scored on %d",
		train.D, how, train.Classes, train.N, test.N)
}
