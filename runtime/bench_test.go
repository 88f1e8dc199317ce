package runtime

import (
	"context"
	"os"
	"testing"

	"github.com/locorun/locorun/compiler"
	"github.com/locorun/locorun/graphs/cpu"
)

// BenchmarkQuickstart trains two epochs of the quickstart without its readouts
// and reports the rate of floating-point operations of convolutions and dense
// layers.
func BenchmarkQuickstart(b *testing.B) {
	text, err := os.ReadFile("../examples/quickstart.loco")
	if err != nil {
		b.Fatal(err)
	}
	net, found := compiler.Compile("quickstart.loco", text, compiler.Options{})
	if net == nil {
		b.Fatal(found)
	}
	net.Readouts, net.Train.Epochs = nil, 2
	backend := onCPU(b, cpu.Options{})
	defer backend.Close()
	for range b.N {
		r, err := Prepare(Config{Net: net, Backend: backend, Depth: 1, Workers: 1})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := r.Train(context.Background()); err != nil {
			b.Fatal(err)
		}
		r.Close()
	}
	b.ReportMetric(float64(backend.Counted())/1e9/b.Elapsed().Seconds(), "GFLOP/s")
}
