package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"
)

// serve starts a server on any free loopback port and checks that closing it
// leaves no goroutine behind.
func serve(t *testing.T, o ServeOptions) *Server {
	t.Helper()
	before := goleak.IgnoreCurrent()
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	s, err := Serve(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		http.DefaultClient.CloseIdleConnections()
		goleak.VerifyNone(t, before)
	})
	return s
}

func ask(t *testing.T, method, url string, header ...string) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(body)
}

func TestScrape(t *testing.T) {
	o := options(2)
	set := New(o)
	report(set, o)
	s := serve(t, ServeOptions{Set: set})
	code, header, body := ask(t, "GET", s.URL+"metrics")
	if code != 200 || !strings.Contains(body, "\nlocorun_images_total 256\n") {
		t.Errorf("%d\n%s", code, body)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	if _, err := parser.TextToMetricFamilies(strings.NewReader(body)); err != nil {
		t.Errorf("the scrape does not parse: %v", err)
	}
	if header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers: %v", header)
	}
	code, header, body = ask(t, "GET", s.URL+"metrics", "Accept", "application/openmetrics-text; version=1.0.0")
	if code != 200 || !strings.HasPrefix(header.Get("Content-Type"), "application/openmetrics-text") || !strings.HasSuffix(body, "# EOF\n") {
		t.Errorf("asked for OpenMetrics, got %d %s", code, header.Get("Content-Type"))
	}
}

func TestProbes(t *testing.T) {
	tests := []struct {
		name, path string
		o          ServeOptions
		code       int
		body       string
	}{
		{"healthy", "healthz", ServeOptions{Healthy: func() error { return nil }}, 200, "ok\n"},
		{"no watchdog", "healthz", ServeOptions{}, 200, "ok\n"},
		{"stuck", "healthz", ServeOptions{Healthy: func() error { return errors.New("mid waits for a gradient of high, microbatch 7") }},
			503, "mid waits for a gradient of high, microbatch 7\n"},
		{"ready", "readyz", ServeOptions{Ready: func() bool { return true }}, 200, "ready\n"},
		{"not ready", "readyz", ServeOptions{Ready: func() bool { return false }}, 503, "not ready: no step has ended yet\n"},
		{"unknown path", "secrets", ServeOptions{}, 404, "404 page not found\n"},
		{"no metrics", "metrics", ServeOptions{}, 404, "404 page not found\n"},
		{"panic in the watchdog", "healthz", ServeOptions{Healthy: func() error { panic("nil map") }}, 500, "internal error\n"},
		{"panic in the page", "", ServeOptions{Page: func() Page { panic("nil map") }}, 500, "internal error\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, tt.o)
			code, _, body := ask(t, "GET", s.URL+tt.path)
			if code != tt.code || body != tt.body {
				t.Errorf("got %d %q, want %d %q", code, body, tt.code, tt.body)
			}
		})
	}
}

func TestPanicIsCountedAndTold(t *testing.T) {
	set := New(options(1))
	var mu sync.Mutex
	var told []string
	s := serve(t, ServeOptions{Set: set, Ready: func() bool { panic("gone") }, Log: func(line string) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, line)
	}})
	ask(t, "GET", s.URL+"readyz")
	if got := exported(t, set, `locorun_errors_total{kind="metrics"} 1`); len(got) != 1 {
		t.Error("the panic was not counted")
	}
	mu.Lock()
	defer mu.Unlock()
	want := "metrics endpoint: panic while answering \"/readyz\": gone"
	if len(told) != 1 || told[0] != want {
		t.Errorf("told %q, want %q", told, want)
	}
}

func TestMethods(t *testing.T) {
	s := serve(t, ServeOptions{Set: New(options(1))})
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
		for _, path := range []string{"", "metrics", "healthz", "readyz"} {
			code, header, _ := ask(t, method, s.URL+path)
			if code != 405 || header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s /%s: %d, Allow %q", method, path, code, header.Get("Allow"))
			}
		}
	}
	for _, path := range []string{"", "metrics", "healthz", "readyz"} {
		if code, _, body := ask(t, "HEAD", s.URL+path); code != 200 || body != "" {
			t.Errorf("HEAD /%s: %d %q", path, code, body)
		}
	}
}

func TestPage(t *testing.T) {
	p := Page{
		Graph: `<script>alert("x")</script>.loco`, Method: "loco", Directory: "runs/a-1", State: "training",
		Epoch: 2, Epochs: 10, Batch: 25, Batches: 100, ImagesPerSecond: 1234.5,
		Elapsed: 61 * time.Second, Left: -1,
		Units: []PageUnit{{Name: "low", Loss: 4.25, LearningRate: 0.3, EmbeddingStd: 0.75, EffectiveRank: 33,
			GradientNorm: math.NaN(), Waits: []PageWait{{Data, 1.5}, {Gradient, 2}}}},
		Readouts: []PageReadout{{Readout: "linear", Stage: "s4", Trained: .8125, Random: .4, Pixels: math.NaN()}},
	}
	s := serve(t, ServeOptions{Page: func() Page { return p }})
	code, header, body := ask(t, "GET", s.URL)
	if code != 200 || header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("%d %v", code, header)
	}
	if strings.Contains(body, "<script>") {
		t.Error("a file's name reaches the page unescaped")
	}
	for _, want := range []string{
		`<meta http-equiv="refresh" content="2">`,
		`<h1>&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;.loco</h1>`,
		`<progress max="100" value="25">`,
		`epoch 2 of 10, batch 25 of 100, 1234 images a second, 1m1s gone, – left`,
		`<tr><td>low</td><td>4.25</td><td>0.3</td><td>0.75</td><td>33</td><td>–</td><td class="text">data 1.5 s, gradient 2.0 s</td></tr>`,
		`<tr><td>linear</td><td class="text">s4</td><td>81.2 %</td><td>40.0 %</td><td>–</td></tr>`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %s\n%s", want, body)
		}
	}
	if !strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("headers: %v", header)
	}
}

func TestPageBeforeTheRun(t *testing.T) {
	s := serve(t, ServeOptions{})
	if code, _, body := ask(t, "GET", s.URL); code != 200 || !strings.Contains(body, "<h1>locorun</h1>") {
		t.Errorf("%d\n%s", code, body)
	}
}

// busy takes a loopback port.
func busy(t *testing.T) (net.Listener, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, l.Addr().String()
}

func TestBusyPort(t *testing.T) {
	_, addr := busy(t)
	_, err := Serve(context.Background(), ServeOptions{Addr: addr})
	want := "metrics endpoint: " + addr + " is in use; choose another with --listen, or leave --listen out for the next free port"
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	s := serve(t, ServeOptions{Addr: addr, Default: true})
	if !s.Moved || s.URL == "http://"+addr+"/" {
		t.Errorf("moved %v to %s", s.Moved, s.URL)
	}
	if code, _, _ := ask(t, "GET", s.URL+"healthz"); code != 200 {
		t.Errorf("%s answers %d", s.URL, code)
	}
}

func TestWrongAddresses(t *testing.T) {
	tests := []struct{ addr, want string }{
		{"9464", `metrics endpoint: "9464" is not host:port`},
		{"127.0.0.1:http", `metrics endpoint: "127.0.0.1:http": the port is a number from 0 to 65535`},
		{"127.0.0.1:70000", `metrics endpoint: "127.0.0.1:70000": the port is a number from 0 to 65535`},
		{"192.0.2.1:9464", "metrics endpoint: listen tcp 192.0.2.1:9464"},
	}
	for _, tt := range tests {
		_, err := Serve(context.Background(), ServeOptions{Addr: tt.addr})
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.addr, err, tt.want)
		}
	}
}

func TestWarning(t *testing.T) {
	all := &net.TCPAddr{IP: net.IPv4zero, Port: 9464}
	want := "the metrics endpoint listens on 0.0.0.0:9464: whoever reaches this machine can read the run's losses; --web.config.file sets TLS and passwords"
	if got := warning(all); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := rootURL(all, false); got != "http://localhost:9464/" {
		t.Errorf("got %q", got)
	}
	if got := warning(&net.TCPAddr{IP: net.IPv6loopback, Port: 1}); got != "" {
		t.Errorf("loopback is warned of: %q", got)
	}
}

func TestContextEndsServer(t *testing.T) {
	before := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := Serve(ctx, ServeOptions{Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	s.done.Wait()
	s.Close()
	s.Close()
	goleak.VerifyNone(t, before)
}

func TestLimitsAreSet(t *testing.T) {
	h := newHTTP(ServeOptions{}, nil)
	got := fmt.Sprint(h.ReadHeaderTimeout, h.ReadTimeout, h.WriteTimeout, h.IdleTimeout, h.MaxHeaderBytes)
	if want := "5s 10s 30s 1m0s 65536"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestHalfOpenClients: hundreds of clients that connect, send half a request
// and then nothing do not keep a scraper out, and the door stays bounded.
func TestHalfOpenClients(t *testing.T) {
	o := options(2)
	set := New(o)
	report(set, o)
	s := serve(t, ServeOptions{Set: set})
	addr := strings.TrimSuffix(strings.TrimPrefix(s.URL, "http://"), "/")
	for range 200 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err := io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost:"); err != nil {
			continue // already pushed out
		}
	}
	for range 50 {
		if code, _, _ := ask(t, "GET", s.URL+"metrics"); code != 200 {
			t.Fatalf("an honest scrape got %d", code)
		}
	}
}

func TestDoorTurnsAwayWhenAllAreServed(t *testing.T) {
	d := newDoor(nil, 2)
	a, b := d.admit(pipe(t)), d.admit(pipe(t))
	d.serve(a, +1)
	d.serve(b, +1)
	if d.admit(pipe(t)) != nil {
		t.Error("a third guest came in while two were served")
	}
	d.serve(a, -1)
	c := d.admit(pipe(t))
	if c == nil || len(d.guests) != 2 {
		t.Errorf("the idle guest did not make room: %d guests", len(d.guests))
	}
	if _, err := a.Conn.Write([]byte("x")); err == nil {
		t.Error("the idle guest was not closed")
	}
	_ = c.Close()
	if len(d.guests) != 1 {
		t.Errorf("%d guests after one left", len(d.guests))
	}
}

// TestDoorKeepsThoseItKnows: who was answered stays while there is anybody who
// never asked, and then who was answered last stays longest.
func TestDoorKeepsThoseItKnows(t *testing.T) {
	d := newDoor(nil, 3)
	a, b := d.admit(pipe(t)), d.admit(pipe(t))
	for _, g := range []*guest{b, a} {
		d.serve(g, +1)
		d.serve(g, -1)
	}
	for range 10 {
		d.admit(pipe(t))
	}
	if !slices.Contains(d.guests, a) || !slices.Contains(d.guests, b) || len(d.guests) != 3 {
		t.Errorf("strangers pushed out those who were answered; %d guests", len(d.guests))
	}
	c := d.guests[slices.IndexFunc(d.guests, func(g *guest) bool { return !g.known })]
	d.serve(c, +1)
	d.admit(pipe(t))
	if slices.Contains(d.guests, b) || !slices.Contains(d.guests, a) {
		t.Error("not the one left that was idle longest")
	}
}

func pipe(t *testing.T) net.Conn {
	t.Helper()
	a, b := net.Pipe()
	t.Cleanup(func() { _ = a.Close(); _ = b.Close() })
	return a
}

// TestCloseDoesNotWaitForHalfARequest: nor is the end of the server an error.
func TestCloseDoesNotWaitForHalfARequest(t *testing.T) {
	set := New(options(1))
	s := serve(t, ServeOptions{Set: set, Log: func(line string) { t.Error(line) }})
	ask(t, "GET", s.URL+"healthz")
	c, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(s.URL, "http://"), "/"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost:"); err != nil {
		t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections() // the next comes in behind the half request
	ask(t, "GET", s.URL+"healthz")
	s.Close()
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes came", n)
	}
	if got := exported(t, set, `locorun_errors_total{kind="metrics"} 0`); len(got) != 1 {
		t.Error("the end was counted as an error")
	}
}

// TestLargeHeaderIsRefused: the answer may be lost, as the server closes while
// the client still writes; what counts is that the request is not served.
func TestLargeHeaderIsRefused(t *testing.T) {
	s := serve(t, ServeOptions{})
	r, err := http.NewRequest("GET", s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Big", strings.Repeat("a", 80<<10))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %d", resp.StatusCode)
	}
}
