package metrics

import (
	"context"
	"fmt"
	"net"
	"net/http"
	goruntime "runtime"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Seconds that a profile of time or a trace takes: what go tool pprof asks for
// by itself, and the most.
const (
	profileSeconds     = 30
	profileSecondsMost = 120
)

// ProfileOptions says where profiles are shown.
type ProfileOptions struct {
	Set  *Set         // counts errors; may be nil
	Addr string       // "host:port" on loopback; port 0 takes any free port
	Log  func(string) // the server's own troubles; nil: dropped
}

// ServeProfiles shows Go's profiles of this process under /debug/pprof/, for
// go tool pprof and go tool trace, on a listener of its own with the limits of
// Serve, until ctx ends or Close is called. Profiles tell the insides of the
// program and cost time, so any address but loopback is refused, and so is a
// request that names another host than loopback: a page in a browser must not
// get at them by a name it made up.
//
// The handlers are written on runtime/pprof: net/http/pprof would put its own on
// http.DefaultServeMux, for every server of the process to show by mistake.
func ServeProfiles(ctx context.Context, p ProfileOptions) (*Server, error) {
	o := ServeOptions{Set: p.Set, Addr: p.Addr, Log: p.Log, name: "profiles", remedy: "choose another with --pprof"}
	host, _, err := splitAddr(o)
	if err != nil {
		return nil, err
	}
	if !isLoopback(host) {
		return nil, notLoopback(p.Addr)
	}
	l, _, err := listen(ctx, o)
	if err != nil {
		return nil, err
	}
	if t, ok := l.Addr().(*net.TCPAddr); !ok || !t.IP.IsLoopback() {
		_ = l.Close() // what localhost meant here is not loopback
		return nil, notLoopback(p.Addr)
	}
	return begin(ctx, l, o, profileHandler(o)), nil
}

func notLoopback(addr string) error {
	return fmt.Errorf("profiles: %s is not loopback; profiles are shown to this machine alone: --pprof 127.0.0.1:6060, and ssh -L for another machine", addr)
}

func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// profiles answers below /debug/pprof/.
type profiles struct {
	timed sync.Mutex // held by the one profile of time, or trace, under way
}

func profileHandler(o ServeOptions) http.Handler {
	p := &profiles{}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/{$}", p.index)
	mux.HandleFunc("/debug/pprof/{name}", p.snapshot)
	mux.HandleFunc("/debug/pprof/profile", p.over(func(w http.ResponseWriter) (func(), error) {
		return pprof.StopCPUProfile, pprof.StartCPUProfile(w)
	}))
	mux.HandleFunc("/debug/pprof/trace", p.over(func(w http.ResponseWriter) (func(), error) {
		return trace.Stop, trace.Start(w)
	}))
	return guard(o, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if host := r.Host; !isLoopback(hostOf(host)) {
			http.Error(w, fmt.Sprintf("profiles are for 127.0.0.1 or localhost, not for %q", host), http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	}))
}

// hostOf is the host of a Host header, without its port.
func hostOf(header string) string {
	if host, _, err := net.SplitHostPort(header); err == nil {
		return host
	}
	return strings.Trim(header, "[]")
}

func (p *profiles) index(w http.ResponseWriter, _ *http.Request) {
	var b strings.Builder
	fmt.Fprintf(&b, "profile?seconds=%d\ntrace?seconds=1\n", profileSeconds)
	for _, pr := range pprof.Profiles() {
		fmt.Fprintf(&b, "%s?debug=1  %d\n", pr.Name(), pr.Count())
	}
	answer(w, strings.TrimSuffix(b.String(), "\n"))
}

// snapshot writes a profile that is there at any time: heap, goroutine, ... With
// debug=1 or more it is text; gc=1 collects garbage before.
func (p *profiles) snapshot(w http.ResponseWriter, r *http.Request) {
	pr := pprof.Lookup(r.PathValue("name"))
	if pr == nil {
		http.NotFound(w, r)
		return
	}
	debug, err := wholeNumber(r, "debug", 0, 2)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if r.FormValue("gc") == "1" && r.Method != http.MethodHead {
		goruntime.GC()
	}
	attach(w, pr.Name(), debug == 0)
	if r.Method == http.MethodHead {
		return
	}
	_ = pr.WriteTo(w, debug) // the reader may be gone, which is no trouble of ours
}

// over makes a handler that records for ?seconds=, one at a time, until its
// reader is gone or the server closes.
func (p *profiles) over(start func(http.ResponseWriter) (stop func(), err error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n, err := wholeNumber(r, "seconds", profileSeconds, profileSecondsMost)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if !p.timed.TryLock() {
			refuse(w, "another profile or trace is under way; try again later")
			return
		}
		defer p.timed.Unlock()
		attach(w, r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:], true)
		if r.Method == http.MethodHead {
			return
		}
		length := time.Duration(n) * time.Second
		// The reader waits for as long as it asked to; a server that cannot say
		// so to its connection cuts the answer off at its own limit.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(length + writeTimeout))
		record(w, r, length, start)
	}
}

func record(w http.ResponseWriter, r *http.Request, length time.Duration, start func(http.ResponseWriter) (func(), error)) {
	stop, err := start(w)
	if err != nil {
		w.Header().Del("Content-Disposition")
		http.Error(w, "profiles: "+err.Error(), http.StatusConflict)
		return
	}
	defer stop()
	wait := time.NewTimer(length)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-r.Context().Done():
	}
}

// wholeNumber reads a whole number from 0 to most out of the query.
func wholeNumber(r *http.Request, name string, otherwise, most int) (int, error) {
	text := r.FormValue(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		return 0, fmt.Errorf("%s is a whole number from 0 to %d, not %q", name, most, text)
	}
	return n, nil
}

// attach says what is to come: bytes for a tool, or text for a reader.
func attach(w http.ResponseWriter, name string, binary bool) {
	if !binary {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", name))
}

// refuse answers that there is too much to do just now.
func refuse(w http.ResponseWriter, why string) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, why, http.StatusTooManyRequests)
}
