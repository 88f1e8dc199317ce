package cli

import "fmt"

// checkCmd checks a file.
type checkCmd struct {
	program
	JSON bool `help:"One JSON object per diagnostic, on stdout."`
}

// Help shows an example.
func (checkCmd) Help() string { return "Example:\n  locorun check --json examples/quickstart.loco" }

// Run prints diagnostics, or that all is well.
func (c *checkCmd) Run(env *Env) error {
	if _, _, err := c.compile(env, c.JSON); err != nil {
		return err
	}
	if !c.JSON {
		fmt.Fprintf(env.Stdout, "%s is fine\n", c.File)
	}
	return nil
}
