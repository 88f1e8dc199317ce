package metrics

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// webConfig writes a web config, with a certificate beside it if it names one.
func webConfig(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "web.yml"), text)
	if strings.Contains(text, "cert.pem") {
		writeCertificate(t, dir)
	}
	return filepath.Join(dir, "web.yml")
}

func writeCertificate(t testing.TB, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "cert.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, filepath.Join(dir, "key.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
}

// trusting makes a client's side that trusts the certificate in a directory.
func trusting(t *testing.T, dir string) *http.Transport {
	t.Helper()
	cert, err := os.ReadFile(filepath.Join(dir, "cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

func TestTLS(t *testing.T) {
	path := webConfig(t, "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n")
	s := serve(t, ServeOptions{WebConfig: path})
	if !strings.HasPrefix(s.URL, "https://127.0.0.1:") {
		t.Errorf("URL %s", s.URL)
	}
	resp, err := (&http.Client{Transport: trusting(t, filepath.Dir(path))}).Get(s.URL + "healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || resp.TLS == nil {
		t.Errorf("%d, TLS %v", resp.StatusCode, resp.TLS != nil)
	}
}

// ann may come in with "secret"; the hash is of the lowest cost.
const ann = "basic_auth_users:\n  ann: $2a$04$0AWnDMOzWEWOfjhZJ.vHtu3x7nKGZ0aF7zOEnU6IHDbIzIwMjykUC\n"

func TestPassword(t *testing.T) {
	path := webConfig(t, ann)
	s := serve(t, ServeOptions{Set: New(options(1)), WebConfig: path})
	if !strings.HasPrefix(s.URL, "http://") {
		t.Errorf("URL %s", s.URL)
	}
	for who, want := range map[string]int{"": 401, "ann:secret@": 200, "ann:wrong@": 401, "ann:@": 401, "bob:secret@": 401, "bob:fakepassword@": 401} {
		for _, path := range []string{"", "metrics", "healthz", "readyz"} {
			url := strings.Replace(s.URL, "http://", "http://"+who, 1) + path
			if code, header, _ := ask(t, "GET", url); code != want || (want == 401) != (header.Get("WWW-Authenticate") == "Basic") {
				t.Errorf("%s: %d, want %d", url, code, want)
			}
		}
	}
}

func TestWrongWebConfig(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none.yml")
	users := "basic_auth_users:\n  ann: "
	for _, tt := range []struct{ name, path, want string }{
		{"missing", missing, "no such file or directory"},
		{"a directory", t.TempDir(), "this is no ordinary file (d"},
		{"a device", "/dev/zero", "this is no ordinary file (Dcrw-rw-rw-)"},
		{"a file without a size", "/proc/self/status", "this holds other than the 0 bytes it says it has"},
		{"huge", webConfig(t, strings.Repeat("#", maxWebConfig+1)), "1048577 bytes, the most is 1048576"},
		{"no certificate", webConfig(t, "tls_server_config: {cert_file: /none.pem, key_file: /none.pem}"), "cert_file /none.pem: no such file or directory"},
		{"a device for a key", webConfig(t, "tls_server_config: {cert_file: cert.pem, key_file: /dev/zero}"), "key_file /dev/zero: this is no ordinary file (Dcrw-rw-rw-)"},
		{"a directory of authorities", webConfig(t, "tls_server_config: {cert_file: cert.pem, key_file: key.pem, client_ca_file: /}"), "client_ca_file /: this is no ordinary file (d"},
		{"no key", webConfig(t, "tls_server_config: {cert_file: cert.pem}"), "missing one of key or key_file"},
		{"authorities that nobody asks", webConfig(t, "tls_server_config: {cert_file: cert.pem, key_file: key.pem, client_ca_file: cert.pem}"), "client CA's have been configured without a Client Auth Policy"},
		{"no version left", webConfig(t, "tls_server_config: {cert_file: cert.pem, key_file: key.pem, min_version: TLS13, max_version: TLS12}"), "tls_server_config: min_version is above max_version"},
		{"unknown key", webConfig(t, "nonsense: 1\n"), "yaml: unmarshal errors:   line 1: field nonsense not found in type web.Config"},
		{"no YAML", webConfig(t, "{"), "yaml: "},
		{"not a hash", webConfig(t, users+"secret"), "crypto/bcrypt: "},
		{"a hash that takes days", webConfig(t, users+"$2a$31$0AWnDMOzWEWOfjhZJ.vHtu3x7nKGZ0aF7zOEnU6IHDbIzIwMjykUC"), `basic_auth_users: the hash of "ann" has cost 31, the most is 14`},
		{"a header in two lines", webConfig(t, `http_server_config: {headers: {Content-Security-Policy: "deny\r\nSet-Cookie: a"}}`), `http_server_config: headers: Content-Security-Policy holds the control character '\r', which no header may`},
		{"an escape in a header", webConfig(t, `http_server_config: {headers: {Content-Security-Policy: "\e[2J"}}`), `http_server_config: headers: Content-Security-Policy holds the control character '\x1b', which no header may`},
		{"escapes for the terminal", webConfig(t, `"\e[2Jhidden\rtext": 1`), "yaml: unmarshal errors:   line 1: field  [2Jhidden text not found"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Serve(context.Background(), ServeOptions{Addr: "127.0.0.1:0", WebConfig: tt.path})
			if want := "web config " + tt.path + ": " + tt.want; err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}

// TestWebConfigFIFO: nobody writes to it; who opened it would wait for ever.
func TestWebConfigFIFO(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip(err)
	}
	write(t, filepath.Join(dir, "web.yml"), "tls_server_config: {cert_file: pipe, key_file: pipe}")
	for path, want := range map[string]string{
		pipe:                          "web config " + pipe + ": this is no ordinary file (prw-------)",
		filepath.Join(dir, "web.yml"): "web config " + filepath.Join(dir, "web.yml") + ": cert_file " + pipe + ": this is no ordinary file (prw-------)",
	} {
		if _, err := checkWebConfig(path); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestWebConfigBombs: texts of the greatest length that are made to be large in
// memory, or to take long, are refused with a short reason. The test's own time
// limit is the bound of the time; the memory is measured.
func TestWebConfigBombs(t *testing.T) {
	var billion strings.Builder
	billion.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x]\n")
	for i := range 30 {
		fmt.Fprintf(&billion, "a%d: &a%d [%s*a%d]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d, ", i), 8), i)
	}
	for name, text := range map[string]string{
		"aliases":          billion.String(),
		"aliases in use":   "x: &x {cert: a}\ny: [" + strings.Repeat("*x, ", maxWebConfig/5) + "1]\n",
		"merges":           "m: &m\n  <<: *m\ntls_server_config: {<<: *m}\n",
		"deep":             strings.Repeat("[", maxWebConfig),
		"deep in blocks":   strings.Repeat("- ", maxWebConfig/2),
		"deep in maps":     strings.Repeat("{a: ", maxWebConfig/4),
		"many lines":       strings.Repeat("\n", maxWebConfig),
		"just few enough":  "basic_auth_users: {" + strings.Repeat("a,", maxMarks-10) + "}",
		"wide":             "basic_auth_users: {" + strings.Repeat("a,", maxWebConfig/2-100) + "}",
		"many keys":        strings.Repeat("x: 1\n", maxWebConfig/5),
		"one long scalar":  strings.Repeat("x", maxWebConfig),
		"one hash for all": "basic_auth_users: {a: &h " + strings.Repeat("x", maxWebConfig/2) + strings.Repeat(", ? b : *h", maxWebConfig/30) + "}",
		"zeros":            strings.Repeat("\x00", maxWebConfig),
	} {
		t.Run(name, func(t *testing.T) {
			path := webConfig(t, text)
			var before, after goruntime.MemStats
			goruntime.ReadMemStats(&before)
			_, err := checkWebConfig(path)
			goruntime.ReadMemStats(&after)
			if err == nil || !strings.HasPrefix(err.Error(), "web config "+path+": ") || len(err.Error()) > len(path)+2*maxReason {
				t.Errorf("got %v", err)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 128<<20 {
				t.Errorf("%d MiB were allocated", n>>20)
			}
		})
	}
}

// TestClientCertificates: who has none, or one of another name, gets nothing.
func TestClientCertificates(t *testing.T) {
	const head = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n  client_ca_file: cert.pem\n  client_auth_type: RequireAndVerifyClientCert\n"
	for _, tt := range []struct {
		name, config string
		shown, ok    bool
	}{
		{"none is shown", head, false, false},
		{"the right one is shown", head, true, true},
		{"of an allowed name", head + "  client_allowed_sans: [127.0.0.1]\n", true, true},
		{"of another name", head + "  client_allowed_sans: [other.example]\n", true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := webConfig(t, tt.config)
			s := serve(t, ServeOptions{WebConfig: path})
			dir := filepath.Dir(path)
			c := trusting(t, dir)
			if tt.shown {
				pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
				if err != nil {
					t.Fatal(err)
				}
				c.TLSClientConfig.Certificates = []tls.Certificate{pair}
			}
			resp, err := (&http.Client{Transport: c}).Get(s.URL + "healthz")
			if err == nil {
				_ = resp.Body.Close()
			}
			if got := err == nil && resp.StatusCode == 200; got != tt.ok {
				t.Errorf("answered: %v, want %v (%v)", got, tt.ok, err)
			}
		})
	}
}

// TestEverythingAtOnce: TLS, a password and HTTP/2, and a scrape goes through.
func TestEverythingAtOnce(t *testing.T) {
	o := options(1)
	set := New(o)
	report(set, o)
	path := webConfig(t, "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n"+ann)
	s := serve(t, ServeOptions{Set: set, WebConfig: path})
	resp, err := (&http.Client{Transport: trusting(t, filepath.Dir(path))}).Get(strings.Replace(s.URL, "https://", "https://ann:secret@", 1) + "metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || resp.ProtoMajor != 2 || !strings.Contains(string(body), "\nlocorun_images_total 256\n") {
		t.Errorf("%s %d %v\n%s", resp.Proto, resp.StatusCode, err, body)
	}
}
