//go:build unix

package metrics

import (
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
)

// benchmarked makes a scraper of a run of three units whose clock the benchmark
// moves.
func benchmarked() (s *scraper, at *time.Time) {
	o := options(3)
	o.Channels = []Channel{{Name: "ua-ub", Capacity: 2, Length: func() int { return 1 }}, {Name: "ub-uc", Capacity: 2, Length: func() int { return 1 }}}
	set := New(o)
	report(set, o)
	s = newScraper(ServeOptions{Set: set}.named())
	now := time.Unix(1_700_000_000, 0)
	s.cache.now = func() time.Time { return now }
	return s, &now
}

// cpu is the CPU time of the process so far.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// discard takes an answer and forgets it.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

// BenchmarkScrape measures the CPU time of one scrape that the cache answers,
// and of one for which the values are gathered and written anew, by format.
func BenchmarkScrape(b *testing.B) {
	for _, format := range []struct{ name, accept, encoding string }{
		{"text", "text/plain", ""},
		{"text-gzip", "text/plain", "gzip"},
		{"openmetrics-gzip", string(expfmt.FmtOpenMetrics_1_0_0), "gzip"},
		{"protobuf-gzip", string(expfmt.FmtProtoDelim), "gzip"},
	} {
		for _, from := range []struct {
			name string
			pass time.Duration
		}{{"cached", 0}, {"gathered", time.Second}} {
			b.Run(from.name+"/"+format.name, func(b *testing.B) {
				s, at := benchmarked()
				r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
				r.Header.Set("Accept", format.accept)
				r.Header.Set("Accept-Encoding", format.encoding)
				s.ServeHTTP(discard{http.Header{}}, r)
				b.ReportAllocs()
				begun := cpu(b)
				for b.Loop() {
					*at = at.Add(from.pass)
					s.ServeHTTP(discard{http.Header{}}, r)
				}
				b.ReportMetric(float64(cpu(b)-begun)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}
