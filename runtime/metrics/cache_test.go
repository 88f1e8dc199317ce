package metrics

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"
)

// scraped is a scraper on a source of the test's.
type scraped struct {
	*scraper
	set  *Set
	mu   sync.Mutex
	at   time.Time
	told []string
}

// scrapedFrom makes a scraper whose clock stands still; gather nil: the set's
// own values.
func scrapedFrom(t *testing.T, gather func(own prometheus.Gatherer) ([]*dto.MetricFamily, error)) *scraped {
	t.Helper()
	o := options(2)
	s := &scraped{set: New(o), at: time.Unix(1_700_000_000, 0)}
	report(s.set, o)
	s.scraper = newScraper(ServeOptions{Set: s.set, Log: func(line string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.told = append(s.told, line)
	}}.named())
	s.cache.now = func() time.Time { s.mu.Lock(); defer s.mu.Unlock(); return s.at }
	if gather != nil {
		s.cache.from = prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return gather(s.set.registry) })
	}
	return s
}

// pass lets time go by.
func (s *scraped) pass(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = s.at.Add(d)
}

// settle waits until no gathering is under way.
func (s *scraped) settle() {
	s.cache.mu.Lock()
	g := s.cache.next
	s.cache.mu.Unlock()
	if g != nil {
		<-g.done
	}
}

// get answers one request; headers come in pairs.
func (s *scraped) get(method string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/metrics", nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// results reads scrapes_total.
func (s *scraped) results(t *testing.T) string {
	t.Helper()
	return strings.Join(exported(t, s.set, "locorun_scrapes_total"), "\n")
}

func results(cached, gathered, refused int) string {
	return fmt.Sprintf("locorun_scrapes_total{result=%q} %d\nlocorun_scrapes_total{result=%q} %d\nlocorun_scrapes_total{result=%q} %d",
		"cached", cached, "gathered", gathered, "refused", refused)
}

// TestGatheringsAreRare asks every millisecond for ten seconds, in all forms,
// and compares the values with the clock.
func TestGatheringsAreRare(t *testing.T) {
	n := 0
	var s *scraped
	s = scrapedFrom(t, func(own prometheus.Gatherer) ([]*dto.MetricFamily, error) {
		n++
		s.set.set(unitLoss, float64(s.cache.now().UnixMilli()), "ua")
		return own.Gather()
	})
	accepts := []string{"", string(expfmt.FmtOpenMetrics_1_0_0), string(expfmt.FmtProtoDelim), string(expfmt.FmtOpenMetrics_0_0_1)}
	for i := range 10_000 {
		w := s.get("GET", "Accept", accepts[i%len(accepts)], "Accept-Encoding", []string{"gzip", ""}[i%2])
		if w.Code != 200 {
			t.Fatalf("request %d: %d", i, w.Code)
		}
		if i%97 == 0 {
			w := s.get("GET")
			var at float64
			if _, err := fmt.Sscanf(value(w.Body.String(), `locorun_unit_loss{unit="ua"}`), "%g", &at); err != nil {
				t.Fatal(err)
			}
			if age := time.Duration(s.cache.now().UnixMilli()-int64(at)) * time.Millisecond; age > freshFor {
				t.Errorf("request %d got values that are %v old", i, age)
			}
		}
		s.settle()
		s.pass(time.Millisecond)
	}
	if n != 50 {
		t.Errorf("%d gatherings in ten seconds, want 50", n)
	}
	if got, want := s.results(t), results(10_000+104-50, 50, 0); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	s.pass(time.Hour)
	s.get("GET")
	if n != 51 {
		t.Errorf("after an hour's pause there were %d gatherings, want 51", n)
	}
}

// value is the rest of the line that begins with a name.
func value(text, name string) string {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

func TestForms(t *testing.T) {
	om, proto := "application/openmetrics-text; version=1.0.0; charset=utf-8", "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
	for _, tt := range []struct{ name, accept, encoding, kind, code string }{
		{"text", "", "", "text/plain; version=0.0.4; charset=utf-8; escaping=underscores", ""},
		{"anything", "*/*", "identity", "text/plain; version=0.0.4; charset=utf-8; escaping=underscores", ""},
		{"text, gzip", "text/plain", "gzip", "text/plain; version=0.0.4; charset=utf-8; escaping=underscores", "gzip"},
		{"OpenMetrics", "application/openmetrics-text;version=1.0.0", "", om + "; escaping=underscores", ""},
		{"OpenMetrics, gzip", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "br, gzip;q=0.3", om + "; escaping=underscores", "gzip"},
		{"OpenMetrics, names as they are", "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8", "gzip;q=0", om + "; escaping=allow-utf-8", ""},
		{"protobuf", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited", "*", proto + "; escaping=underscores", "gzip"},
		{"unknown", "image/png", "zstd, deflate", "text/plain; version=0.0.4; charset=utf-8; escaping=underscores", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := scrapedFrom(t, nil)
			first := s.get("GET", "Accept", tt.accept, "Accept-Encoding", tt.encoding)
			h := first.Header()
			if first.Code != 200 || h.Get("Content-Type") != tt.kind || h.Get("Content-Encoding") != tt.code || h.Get("Vary") != "Accept, Accept-Encoding" {
				t.Errorf("%d %v, want %s %q", first.Code, h, tt.kind, tt.code)
			}
			if h.Get("Content-Length") != fmt.Sprint(first.Body.Len()) {
				t.Errorf("Content-Length %s of %d bytes", h.Get("Content-Length"), first.Body.Len())
			}
			checkParses(t, first)
			s.set.Images(1000)
			second := s.get("GET", "Accept", tt.accept, "Accept-Encoding", tt.encoding)
			if !bytes.Equal(first.Body.Bytes(), second.Body.Bytes()) {
				t.Error("the second answer within 200 ms has other bytes")
			}
			head := s.get("HEAD", "Accept", tt.accept, "Accept-Encoding", tt.encoding)
			if head.Body.Len() != 0 || head.Code != 200 || head.Header().Get("Content-Length") != h.Get("Content-Length") || head.Header().Get("Content-Type") != tt.kind {
				t.Errorf("HEAD: %d, %d bytes, %v", head.Code, head.Body.Len(), head.Header())
			}
		})
	}
}

// checkParses looks for a value in an answer of any form.
func checkParses(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	var body io.Reader = bytes.NewReader(w.Body.Bytes())
	if w.Header().Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			t.Fatal(err)
		}
		body = z
	}
	if strings.HasPrefix(w.Header().Get("Content-Type"), expfmt.OpenMetricsType) {
		text, err := io.ReadAll(body)
		if err != nil || value(string(text), "locorun_images_total") != "256.0" || !strings.HasSuffix(string(text), "# EOF\n") {
			t.Errorf("%v\n%s", err, text)
		}
		return
	}
	dec := expfmt.NewDecoder(body, expfmt.ResponseFormat(w.Header()))
	found := false
	for {
		var f dto.MetricFamily
		if err := dec.Decode(&f); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		found = found || f.GetName() == "locorun_images_total" && f.GetMetric()[0].GetCounter().GetValue() == 256
	}
	if !found {
		t.Error("locorun_images_total is missing")
	}
}

// TestKeptBodiesAreBounded: however wild the headers, a gathering keeps one body
// per format and encoding.
func TestKeptBodiesAreBounded(t *testing.T) {
	s := scrapedFrom(t, nil)
	for i := range 500 {
		for _, f := range s.cache.formats {
			s.get("GET", "Accept", fmt.Sprintf("%s;escaping=%s;x=%d", f, []string{"allow-utf-8", "dots", "values", "x"}[i%4], i), "Accept-Encoding", fmt.Sprintf("gzip;q=0.%d", i))
		}
	}
	if n, most := len(s.cache.last.bodies), 2*len(s.cache.formats); n > most {
		t.Errorf("%d bodies are kept, at most %d", n, most)
	}
}

// TestEscapingChangesNothing: the bodies are the same for every way to escape
// names, which is why the cache has one for all.
func TestEscapingChangesNothing(t *testing.T) {
	s := scrapedFrom(t, nil)
	families := gather(t, s.set)
	for _, f := range []expfmt.Format{expfmt.FmtText, expfmt.FmtOpenMetrics_1_0_0, expfmt.FmtOpenMetrics_0_0_1, expfmt.FmtProtoDelim} {
		want, err := encode(families, f)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range []model.EscapingScheme{model.NoEscaping, model.UnderscoreEscaping, model.DotsEscaping, model.ValueEncodingEscaping} {
			got, err := encode(families, f.WithEscapingScheme(e))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, %s: other bytes, %v", f, e, err)
			}
		}
	}
}

func TestSlowGathering(t *testing.T) {
	before := goleak.IgnoreCurrent()
	open := make(chan struct{})
	var n atomic.Int32
	s := scrapedFrom(t, func(own prometheus.Gatherer) ([]*dto.MetricFamily, error) {
		n.Add(1)
		<-open
		return own.Gather()
	})
	s.scraper.patience = time.Millisecond
	for range 20 {
		w := s.get("GET")
		if w.Code != 429 || w.Header().Get("Retry-After") != "1" || w.Body.String() != "the metrics are still being gathered; try again later\n" {
			t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
		}
		s.pass(time.Second)
	}
	if n.Load() != 1 {
		t.Errorf("%d gatherings at once, want 1", n.Load())
	}
	close(open)
	s.settle()
	if w := s.get("GET"); w.Code != 200 {
		t.Errorf("got %d when the values were there", w.Code)
	}
	// The gathering that began 20 s ago ended just now, so it is shown while the
	// next one is under way.
	s.settle()
	if got, want := s.results(t), results(0, 2, 20); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	goleak.VerifyNone(t, before)
}

// TestGoneWhileWaiting: a request whose client left does not wait on.
func TestGoneWhileWaiting(t *testing.T) {
	open := make(chan struct{})
	defer close(open)
	s := scrapedFrom(t, func(prometheus.Gatherer) ([]*dto.MetricFamily, error) { <-open; return nil, nil })
	s.scraper.patience = time.Hour
	ctx, leave := context.WithCancel(context.Background())
	leave()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/metrics", nil))
	if w.Code != 429 {
		t.Errorf("%d", w.Code)
	}
}

func TestTooManyScrapes(t *testing.T) {
	open := make(chan struct{})
	s := scrapedFrom(t, func(own prometheus.Gatherer) ([]*dto.MetricFamily, error) { <-open; return own.Gather() })
	s.scraper.patience = time.Hour
	var wg sync.WaitGroup
	var fine atomic.Int32
	for range maxInFlight {
		wg.Go(func() {
			if s.get("GET").Code == 200 {
				fine.Add(1)
			}
		})
	}
	until(t, "all slots to be taken", func() bool { return len(s.slots) == maxInFlight })
	w := s.get("GET")
	if w.Code != 429 || w.Header().Get("Retry-After") != "1" || w.Body.String() != "too many scrapes at once; try again later\n" {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	close(open)
	wg.Wait()
	if fine.Load() != maxInFlight || len(s.slots) != 0 {
		t.Errorf("%d were answered, %d slots are taken", fine.Load(), len(s.slots))
	}
	if got, want := s.results(t), results(maxInFlight-1, 1, 1); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestFailingGathering(t *testing.T) {
	broken := errors.New("a collector is broken")
	for _, tt := range []struct {
		name   string
		gather func(own prometheus.Gatherer) ([]*dto.MetricFamily, error)
		code   int
		body   string
	}{
		{"some fail", func(own prometheus.Gatherer) ([]*dto.MetricFamily, error) {
			fs, _ := own.Gather()
			return fs, broken
		}, 200, "# HELP locorun_build_info"},
		{"all fail", func(prometheus.Gatherer) ([]*dto.MetricFamily, error) { return nil, broken },
			500, "no metrics could be gathered: a collector is broken\n"},
		{"panic", func(prometheus.Gatherer) ([]*dto.MetricFamily, error) { panic("nil map") },
			500, "no metrics could be gathered: panic while gathering: nil map\n"},
		{"a family that no format holds", func(prometheus.Gatherer) ([]*dto.MetricFamily, error) {
			return []*dto.MetricFamily{{}}, nil
		}, 500, "the metrics could not be written: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := scrapedFrom(t, tt.gather)
			for range 3 {
				w := s.get("GET")
				if w.Code != tt.code || !strings.HasPrefix(w.Body.String(), tt.body) {
					t.Errorf("got %d %.60q, want %d %q", w.Code, w.Body, tt.code, tt.body)
				}
				s.settle()
				s.pass(time.Second)
			}
			if got := value(strings.Join(exported(t, s.set, "locorun_errors_total"), "\n"), `locorun_errors_total{kind="metrics"}`); got != "3" {
				t.Errorf("%s errors are counted, want 3", got)
			}
		})
	}
}

// TestTroubleIsToldOnce: not five times a second.
func TestTroubleIsToldOnce(t *testing.T) {
	troubles := []string{"a", "a", "a", "", "a", "b", "b"}
	n := 0
	s := scrapedFrom(t, func(prometheus.Gatherer) ([]*dto.MetricFamily, error) {
		n++
		if troubles[n-1] == "" {
			return nil, nil
		}
		return nil, errors.New(troubles[n-1])
	})
	for range troubles {
		s.get("GET")
		s.settle()
		s.pass(time.Second)
	}
	var want []string
	for _, text := range []string{"a", "a", "b"} {
		want = append(want, "metrics endpoint: some metrics could not be gathered: "+text)
	}
	if !slices.Equal(s.told, want) {
		t.Errorf("told %q, want %q", s.told, want)
	}
}

// TestLengthThatHangs: all but the length itself is there, and only one
// goroutine waits for it.
func TestLengthThatHangs(t *testing.T) {
	before := goleak.IgnoreCurrent()
	open := make(chan struct{})
	var calls atomic.Int32
	o := options(1)
	o.Channels = []Channel{
		{Name: "a", Capacity: 1, Length: func() int { return 1 }},
		{Name: "b", Capacity: 2, Length: func() int { calls.Add(1); <-open; return 2 }},
		{Name: "c", Capacity: 3, Length: func() int { return 3 }},
	}
	s := New(o)
	for range 3 {
		got := append(exported(t, s, "locorun_channel_"), exported(t, s, "locorun_run_info")...)
		want := []string{`locorun_channel_capacity{channel="a"} 1`, `locorun_channel_capacity{channel="b"} 2`, `locorun_channel_capacity{channel="c"} 3`,
			`locorun_channel_length{channel="a"} 1`, `locorun_channel_length{channel="c"} 3`, `locorun_run_info{fingerprint="f00d",graph="graph.loco",method="loco"} 1`}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%s", strings.Join(got, "\n"))
		}
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("the length that hangs was asked %d times", n)
	}
	if got := exported(t, s, `locorun_errors_total{kind="metrics"} 1`); len(got) != 1 {
		t.Error("the length that hangs was not counted once")
	}
	close(open)
	goleak.VerifyNone(t, before)
	if got := exported(t, s, `locorun_channel_length{channel="b"} 2`); len(got) != 1 {
		t.Error("the length that came back is not there")
	}
}

// TestManyScrapers: many clients of all forms over HTTP, values changing
// meanwhile; every answer is whole.
func TestManyScrapers(t *testing.T) {
	o := options(3)
	set := New(o)
	report(set, o)
	s := serve(t, ServeOptions{Set: set})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 50 {
				set.Images(1)
				accept := []string{"text/plain", string(expfmt.FmtOpenMetrics_1_0_0)}[i%2]
				code, header, body := ask(t, "GET", s.URL+"metrics", "Accept", accept)
				if code != http.StatusOK || !strings.Contains(body, "locorun_unit_loss{unit=\"uc\"} 4.25\n") || header.Get("Retry-After") != "" {
					t.Errorf("%d\n%s", code, body)
				}
			}
		})
	}
	wg.Wait()
}
