package cli

import (
	_ "embed" // the template
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// newCmd writes a file to start from.
type newCmd struct {
	File string `arg:"" default:"graph.loco" help:"File to write; it must not exist."`
}

// template is a complete, commented program that runs as it is.
//
//go:embed template.loco
var template []byte

// Help shows an example.
func (newCmd) Help() string { return "Example:\n  locorun new graph.loco && locorun graph.loco" }

// Run writes the template.
func (c *newCmd) Run(env *Env) error {
	f, err := os.OpenFile(c.File, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return wrongf("%s exists; name a file that does not", c.File)
	}
	if err != nil {
		return wrong{readable(err)}
	}
	if _, err := f.Write(template); err != nil {
		f.Close()
		return err
	}
	fmt.Fprintf(env.Stdout, "wrote %s; run it with: locorun %s\n", c.File, c.File)
	return f.Close()
}
