package cli

import (
	"regexp"

	"github.com/locorun/locorun/dsl/diag"
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
		return explainCode(env, diag.Code(c.What))
	}
	p := program{File: c.What, settings: settings{Define: c.Define, Method: c.Method}}
	net, _, err := p.compile(env, false)
	if err != nil {
		return err
	}
	pl, err := planOf(net, memoryFlags{}, 0, nil)
	if err != nil {
		return err
	}
	return pl.Explain(env.Stdout)
}
