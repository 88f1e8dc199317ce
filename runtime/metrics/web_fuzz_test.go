package metrics

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v2"
)

// FuzzWebConfig reads any text as a web config, beside a certificate that it may
// name. A text that is accepted serves: a request is answered, or turned away as
// the text says. One that is refused is refused by a short line that names the
// file. Neither panics, hangs or takes much memory.
func FuzzWebConfig(f *testing.F) {
	dir := f.TempDir()
	writeCertificate(f, dir)
	path := filepath.Join(dir, "web.yml")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		var logged string
		s, err := Serve(ctx, ServeOptions{Addr: "127.0.0.1:0", WebConfig: path, Log: func(line string) { logged = line }})
		if err != nil {
			checkRefusal(t, path, err)
			return
		}
		failed := knock(s.URL)
		s.Close()
		if failed != nil && !turnsAway(text) {
			t.Errorf("accepted, but %v (%s)", failed, logged)
		}
	})
}

func checkRefusal(t *testing.T, path string, err error) {
	text, head := err.Error(), "web config "+path+": "
	if !strings.HasPrefix(text, head) || len(text) <= len(head) || len(text) > len(path)+4*maxReason+200 {
		t.Errorf("no refusal with a path and a reason: %q", text)
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
		t.Errorf("the refusal holds a character that is not printed: %q", text)
	}
}

// knock asks a server for /healthz, on a connection that leaves nothing behind.
func knock(url string) error {
	addr := strings.TrimSuffix(url[strings.Index(url, "://")+3:], "/")
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	if err := c.(*net.TCPConn).SetLinger(0); err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	if strings.HasPrefix(url, "https://") {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10})
	}
	if _, err := fmt.Fprintf(c, "GET /healthz HTTP/1.1\r\nHost: %s\r\nAuthorization: Basic YW5uOnNlY3JldA==\r\n\r\n", addr); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK, http.StatusUnauthorized, http.StatusTooManyRequests:
		return nil
	}
	return fmt.Errorf("the answer is %s", resp.Status)
}

// turnsAway says whether a config asks for what our client does not have: a
// certificate, or a cipher or curve of the config's own choice.
func turnsAway(text []byte) bool {
	var c web.Config
	if yaml.Unmarshal(text, &c) != nil {
		return false
	}
	t := c.TLSConfig
	return strings.HasPrefix(t.ClientAuth, "Require") || len(t.CipherSuites) > 0 || len(t.CurvePreferences) > 0
}
