package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/locorun/locorun/compiler/check"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/dsl"
)

// call runs the command line in this process.
func call(env Env, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	env.Stdin, env.Stdout, env.Stderr, env.Context = strings.NewReader(""), &out, &errs, context.Background()
	if env.Getenv == nil {
		env.Getenv = func(string) string { return "" }
	}
	code = Main(args, env)
	return code, out.String(), errs.String()
}

// TestHelp asks every verb for an example that begins with the command's name.
func TestHelp(t *testing.T) {
	for _, verb := range []string{"run", "check", "plan", "fmt", "graph", "explain", "views", "new", "eval", "embed", "export", "inspect", "version",
		"bench", "bench kernels", "bench step", "bench memory", "bench views"} {
		code, out, errs := call(Env{}, append(strings.Fields(verb), "--help")...)
		if code != 0 || errs != "" {
			t.Errorf("%s --help: exit %d\n%s", verb, code, errs)
		}
		_, example, ok := strings.Cut(out, "Example")
		if !ok || !strings.Contains(example, "locorun ") || !strings.Contains(example, verb) && verb != "run" {
			t.Errorf("%s --help shows no example:\n%s", verb, out)
		}
	}
}

// TestExplainCodes asks for every code of the language and looks for the
// message itself.
func TestExplainCodes(t *testing.T) {
	var codes []string
	for _, r := range dsl.Codes() {
		codes = append(codes, string(r.Code))
	}
	for _, r := range check.Codes() {
		codes = append(codes, string(r.Code))
	}
	for _, c := range codes {
		code, out, errs := call(Env{}, "explain", c)
		shown := strings.Contains(out, "["+c+"]: ") || strings.Contains(out, "times over")
		if code != 0 || errs != "" || !strings.HasPrefix(out, c+": ") || !shown {
			t.Errorf("explain %s: exit %d\n%s%s", c, code, out, errs)
		}
	}
}

// TestColours wants them on a terminal that has them, unless NO_COLOR asks for
// none.
func TestColours(t *testing.T) {
	file := filepath.Join(t.TempDir(), "wrong.loco")
	if err := os.WriteFile(file, []byte("loco 1\nstge s1 { relu }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		terminal bool
		vars     map[string]string
		want     bool
	}{
		{"terminal", true, nil, true},
		{"no terminal", false, nil, false},
		{"NO_COLOR", true, map[string]string{"NO_COLOR": "1"}, false},
		{"dumb terminal", true, map[string]string{"TERM": "dumb"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, _, errs := call(Env{Terminal: c.terminal, Getenv: func(k string) string { return c.vars[k] }}, "check", file)
			if got := strings.Contains(errs, "\x1b["); got != c.want || code != exitWrong {
				t.Errorf("exit %d, colours %v, want %v:\n%q", code, got, c.want, errs)
			}
		})
	}
}

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]int64{
		"": 0, "1B": 1, "500MB": 500e6, "2GiB": 2 << 30, "1.5KiB": 1536, "3 GB": 3e9, "1TiB": 1 << 40,
	} {
		if got, err := parseBytes(text); err != nil || got != want {
			t.Errorf("parseBytes(%q) is %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"10", "MB", "-1MB", "0GiB", "1e300TiB", "NaNMB", "2 gigs"} {
		if got, err := parseBytes(text); err == nil {
			t.Errorf("parseBytes(%q) is %d, want an error", text, got)
		}
	}
}

func TestSpan(t *testing.T) {
	for seconds, want := range map[float64]string{
		0.2: "less than a second", 1: "1 second", 99: "99 seconds", 180: "3 minutes",
		7200: "2.0 hours", 864000: "10.0 days",
	} {
		if got := span(seconds); got != want {
			t.Errorf("span(%g) is %q, want %q", seconds, got, want)
		}
	}
}

// TestPanicIsAnError looks at what a bug in locorun prints.
func TestPanicIsAnError(t *testing.T) {
	var errs bytes.Buffer
	code := -1
	if got := guarded(&code, Env{Stderr: &errs}, func() int { panic("out of cheese") }); got != exitFailed {
		t.Errorf("exit %d", got)
	}
	if !strings.Contains(errs.String(), "internal error: out of cheese") {
		t.Error(errs.String())
	}
}

// TestResumedDisplay: the name is that of the file, not of its copy in the run
// directory, and the time that is left follows from the batches that this
// process trained.
func TestResumedDisplay(t *testing.T) {
	sc := newScreen(&Env{Getenv: os.Getenv}, &model.Net{Units: []*model.Unit{{Name: "low"}}})
	if sc.metrics("some/quick.loco", "gim", []string{"cpu"}, &model.Net{}); sc.page.Graph != "quick.loco" || sc.page.Method != "gim" {
		t.Errorf("the page tells of %q, method %q", sc.page.Graph, sc.page.Method)
	}
	sc.resumed(30)
	if o := sc.options(40, 10); o.Start != 30 || o.Total != 40 || o.Epoch != 10 {
		t.Errorf("%+v", o)
	}
}
