package check

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/dsl"
	"github.com/locorun/locorun/dsl/diag"
	"github.com/locorun/locorun/graphs/std"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// program is a program of an archive: its first file is the root, the others
// are read when imported. The archive's comment may hold lines that begin with
// "-D name=value" or "--method name".
type program struct {
	archive *txtar.Archive
	path    string
}

// result is the name of the file of an archive that holds what is expected.
const result = "expected"

func load(t *testing.T, path string) program {
	t.Helper()
	a, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return program{a, path}
}

func (p program) options() Options {
	opt := Options{Std: std.Files, Defines: map[string]string{}}
	for _, line := range strings.Split(string(p.archive.Comment), "\n") {
		if define, ok := strings.CutPrefix(line, "-D "); ok {
			name, value, _ := strings.Cut(define, "=")
			opt.Defines[name] = value
		}
		if m, ok := strings.CutPrefix(line, "--method "); ok {
			opt.Method = m
		}
	}
	opt.Read = func(name string) ([]byte, error) {
		for _, f := range p.archive.Files[1:] {
			if f.Name == name && f.Name != result {
				return f.Data, nil
			}
		}
		return nil, fs.ErrNotExist
	}
	return opt
}

func (p program) check() (*model.Net, diag.List) {
	f, list := p.parse()
	if list.HasErrors() {
		return nil, list
	}
	return Check(f, p.options())
}

func (p program) parse() (*dsl.File, diag.List) {
	return dsl.Parse(p.archive.Files[0].Name, p.archive.Files[0].Data)
}

func (p program) render(t *testing.T, list diag.List) string {
	t.Helper()
	var b bytes.Buffer
	f, _ := p.parse()
	if err := diag.Render(&b, list, Source(f, p.options()), diag.RenderOptions{}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// compare sets the result beside the one expected.
func (p program) compare(t *testing.T, got string) {
	t.Helper()
	a, n := p.archive, len(p.archive.Files)
	if *update {
		if a.Files[n-1].Name == result {
			a.Files = a.Files[:n-1]
		}
		a.Files = append(a.Files, txtar.File{Name: result, Data: []byte(got)})
		if err := os.WriteFile(p.path, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if a.Files[n-1].Name != result {
		t.Fatalf("%s has no file %q", p.path, result)
	}
	if want := string(a.Files[n-1].Data); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func archives(t *testing.T, dir string, run func(*testing.T, program)) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", dir, "*.txtar"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no archives in %s (%v)", dir, err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) { run(t, load(t, path)) })
	}
}

// TestGood prints the model of correct programs, after their warnings.
func TestGood(t *testing.T) {
	archives(t, "good", func(t *testing.T, p program) {
		net, list := p.check()
		if net == nil {
			t.Fatalf("refused:\n%s", p.render(t, list))
		}
		p.compare(t, p.render(t, list)+dump(net))
	})
}

// TestWrong renders the diagnostics of wrong programs. The time it allows is
// there to find a hang; nothing here takes a second.
func TestWrong(t *testing.T) {
	archives(t, "wrong", func(t *testing.T, p program) {
		var net *model.Net
		var list diag.List
		done := make(chan struct{})
		go func() {
			defer close(done)
			net, list = p.check()
		}()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("still checking")
		}
		if net != nil || !list.HasErrors() {
			t.Errorf("accepted")
		}
		p.compare(t, p.render(t, list))
	})
}

// TestPaper checks the paper's networks in all methods.
func TestPaper(t *testing.T) {
	paths, err := filepath.Glob("../../examples/paper/*.loco")
	if err != nil || len(paths) != 4 {
		t.Fatalf("%d programs (%v)", len(paths), err)
	}
	for _, path := range paths {
		for _, method := range methods {
			t.Run(filepath.Base(path)+" "+method, func(t *testing.T) {
				src, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				f, list := dsl.Parse(filepath.Base(path), src)
				net, more := Check(f, Options{Std: std.Files, Method: method})
				if list = append(list, more...); len(list) > 0 || net == nil {
					t.Fatal(list.Error())
				}
			})
		}
	}
}
