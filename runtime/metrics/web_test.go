package metrics

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
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

func writeCertificate(t *testing.T, dir string) {
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

func TestTLS(t *testing.T) {
	path := webConfig(t, "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n")
	s := serve(t, ServeOptions{WebConfig: path})
	if !strings.HasPrefix(s.URL, "https://127.0.0.1:") {
		t.Errorf("URL %s", s.URL)
	}
	pool := x509.NewCertPool()
	cert, err := os.ReadFile(filepath.Join(filepath.Dir(path), "cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool.AppendCertsFromPEM(cert)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get(s.URL + "healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || resp.TLS == nil {
		t.Errorf("%d, TLS %v", resp.StatusCode, resp.TLS != nil)
	}
}

func TestPassword(t *testing.T) {
	// The hash is of "secret", at the lowest cost.
	path := webConfig(t, "basic_auth_users:\n  ann: $2a$04$0AWnDMOzWEWOfjhZJ.vHtu3x7nKGZ0aF7zOEnU6IHDbIzIwMjykUC\n")
	s := serve(t, ServeOptions{WebConfig: path})
	if !strings.HasPrefix(s.URL, "http://") {
		t.Errorf("URL %s", s.URL)
	}
	if code, _, _ := ask(t, "GET", s.URL+"healthz"); code != 401 {
		t.Errorf("without a password: %d", code)
	}
	url := strings.Replace(s.URL, "http://", "http://ann:secret@", 1)
	if code, _, _ := ask(t, "GET", url+"healthz"); code != 200 {
		t.Errorf("with the password: %d", code)
	}
}

func TestWrongWebConfig(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none.yml")
	for path, want := range map[string]string{
		missing: "web config " + missing + ": open " + missing + ": no such file or directory",
		webConfig(t, "tls_server_config:\n  cert_file: none.pem\n  key_file: none.pem\n"): "web config ",
		webConfig(t, "nonsense: 1\n"): "web config ",
	} {
		_, err := Serve(context.Background(), ServeOptions{Addr: "127.0.0.1:0", WebConfig: path})
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
