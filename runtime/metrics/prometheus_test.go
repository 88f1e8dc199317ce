package metrics

import (
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
	"strings"
	"testing"
	"time"
)

// TestPrometheusScrapes runs a real Prometheus against the endpoint and asks
// its query API what arrived. Both listen on loopback only; the process is
// killed when the test ends, or after half a minute.
func TestPrometheusScrapes(t *testing.T) {
	prom, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("prometheus is not on PATH (Debian: package prometheus)")
	}
	o := options(2)
	set := New(o)
	report(set, o)
	s := serve(t, ServeOptions{Set: set})
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	api := startPrometheus(ctx, t, prom, strings.TrimSuffix(strings.TrimPrefix(s.URL, "http://"), "/"))
	for _, q := range []struct{ query, want string }{
		{"locorun_images_total", "256"},
		{`locorun_unit_wait_seconds_total{unit="ub",reason="gradient"}`, "0.5"},
		{`locorun_unit_step_seconds_count{unit="ua",phase="forward"}`, "1"},
		{"count(up{job=\"locorun\"} == 1)", "1"},
	} {
		if got := queryUntil(ctx, t, api, q.query); got != q.want {
			t.Errorf("%s is %q, want %q", q.query, got, q.want)
		}
	}
	if got := alertNames(ctx, t, api); len(got) != len(alerts()) {
		t.Errorf("Prometheus loaded the rules %v, the table has %d", got, len(alerts()))
	}
}

func startPrometheus(ctx context.Context, t *testing.T, program, target string) (api string) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "rules.yml"), Rules())
	write(t, filepath.Join(dir, "prometheus.yml"), fmt.Sprintf(`
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
scrape_configs:
- job_name: locorun
  static_configs: [{targets: [%q]}]
`, target))
	addr := freeAddr(t)
	cmd := exec.CommandContext(ctx, program,
		"--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"),
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

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// queryUntil repeats an instant query until it has an answer or ctx ends.
func queryUntil(ctx context.Context, t *testing.T, api, query string) string {
	t.Helper()
	for {
		var r struct {
			Data struct {
				Result []struct{ Value [2]any }
			}
		}
		if get(ctx, api+"query?query="+url.QueryEscape(query), &r) == nil && len(r.Data.Result) > 0 {
			return fmt.Sprint(r.Data.Result[0].Value[1])
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no answer to %s", query)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func alertNames(ctx context.Context, t *testing.T, api string) (names []string) {
	t.Helper()
	var r struct {
		Data struct {
			Groups []struct{ Rules []struct{ Name string } }
		}
	}
	if err := get(ctx, api+"rules", &r); err != nil {
		t.Fatal(err)
	}
	for _, g := range r.Data.Groups {
		for _, rule := range g.Rules {
			names = append(names, rule.Name)
		}
	}
	return names
}

func get(ctx context.Context, url string, into any) error {
	r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}
