package readout

import (
	"testing"

	"github.com/locorun/locorun/compiler/model"
)

// BenchmarkLinear is the fit of ten epochs on 10,000 rows of 128 features.
func BenchmarkLinear(b *testing.B) {
	train, test := blobs(10_000, 128, 10, 1), blobs(1000, 128, 10, 2)
	cfg := model.LinearFit{LR: 0.1, Batch: 256, Epochs: 10}
	for b.Loop() {
		if _, err := Linear(train, test, cfg, Options{Standardise: true}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkKNN searches 10,000 rows of 128 features for 500 queries.
func BenchmarkKNN(b *testing.B) {
	train, test := blobs(10_000, 128, 10, 1), blobs(500, 128, 10, 2)
	for b.Loop() {
		if _, err := KNN(train, test, model.KNN{K: 200, Temperature: 0.07}, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
