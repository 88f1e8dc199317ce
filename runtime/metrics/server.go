package metrics

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// DefaultAddr is where a run listens unless told otherwise: loopback, so that
// nothing is shown to the network unasked.
const DefaultAddr = "127.0.0.1:9464"

// portsTried is how many ports from the default one on are tried.
const portsTried = 100

// The server's limits.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 60 * time.Second
	maxHeaderBytes    = 64 << 10
	maxConnections    = 64
	closeTimeout      = time.Second
)

// ServeOptions says where to listen and whom to ask. Its functions are called
// from the server's goroutines.
type ServeOptions struct {
	Set *Set
	// Addr is "host:port"; empty: DefaultAddr. Port 0 takes any free port.
	Addr string
	// Default says that Addr is nobody's wish: where its port is busy, the next
	// free one is taken. It is implied by an empty Addr.
	Default bool
	Ready   func() bool  // true after the first step; nil: always ready
	Healthy func() error // the watchdog's finding; nil: always healthy
	Page    func() Page  // what the live page shows; nil: nothing yet
	Log     func(string) // the server's own troubles; nil: dropped
	// WebConfig is the path of a web config file of Prometheus' exporter
	// toolkit (--web.config.file): TLS, client certificates, passwords. Empty:
	// plain HTTP, open to whoever reaches the address.
	WebConfig string

	name, remedy string // what messages call the server, and advise where its port is busy
}

// Server is a listening endpoint.
type Server struct {
	// URL is the root page's address, such as "http://127.0.0.1:9464/".
	URL string
	// Moved says that the default port was busy and another one is in use.
	Moved bool
	// Warning is not empty where others than this machine can read the
	// endpoint.
	Warning string

	http *http.Server
	stop context.CancelFunc
	done sync.WaitGroup
}

// Serve listens and answers until ctx ends or Close is called. A busy address
// that was asked for is an error that names it; the caller's mistake, not the
// run's.
func Serve(ctx context.Context, o ServeOptions) (*Server, error) {
	if o.Addr == "" {
		o.Addr, o.Default = DefaultAddr, true
	}
	o = o.named()
	tls, err := checkWebConfig(o.WebConfig)
	if err != nil {
		return nil, err
	}
	l, moved, err := listen(ctx, o)
	if err != nil {
		return nil, err
	}
	s := begin(ctx, l, o, Handler(o))
	s.URL, s.Moved = rootURL(l.Addr(), tls), moved
	if o.WebConfig == "" {
		s.Warning = warning(l.Addr())
	}
	return s, nil
}

// begin answers on l, behind a door, until ctx ends or Close is called.
func begin(ctx context.Context, l net.Listener, o ServeOptions, h http.Handler) *Server {
	ctx, stop := context.WithCancel(ctx)
	d := newDoor(l, maxConnections)
	s := &Server{URL: rootURL(l.Addr(), false), http: newHTTP(o, h), stop: stop}
	s.http.RegisterOnShutdown(d.clear) // half a request would be waited for
	s.done.Go(func() { s.serve(d, o) })
	s.done.Go(func() {
		<-ctx.Done()
		s.shutdown()
	})
	return s
}

// Close stops listening, gives running answers a second and ends every
// goroutine of the server. It may be called more than once.
func (s *Server) Close() {
	if s == nil {
		return
	}
	s.stop()
	s.done.Wait()
}

func (s *Server) serve(l net.Listener, o ServeOptions) {
	if err := s.accept(l, o); !errors.Is(err, http.ErrServerClosed) {
		o.Set.Error("metrics")
		o.log(fmt.Sprintf("%s on %s stopped: %v", o.name, l.Addr(), err))
	}
}

func (s *Server) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close() // nothing is left to tell about a connection we drop
	}
}

// named calls the server by the name it has unless it has another.
func (o ServeOptions) named() ServeOptions {
	if o.name == "" {
		o.name, o.remedy = "metrics endpoint", "choose another with --listen, or leave --listen out for the next free port"
	}
	return o
}

func (o ServeOptions) log(text string) {
	if o.Log != nil {
		o.Log(text)
	}
}

func newHTTP(o ServeOptions, h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          log.New(logWriter{o}, "", 0),
		ConnContext:       withGuest,
	}
}

// logWriter turns the log lines of net/http into calls of Log.
type logWriter struct{ o ServeOptions }

func (w logWriter) Write(p []byte) (int, error) {
	w.o.log(w.o.name + ": " + strings.TrimSpace(string(p)))
	return len(p), nil
}

func listen(ctx context.Context, o ServeOptions) (l net.Listener, moved bool, err error) {
	host, port, err := splitAddr(o)
	if err != nil {
		return nil, false, err
	}
	tries := 1
	if o.Default {
		tries = portsTried
	}
	for i := 0; i < tries && port+i <= 65535; i++ {
		var c net.ListenConfig
		l, err = c.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port+i)))
		if err == nil {
			return l, i > 0, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return nil, false, fmt.Errorf("%s: %w", o.name, err)
		}
	}
	if o.Default {
		return nil, false, fmt.Errorf("metrics endpoint: the %d ports from %s on are all in use: %w", tries, o.Addr, err)
	}
	return nil, false, fmt.Errorf("%s: %s is in use; %s: %w", o.name, o.Addr, o.remedy, err)
}

func splitAddr(o ServeOptions) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(o.Addr)
	if err != nil {
		return "", 0, fmt.Errorf("%s: %q is not host:port: %w", o.name, o.Addr, err)
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("%s: %q: the port is a number from 0 to 65535", o.name, o.Addr)
	}
	return host, port, nil
}

// rootURL is an address that works on this machine, also where the server
// listens on all interfaces.
func rootURL(a net.Addr, tls bool) string {
	scheme := "http://"
	if tls {
		scheme = "https://"
	}
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return scheme + a.String() + "/"
	}
	host := t.IP.String()
	if t.IP.IsUnspecified() {
		host = "localhost"
	}
	return scheme + net.JoinHostPort(host, strconv.Itoa(t.Port)) + "/"
}

func warning(a net.Addr) string {
	t, ok := a.(*net.TCPAddr)
	if !ok || t.IP.IsLoopback() {
		return ""
	}
	return fmt.Sprintf("the metrics endpoint listens on %s: whoever reaches this machine can read the run's losses; --web.config.file sets TLS and passwords", t)
}

// Handler answers the four paths. GET and HEAD only; a panic in a function of
// the options becomes an error 500 and is counted.
func Handler(o ServeOptions) http.Handler {
	o = o.named()
	mux := http.NewServeMux()
	mux.Handle("/metrics", metricsHandler(o))
	mux.HandleFunc("/healthz", o.healthz)
	mux.HandleFunc("/readyz", o.readyz)
	page := pageTemplate()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) { o.page(w, page) })
	return guard(o, mux)
}

func metricsHandler(o ServeOptions) http.Handler {
	if o.Set == nil {
		return http.NotFoundHandler()
	}
	return newScraper(o)
}

func guard(o ServeOptions, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leave := enter(r.Context())
		defer leave()
		defer func() {
			if p := recover(); p != nil {
				o.Set.Error("metrics")
				o.log(fmt.Sprintf("%s: panic while answering %q: %v", o.name, r.URL.Path, p))
				http.Error(w, "internal error", http.StatusInternalServerError)
			}
		}()
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

func (o ServeOptions) healthz(w http.ResponseWriter, _ *http.Request) {
	if o.Healthy != nil {
		if err := o.Healthy(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
	}
	answer(w, "ok")
}

func (o ServeOptions) readyz(w http.ResponseWriter, _ *http.Request) {
	if o.Ready != nil && !o.Ready() {
		http.Error(w, "not ready: no step has ended yet", http.StatusServiceUnavailable)
		return
	}
	answer(w, "ready")
}

func answer(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintln(w, text) // the reader may be gone, which is no trouble of ours
}
