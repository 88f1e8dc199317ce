package cli

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/locorun/locorun/runtime/source"
)

// viewsCmd writes a sheet of augmented pictures.
type viewsCmd struct {
	program
	Data    string `placeholder:"DIR" help:"Directory of the data; default: beside the file."`
	To      string `short:"o" default:"views.png" help:"PNG to write."`
	Images  int    `default:"8" help:"Pictures, one a row."`
	Columns int    `default:"6" help:"Views of each."`
	Cell    int    `default:"0" help:"Side of a cell in pixels; 0: at least 96."`
}

// Help shows an example.
func (viewsCmd) Help() string {
	return "Example:\n  locorun views -o views.png examples/quickstart.loco"
}

// Run draws the sheet.
func (c *viewsCmd) Run(env *Env) error {
	net, _, err := c.compile(env, false)
	if err != nil {
		return err
	}
	ds, err := source.Open(net.Data.Images, source.Options{DataDir: c.Data, FileDir: filepath.Dir(c.File)})
	if err != nil {
		return wrong{err}
	}
	defer ds.Close()
	cfg := source.GridConfig{
		Dataset: ds, Views: net.Views, Shape: net.Input, Columns: c.Columns, Cell: c.Cell, Seed: net.Train.Seed,
	}
	for i := range min(c.Images, ds.Len()) {
		cfg.Images = append(cfg.Images, i)
	}
	if err := writeFile(c.To, func(w io.Writer) error { return source.Grid(w, cfg) }); err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "wrote %s: each row a picture and %d views of it\n", c.To, c.Columns)
	return nil
}
