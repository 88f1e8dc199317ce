package metrics

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// serveProfiles starts a server of profiles on any free port and checks that
// closing it leaves no goroutine behind.
func serveProfiles(t *testing.T) *Server {
	t.Helper()
	before := goleak.IgnoreCurrent()
	s, err := ServeProfiles(context.Background(), ProfileOptions{Addr: "127.0.0.1:0"})
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

func TestProfiles(t *testing.T) {
	s := serveProfiles(t)
	for _, tt := range []struct {
		name, method, path string
		code               int
		kind, begins       string
	}{
		{"index", "GET", "", 200, "text/plain; charset=utf-8", "profile?seconds=30\n"},
		{"heap for a tool", "GET", "heap?gc=1", 200, "application/octet-stream", "\x1f\x8b"},
		{"heap for a reader", "GET", "heap?debug=1", 200, "text/plain; charset=utf-8", "heap profile: "},
		{"goroutines", "GET", "goroutine?debug=2", 200, "text/plain; charset=utf-8", "goroutine "},
		{"time", "GET", "profile?seconds=0", 200, "application/octet-stream", "\x1f\x8b"},
		{"trace", "GET", "trace?seconds=0", 200, "application/octet-stream", "go 1."},
		{"time, head", "HEAD", "profile", 200, "application/octet-stream", ""},
		{"unknown", "GET", "secrets", 404, "text/plain; charset=utf-8", "404 page not found"},
		{"no number", "GET", "heap?debug=x", 400, "text/plain; charset=utf-8", `debug is a whole number from 0 to 2, not "x"`},
		{"too long", "GET", "profile?seconds=121", 400, "text/plain; charset=utf-8", `seconds is a whole number from 0 to 120, not "121"`},
		{"wrong method", "POST", "heap", 405, "text/plain; charset=utf-8", "only GET and HEAD"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, header, body := ask(t, tt.method, s.URL+"debug/pprof/"+tt.path)
			if code != tt.code || header.Get("Content-Type") != tt.kind || !strings.HasPrefix(body, tt.begins) {
				t.Errorf("got %d %s %.40q, want %d %s %q", code, header.Get("Content-Type"), body, tt.code, tt.kind, tt.begins)
			}
		})
	}
	if code, _, _ := ask(t, "GET", s.URL+"metrics"); code != 404 {
		t.Errorf("/metrics beside the profiles: %d", code)
	}
}

func TestProfilesOnlyOnLoopback(t *testing.T) {
	_, taken := busy(t)
	for _, tt := range []struct{ addr, want string }{
		{"0.0.0.0:0", "profiles: 0.0.0.0:0 is not loopback; profiles are shown to this machine alone: --pprof 127.0.0.1:6060, and ssh -L for another machine"},
		{":6060", "profiles: :6060 is not loopback; "},
		{"192.0.2.1:6060", "profiles: 192.0.2.1:6060 is not loopback; "},
		{"[::]:6060", "profiles: [::]:6060 is not loopback; "},
		{"example.org:6060", "profiles: example.org:6060 is not loopback; "},
		{"6060", `profiles: "6060" is not host:port`},
		{"127.0.0.1:x", `profiles: "127.0.0.1:x": the port is a number from 0 to 65535`},
		{taken, "profiles: " + taken + " is in use; choose another with --pprof"},
	} {
		s, err := ServeProfiles(context.Background(), ProfileOptions{Addr: tt.addr})
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.addr, err, tt.want)
		}
		s.Close()
	}
}

// TestProfilesOfAnotherName: a page that lets a name of its own point to
// loopback gets nothing.
func TestProfilesOfAnotherName(t *testing.T) {
	s := serveProfiles(t)
	for host, code := range map[string]int{"evil.example": 403, "evil.example:6060": 403, "localhost": 200, "[::1]:6060": 200, "[::1]": 200, "127.0.0.1": 200} {
		r, err := http.NewRequest("GET", s.URL+"debug/pprof/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != code {
			t.Errorf("Host %s: %d, want %d", host, resp.StatusCode, code)
		}
	}
}

// TestOneTimedProfile: a second one is refused, and one whose reader leaves
// ends.
func TestOneTimedProfile(t *testing.T) {
	s := serveProfiles(t)
	ctx, leave := context.WithCancel(context.Background())
	gone := make(chan error, 1)
	go func() {
		for { // until no trace is in the way
			r, err := http.NewRequestWithContext(ctx, "GET", s.URL+"debug/pprof/profile?seconds=60", nil)
			if err != nil {
				gone <- err
				return
			}
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				gone <- err
				return
			}
			_ = resp.Body.Close()
		}
	}()
	trace := s.URL + "debug/pprof/trace?seconds=0"
	until(t, "a refusal", func() bool {
		code, header, body := ask(t, "GET", trace)
		return code == 429 && header.Get("Retry-After") == "1" && body == "another profile or trace is under way; try again later\n"
	})
	leave()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the reader that left got %v", err)
	}
	until(t, "the end of the profile", func() bool {
		code, _, _ := ask(t, "GET", trace)
		return code == 200
	})
}

// until asks again until something has happened.
func until(t *testing.T, what string, happened func() bool) {
	t.Helper()
	for range 5000 {
		if happened() {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Fatalf("waited in vain for %s", what)
}

func TestNothingOnDefaultServeMux(t *testing.T) {
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/profile", "/metrics", "/healthz", "/"} {
		r, err := http.NewRequest("GET", "http://127.0.0.1"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, pattern := http.DefaultServeMux.Handler(r); pattern != "" {
			t.Errorf("%s is answered by %s", path, pattern)
		}
	}
}
