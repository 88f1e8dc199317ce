//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/locorun/locorun/runtime/export"
)

// long says whether the minutes of a long test may be taken.
func long() bool { return os.Getenv("LOCORUN_LONG") != "" }

// trained is what a run of the command came to.
type trained struct {
	wall, cpu time.Duration // of the process, start and readouts included
	most      int64         // resident memory in bytes, at most
	weights   string        // path of the newest checkpoint
}

// train runs the command on the tiny program for some epochs. Watch is called
// beside it with the address of its pages and a context that ends with the run;
// nil: nobody watches.
func train(ctx context.Context, t *testing.T, epochs int, watch func(ctx context.Context, page string), flags ...string) trained {
	t.Helper()
	dir := t.TempDir()
	text, err := os.ReadFile(tinyProgram)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte("epochs 2;"), fmt.Appendf(nil, "epochs %d;", epochs), 1)
	file := filepath.Join(dir, "tiny.loco")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	var errs output
	cmd := exec.CommandContext(ctx, "locorun", append(flags, "--listen", "127.0.0.1:0", "--out", filepath.Join(dir, "run"), file)...)
	cmd.Stderr = &errs
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watching, ended := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	if watch != nil {
		page := errs.wait(ctx, t, regexp.MustCompile(`live page on (http://\S+/)`))
		watcher.Go(func() { watch(watching, page) })
	}
	err = cmd.Wait()
	ended()
	watcher.Wait()
	if err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return trained{
		wall: time.Since(begun), cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(),
		most: usage.Maxrss << 10, weights: newest(t, filepath.Join(dir, "run", "checkpoints")),
	}
}

// newest is the last checkpoint of a directory.
func newest(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "step-*.loco-ckpt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s holds %d checkpoints, %v", dir, len(files), err)
	}
	number := regexp.MustCompile(`step-0*(\d+)`)
	return slices.MaxFunc(files, func(a, b string) int {
		x, _ := strconv.Atoi(number.FindStringSubmatch(filepath.Base(a))[1])
		y, _ := strconv.Atoi(number.FindStringSubmatch(filepath.Base(b))[1])
		return x - y
	})
}

// epochsFor is how many epochs the command trains in a time, by a trial.
func epochsFor(ctx context.Context, t *testing.T, want time.Duration, flags ...string) int {
	t.Helper()
	trial := 100
	if long() {
		trial = 1000 // beside which the start is short
	}
	got := train(ctx, t, trial, nil, flags...)
	return max(trial, int(float64(trial)*want.Seconds()/got.wall.Seconds()))
}

// TestHammered trains while 200 clients hold half a request each and others
// scrape a thousand times a second. The weights are those of a run that nobody
// watches, and an honest scraper is answered all along. It lasts 3 s, or with
// LOCORUN_LONG a minute, and then the figures promised are held to.
func TestHammered(t *testing.T) {
	length, limit := 3*time.Second, 3*time.Minute
	if long() {
		length, limit = time.Minute, 15*time.Minute
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	epochs := epochsFor(ctx, t, length)
	alone := train(ctx, t, epochs, nil)
	var h hammer
	watched := train(ctx, t, epochs, func(ctx context.Context, page string) { h.strike(ctx, t, page) })
	h.report(t, alone, watched)
	h.check(t)
	sameTensors(t, alone.weights, watched.weights)
	if more := watched.most - alone.most; more > 64<<20 {
		t.Errorf("the run that was watched took %d MiB more memory", more>>20)
	}
}

// hammer is all the clients of a run, and what became of them.
type hammer struct {
	answered, refused, failed atomic.Int64 // scrapes
	half                      atomic.Int64 // half requests that were closed
	mu                        sync.Mutex
	longest                   time.Duration   // that a half request was held
	honest                    []time.Duration // times of the scrapes that were answered
	turned                    int             // honest scrapes that were not
	gathered                  float64         // scrapes_total of the last honest scrape
	watched                   time.Duration   // from the first to the last honest scrape
}

// strike returns when the run has ended.
func (h *hammer) strike(ctx context.Context, t *testing.T, page string) {
	u, err := url.Parse(page)
	if err != nil {
		t.Error(err)
		return
	}
	var clients sync.WaitGroup
	for range 200 {
		clients.Go(func() { h.hold(ctx, u.Host) })
	}
	for i := range 20 {
		clients.Go(func() { h.scrape(ctx, page+"metrics", i) })
	}
	clients.Go(func() { h.behave(ctx, page+"metrics") })
	clients.Wait()
}

// hold sends half a request again and again and waits until it is thrown out.
func (h *hammer) hold(ctx context.Context, addr string) {
	for pause(ctx, time.Second) {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			continue
		}
		begun := time.Now()
		leave := context.AfterFunc(ctx, func() { _ = c.Close() })
		_, err = io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost:")
		if err == nil {
			_, err = c.Read(make([]byte, 1))
		}
		leave()
		_ = c.Close()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			h.half.Add(1)
			h.mu.Lock()
			h.longest = max(h.longest, time.Since(begun))
			h.mu.Unlock()
		}
	}
}

// scrape asks fifty times a second, in one of four forms.
func (h *hammer) scrape(ctx context.Context, page string, i int) {
	c, done := client()
	defer done()
	accept := []string{"text/plain", "application/openmetrics-text;version=1.0.0"}[i/2%2]
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		status, _ := visit(ctx, c, page, "Accept", accept, "Accept-Encoding", []string{"gzip", "identity"}[i%2])
		switch {
		case status == http.StatusOK:
			h.answered.Add(1)
		case status == http.StatusTooManyRequests:
			h.refused.Add(1)
		case status == closed || ctx.Err() != nil:
			return
		default:
			h.failed.Add(1)
		}
	}
}

// behave asks ten times a second and notes the time that each answer took.
func (h *hammer) behave(ctx context.Context, page string) {
	c, done := client()
	defer done()
	first := time.Now()
	for pause(ctx, 100*time.Millisecond) {
		begun := time.Now()
		status, body := visit(ctx, c, page)
		took := time.Since(begun)
		if status == closed || ctx.Err() != nil {
			return
		}
		h.mu.Lock()
		if status == http.StatusOK {
			h.honest = append(h.honest, took)
			h.gathered, h.watched = sample(body, `locorun_scrapes_total{result="gathered"}`), time.Since(first)
		} else {
			h.turned++
		}
		h.mu.Unlock()
	}
}

// pause waits, and says whether to go on.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// client is a client with connections of its own.
func client() (c *http.Client, done func()) {
	transport := &http.Transport{DisableCompression: true}
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}, transport.CloseIdleConnections
}

// closed is the status of a page whose server does not listen any more.
const closed = -1

// visit gets a page; a status of 0 says that there was no answer.
func visit(ctx context.Context, c *http.Client, page string, header ...string) (status int, body []byte) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return 0, nil
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(r)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return closed, nil
	}
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		return 0, nil
	}
	return resp.StatusCode, body
}

// sample reads a value out of a scrape; NaN: it is not there.
func sample(body []byte, name string) float64 {
	for line := range strings.Lines(string(body)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			if v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64); err == nil {
				return v
			}
		}
	}
	return math.NaN()
}

// quantile is the p-quantile of times, 0 of none.
func quantile(times []time.Duration, p float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return times[min(len(times)-1, int(p*float64(len(times))))]
}

// report says what was seen.
func (h *hammer) report(t *testing.T, alone, watched trained) {
	t.Logf("%.1f s watched: %d scrapes answered, %d refused, %d failed (%.0f a second); %g gatherings; %d half requests closed, the last after %v",
		h.watched.Seconds(), h.answered.Load(), h.refused.Load(), h.failed.Load(),
		float64(h.answered.Load()+h.refused.Load())/h.watched.Seconds(), h.gathered, h.half.Load(), h.longest.Round(time.Millisecond))
	t.Logf("honest scrapes: %d answered, %d not; half in %v, p99 %v", len(h.honest), h.turned, quantile(h.honest, 0.5), quantile(h.honest, 0.99))
	t.Logf("alone %v, %v of CPU time, %d MiB; watched %v, %v, %d MiB", alone.wall.Round(time.Millisecond), alone.cpu.Round(time.Millisecond), alone.most>>20,
		watched.wall.Round(time.Millisecond), watched.cpu.Round(time.Millisecond), watched.most>>20)
}

// check holds the figures to what is promised; the times of a short run among
// other tests say little.
func (h *hammer) check(t *testing.T) {
	if len(h.honest) == 0 || h.answered.Load() == 0 || h.half.Load() == 0 {
		t.Errorf("%d honest scrapes and %d others were answered, %d half requests closed", len(h.honest), h.answered.Load(), h.half.Load())
	}
	if most := 5*h.watched.Seconds() + 1; !(h.gathered <= most) {
		t.Errorf("%g gatherings in %v, at most %.0f", h.gathered, h.watched, most)
	}
	if h.longest > 6*time.Second {
		t.Errorf("half a request was held for %v", h.longest)
	}
	if p99 := quantile(h.honest, 0.99); long() && p99 > 250*time.Millisecond {
		t.Errorf("the p99 of honest scrapes is %v", p99)
	}
	if long() && h.turned*100 > len(h.honest) {
		t.Errorf("%d of %d honest scrapes were not answered", h.turned, len(h.honest)+h.turned)
	}
}

// sameTensors compares two checkpoints: names, shapes, bytes.
func sameTensors(t *testing.T, a, b string) {
	t.Helper()
	if filepath.Base(a) != filepath.Base(b) {
		t.Fatalf("the checkpoints are of other steps: %s and %s", a, b)
	}
	x, y := tensors(t, a), tensors(t, b)
	if len(x) == 0 || len(x) != len(y) {
		t.Fatalf("%d tensors and %d", len(x), len(y))
	}
	for name, value := range x {
		if y[name] != value {
			t.Errorf("%s differs", name)
		}
	}
}

// tensors gives each tensor's shape and bytes by name.
func tensors(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	file, err := export.OpenSafetensors(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, i := range file.Tensors {
		data, err := file.Read(i.Name)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		fmt.Fprint(&b, i.Shape)
		for _, v := range data {
			fmt.Fprintf(&b, " %08x", math.Float32bits(v))
		}
		all[i.Name] = b.String()
	}
	return all
}

// TestCPUTimeOfScrapes trains equally many batches, in turn with a hundred
// scrapes a second and without, and compares the processes' CPU time. A run's
// least is the figure, as other work on the machine only ever adds. It says
// little of short runs, so it is a long test only.
func TestCPUTimeOfScrapes(t *testing.T) {
	if !long() {
		t.Skip("minutes; set LOCORUN_LONG")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	size := []string{"-D", "width=16"} // steps of a few milliseconds
	epochs := epochsFor(ctx, t, 8*time.Second, size...)
	var alone, watched []time.Duration
	var scrapes atomic.Int64
	for range 6 {
		alone = append(alone, train(ctx, t, epochs, nil, size...).cpu)
		watched = append(watched, train(ctx, t, epochs, func(ctx context.Context, page string) {
			scrapes.Add(scrapeHundredfold(ctx, page+"metrics"))
		}, size...).cpu)
	}
	ratio := slices.Min(watched).Seconds() / slices.Min(alone).Seconds()
	t.Logf("%d batches; CPU time alone %v, scraped %v, %d scrapes a run; ratio of the least %.4f", 4*epochs, alone, watched, scrapes.Load()/6, ratio)
	if ratio > 1.05 {
		t.Errorf("a hundred scrapes a second cost %.1f %% of CPU time, at most 5 %%", 100*(ratio-1))
	}
}

// scrapeHundredfold scrapes a hundred times a second and counts the answers.
func scrapeHundredfold(ctx context.Context, page string) (n int64) {
	c, done := client()
	defer done()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		status, _ := visit(ctx, c, page, "Accept-Encoding", "gzip")
		if status == closed || ctx.Err() != nil {
			return n
		}
		if status == http.StatusOK {
			n++
		}
	}
	return n
}
