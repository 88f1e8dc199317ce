package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/locorun/locorun/dsl"
)

// fmtCmd lays out files.
type fmtCmd struct {
	Files []string `arg:"" help:"Files to lay out; - reads stdin and writes stdout."`
	Check bool     `help:"Write nothing; list the files whose layout differs and exit 1."`
}

// Help shows an example.
func (fmtCmd) Help() string {
	return "Examples:\n  locorun fmt graph.loco\n  locorun fmt --check *.loco"
}

// Run rewrites each file whose layout differs.
func (c *fmtCmd) Run(env *Env) error {
	differ := false
	for _, f := range c.Files {
		changed, err := c.file(env, f)
		if err != nil {
			return err
		}
		differ = differ || changed
	}
	if c.Check && differ {
		return quiet{exitFailed}
	}
	return nil
}

func (c *fmtCmd) file(env *Env, name string) (changed bool, err error) {
	have, err := c.read(env, name)
	if err != nil {
		return false, wrong{readable(err)}
	}
	f, found := dsl.Parse(name, have)
	if found.HasErrors() {
		report(env, found, &text{files: map[string][]byte{name: have}}, false)
		return false, quiet{exitWrong}
	}
	out := dsl.Format(f)
	if name == "-" && !c.Check {
		_, err := env.Stdout.Write(out)
		return false, err
	}
	if bytes.Equal(out, have) {
		return false, nil
	}
	fmt.Fprintln(env.Stdout, name)
	if c.Check {
		return true, nil
	}
	return true, rewrite(name, out)
}

// rewrite gives a file another text, whole or not at all, and leaves its mode
// as it is and a link to it a link.
func rewrite(name string, text []byte) error {
	path, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if err := writeFile(path, func(w io.Writer) error { _, err := w.Write(text); return err }); err != nil {
		return err
	}
	return os.Chmod(path, info.Mode().Perm())
}

func (c *fmtCmd) read(env *Env, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(env.Stdin, maxProgram))
	}
	return readProgram(name)
}
