package cli

import (
	"fmt"
	"io/fs"
	"strings"

	"github.com/locorun/locorun/compiler"
	"github.com/locorun/locorun/compiler/check"
	"github.com/locorun/locorun/dsl"
	"github.com/locorun/locorun/dsl/diag"
	"github.com/locorun/locorun/graphs/std"
)

// sample is a wrong program that shows a code, and what it is compiled with.
type sample struct {
	meaning, text string
	times         int // that the text stands in the file, where more than once
	options       compiler.Options
}

// explainCode prints what a code means and the message it comes in.
func explainCode(env *Env, code diag.Code) error {
	s, ok := sampleOf(code)
	if !ok {
		return wrongf("no diagnostic has the code %s; `locorun check` prints a code with every message", code)
	}
	fmt.Fprintf(env.Stdout, "%s: %s\n\n", code, s.meaning)
	if s.times > 1 {
		fmt.Fprintf(env.Stdout, "For example %q, %d times over.\n", s.text, s.times)
		return nil
	}
	_, found := compiler.Compile(sampleName, []byte(s.text), s.options)
	var shown diag.List
	for _, d := range found {
		if d.Code == code {
			shown = append(shown, d)
		}
	}
	err := diag.Render(env.Stdout, shown, func(string) []byte { return []byte(s.text) }, diag.RenderOptions{})
	fmt.Fprintln(env.Stdout)
	return err
}

// sampleName is the name of the wrong programs shown.
const sampleName = "base.loco"

// sampleOf finds a code in the tables of the parser and the checker.
func sampleOf(code diag.Code) (sample, bool) {
	for _, r := range dsl.Codes() {
		if r.Code == code {
			return sample{meaning: r.Meaning, text: r.Example, times: r.Times}, true
		}
	}
	for _, r := range check.Codes() {
		if r.Code == code {
			return sample{meaning: r.Meaning, text: changed(r), options: sampleOptions(r)}, true
		}
	}
	return sample{}, false
}

// changed is the checker's small program with a row's example in its place.
func changed(r check.CodeRow) string {
	if r.Instead == "" {
		return check.Base + r.Example + "\n"
	}
	before, rest, _ := strings.Cut("\n"+check.Base, "\n"+r.Instead)
	_, after, _ := strings.Cut(rest, "\n")
	return strings.TrimPrefix(before+"\n"+r.Example+"\n"+after, "\n")
}

func sampleOptions(r check.CodeRow) compiler.Options {
	opt := compiler.Options{
		Std: std.Files, Method: r.Method, Defines: map[string]string{},
		Read: func(string) ([]byte, error) { return nil, fs.ErrNotExist },
	}
	if name, value, ok := strings.Cut(r.Define, "="); ok {
		opt.Defines[name] = value
	}
	return opt
}
