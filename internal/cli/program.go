package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"github.com/locorun/locorun/compiler"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/dsl/diag"
	"github.com/locorun/locorun/graphs/std"
)

// program is the arguments that name a program.
type program struct {
	File   string            `arg:"" help:"The .loco file."`
	Define map[string]string `short:"D" placeholder:"NAME=VALUE" help:"Set a param of the file."`
	Method string            `enum:"loco,gim,e2e" default:"loco" help:"Cut the stages into units as written (loco), one stage a unit (gim), or all in one (e2e)."`
}

// text is a program's text with all it imports, by name.
type text struct {
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
	main, err := os.ReadFile(p.File)
	if err != nil {
		return nil, nil, nil, wrong{readable(err)}
	}
	src := &text{main: main, files: map[string][]byte{p.File: main}}
	net, found := compiler.Compile(p.File, main, compiler.Options{
		Defines: p.Define, Method: p.Method, Std: std.Files,
		Read: func(path string) ([]byte, error) {
			b, err := os.ReadFile(filepath.Join(filepath.Dir(p.File), path))
			if err == nil {
				src.files[path] = b
			}
			return b, err
		},
	})
	return net, src, found, nil
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
func (p *program) defines() map[string]string { return maps.Clone(p.Define) }
