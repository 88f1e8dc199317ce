package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/graphs/cuda/driver"
	"github.com/locorun/locorun/graphs/device"
	"github.com/locorun/locorun/runtime/metrics"
)

// watchedCard is a backend of a name whose card tells how it is used, or not.
type watchedCard struct {
	device.Backend
	name    string
	monitor *monitor
}

func (w *watchedCard) Name() string { return w.name }

func (w *watchedCard) Monitor() (driver.Monitor, error) {
	if w.monitor == nil {
		return nil, errors.New("no NVML")
	}
	return w.monitor, nil
}

// monitor is a driver.Monitor of fixed answers.
type monitor struct {
	used   int64
	load   error
	closed chan struct{}
}

func (m *monitor) Memory() (int64, int64, error)  { return m.used, 1000, nil }
func (m *monitor) Utilisation() (int, int, error) { return 40, 20, m.load }
func (m *monitor) Close() error                   { close(m.closed); return nil }

func newMonitor(used int64, load error) *monitor { return &monitor{used, load, make(chan struct{})} }

// TestWatchCards reads the figures of a run's cards from its endpoint.
func TestWatchCards(t *testing.T) {
	first, good, half := newMonitor(6, nil), newMonitor(7, nil), newMonitor(8, errors.New("not supported"))
	one, lone := &watchedCard{name: "cuda/sm_90", monitor: first}, &watchedCard{name: "cuda/sm_90"}
	both, err := device.NewPlaced([]device.Place{
		{Device: "cuda:0", Backend: &watchedCard{name: "cuda/sm_90", monitor: good}},
		{Device: "cuda:1", Backend: &watchedCard{name: "cuda/sm_80", monitor: half}, Units: []string{"low"}},
		{Device: "cpu", Backend: &named{name: "cpu/portable"}, Units: []string{"mid"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		backend device.Backend
		devices []string
		want    []string // lines of the endpoint
		log     string
		ends    []*monitor
	}{
		{"a card", one, []string{"cuda"}, []string{
			`locorun_device_kernels_ratio{device="cuda"} 0.4`, `locorun_device_memory_ratio{device="cuda"} 0.2`,
			`locorun_memory_bytes{device="cuda",kind="occupied"} 6`, `locorun_memory_bytes{device="cuda",kind="total"} 1000`,
		}, "", []*monitor{first}},
		{"two cards and a processor", both, []string{"cuda", "cuda:0", "cuda:1", "cpu"}, []string{
			`locorun_device_kernels_ratio{device="cuda:0"} 0.4`, `locorun_device_memory_ratio{device="cuda:0"} 0.2`,
			`locorun_memory_bytes{device="cuda:0",kind="occupied"} 7`, `locorun_memory_bytes{device="cuda:0",kind="total"} 1000`,
			`locorun_memory_bytes{device="cuda:1",kind="occupied"} 8`, `locorun_memory_bytes{device="cuda:1",kind="total"} 1000`,
		}, `level=WARN msg="the card cannot tell how it is used; training goes on" what="cuda:1, its utilisation: not supported"`, []*monitor{good, half}},
		{"no NVML", lone, []string{"cuda"}, nil, `level=INFO msg="no figures of the card" device=cuda error="no NVML"`, nil},
		{"no card", &named{name: "cpu/portable"}, []string{"cpu"}, nil, "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log bytes.Buffer
			s, url := watchingSession(t, c.backend, &log)
			if got := deviceNames(c.backend); !slices.Equal(got, c.devices) {
				t.Errorf("devices %q, want %q", got, c.devices)
			}
			s.watchCards(c.backend)
			got := cardFigures(t, url, len(c.want))
			s.close()
			if !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
			if c.log == "" && log.Len() > 0 || !strings.Contains(log.String(), c.log) {
				t.Errorf("log %s, want %s", log.String(), c.log)
			}
			for _, m := range c.ends {
				select {
				case <-m.closed:
				case <-time.After(10 * time.Second):
					t.Fatal("a monitor is not closed")
				}
			}
		})
	}
}

// named is a backend with a name only.
type named struct {
	device.Backend
	name string
}

func (n *named) Name() string { return n.name }

// watchingSession is a session with an endpoint, and the endpoint's address.
func watchingSession(t *testing.T, b device.Backend, log io.Writer) (*session, string) {
	t.Helper()
	env := &Env{Stdout: io.Discard, Stderr: io.Discard, Context: context.Background()}
	net := &model.Net{}
	s := &session{screen: newScreen(env, net), file: slog.New(slog.NewTextHandler(log, nil))}
	s.screen.closed = true // there is no display
	set := s.screen.metrics("x.loco", "loco", deviceNames(b), net)
	server, err := metrics.Serve(context.Background(), metrics.ServeOptions{Set: set, Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	s.screen.server = server
	return s, server.URL + "metrics"
}

// cardFigures reads an endpoint until so many lines are of cards, or for five
// seconds.
func cardFigures(t *testing.T, url string, wanted int) (lines []string) {
	t.Helper()
	for range 25 {
		answer, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		lines = nil
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "locorun_device_") || strings.HasPrefix(line, "locorun_memory_bytes") {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
		if len(lines) >= wanted {
			return lines
		}
		time.Sleep(200 * time.Millisecond) // values are gathered five times a second
	}
	return lines
}
