package readout

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/runtime/rng"
)

// quick is a fit that is done in a moment.
var quick = model.LinearFit{LR: 0.5, Momentum: 0.9, WeightDecay: 1e-3, Batch: 32, Epochs: 12, Drop: []int{6, 9}}

func mustLinear(t *testing.T, train, test Features, cfg model.LinearFit, o Options) Result {
	t.Helper()
	r, err := Linear(train, test, cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLinearSeparable(t *testing.T) {
	for _, c := range []struct {
		name              string
		n, d, classes     int
		standardise, top5 bool
	}{
		{"two classes", 100, 5, 2, false, false},
		{"ten classes, standardised", 500, 40, 10, true, true},
		{"odd sizes", 203, 33, 7, true, true},
		{"a row less than a batch", 31, 17, 3, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			train, test := clouds(c.n, c.d, c.classes, 1, 0.1), clouds(50, c.d, c.classes, 2, 0.1)
			r := mustLinear(t, train, test, quick, Options{Standardise: c.standardise})
			if r.Top1 != 1 || r.TrainTop1 != 1 || r.TrainLoss > 0.3 || r.Warning != "" {
				t.Errorf("got %+v", r)
			}
			if (r.Top5 == 1) != c.top5 || r.Train != c.n || r.Test != 50 || r.Kind != "linear" {
				t.Errorf("got %+v", r)
			}
		})
	}
}

// naive is the same fit in float64, one number at a time.
type naive struct {
	d, classes   int
	mean, scale  []float64
	w, b, wv, bv []float64
}

func fitNaively(train Features, cfg model.LinearFit, o Options) *naive {
	f := &naive{d: train.D, classes: train.Classes}
	f.mean, f.scale = make([]float64, f.d), make([]float64, f.d)
	for j := range f.d {
		f.scale[j] = 1
		if o.Standardise {
			f.mean[j], f.scale[j] = momentsOf(train, j)
		}
	}
	f.w, f.b = make([]float64, f.d*f.classes), make([]float64, f.classes)
	f.wv, f.bv = make([]float64, f.d*f.classes), make([]float64, f.classes)
	stream := rng.New(o.Seed, "readout")
	seed := stream.Uint64()
	for e := range cfg.Epochs {
		rate := cfg.LR
		for _, d := range cfg.Drop {
			if e >= d {
				rate *= 0.1
			}
		}
		order := rng.Permutation(seed, uint64(e), train.N)
		for len(order) > 0 {
			rows := order[:min(cfg.Batch, len(order))]
			order = order[len(rows):]
			f.step(train, rows, cfg, rate)
		}
	}
	return f
}

func momentsOf(f Features, j int) (mean, scale float64) {
	for i := range f.N {
		mean += float64(f.X[i*f.D+j]) / float64(f.N)
	}
	for i := range f.N {
		scale += math.Pow(float64(f.X[i*f.D+j])-mean, 2) / float64(f.N)
	}
	return mean, 1 / math.Sqrt(scale)
}

func (f *naive) features(from Features, row int) []float64 {
	x := make([]float64, f.d)
	for j := range x {
		x[j] = (float64(from.X[row*f.d+j]) - f.mean[j]) * f.scale[j]
	}
	return x
}

func (f *naive) probabilities(x []float64) []float64 {
	p, sum := make([]float64, f.classes), 0.0
	for c := range p {
		z := f.b[c]
		for j, v := range x {
			z += f.w[c*f.d+j] * v
		}
		p[c] = math.Exp(z)
		sum += p[c]
	}
	for c := range p {
		p[c] /= sum
	}
	return p
}

func (f *naive) step(train Features, rows []int, cfg model.LinearFit, rate float64) {
	gw, gb := make([]float64, len(f.w)), make([]float64, len(f.b))
	for _, r := range rows {
		x := f.features(train, r)
		for c, p := range f.probabilities(x) {
			if c == train.Labels[r] {
				p--
			}
			gb[c] += p / float64(len(rows))
			for j, v := range x {
				gw[c*f.d+j] += p * v / float64(len(rows))
			}
		}
	}
	for i := range f.w {
		f.wv[i] = cfg.Momentum*f.wv[i] + gw[i] + cfg.WeightDecay*f.w[i]
		f.w[i] -= rate * f.wv[i]
	}
	for c := range f.b {
		f.bv[c] = cfg.Momentum*f.bv[c] + gb[c]
		f.b[c] -= rate * f.bv[c]
	}
}

func (f *naive) score(on Features) (loss, top1 float64) {
	for r := range on.N {
		p := f.probabilities(f.features(on, r))
		loss -= math.Log(p[on.Labels[r]]) / float64(on.N)
		best := 0
		for c := range p {
			if p[c] > p[best] {
				best = c
			}
		}
		if best == on.Labels[r] {
			top1 += 1 / float64(on.N)
		}
	}
	return loss, top1
}

func TestLinearAgainstNaive(t *testing.T) {
	for _, c := range []struct {
		name              string
		n, d, classes, bs int
		standardise       bool
	}{
		{"whole tiles", 64, 8, 4, 16, false},
		{"nothing divides", 61, 71, 5, 13, true},
		{"batch of one", 9, 3, 3, 1, true},
		{"batch beyond the rows", 7, 129, 2, 100, false},
		{"one feature", 30, 1, 2, 8, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			train, test := blobs(c.n, c.d, c.classes, 1), blobs(40, c.d, c.classes, 2)
			cfg := model.LinearFit{LR: 0.05, Momentum: 0.5, WeightDecay: 0.01, Batch: c.bs, Epochs: 5, Drop: []int{2, 4}}
			o := Options{Standardise: c.standardise, Seed: 7}
			r := mustLinear(t, train, test, cfg, o)
			ref := fitNaively(train, cfg, o)
			loss, trainTop1 := ref.score(train)
			_, top1 := ref.score(test)
			if math.Abs(r.TrainLoss-loss) > 1e-5*(1+loss) || math.Abs(r.TrainTop1-trainTop1) > 1e-9 || math.Abs(r.Top1-top1) > 1e-9 {
				t.Errorf("got loss %.8f, %.4f, %.4f; the naive fit has %.8f, %.4f, %.4f", r.TrainLoss, r.TrainTop1, r.Top1, loss, trainTop1, top1)
			}
		})
	}
}

func TestLinearWorkersChangeNothing(t *testing.T) {
	train, test := blobs(301, 70, 7, 1), blobs(99, 70, 7, 2)
	want := mustLinear(t, train, test, quick, Options{Standardise: true, Seed: 3, Workers: 1})
	for _, workers := range []int{0, 2, 4, 50} {
		if got := mustLinear(t, train, test, quick, Options{Standardise: true, Seed: 3, Workers: workers}); got != want {
			t.Errorf("%d workers: %+v, want %+v", workers, got, want)
		}
	}
	if other := mustLinear(t, train, test, quick, Options{Standardise: true, Seed: 4}); other.TrainLoss == want.TrainLoss {
		t.Error("the seed changed nothing")
	}
}

// TestLinearLabelNoise gives half of the training rows a label by chance: most
// test rows are still right, and the training rows are not fitted.
func TestLinearLabelNoise(t *testing.T) {
	train, test := clouds(2000, 20, 4, 1, 0.3), clouds(200, 20, 4, 2, 0.3)
	s := rng.New(5, "noise")
	for i := range train.Labels {
		if s.Coin(0.5) {
			train.Labels[i] = s.Intn(4)
		}
	}
	r := mustLinear(t, train, test, model.LinearFit{LR: 0.1, Batch: 64, Epochs: 10, Drop: []int{7}}, Options{Standardise: true})
	if r.Top1 < 0.95 || r.TrainTop1 > 0.75 {
		t.Errorf("got %+v", r)
	}
}

func TestLinearClassMissingInTraining(t *testing.T) {
	train, test := clouds(200, 10, 3, 1, 0.1), clouds(90, 10, 3, 2, 0.1)
	n, present := 0, 0
	for i, c := range train.Labels {
		if c == 1 {
			continue
		}
		copy(train.X[n*10:(n+1)*10], train.X[i*10:(i+1)*10])
		train.Labels[n] = c
		n++
	}
	train.N, train.X, train.Labels = n, train.X[:n*10], train.Labels[:n]
	for _, c := range test.Labels {
		if c != 1 {
			present++
		}
	}
	r := mustLinear(t, train, test, quick, Options{})
	if want := float64(present) / 90; math.Abs(r.Top1-want) > 1e-9 {
		t.Errorf("top-1 %v, want %v", r.Top1, want)
	}
}

// TestLinearZeroWeights: without an epoch every class is as good, and ties go to
// the lower one.
func TestLinearZeroWeights(t *testing.T) {
	f := Features{N: 7, D: 1, X: make([]float32, 7), Labels: []int{0, 1, 2, 3, 4, 5, 6}, Classes: 7}
	r := mustLinear(t, f, f, model.LinearFit{LR: 1, Batch: 4}, Options{Standardise: true})
	if math.Abs(r.TrainLoss-math.Log(7)) > 1e-6 || r.Top1 != 1.0/7 || r.Top5 != 5.0/7 {
		t.Errorf("got %+v", r)
	}
}

// TestLinearConstantFeature: one that never changes in training must not blow up
// where it does in the test.
func TestLinearConstantFeature(t *testing.T) {
	train, test := clouds(100, 6, 2, 1, 0.1), clouds(50, 6, 2, 2, 0.1)
	for i := range train.N {
		train.X[i*6+3] = 0.1
	}
	for i := range test.N {
		test.X[i*6+3] = float32(i)
	}
	if r := mustLinear(t, train, test, quick, Options{Standardise: true}); r.Top1 != 1 {
		t.Errorf("got %+v", r)
	}
}

func TestLinearDiverges(t *testing.T) {
	train, test := blobs(100, 20, 3, 1), blobs(50, 20, 3, 2)
	cfg := model.LinearFit{LR: 30, WeightDecay: 1, Batch: 10, Epochs: 50}
	_, err := Linear(train, test, cfg, Options{Standardise: true})
	const want = "linear readout: the loss is NaN in epoch"
	if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.HasSuffix(err.Error(), "at rate 30: the fit diverges; a smaller lr or less weight_decay keeps it finite") {
		t.Errorf("got %v", err)
	}
}

func TestLinearDivergesAtTheLastUpdate(t *testing.T) {
	train, test := blobs(100, 20, 3, 1), blobs(50, 20, 3, 2)
	cfg := model.LinearFit{LR: 1e38, Batch: 100, Epochs: 1}
	for i := range train.X {
		train.X[i] *= 1e4
	}
	_, err := Linear(train, test, cfg, Options{})
	if !errors.Is(err, errDiverged) || !strings.Contains(err.Error(), "the final loss is") {
		t.Errorf("got %v", err)
	}
}

func TestLinearWarnsOfAHighRate(t *testing.T) {
	train, test := blobs(300, 4, 6, 1), blobs(50, 4, 6, 2)
	r := mustLinear(t, train, test, model.LinearFit{LR: 30, Batch: 10, Epochs: 3}, Options{Standardise: true})
	const want = "above the 1.79 it began with: lr 30 is too high for these features"
	if !strings.HasPrefix(r.Warning, "the fit ended at a training loss of ") || !strings.HasSuffix(r.Warning, want) {
		t.Errorf("warning %q", r.Warning)
	}
}

func TestLinearStops(t *testing.T) {
	done := make(chan struct{})
	close(done)
	train := blobs(50, 4, 3, 1)
	for name, cfg := range map[string]model.LinearFit{"in the fit": quick, "in the score": {LR: 1, Batch: 8}} {
		if _, err := Linear(train, train, cfg, Options{Done: done}); !errors.Is(err, ErrStopped) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLinearProtocol(t *testing.T) {
	train, test := blobs(50, 4, 3, 1), blobs(20, 4, 3, 2)
	for _, c := range []struct {
		cfg  model.LinearFit
		o    Options
		want string
	}{
		{
			model.LinearFit{LR: 30, Batch: 256, Epochs: 3, Drop: []int{1, 2}}, Options{Seed: 9},
			"linear: softmax regression on 4 features as they are, 3 classes, fitted on 50 pictures, scored on 20; sgd lr 30, momentum 0, weight decay 0, batch 256, 3 epochs, rate/10 at epochs 1, 2; from zero, seed 9",
		},
		{
			model.LinearFit{LR: 0.1, Momentum: 0.9, WeightDecay: 1e-4, Batch: 8, Epochs: 1}, Options{Standardise: true},
			"linear: softmax regression on 4 features standardised by the training rows, 3 classes, fitted on 50 pictures, scored on 20; sgd lr 0.1, momentum 0.9, weight decay 0.0001, batch 8, 1 epochs, rate constant; from zero, seed 0",
		},
	} {
		if r := mustLinear(t, train, test, c.cfg, c.o); r.Protocol != c.want {
			t.Errorf("got  %s\nwant %s", r.Protocol, c.want)
		}
	}
}

func TestRefusals(t *testing.T) {
	good := func() Features { return blobs(10, 4, 3, 1) }
	change := func(do func(*Features)) Features {
		f := good()
		do(&f)
		return f
	}
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	for _, c := range []struct {
		name        string
		train, test Features
		want        string
	}{
		{"no training rows", Features{D: 4, Classes: 3}, good(), "training features: no rows"},
		{"no test rows", good(), Features{D: 4, Classes: 3}, "test features: no rows"},
		{"no features", change(func(f *Features) { f.D, f.X = 0, nil }), good(), "training features: rows without features"},
		{"too few values", change(func(f *Features) { f.X = f.X[1:] }), good(), "training features: 39 values for 10 rows of 4"},
		{"sizes overflow", change(func(f *Features) { f.N, f.D = math.MaxInt/2, 4 }), good(), "training features: 40 values for"},
		{"no labels", good(), change(func(f *Features) { f.Labels = nil }), "test features: no labels"},
		{"too few labels", change(func(f *Features) { f.Labels = f.Labels[:9] }), good(), "training features: 9 labels for 10 rows"},
		{"one class", change(func(f *Features) { f.Classes = 1 }), good(), "training features: 1 classes; a readout needs two"},
		{"label too high", good(), change(func(f *Features) { f.Labels[4] = 3 }), "test features: row 4 has label 3; there are 3 classes"},
		{"label below 0", change(func(f *Features) { f.Labels[2] = -1 }), good(), "training features: row 2 has label -1; there are 3 classes"},
		{"NaN", change(func(f *Features) { f.X[9] = nan }), good(), "training features: row 2, feature 1 is NaN"},
		{"infinity", good(), change(func(f *Features) { f.X[0] = inf }), "test features: row 0, feature 0 is -Inf"},
		{"other width", good(), blobs(10, 5, 3, 1), "training rows have 4 features, test rows 5"},
		{"other classes", good(), change(func(f *Features) { f.Classes = 4 }), "training rows have 3 classes, test rows 4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Linear(c.train, c.test, quick, Options{})
			if err == nil || !strings.HasPrefix(err.Error(), "linear readout: "+c.want) {
				t.Errorf("linear: %v, want %q", err, c.want)
			}
			_, err = KNN(c.train, c.test, model.KNN{K: 1, Temperature: 1}, Options{})
			if err == nil || !strings.HasPrefix(err.Error(), "knn readout: "+c.want) {
				t.Errorf("knn: %v, want %q", err, c.want)
			}
		})
	}
}

func TestLinearRefusesSettings(t *testing.T) {
	f := blobs(10, 4, 3, 1)
	for _, c := range []struct {
		cfg  model.LinearFit
		want string
	}{
		{model.LinearFit{LR: -1, Batch: 1}, "lr is -1"},
		{model.LinearFit{LR: math.NaN(), Batch: 1}, "lr is NaN"},
		{model.LinearFit{LR: math.Inf(1), Batch: 1}, "lr is +Inf"},
		{model.LinearFit{Momentum: 1, Batch: 1}, "momentum is 1; it must stay below 1"},
		{model.LinearFit{WeightDecay: -1, Batch: 1}, "weight_decay is -1"},
		{model.LinearFit{}, "batch is 0"},
		{model.LinearFit{Batch: 1, Epochs: -1}, "epochs is -1"},
	} {
		if _, err := Linear(f, f, c.cfg, Options{}); err == nil || err.Error() != "linear readout: "+c.want {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}
