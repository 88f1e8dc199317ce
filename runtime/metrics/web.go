package metrics

import (
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v2"
)

// checkWebConfig reads the file that sets TLS and passwords, in the form that
// all of Prometheus' own programs take, and says whether the endpoint speaks
// TLS. No file: no TLS.
func checkWebConfig(path string) (tls bool, err error) {
	if path == "" {
		return false, nil
	}
	if err := web.Validate(path); err != nil {
		return false, fmt.Errorf("web config %s: %w", path, err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return false, fmt.Errorf("web config: %w", err)
	}
	// The toolkit keeps its own reading of the file to itself.
	var c struct {
		TLS map[string]any `yaml:"tls_server_config"`
	}
	if err := yaml.Unmarshal(text, &c); err != nil {
		return false, fmt.Errorf("web config %s: %w", path, err)
	}
	return len(c.TLS) > 0, nil
}

// accept answers on l until the server is shut down, with TLS and passwords as
// the web config says; the toolkit reads it anew for each request, so that a
// certificate can be renewed while the run goes on.
func (s *Server) accept(l net.Listener, o ServeOptions) error {
	if o.WebConfig == "" {
		return s.http.Serve(l)
	}
	quiet := slog.New(slog.NewTextHandler(logWriter{o}, &slog.HandlerOptions{Level: slog.LevelError}))
	return web.Serve(l, s.http, &web.FlagConfig{WebConfigFile: &o.WebConfig}, quiet)
}
