package metrics

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/expfmt"
)

// maxInFlight is the most scrapes that are under way at once; one that goes
// beyond it is refused at once.
const maxInFlight = 32

// sendTimeout is how long an answer may take to be read.
const sendTimeout = 10 * time.Second

// scraper answers /metrics out of a cache.
type scraper struct {
	o        ServeOptions
	cache    *cache
	slots    chan struct{}
	patience time.Duration

	mu   sync.Mutex
	said string // the trouble that was logged last
}

func newScraper(o ServeOptions) *scraper {
	s := &scraper{o: o, cache: newCache(o.Set.registry), slots: make(chan struct{}, maxInFlight), patience: patience}
	s.cache.began = func() { o.Set.count(scrapesTotal, 1, scrapeGathered) }
	s.cache.ended = s.ended
	return s
}

// ended tells of a gathering's error, once for as long as it stays the same.
func (s *scraper) ended(err error) {
	text := ""
	if err != nil {
		s.o.Set.Error("metrics")
		text = err.Error()
	}
	s.mu.Lock()
	news := text != "" && text != s.said
	s.said = text
	s.mu.Unlock()
	if news {
		s.o.log(s.o.name + ": some metrics could not be gathered: " + text)
	}
}

// ServeHTTP implements http.Handler. The query is of no account: a scrape gets
// all metrics.
func (s *scraper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		s.refuse(w, "too many scrapes at once; try again later")
		return
	}
	g, ok := s.gathering(r.Context())
	if !ok {
		s.refuse(w, "the metrics are still being gathered; try again later")
		return
	}
	if len(g.families) == 0 && g.err != nil {
		http.Error(w, "no metrics could be gathered: "+g.err.Error(), http.StatusInternalServerError)
		return
	}
	s.send(w, r, g)
}

func (s *scraper) refuse(w http.ResponseWriter, why string) {
	s.o.Set.count(scrapesTotal, 1, scrapeRefused)
	refuse(w, why)
}

// gathering gets values and counts where they came from.
func (s *scraper) gathering(ctx context.Context) (*gathering, bool) {
	g, mine, ok := s.cache.get(ctx, s.patience)
	if ok && !mine {
		s.o.Set.count(scrapesTotal, 1, scrapeCached)
	}
	return g, ok
}

func (s *scraper) send(w http.ResponseWriter, r *http.Request, g *gathering) {
	kind, format := s.cache.negotiate(r.Header)
	key := bodyKey{format: format, gzip: acceptsGzip(r.Header)}
	body, err := s.cache.body(g, key)
	if err != nil {
		s.o.Set.Error("metrics")
		http.Error(w, "the metrics could not be written: "+err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", string(kind))
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Vary", "Accept, Accept-Encoding")
	if key.gzip {
		h.Set("Content-Encoding", "gzip")
	}
	if r.Method == http.MethodHead {
		return
	}
	// A reader that does not read holds a slot and the body. Where the
	// connection takes no deadline, the server's own is the limit.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(sendTimeout))
	_, _ = w.Write(body) // the reader may be gone, which is no trouble of ours
}

// negotiate picks the format by the Accept header. The kind is what to call it;
// it repeats the wish for a way to escape names, which changes nothing, because
// no name of ours needs any.
func (c *cache) negotiate(h http.Header) (kind expfmt.Format, format int) {
	kind = expfmt.NegotiateAccept(h, c.formats...)
	for i, f := range c.formats {
		if strings.HasPrefix(string(kind), string(f)) {
			return kind, i
		}
	}
	panic("metrics: a format was chosen that was not offered: " + string(kind))
}

// acceptsGzip reads the Accept-Encoding header (RFC 9110, section 12.5.3): gzip
// is named, or all are, and not with a weight of zero.
func acceptsGzip(h http.Header) bool {
	named, any := -1.0, -1.0
	for _, line := range h.Values("Accept-Encoding") {
		for part := range strings.SplitSeq(line, ",") {
			coding, weight := weighted(part)
			switch coding {
			case "gzip", "x-gzip":
				named = max(named, weight)
			case "*":
				any = max(any, weight)
			}
		}
	}
	if named >= 0 {
		return named > 0
	}
	return any > 0
}

// weighted splits "gzip;q=0.5". A weight that is none is 0.
func weighted(part string) (coding string, weight float64) {
	coding, params, _ := strings.Cut(part, ";")
	coding = strings.ToLower(strings.TrimSpace(coding))
	q, given := strings.CutPrefix(strings.ToLower(strings.ReplaceAll(params, " ", "")), "q=")
	if !given {
		return coding, 1
	}
	weight, err := strconv.ParseFloat(q, 64)
	if err != nil || !(weight >= 0 && weight <= 1) {
		return coding, 0
	}
	return coding, weight
}
