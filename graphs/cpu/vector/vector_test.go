package vector

import "testing"

// BenchmarkPeak is the peak of multiply-adds of one core.
func BenchmarkPeak(b *testing.B) {
	const rounds = 100_000
	for _, s := range Sets() {
		b.Run(s.Name, func(b *testing.B) {
			for b.Loop() {
				s.Peak(rounds)
			}
			b.ReportMetric(float64(b.N)*rounds*float64(s.PeakOps)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}
