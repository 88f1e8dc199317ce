package readout

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/locorun/locorun/compiler/model"
)

func mustKNN(t *testing.T, train, test Features, cfg model.KNN, o Options) Result {
	t.Helper()
	r, err := KNN(train, test, cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestKNNSeparable(t *testing.T) {
	for _, classes := range []int{2, 9} {
		train, test := clouds(400, 30, classes, 1, 0.1), clouds(131, 30, classes, 2, 0.1)
		r := mustKNN(t, train, test, model.KNN{K: 5, Temperature: 0.07}, Options{})
		if r.Top1 != 1 || (r.Top5 == 1) != (classes > 5) || r.Kind != "knn" || r.Train != 400 || r.Test != 131 {
			t.Errorf("%d classes: %+v", classes, r)
		}
	}
}

// naiveKNN sorts all training rows for every test row.
func naiveKNN(train, test Features, k int, temperature float64) (top1, top5 float64) {
	for q := range test.N {
		type near struct {
			cosine float64
			row    int
		}
		var list []near
		for r := range train.N {
			list = append(list, near{cosine(test.X[q*test.D:(q+1)*test.D], train.X[r*train.D:(r+1)*train.D]), r})
		}
		slices.SortFunc(list, func(a, b near) int {
			return cmp.Or(cmp.Compare(b.cosine, a.cosine), cmp.Compare(a.row, b.row))
		})
		votes := make([]float64, train.Classes)
		for _, n := range list[:min(k, len(list))] {
			votes[train.Labels[n.row]] += math.Exp(n.cosine / temperature)
		}
		own := test.Labels[q]
		rank := rankOf(votes, own)
		if votes[own] > 0 && rank < 1 {
			top1 += 1 / float64(test.N)
		}
		if votes[own] > 0 && rank < 5 {
			top5 += 1 / float64(test.N)
		}
	}
	return top1, top5
}

func cosine(a, b []float32) float64 {
	ab, aa, bb := 0.0, 0.0, 0.0
	for i := range a {
		ab += float64(a[i]) * float64(b[i])
		aa += float64(a[i]) * float64(a[i])
		bb += float64(b[i]) * float64(b[i])
	}
	return ab / math.Sqrt(aa*bb)
}

func TestKNNAgainstNaive(t *testing.T) {
	for _, c := range []struct {
		name       string
		n, d, test int
		k          int
	}{
		{"one neighbour", 50, 7, 33, 1},
		{"more rows than a block", 2*neighbourBlock + 3, 5, queryBlock + 9, 20},
		{"an odd row", 9, 3, 5, 4},
		{"every row", 30, 4, 8, 30},
		{"more than there are", 30, 4, 8, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			train, test := blobs(c.n, c.d, 8, 1), blobs(c.test, c.d, 8, 2)
			r := mustKNN(t, train, test, model.KNN{K: c.k, Temperature: 0.2}, Options{})
			top1, top5 := naiveKNN(train, test, c.k, 0.2)
			if math.Abs(r.Top1-top1) > 1e-9 || math.Abs(r.Top5-top5) > 1e-9 {
				t.Errorf("got %v and %v, want %v and %v", r.Top1, r.Top5, top1, top5)
			}
		})
	}
}

func TestKNNStandardised(t *testing.T) {
	train, test := clouds(200, 5, 4, 1, 0.5), clouds(50, 5, 4, 2, 0.5)
	for _, f := range []*Features{&train, &test} {
		for i := range f.N {
			f.X[i*5] *= 1000 // drowns the others unless standardised
			f.X[i*5+1] += 1000
		}
	}
	cfg := model.KNN{K: 9, Temperature: 0.1}
	plain := mustKNN(t, train, test, cfg, Options{})
	standardised := mustKNN(t, train, test, cfg, Options{Standardise: true})
	if standardised.Top1 < 0.9 || plain.Top1 >= standardised.Top1 {
		t.Errorf("top-1 %v as they are, %v standardised", plain.Top1, standardised.Top1)
	}
}

func TestKNNWorkersChangeNothing(t *testing.T) {
	train, test := blobs(700, 33, 6, 1), blobs(300, 33, 6, 2)
	cfg := model.KNN{K: 30, Temperature: 0.07}
	want := mustKNN(t, train, test, cfg, Options{Workers: 1})
	for _, workers := range []int{0, 2, 4} {
		if got := mustKNN(t, train, test, cfg, Options{Workers: workers}); got != want {
			t.Errorf("%d workers: %+v, want %+v", workers, got, want)
		}
	}
}

// TestKNNTies: equally near rows, the lower first; equal votes, the lower class;
// a class without votes is never right.
func TestKNNTies(t *testing.T) {
	same := func(labels ...int) Features {
		f := Features{N: len(labels), D: 2, Labels: labels, Classes: 7}
		for range labels {
			f.X = append(f.X, 1, 1)
		}
		return f
	}
	for _, c := range []struct {
		name  string
		train Features
		test  int
		k     int
		top1  float64
		top5  float64
	}{
		{"the lower row", same(4, 2), 4, 1, 1, 1},
		{"not the higher row", same(4, 2), 2, 1, 0, 0},
		{"the lower class of equal votes", same(4, 2), 2, 2, 1, 1},
		{"the higher class of equal votes", same(4, 2), 4, 2, 0, 1},
		{"no vote", same(4, 2), 0, 2, 0, 0},
		{"the majority", same(1, 3, 3), 3, 3, 1, 1},
		{"sixth of six", same(0, 1, 2, 3, 4, 5), 5, 6, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := mustKNN(t, c.train, same(c.test), model.KNN{K: c.k, Temperature: 0.07}, Options{})
			if r.Top1 != c.top1 || r.Top5 != c.top5 {
				t.Errorf("got %v and %v, want %v and %v", r.Top1, r.Top5, c.top1, c.top5)
			}
		})
	}
}

// TestKNNAwkward: rows of zeros, enormous and tiny rows, a temperature at which
// a bare exponential overflows.
func TestKNNAwkward(t *testing.T) {
	train := Features{N: 4, D: 2, X: []float32{1e30, 0, 0, 1e-30, 0, 0, -3e38, -3e38}, Labels: []int{0, 1, 2, 2}, Classes: 3}
	test := Features{N: 3, D: 2, X: []float32{5, 0, 0, 2e-38, -1, -1}, Labels: []int{0, 1, 2}, Classes: 3}
	r := mustKNN(t, train, test, model.KNN{K: 4, Temperature: 1e-4}, Options{})
	if r.Top1 != 1 {
		t.Errorf("got %+v", r)
	}
	zeros := Features{N: 1, D: 2, X: []float32{0, 0}, Labels: []int{0}, Classes: 3}
	if r := mustKNN(t, train, zeros, model.KNN{K: 1, Temperature: 1}, Options{}); r.Top1 != 1 {
		t.Errorf("zeros: %+v", r)
	}
}

func TestKNNProtocol(t *testing.T) {
	train, test := blobs(50, 4, 3, 1), blobs(20, 4, 3, 2)
	for _, c := range []struct {
		k    int
		o    Options
		want string
	}{
		{20, Options{}, "knn: cosine on 4 features as they are, 3 classes, fitted on 50 pictures, scored on 20; k 20, votes weighted by exp(cosine/0.07)"},
		{200, Options{Standardise: true}, "knn: cosine on 4 features standardised by the training rows, 3 classes, fitted on 50 pictures, scored on 20; k 50 (all there are, of 200 asked for), votes weighted by exp(cosine/0.07)"},
	} {
		if r := mustKNN(t, train, test, model.KNN{K: c.k, Temperature: 0.07}, c.o); r.Protocol != c.want {
			t.Errorf("got  %s\nwant %s", r.Protocol, c.want)
		}
	}
}

func TestKNNRefusesSettings(t *testing.T) {
	f := blobs(10, 4, 3, 1)
	for _, c := range []struct {
		cfg  model.KNN
		want string
	}{
		{model.KNN{K: 0, Temperature: 1}, "knn readout: k is 0"},
		{model.KNN{K: 1}, "knn readout: temperature is 0"},
		{model.KNN{K: 1, Temperature: math.NaN()}, "knn readout: temperature is NaN"},
		{model.KNN{K: 1, Temperature: math.Inf(1)}, "knn readout: temperature is +Inf"},
	} {
		if _, err := KNN(f, f, c.cfg, Options{}); err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
	done := make(chan struct{})
	close(done)
	if _, err := KNN(f, f, model.KNN{K: 1, Temperature: 1}, Options{Done: done}); !errors.Is(err, ErrStopped) {
		t.Errorf("stopped: %v", err)
	}
}
