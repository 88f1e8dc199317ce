package cli

import (
	"slices"
	"strings"

	"github.com/locorun/locorun/compiler/lower"
	"github.com/locorun/locorun/compiler/model"
	"github.com/locorun/locorun/graphs/device"
)

// graphCmd draws a program or prints a form of it.
type graphCmd struct {
	program
	memoryFlags
	tierFlag
	As    string `enum:"text,dot,ir" default:"text" help:"text: units under each other; dot: Graphviz; ir: the intermediate representation."`
	After string `placeholder:"PASS" help:"With --as ir: the form after this pass."`
}

// Help shows an example.
func (graphCmd) Help() string {
	return "Example:\n  locorun graph --as dot examples/quickstart.loco | dot -Tsvg -o graph.svg"
}

// Run prints the picture.
func (c *graphCmd) Run(env *Env) error {
	if c.After != "" && c.As != "ir" {
		return wrongf("--after goes with --as ir")
	}
	net, _, err := c.compile(env, false)
	if err != nil {
		return err
	}
	backend, err := c.tierFlag.backend()
	if err != nil {
		return err
	}
	defer backend.Close()
	if c.As == "ir" {
		return c.printIR(env, net, backend)
	}
	pl, err := planOf(net, c.memoryFlags, 0, backend)
	if err != nil {
		return err
	}
	if c.As == "dot" {
		return pl.DOT(env.Stdout)
	}
	return pl.Text(env.Stdout)
}

// printIR prints the program after a pass.
func (c *graphCmd) printIR(env *Env, net *model.Net, backend device.Backend) error {
	opt, _, err := c.choose(net, dataFlags{Workers: -1}.count(), backend)
	if err != nil {
		return err
	}
	if opt.After = c.After; c.After != "" && !slices.Contains(lower.Passes(), c.After) {
		return wrongf("no pass %q; passes are %s", c.After, strings.Join(lower.Passes(), ", "))
	}
	p, err := lower.Train(net, opt)
	if err != nil {
		return err
	}
	return p.Print(env.Stdout)
}
