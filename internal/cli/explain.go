package cli

import (
	"fmt"
	"regexp"

	"github.com/locorun/locorun/dsl"
)

// explainCmd explains a program or a diagnostic's code.
type explainCmd struct {
	What   string            `arg:"" help:"A .loco file, or a code such as L0203."`
	Define map[string]string `short:"D" placeholder:"NAME=VALUE" help:"Set a param of the file."`
	Method string            `enum:"loco,gim,e2e" default:"loco" help:"loco, gim or e2e."`
}

// Help shows an example.
func (explainCmd) Help() string {
	return "Examples:\n  locorun explain examples/quickstart.loco\n  locorun explain L0203"
}

var codePattern = regexp.MustCompile(`^L\d{4}$`)

// Run explains.
func (c *explainCmd) Run(env *Env) error {
	if codePattern.MatchString(c.What) {
		return explainCode(env, c.What)
	}
	p := program{File: c.What, Define: c.Define, Method: c.Method}
	net, _, err := p.compile(env, false)
	if err != nil {
		return err
	}
	pl, err := planOf(net, memoryFlags{Depth: 1})
	if err != nil {
		return err
	}
	return pl.Explain(env.Stdout)
}

// explainCode prints what a code means and a program that shows it.
func explainCode(env *Env, code string) error {
	for _, r := range dsl.Codes() {
		if string(r.Code) == code {
			fmt.Fprintf(env.Stdout, "%s: %s\n\n%s\n", r.Code, r.Meaning, r.Example)
			return nil
		}
	}
	return wrongf("no diagnostic has the code %s", code)
}
