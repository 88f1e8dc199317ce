package metrics

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v2"
)

// Limits of the web config file and of the files it names.
const (
	// maxWebConfig is the most bytes of each.
	maxWebConfig = 1 << 20
	// maxMarks is the most marks of YAML's structure that the config has: each
	// may cost the reader of YAML some hundred bytes.
	maxMarks = 100_000
	// maxBcryptCost is the most that the hash of a password may cost: about a
	// second of one core per login. Each step more doubles it, and logins are
	// checked one after the other.
	maxBcryptCost = 14
	// maxReason is the most characters of a reason that we print.
	maxReason = 400
)

// checkWebConfig reads the file that sets TLS and passwords, in the form that
// all of Prometheus' own programs take, and says whether the endpoint speaks
// TLS. No file: no TLS. An error names the file and what is wrong with it.
//
// The toolkit trusts the file's size and kind, so we look at those first: a
// FIFO would hold the start up for ever, a device would fill the memory.
func checkWebConfig(path string) (tls bool, err error) {
	if path == "" {
		return false, nil
	}
	c, err := readWebConfig(path)
	if err != nil {
		return false, fmt.Errorf("web config %s: %w", path, err)
	}
	return c.TLSConfig.IsEnabled(), nil
}

func readWebConfig(path string) (*web.Config, error) {
	text, err := readOrdinary(path)
	if err != nil {
		return nil, err
	}
	if n := marks(text); n > maxMarks {
		return nil, fmt.Errorf("%d commas, colons, dashes, brackets and lines, the most is %d", n, maxMarks)
	}
	// The same defaults as the toolkit's, which keeps its own reading to itself.
	c := &web.Config{TLSConfig: web.TLSConfig{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13}}
	if err := yaml.UnmarshalStrict(text, c); err != nil {
		return nil, reason{err}
	}
	if c.TLSConfig.MinVersion > c.TLSConfig.MaxVersion {
		return nil, errors.New("tls_server_config: min_version is above max_version")
	}
	c.TLSConfig.SetDirectory(filepath.Dir(path))
	if err := checkNamedFiles(&c.TLSConfig); err != nil {
		return nil, err
	}
	if err := web.Validate(path); err != nil {
		return nil, reason{err}
	}
	if err := checkHeaders(c.HTTPConfig.Header); err != nil {
		return nil, err
	}
	return c, checkUsers(c)
}

// checkHeaders refuses what no client reads: a value may hold no control
// character but a tab (RFC 9110, 5.5).
func checkHeaders(headers map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		value := headers[name]
		at := strings.IndexFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
		if at >= 0 {
			return fmt.Errorf("http_server_config: headers: %s holds the control character %q, which no header may", name, value[at])
		}
	}
	return nil
}

// marks counts what may begin a node of YAML.
func marks(text []byte) (n int) {
	for _, c := range text {
		if strings.IndexByte(",:-?[{&*\n\r", c) >= 0 {
			n++
		}
	}
	return n
}

// checkNamedFiles looks at the files that the toolkit is going to read.
func checkNamedFiles(c *web.TLSConfig) error {
	for _, f := range []struct{ key, path string }{
		{"cert_file", c.TLSCertPath}, {"key_file", c.TLSKeyPath}, {"client_ca_file", c.ClientCAs},
	} {
		if f.path == "" {
			continue
		}
		if _, err := readOrdinary(f.path); err != nil {
			return reason{fmt.Errorf("%s %s: %w", f.key, f.path, err)}
		}
	}
	return nil
}

// checkUsers refuses hashes that take too long to compare with.
func checkUsers(c *web.Config) error {
	var names []string
	for name := range c.Users {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if cost := bcryptCost(string(c.Users[name])); cost > maxBcryptCost {
			return reason{fmt.Errorf("basic_auth_users: the hash of %q has cost %d, the most is %d", name, cost, maxBcryptCost)}
		}
	}
	return nil
}

// bcryptCost is the number in $2b$10$..., of a hash that the toolkit accepted.
func bcryptCost(hash string) int {
	parts := strings.SplitN(hash, "$", 4)
	if len(parts) < 4 {
		return maxBcryptCost + 1
	}
	cost, err := strconv.Atoi(parts[2])
	if err != nil {
		return maxBcryptCost + 1
	}
	return cost
}

// readOrdinary reads a file of a bounded size. What is no ordinary file is
// refused before it is opened; a file whose bytes are not those it says it has,
// as in /proc, is none. The error does not name the path.
func readOrdinary(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, cause(err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("this is no ordinary file (%s)", info.Mode())
	case info.Size() > maxWebConfig:
		return nil, fmt.Errorf("%d bytes, the most is %d", info.Size(), maxWebConfig)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, cause(err)
	}
	text, err := io.ReadAll(io.LimitReader(f, info.Size()+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, cause(err)
	}
	if int64(len(text)) != info.Size() {
		return nil, fmt.Errorf("this holds other than the %d bytes it says it has", info.Size())
	}
	return text, nil
}

// cause leaves out the path, which the caller's message has.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// reason is an error made of words from a file: cut to a readable length, and
// without characters that would move a terminal's cursor.
type reason struct{ error }

func (r reason) Unwrap() error { return r.error }

// Error implements error.
func (r reason) Error() string {
	var b strings.Builder
	n := 0
	for _, c := range r.error.Error() {
		if n++; n > maxReason {
			b.WriteString(" ...")
			break
		}
		if !unicode.IsPrint(c) {
			c = ' '
		}
		b.WriteRune(c)
	}
	return b.String()
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
