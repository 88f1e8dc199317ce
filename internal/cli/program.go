package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"github.com/locorun/locorun/compiler"
	"github.com/locorun/locorun/compiler/check"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/dsl/diag"
	"github.com/locorun/locorun/graphs/std"
)

// program is the arguments that name a program.
type program struct {
	File string `arg:"" help:"The .loco file."`
	settings
}

// settings are what a call changes of a program.
type settings struct {
	Define map[string]string `short:"D" placeholder:"NAME=VALUE" help:"Set a param of the file."`
	Method string            `enum:"loco,gim,e2e" default:"loco" help:"Cut the stages into units as written (loco), one stage a unit (gim), or all in one (e2e)."`
}

// text is a program's text with all it imports, by name.
type text struct {
	name  string
	main  []byte
	files map[string][]byte
}

// compile reads, parses and checks the program. Diagnostics go to stderr, or
// with json to stdout; an error among them exits 2.
func (p *program) compile(env *Env, json bool) (*model.Net, *text, error) {
	net, src, found, err := p.check()
	if err != nil {
		return nil, nil, err
	}
	if err := report(env, found, src, json); err != nil {
		return nil, nil, err
	}
	if found.HasErrors() {
		return nil, nil, quiet{exitWrong}
	}
	return net, src, nil
}

// check is compile without any printing.
func (p *program) check() (*model.Net, *text, diag.List, error) {
	main, err := readProgram(p.File)
	if err != nil {
		return nil, nil, nil, wrong{err}
	}
	src := &text{name: p.File, main: main, files: map[string][]byte{p.File: main}}
	read := check.Files(filepath.Dir(p.File))
	net, found := compiler.Compile(p.File, main, compiler.Options{
		Defines: p.Define, Method: p.Method, Std: std.Files,
		Read: func(path string) ([]byte, error) {
			b, err := read(path)
			if err == nil {
				src.files[path] = b
			}
			return b, err
		},
	})
	return net, src, found, nil
}

// maxProgram is one byte more than a program may have, so that the parser sees
// that there is too much.
const maxProgram = 1<<20 + 1

// readProgram reads an ordinary file, and no more of it than is needed to
// refuse it.
func readProgram(name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, readable(err)
	case info.IsDir():
		return nil, fmt.Errorf("%s: is a directory", name)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: is not an ordinary file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, readable(err)
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxProgram))
}

// readable drops the system call from a file error.
func readable(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return fmt.Errorf("%s: %w", pe.Path, pe.Err)
	}
	return err
}

// report prints diagnostics.
func report(env *Env, found diag.List, src *text, json bool) error {
	if len(found) == 0 {
		return nil
	}
	if json {
		return diag.WriteJSON(env.Stdout, found)
	}
	var b bytes.Buffer
	lookup := func(file string) []byte {
		if t, ok := src.files[file]; ok {
			return t
		}
		if rel, err := filepath.Rel(filepath.Dir(src.name), file); err == nil { // an imported file
			if t, ok := src.files[filepath.ToSlash(rel)]; ok {
				return t
			}
		}
		t, _ := fs.ReadFile(std.Files, filepath.Base(file))
		return t
	}
	if err := diag.Render(&b, found, lookup, diag.RenderOptions{Color: env.color()}); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err := env.Stderr.Write(b.Bytes())
	return err
}

// defines gives the -D settings as they would be typed, sorted.
func (p *settings) defines() map[string]string { return maps.Clone(p.Define) }
