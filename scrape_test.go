package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestScrapedWhileTraining trains with the command, checks /metrics with
// promtool, and lets a Prometheus server scrape it until the run's figures are
// in its query API.
func TestScrapedWhileTraining(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel) // after the run was interrupted, which is cleaned up first
	target := startTraining(ctx, t)
	t.Run("page", func(t *testing.T) { checkPage(ctx, t, target) })
	t.Run("promtool", func(t *testing.T) {
		promtool := program(t, "promtool")
		cmd := exec.CommandContext(ctx, promtool, "check", "metrics")
		cmd.Stdin = bytes.NewReader(fetch(ctx, t, target+"metrics"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool check metrics: %v\n%s", err, out)
		}
	})
	t.Run("prometheus", func(t *testing.T) {
		api := startPrometheus(ctx, t, program(t, "prometheus"), target)
		for _, query := range []string{
			"locorun_images_total", `locorun_unit_loss{unit="low"}`, `locorun_unit_loss{unit="high"}`,
			"locorun_flops_total", "locorun_peak_flops",
			`locorun_memory_bytes{kind="planned"}`, `locorun_memory_bytes{kind="used"}`,
			`locorun_unit_wait_seconds_total{unit="low",reason="gradient"}`,
		} {
			if v := ask(ctx, t, api, query); v <= 0 {
				t.Errorf("%s is %g", query, v)
			}
		}
		planned, used := ask(ctx, t, api, `locorun_memory_bytes{kind="planned"}`), ask(ctx, t, api, `locorun_memory_bytes{kind="used"}`)
		if planned != used {
			t.Errorf("%g bytes of memory are planned, %g used", planned, used)
		}
	})
}

// program finds a program, or skips the test.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not on PATH (Debian: package prometheus)", name)
	}
	return path
}

// startTraining starts a run without end and gives the address of its pages,
// once it has trained a batch. The run is interrupted when the test ends, and
// must then end well.
func startTraining(ctx context.Context, t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	text, err := os.ReadFile(tinyProgram)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte("epochs 2;"), []byte("epochs 100000;"), 1)
	file := filepath.Join(dir, "tiny.loco")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	var errs output
	cmd := exec.CommandContext(ctx, "locorun", "--listen", "127.0.0.1:0", "--out", filepath.Join(dir, "run"), file)
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 130 {
			t.Errorf("the interrupted run ended with %v\n%s", err, errs.String())
		}
	})
	page := errs.wait(ctx, t, regexp.MustCompile(`live page on (http://\S+/)`))
	until(ctx, t, "a batch", func() bool { return answers(ctx, page+"readyz") })
	return page
}

// output gathers what a process writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// wait waits for text and gives its first group.
func (o *output) wait(ctx context.Context, t *testing.T, text *regexp.Regexp) (group string) {
	t.Helper()
	until(ctx, t, text.String(), func() bool {
		m := text.FindStringSubmatch(o.String())
		if m != nil {
			group = m[1]
		}
		return m != nil
	})
	return group
}

// until asks again and again until something has happened.
func until(ctx context.Context, t *testing.T, what string, happened func() bool) {
	t.Helper()
	for !happened() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// checkPage looks at what a browser and a load balancer see.
func checkPage(ctx context.Context, t *testing.T, target string) {
	for path, want := range map[string]string{"": "tiny.loco", "healthz": "", "metrics": "locorun_unit_loss{unit=\"low\"}"} {
		if got := fetch(ctx, t, target+path); !strings.Contains(string(got), want) {
			t.Errorf("/%s has no %q:\n%s", path, want, got)
		}
	}
}

// answers reports whether a page is there.
func answers(ctx context.Context, page string) bool {
	_, status, err := get(ctx, page)
	return err == nil && status == http.StatusOK
}

// fetch gets a page that must be there.
func fetch(ctx context.Context, t *testing.T, page string) []byte {
	t.Helper()
	body, status, err := get(ctx, page)
	if err != nil || status != http.StatusOK {
		t.Fatalf("%s: status %d, %v", page, status, err)
	}
	return body
}

func get(ctx context.Context, page string) (body []byte, status int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return nil, 0, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return body, resp.StatusCode, err
}

// startPrometheus lets a Prometheus server of its own scrape the target every
// second.
func startPrometheus(ctx context.Context, t *testing.T, server, target string) (api string) {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := fmt.Sprintf("global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: locorun\n  static_configs: [{targets: [%q]}]\n", u.Host)
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := freeAddress(t)
	cmd := exec.CommandContext(ctx, server, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+addr, "--log.level=error")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed: its error says only that
	})
	return "http://" + addr + "/api/v1/"
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// ask repeats an instant query until it has an answer.
func ask(ctx context.Context, t *testing.T, api, query string) (value float64) {
	t.Helper()
	until(ctx, t, query, func() bool {
		body, _, err := get(ctx, api+"query?query="+url.QueryEscape(query))
		var r struct {
			Data struct {
				Result []struct{ Value [2]any }
			}
		}
		if err != nil || json.Unmarshal(body, &r) != nil || len(r.Data.Result) == 0 {
			return false
		}
		value, err = strconv.ParseFloat(fmt.Sprint(r.Data.Result[0].Value[1]), 64)
		return err == nil
	})
	return value
}
